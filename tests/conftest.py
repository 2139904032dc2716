"""Fixtures for every test: nothing global may change, and one way each to seeds, devices and the shared data.

Torch is optional here, so that the tests that need none also run where it is not installed.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import warnings
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

os.environ.setdefault("MPLBACKEND", "Agg")  # before anything imports matplotlib: no window is opened

import numpy as np
import pytest
import rich.progress  # noqa: F401  # draws from Python's generator at import: here, so that no test is charged with it
import sklearn  # noqa: F401  # likewise sets filters and environment variables

HAS_TORCH = find_spec("torch") is not None
if HAS_TORCH:
    import pyro
    import torch
    import torch._dynamo  # the first step of any optimiser imports it, and it sets a filter and an environment variable
    from pyro.poutine import runtime

OF_OTHERS = ("PYTEST_CURRENT_TEST", "_TORCHINDUCTOR_")  # what pytest and torch's compiler tell their own parts
SHARED_DATA = Path(os.environ.get("PPZOO_DATA", Path(__file__).parents[2] / "shared" / "data"))


def _torch_state() -> dict[str, Any]:
    return {
        "torch RNG": torch.get_rng_state().numpy().tobytes(),
        "torch CUDA RNG": [state.numpy().tobytes() for state in torch.cuda.get_rng_state_all()]
        if torch.cuda.is_initialized()
        else None,
        "torch default dtype": torch.get_default_dtype(),
        "torch default device": str(torch.get_default_device()),
        "torch grad mode": torch.is_grad_enabled(),
        "torch anomaly mode": torch.is_anomaly_enabled(),
        "torch deterministic algorithms": torch.are_deterministic_algorithms_enabled(),
        "torch threads": torch.get_num_threads(),
        "torch validation flag": torch.distributions.Distribution._validate_args,
    }


def _pyro_state() -> dict[str, Any]:
    params = pyro.get_param_store()._params
    return {
        "pyro parameter store": {name: (id(p), p.detach().cpu().numpy().tobytes()) for name, p in params.items()},
        "pyro settings": dict(pyro.settings.get()),
        "pyro handler stack": [id(handler) for handler in runtime._PYRO_STACK],
        "pyro plate dimensions": list(runtime._DIM_ALLOCATOR._stack),
    }


def _process_state() -> dict[str, Any]:
    name, key, *rest = np.random.get_state()
    state = {
        "python RNG": random.getstate(),
        "numpy RNG": (name, key.tobytes(), rest),
        "numpy error state": np.geterr(),
        "warnings filters": list(warnings.filters),
        "signal handlers": {name: signal.getsignal(name) for name in (signal.SIGINT, signal.SIGTERM)},
        "working directory": os.getcwd(),
        "environment": {name: value for name, value in os.environ.items() if not name.startswith(OF_OTHERS)},
    }
    if "matplotlib" in sys.modules:
        state["matplotlib rcParams"] = dict(sys.modules["matplotlib"].rcParams)
    return state


def global_state() -> dict[str, Any]:
    """Everything global that a public call might change, by name."""
    return _process_state() | ({**_torch_state(), **_pyro_state()} if HAS_TORCH else {})


def _difference(before: Any, after: Any) -> str:
    """Which entries of a list or mapping differ; nothing for the states of generators."""
    if isinstance(before, dict):
        return f" ({', '.join(sorted(str(k) for k in before.keys() | after.keys() if before.get(k) != after.get(k)))})"
    if isinstance(before, list) and isinstance(after, list):
        return f" ({', '.join(str(x) for x in [*before, *after] if x not in before or x not in after)})"
    return "" if isinstance(before, (bytes, tuple)) else f" ({before} -> {after})"


@pytest.fixture(autouse=True)
def isolation() -> Iterator[Callable[[], list[str]]]:
    """Fails a test that leaves anything global changed; yields a function that lists what has changed so far."""
    before = global_state()

    def changed() -> list[str]:
        after = global_state()
        # what did not exist before (CUDA's generator, matplotlib) came into being by a first use: no leak
        return [
            name + _difference(value, after[name])
            for name, value in before.items()
            if value is not None and after[name] != value
        ]

    yield changed
    leaks = changed()
    if leaks:
        pytest.fail(f"the test left global state changed: {', '.join(leaks)}", pytrace=False)


@pytest.fixture
def seeded(isolation: object) -> Iterator[int]:
    """Seeds the global generators for one test and restores them before ``isolation`` looks: yields the seed."""
    seed = 0
    python, legacy = random.getstate(), np.random.get_state()
    random.seed(seed)
    np.random.seed(seed)
    if not HAS_TORCH:
        yield seed
    else:
        with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
            torch.manual_seed(seed)
            yield seed
    random.setstate(python)
    np.random.set_state(legacy)


@pytest.fixture(params=["cpu", "cuda"])
def device(request: pytest.FixtureRequest) -> str:
    """Each device in turn; CUDA is skipped where there is none."""
    if request.param == "cuda" and not (HAS_TORCH and torch.cuda.is_available()):
        pytest.skip("no CUDA device")
    return str(request.param)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data and reference posteriors; absent on a user's machine, always there in CI."""
    if SHARED_DATA.is_dir():
        return SHARED_DATA
    reason = f"no shared data at {SHARED_DATA}: set PPZOO_DATA to the folder"
    if os.environ.get("CI") == "true":
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)
