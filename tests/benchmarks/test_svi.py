"""The benchmark of variational fits: its table is made from records, its models are the same in all files."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pyro
import pytest
import torch
from pyro.infer import Trace_ELBO
from pyro.infer.autoguide import AutoNormal

from ppzoo.isolation import isolated

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "benchmarks" / "results"


@pytest.fixture(autouse=True)
def _importable(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))


def test_the_first_step_below_the_target_counts():
    from svi.problems import PROBLEMS
    from svi.tables import reached

    target = PROBLEMS["radon"].target
    losses = [target + 1.0] * 100 + [target - 2.0] * 200
    assert reached(losses, PROBLEMS["radon"]) == {"loss": target - 2, "reached": 117, "steps": 300, "failures": []}
    late = reached(losses[::-1], PROBLEMS["radon"])
    assert late["failures"] == [f"a last loss of {target + 1:.4g} nats per row"]


def test_the_table_is_that_of_the_record():
    from svi.tables import page, record

    path = record("cpu")
    assert path.with_suffix(".md").read_text(encoding="utf-8") == page("cpu")
    for run in json.loads(path.read_text(encoding="utf-8"))["runs"]:
        assert run["failures"] == [] or (run["problem"], run["rival"]) == ("radon_flow", "pyro")  # it may diverge


@pytest.mark.parametrize("rival", ["ppzoo", "torch", "pyro"])
@pytest.mark.parametrize("problem", ["vae_64", "radon", "radon_flow"])
def test_everybody_starts_from_the_same_loss(rival, problem, tmp_path, shared_data):
    """Codes say nothing yet and pixels are even: log 2 nats each; guides are near the prior's middle."""
    from svi.worker import main

    assert shared_data.is_dir()
    with isolated(seed=0), pyro.settings.context(module_local_params=False):  # as in a process of its own
        main(json.dumps({"problem": problem, "rival": rival, "settings": {"seed": 3, "steps": 4}}), tmp_path)
    run = json.loads((tmp_path / "run.json").read_text(encoding="utf-8"))
    assert len(run["losses"]) == 4
    assert run["setup"] > 0 < run["seconds"]
    expected, tolerance = {"vae_64": (784 * math.log(2), 10.0), "radon": (2.5, 1.0), "radon_flow": (10, 9)}[problem]
    assert np.mean(run["losses"]) == pytest.approx(expected, abs=tolerance)


def test_the_model_by_hand_is_the_one_in_pyro(shared_data):
    """At equal parameters the mean losses of 2,000 draws differ by less than 4 standard errors."""
    from mcmc.pyro_models import MODELS
    from svi.problems import houses
    from svi.with_torch import MeanField

    assert shared_data.is_dir()
    data = {name: torch.from_numpy(x) for name, x in houses().items()}
    with isolated(seed=1):
        guide = AutoNormal(MODELS["radon"])
        guide(**data)
        sites = ("mean", "slope", "floor", "spread", "scale", "effect")
        locs, scales = (torch.cat([getattr(kind, n).reshape(-1) for n in sites]) for kind in (guide.locs, guide.scales))
        mine, values = MeanField(len(data["uranium"])), list(data.values())
        with torch.no_grad():
            mine.loc.copy_(locs)
            mine.log_scale.copy_(scales.log())
            by_hand = torch.stack([mine(*values) for _ in range(2000)])
            losses = [Trace_ELBO().loss(MODELS["radon"], guide, **data) for _ in range(2000)]
            by_pyro = torch.tensor(losses) / len(data["county"])
        pyro.clear_param_store()
    error = math.sqrt(float(by_hand.var() + by_pyro.var()) / 2000)
    assert float(by_hand.mean()) == pytest.approx(float(by_pyro.mean()), abs=4 * error)


def test_the_flow_by_hand_knows_its_jacobian():
    """Every number is moved by those before it, and the determinant is that of all its derivatives."""
    from svi.with_torch import Flow

    with isolated(seed=2):
        flow, noise = Flow(counties=3, hidden=40), torch.randn(8)
        slopes = torch.autograd.functional.jacobian(lambda x: flow.bent(x)[0], noise)
    assert torch.equal(slopes, slopes.tril())
    assert (slopes.tril(-1) != 0).sum() == 8 * 7 / 2
    torch.testing.assert_close(slopes.diagonal().log().sum(), flow.bent(noise)[1].detach())
