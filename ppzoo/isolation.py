"""One way in for everything global: :func:`isolated` gives a run its own world and restores the caller's.

Pyro keeps its parameter store, its handler stack and its settings per process, torch its random state, default dtype
and gradient mode. Every public call that runs a program does so inside :func:`isolated`, which holds one lock (so that
two threads fit one after the other, and give what they give alone) and puts everything back, whatever happens.
"""

from __future__ import annotations

import gc
import random
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyro
import torch
from pyro.poutine import runtime
from torch import Tensor, nn
from torch.distributions import constraints

__all__ = ["Store", "isolated", "one_thread", "random_state", "uncollected"]

_LOCK = threading.RLock()
_SETTINGS = {"module_local_params": True}


@dataclass
class Store:
    """What ``pyro.param`` and ``pyro.module`` hold for one fit: unconstrained values and their constraints.

    ``borrowed`` are parameters of modules that live outside the fit (a network that a plain function closes over).
    Inside the run they carry its values and gradients, outside their owner's; the other of the two is kept here.
    """

    params: dict[str, Tensor] = field(default_factory=dict)
    constraints: dict[str, Any] = field(default_factory=dict)
    borrowed: dict[str, tuple[nn.Parameter, Tensor]] = field(default_factory=dict)
    gradients: dict[str, Tensor | None] = field(default_factory=dict)

    def borrow(self) -> None:
        """From here on the run works on copies of the parameters of modules outside; call it after a first trace."""
        for name, value in self.params.items():
            if isinstance(value, nn.Parameter) and name not in self.borrowed:
                self.borrowed[name], self.gradients[name] = (value, value.data), value.grad
                value.grad = None
                value.data = value.data.to(torch.get_default_dtype(), copy=True)

    def unconstrained(self) -> dict[str, Tensor]:
        """The fit's value of every parameter, in unconstrained space, seen from outside the run."""
        return {
            name: (self.borrowed[name][1] if name in self.borrowed else value).detach()
            for name, value in self.params.items()
        }

    def constrained(self) -> dict[str, Tensor]:
        """The fit's value of every parameter, in the space its constraint names, seen from outside the run."""
        transform_to = torch.distributions.transform_to
        return {name: transform_to(self.constraints[name])(value) for name, value in self.unconstrained().items()}


@contextmanager
def isolated(
    *,
    seed: int,
    dtype: torch.dtype = torch.float32,
    device: str | torch.device = "cpu",
    store: Store | None = None,
    validate: bool = False,
) -> Iterator[None]:
    """A world of its own for one run: parameter store, random streams, default dtype and device, validation.

    Args:
        seed: Seeds torch, NumPy's legacy generator and :mod:`random` inside.
        dtype: Default floating type inside, so that constants of a program follow its data.
        device: Default device inside, for the same reason.
        store: Parameters visible inside; what the run adds or learns is in it afterwards.
        validate: Whether distributions check their arguments and values inside.
    """
    with _LOCK, ExitStack() as stack:
        stack.enter_context(warnings.catch_warnings())
        stack.enter_context(random_state(seed))
        stack.enter_context(_default_dtype(dtype))
        stack.enter_context(torch.enable_grad())
        if torch.device(device).type != torch.get_default_device().type:  # the context makes every call slower
            stack.enter_context(torch.device(device))
        stack.enter_context(_pyro_settings(validate))
        stack.enter_context(_starting_values_copied())
        stack.enter_context(_parameters(store if store is not None else Store()))
        yield


@contextmanager
def random_state(seed: int) -> Iterator[None]:
    """Seed every global generator inside, restore each afterwards; one thread at a time."""
    with _LOCK, _generators(seed):
        yield


@contextmanager
def uncollected() -> Iterator[None]:
    """Make many objects that stay, without Python looking for cycles among all of them time and again.

    Only for code that leaves no cycles of its own behind.
    """
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


@contextmanager
def one_thread() -> Iterator[None]:
    """Torch's operations keep to one thread inside; as many as before afterwards.

    Small operations gain nothing from more, and where other programs use the processor they wait for each other's time
    slices: a product that takes a microsecond takes fifty milliseconds.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def _generators(seed: int) -> Iterator[None]:
    python, legacy, cpu = random.getstate(), np.random.get_state(), torch.get_rng_state()
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else None
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(legacy)
        torch.set_rng_state(cpu)
        if cuda is not None:
            torch.cuda.set_rng_state_all(cuda)


@contextmanager
def _default_dtype(dtype: torch.dtype) -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


@contextmanager
def _pyro_settings(validate: bool) -> Iterator[None]:
    before = pyro.settings.get()
    dimensions = dict(vars(runtime._ENUM_ALLOCATOR))
    frames, plates = list(runtime._PYRO_STACK), list(runtime._DIM_ALLOCATOR._stack)
    runtime._PYRO_STACK.clear()
    runtime._DIM_ALLOCATOR._stack.clear()
    pyro.settings.set(**_SETTINGS)
    pyro.enable_validation(validate)
    try:
        yield
    finally:
        pyro.settings.set(**before)
        runtime._PYRO_STACK[:] = frames
        runtime._DIM_ALLOCATOR._stack[:] = plates
        vars(runtime._ENUM_ALLOCATOR).clear()
        vars(runtime._ENUM_ALLOCATOR).update(dimensions)


@contextmanager
def _parameters(store: Store) -> Iterator[None]:
    pyro_store = pyro.get_param_store()
    before = pyro_store._params, pyro_store._param_to_name, pyro_store._constraints
    pyro_store._params = store.params
    pyro_store._param_to_name = {value: name for name, value in store.params.items()}
    pyro_store._constraints = store.constraints
    _exchange(store)
    try:
        yield
    finally:
        pyro_store._params, pyro_store._param_to_name, pyro_store._constraints = before
        _exchange(store)


@contextmanager
def _starting_values_copied() -> Iterator[None]:
    """``pyro.param(name, tensor)`` would train the caller's tensor itself; inside it trains a copy."""
    pyro_store = pyro.get_param_store()
    own, plain = vars(pyro_store), pyro_store.setdefault
    outer = own.get("setdefault")  # that of the run around this one

    def setdefault(name: str, start: Tensor | Callable[[], Tensor], constraint: Any = constraints.real) -> Tensor:
        def copied() -> Tensor:
            value = start() if callable(start) else start
            return value if isinstance(value, nn.Parameter) and value.requires_grad else value.detach().clone()

        return plain(name, copied, constraint)

    own["setdefault"] = setdefault
    try:
        yield
    finally:
        del own["setdefault"]
        if outer is not None:
            own["setdefault"] = outer


def _exchange(store: Store) -> None:
    """Swap values and gradients of the borrowed parameters with those kept; doing it twice undoes it."""
    for name, (parameter, kept) in store.borrowed.items():
        gradient, parameter.grad = parameter.grad, None
        store.borrowed[name] = (parameter, parameter.data)
        parameter.data = kept
        parameter.grad, store.gradients[name] = store.gradients.get(name), gradient
