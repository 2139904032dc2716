"""Which statement knows which discrete site, and which deterministic sites follow from them."""

from __future__ import annotations

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine

from ppzoo.errors import ModelError
from ppzoo.inference.enumeration import enumeration_of
from ppzoo.inference.program import sites_of
from ppzoo.isolation import isolated

X = torch.tensor([0.3, -1.2, 2.0])


@pytest.fixture(autouse=True)
def world():
    with isolated(seed=0, dtype=torch.float64):
        yield


def model(infer):
    a = pyro.sample("a", dist.Normal(0.0, 1.0))
    pyro.deterministic("square", a**2)
    g = pyro.sample("g", dist.Bernoulli(0.3), infer=infer)
    with pyro.plate("row", 3):
        z = pyro.sample("z", dist.OneHotCategorical(torch.tensor([0.2, 0.3, 0.5])))
        mean = pyro.deterministic("mean", a * z[..., 0] + g)
        pyro.sample("x", dist.Normal(mean, 1.0), obs=X)
        pyro.sample("y", dist.Normal(a, 1.0), obs=X)


def found_in(infer=None):
    sites = tuple(sites_of(poutine.trace(model).get_trace(infer)))
    trace = poutine.trace(poutine.enum(pyro.infer.config_enumerate(model, "parallel"), -2)).get_trace(infer)
    trace.compute_log_prob()
    return enumeration_of(trace, sites)


def test_what_a_statement_knows():
    found = found_in()
    assert found.knows == {"g": {"g"}, "z": {"z"}, "x": {"g", "z"}}
    assert found.functions == ("mean",)
    assert found.elimination.noise == 1 + 3
    assert {v.name: len(v.plates) for v in found.elimination.variables.values()} == {"g": 0, "z": 1}


def test_values_have_the_events_of_their_sites():
    found = found_in()
    symbols = {v.name: symbol for symbol, v in found.elimination.variables.items()}
    index = {symbols["g"]: torch.tensor([1, 0]), symbols["z"]: torch.tensor([[0, 1, 2], [2, 2, 0]])}
    values = found.values(index)
    assert values["g"].tolist() == [1.0, 0.0]
    assert torch.equal(values["z"], torch.eye(3)[index[symbols["z"]]])


@pytest.mark.parametrize("infer", [{"enumerate": "sequential"}, {"enumerate": "parallel", "num_samples": 5}])
def test_sites_that_would_be_drawn_at_random_are_refused(infer):
    with pytest.raises(ModelError, match=r"than parallel enumeration; got sites 'g'.* Remove infer="):
        found_in(infer)
