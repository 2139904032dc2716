"""The mode of a density: known modes, which of several is taken, which paths agree, and what is no mode."""

from __future__ import annotations

import math

import pyro
import pyro.distributions as dist
import pytest
import torch

from ppzoo.datasets.arguments import Arguments
from ppzoo.errors import DataError, FitError
from ppzoo.inference.approximate.map_estimate import at_the_edge, map_estimate
from ppzoo.inference.density import density_of
from ppzoo.inference.flat import FlatDensity, flatten
from ppzoo.inference.program import Pair
from ppzoo.isolation import isolated


@pytest.fixture
def world():
    with isolated(seed=0, dtype=torch.float64):
        yield


def flat_of(model):
    return flatten(density_of(Pair(model, model, Arguments((), {}, {}, {}, ()))), torch.zeros(()))


def density(function, size):
    """A density without a program."""

    def both(q):
        gradient, value = torch.func.grad_and_value(function)(q)
        return value, gradient

    return FlatDensity(None, torch.zeros(size, dtype=torch.float64), both, "graph", "")


def test_the_jacobian_is_part_of_the_density(world):
    """Gamma(3, 2): x f(x) is highest at 3 / 2, f itself at 1. Beta(2, 5): p (1 - p) f(p) at 2 / 7, f at 1 / 5."""

    def model():
        pyro.sample("x", dist.Gamma(3.0, 2.0))
        pyro.sample("p", dist.Beta(2.0, 5.0))

    flat = flat_of(model)
    found = map_estimate(flat, torch.tensor([[-1.0, 0.5], [1.0, -2.0]]))
    values = flat.constrain(found.position[None])
    assert float(values["x"]) == pytest.approx(1.5, abs=1e-7)
    assert float(values["p"]) == pytest.approx(2 / 7, abs=1e-7)
    assert found.converged
    assert found.agree.tolist() == [True, True]
    assert found.gradient_norm < 1e-6
    assert found.log_density == pytest.approx(float(flat.function(found.position)[0]), rel=1e-13)
    assert found.gradients == int(found.ascent.gradients.sum())


def test_the_posterior_mean_of_a_conjugate_regression(world):
    x = torch.stack([torch.ones(30), torch.linspace(-1, 1, 30)], 1)
    y = x @ torch.tensor([0.7, -1.3]) + 0.3 * torch.sin(torch.arange(30.0))

    def model():
        b = pyro.sample("b", dist.Normal(0.0, 2.0).expand([2]).to_event(1))
        with pyro.plate("row", 30):
            pyro.sample("y", dist.Normal(x @ b, 0.5), obs=y)

    found = map_estimate(flat_of(model), torch.tensor([[2.0, 2.0], [-2.0, 0.0]]))
    precision = x.T @ x / 0.25 + torch.eye(2) / 4
    torch.testing.assert_close(found.position, torch.linalg.solve(precision, x.T @ y / 0.25), rtol=0, atol=1e-8)


def test_the_higher_of_two_modes():
    """An unequal mixture in two dimensions: modes near -3 and 3, the second with twice the weight."""

    def mixture(q):
        left = -((q + 3) ** 2).sum() / 2
        right = -((q - 3) ** 2).sum() / 2 + math.log(2)
        return torch.logsumexp(torch.stack([left, right]), 0)

    starts = torch.tensor([[-2.5, -3.5], [2.0, 3.0], [-4.0, -2.0], [4.0, 4.0]], dtype=torch.float64)
    found = map_estimate(density(mixture, 2), starts)
    torch.testing.assert_close(found.position, torch.full((2,), 3.0, dtype=torch.float64), rtol=0, atol=1e-6)
    assert found.path in (1, 3)
    assert found.agree.tolist() == [False, True, False, True]


def test_equal_modes_are_not_the_same_mode():
    """Two names for one component: as high as each other, and a valley between."""
    starts = torch.tensor([[-2.5], [2.0], [3.0]], dtype=torch.float64)
    found = map_estimate(density(lambda q: -((q[0] ** 2 - 4) ** 2), 1), starts)
    assert sorted(found.agree.tolist()) in ([False, False, True], [False, True, True])
    assert bool(found.agree[found.path])
    assert bool(found.agree[1]) == bool(found.agree[2]) != bool(found.agree[0])


def test_a_mode_before_a_higher_point_on_the_way_to_none():
    """Towards the right the density has no bound; the mode near zero is the one that means something."""
    starts = torch.tensor([[0.5], [14.0]], dtype=torch.float64)
    found = map_estimate(density(lambda q: -(q[0] ** 2) / 2 + torch.exp(q[0] - 8), 1), starts)
    assert (found.path, found.converged, found.agree.tolist()) == (0, True, [True, False])
    assert float(found.position) == pytest.approx(math.exp(-8), rel=1e-3)
    assert found.ascent.lp[1, -1] > found.log_density


def test_no_path_converged():
    found = map_estimate(density(lambda q: torch.exp(q).sum(), 1), torch.tensor([[1.0], [2.0]], dtype=torch.float64))
    assert not found.converged
    assert found.path == int(found.ascent.lp[:, -1].argmax())


def test_starts_that_are_not_finite():
    def half(q):
        return torch.log(q).sum() - q.sum()  # highest at one, and nothing below zero

    found = map_estimate(density(half, 1), torch.tensor([[-1.0], [3.0]], dtype=torch.float64))
    assert (found.path, found.agree.tolist()) == (1, [False, True])
    assert float(found.position) == pytest.approx(1.0, abs=1e-6)
    with pytest.raises(FitError, match=r"starts: no starting point with finite density and gradient; got 2 points"):
        map_estimate(density(half, 1), torch.tensor([[-1.0], [-3.0]], dtype=torch.float64))


def test_an_end_of_a_support_is_no_mode(world):
    """Far out towards zero nothing falls; a mode that far out is one if the density falls beyond it."""

    def model():
        pyro.sample("rate", dist.Exponential(2.0).expand([2]).to_event(1))
        pyro.sample("tiny", dist.LogNormal(-20.0, 1.0))
        pyro.sample("share", dist.Uniform(0.0, 1.0))
        pyro.sample("place", dist.Normal(1e6, 1e6))

    pair = Pair(model, model, Arguments((), {}, {}, {}, ()))
    flat = flatten(density_of(pair, jacobian=False), torch.zeros(()))
    assert at_the_edge(flat, torch.tensor([0.0, -19.0, 0.0, 0.1, 1e6])) == ["rate"]
    assert at_the_edge(flat, torch.tensor([-19.0, -19.0, 0.0, 30.0, 1e6])) == ["rate", "share"]
    assert at_the_edge(flat, torch.tensor([-3.0, 3.0, -5.0, 2.0, 1e6])) == []
    flat = flatten(density_of(pair), torch.zeros(()))
    assert at_the_edge(flat, torch.tensor([-19.0, -19.0, -20.0, 30.0, 1e6])) == []


def test_starts_of_another_density():
    with pytest.raises(DataError, match=r"expected shape \(paths, 3\)"):
        map_estimate(density(lambda q: -(q * q).sum(), 3), torch.zeros(4, 2, dtype=torch.float64))
