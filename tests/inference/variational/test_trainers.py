"""The fastest road is taken, and a slower one is said."""

from __future__ import annotations

import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer.autoguide import AutoIAFNormal

import ppzoo
from ppzoo.inference.native import Unsupported, available
from ppzoo.inference.variational import machine_code, trainers
from ppzoo.inference.variational.trainers import trainer_of
from ppzoo.isolation import isolated
from tests.inference.variational.plans import X, Y, planned, regression

pytestmark = pytest.mark.skipif(available() is None, reason="no C compiler")


def test_the_whole_way_from_a_fit():
    settings = {"method": "svi", "seed": 1, "progress": False, "guide": "normal", "lr": 0.05}
    short = ppzoo.fit(regression, (X, Y), steps=100, **settings)
    long = ppzoo.fit(regression, (X, Y), steps=20_000, **settings)
    many = ppzoo.fit(regression, (X, Y), steps=20_000, replicas=4, **settings)
    assert short.notes[0] == "Steps: traced graph."  # not worth a compiler
    assert long.notes[0] == many.notes[0] == "Steps: machine code."
    assert many.notes[2].startswith("The best of 4 replicas, whose last losses are ")
    assert float(long.draws(4000)["slope"].mean()) == pytest.approx(float(many.draws(4000)["slope"].mean()), abs=0.05)


def test_without_a_compiler_operations_are_replayed(monkeypatch):
    def refused(*_, **__):
        raise Unsupported("there is no C compiler")

    monkeypatch.setattr(machine_code, "compile_loop", refused)
    with isolated(seed=0, dtype=torch.float64):
        trainer, why = trainer_of(planned(steps=20_000))
    assert (trainer.road, why) == ("traced graph", "there is no C compiler")


def test_replicas_without_machine_code_are_one_graph(monkeypatch):
    """Where there are enough of them to make up for torch's fused optimiser, and not too many numbers in each."""

    def refused(*_, **__):
        raise Unsupported("there is no C compiler")

    monkeypatch.setattr(machine_code, "compile_loop", refused)
    with isolated(seed=0, dtype=torch.float64):
        few, many = (trainer_of(planned(steps=20_000, replicas=replicas)) for replicas in (1, 8))
        assert few[0].road == "traced graph"
        assert (many[0].road, many[1]) == ("traced graph of all replicas", "there is no C compiler")
        short = trainer_of(planned(steps=20, replicas=2))
        assert (short[0].road, short[1]) == ("traced graph", "")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_on_a_gpu_steps_are_cuda_graphs():
    settings = {"method": "svi", "seed": 1, "progress": False, "guide": "normal", "lr": 0.05, "steps": 2000}
    here = ppzoo.fit(regression, (X, Y), device="cuda", replicas=2, **settings)
    there = ppzoo.fit(regression, (X, Y), device="cpu", replicas=2, **settings)
    assert here.notes[0] == "Steps: CUDA graphs."
    assert here.losses[-200:].mean() == pytest.approx(there.losses[-200:].mean(), abs=0.1)


def test_large_products_are_left_to_torch():
    vae = ppzoo.create_model("vae", features=64, latents=2, hidden=(200,))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        rows = torch.rand(256, 64)
    for replicas in (1, 2):
        fit = ppzoo.fit(vae, rows, method="svi", steps=3, batch_size=128, replicas=replicas, progress=False)
        assert fit.notes[0] == "Steps: traced graph."


def test_many_parameters_are_left_to_torch():
    """An optimiser of 50,000 parameters takes longer in lanes of which one is used than all its graph by torch."""
    x = torch.linspace(-1, 1, 90, dtype=torch.float64)

    def model(x):
        with pyro.plate("rows", 90):
            pyro.sample("z", dist.Normal(x, 1.0))

    settings = {"method": "svi", "seed": 1, "progress": False, "steps": 6_000}
    flow = ppzoo.fit(model, x, guide=AutoIAFNormal(model, hidden_dim=[182]), **settings)
    assert flow.notes[0] == "Steps: traced graph."
    assert ppzoo.fit(model, x, guide="normal", **settings).notes[0] == "Steps: machine code."


@pytest.mark.slow
def test_a_compiled_graph_takes_the_same_steps(monkeypatch):
    """By torch's compiler, made to pay: the same draws, so the same losses."""
    monkeypatch.setattr(trainers, "_compiler_pays", lambda *_: False)
    losses = {}
    for limit in (math.inf, 0.0):
        monkeypatch.setattr(trainers, "_TORCH_COMPILER", limit)
        with isolated(seed=0, dtype=torch.float64):
            trainer, why = trainer_of(planned(batch=4))
            losses[trainer.road] = trainer.advance(100)
            assert why == ""
    torch.testing.assert_close(losses["compiled graph"], losses["traced graph"], rtol=1e-9, atol=1e-9)
