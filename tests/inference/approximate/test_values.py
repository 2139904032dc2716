"""Log densities of many points at once: what is no density is no weight, and memory has a bound."""

from __future__ import annotations

import math

import pyro
import pyro.distributions as dist
import pytest
import torch

from ppzoo.datasets.arguments import Arguments
from ppzoo.inference.approximate.values import Values
from ppzoo.inference.density import density_of
from ppzoo.inference.flat import flatten
from ppzoo.inference.program import Pair
from ppzoo.isolation import isolated
from tests.inference.approximate.test_pathfinder import density


@pytest.fixture
def world():
    with isolated(seed=0, dtype=torch.float64):
        yield


def test_where_the_density_is_not_finite_it_is_no_weight():
    flat = density(lambda q: torch.log(q[0]), torch.zeros(1, dtype=torch.float64))
    values = Values(flat)
    found = values(torch.tensor([[[-1.0], [1.0]], [[0.0], [math.e]]], dtype=torch.float64))
    assert found.tolist() == [[-math.inf, 0.0], [-math.inf, 1.0]]
    assert values.count == 4


def test_a_program_with_many_data_is_computed_in_smaller_portions(world):
    def model():
        m = pyro.sample("m", dist.Normal(0.0, 1.0))
        with pyro.plate("row", 100_000):
            pyro.sample("y", dist.Normal(m, 1.0), obs=y)

    y = torch.linspace(-1, 1, 100_000)
    flat = flatten(density_of(Pair(model, model, Arguments((), {}, {}, {}, ()))), torch.zeros(()))
    values = Values(flat)
    assert values._at_once == 20
    q = torch.linspace(-1, 1, 50)[:, None]
    torch.testing.assert_close(values(q), torch.func.vmap(flat.function)(q)[0], rtol=1e-12, atol=0)
