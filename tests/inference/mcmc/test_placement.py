"""A GPU takes the chains only where its estimate is the shorter one, and the note says so."""

from __future__ import annotations

import re

import pyro
import pyro.distributions as dist
import pytest
import torch

import ppzoo
from ppzoo.errors import OptionError
from ppzoo.fitting import prepare
from ppzoo.inference.graph.tracing import trace
from ppzoo.inference.mcmc.placement import place, work_of
from ppzoo.isolation import isolated

Y = torch.linspace(-1.0, 1.0, 2000, dtype=torch.float64)


def model(y):
    mu = pyro.sample("mu", dist.Normal(0.0, 1.0))
    with pyro.plate("row", len(y)):
        pyro.sample("y", dist.StudentT(3.0, mu, 1.0), obs=y)


def valued(y):
    if pyro.sample("mu", dist.Normal(0.0, 1.0)) > 0:
        pyro.sample("y", dist.Normal(0.0, 1.0), obs=y[0])
    else:
        pyro.sample("y", dist.Normal(0.0, 2.0), obs=y[0])


def placed(monkeypatch, chains, program=model, *, gpu=True):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    pair, dtype, _ = prepare(program, Y)
    with isolated(seed=0, dtype=dtype, store=pair.store):
        return place(pair, ppzoo.NUTS(chains=chains), dtype)


def test_work_is_what_is_read_and_written():
    graph = trace(lambda x, y: (x * y + 1.0,), [torch.zeros(5), torch.zeros(3, 5)])
    assert work_of(graph) == (2, (5 + 15 + 15) + (15 + 15))


def test_few_chains_stay_and_many_go(monkeypatch):
    few, why_few = placed(monkeypatch, 4)
    many, why_many = placed(monkeypatch, 2**18)
    assert (few.type, many.type) == ("cpu", "cuda")
    assert re.fullmatch(
        r"Device: cpu; 4 chains take about [\d.e+]+ µs for a gradient there, .* on cuda, by estimate\.", why_few
    )
    assert re.fullmatch(
        r"Device: cuda; 262,144 chains take about .* ms for .* there, .* on cpu, by estimate\.", why_many
    )


def test_without_a_gpu_there_is_no_choice(monkeypatch):
    device, why = placed(monkeypatch, 2**18, gpu=False)
    assert device.type == "cpu"
    assert why == "Device: cpu, for torch sees no GPU."


def test_the_fit_says_where_it_ran(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    fit = ppzoo.fit(model, Y, method="hmc", chains=2, warmup=20, draws=4, device="auto", progress=False)
    assert fit.device.type == "cpu"
    assert "Device: cpu, for torch sees no GPU." in fit.notes


@pytest.mark.parametrize("method", ["svi", "pyro-nuts"])
def test_only_chains_in_a_batch_are_placed(method):
    with pytest.raises(OptionError, match=f"device.*'auto' with method '{method}'"):
        ppzoo.fit(model, Y, method=method, device="auto")


def test_a_program_that_is_no_graph_stays(monkeypatch):
    device, why = placed(monkeypatch, 2**18, valued)
    assert device.type == "cpu"
    assert "no graph" in why
