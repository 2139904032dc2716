"""The normal at a mode: exact curvature, exact for normal posteriors, and refused where the density does not curve."""

from __future__ import annotations

import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch.distributions import MultivariateNormal

from ppzoo.datasets.arguments import Arguments
from ppzoo.errors import FitError, ModelError
from ppzoo.inference.approximate.laplace import NormalAtMode, normal_at
from ppzoo.inference.density import density_of
from ppzoo.inference.program import Pair
from ppzoo.isolation import isolated


@pytest.fixture
def world():
    with isolated(seed=0, dtype=torch.float64):
        yield


def density(model):
    return density_of(Pair(model, model, Arguments((), {}, {}, {}, ())))


def test_the_precision_of_a_normal_posterior(world):
    """Conjugate regression: the precision is X'X / s^2 + 1 / t^2, wherever it is looked at."""
    x = torch.stack([torch.ones(12), torch.linspace(-1, 2, 12)], 1)

    def model():
        b = pyro.sample("b", dist.Normal(0.0, 2.0).expand([2]).to_event(1))
        with pyro.plate("row", 12):
            pyro.sample("y", dist.Normal(x @ b, 0.5), obs=torch.linspace(0, 1, 12))

    for place in (torch.zeros(2), torch.tensor([3.0, -4.0])):
        factor = normal_at(density(model), place).factor
        torch.testing.assert_close(factor @ factor.T, x.T @ x / 0.25 + torch.eye(2) / 4)


def test_a_curvature_by_hand(world):
    """Gamma(a, b) over u = log x has log density a u - b e^u: its curvature at the mode log(a / b) is -a."""

    def model():
        pyro.sample("x", dist.Gamma(torch.tensor([3.0, 7.0]), torch.tensor([2.0, 0.5])).to_event(1))

    mode = torch.log(torch.tensor([3.0, 7.0]) / torch.tensor([2.0, 0.5]))
    factor = normal_at(density(model), mode).factor
    torch.testing.assert_close(factor, torch.diag(torch.tensor([3.0, 7.0]).sqrt()))


def test_curvature_of_a_sum_over_discrete_sites(world):
    """Against finite differences of the gradient."""

    def model():
        m = pyro.sample("m", dist.Normal(0.0, 2.0))
        w = pyro.sample("w", dist.Beta(2.0, 3.0))
        with pyro.plate("row", 5):
            z = pyro.sample("z", dist.Bernoulli(w))
            pyro.sample("y", dist.Normal(m + 2 * z, 1.0), obs=torch.tensor([0.1, 2.2, 1.9, -0.4, 0.3]))

    found = density(model)
    place = torch.tensor([0.2, -0.3])
    factor = normal_at(found, place).factor
    step, columns = 1e-5, []
    for i in range(2):
        away = step * torch.eye(2)[i]
        up, down = (found.value_and_gradient(found.named(q))[1] for q in (place + away, place - away))
        columns.append((torch.stack(list(up.values())) - torch.stack(list(down.values()))) / (2 * step))
    torch.testing.assert_close(factor @ factor.T, -torch.stack(columns), rtol=1e-6, atol=1e-8)


def test_draws_and_densities_are_of_one_normal():
    generator = torch.Generator().manual_seed(3)
    half = torch.randn(3, 3, generator=generator, dtype=torch.float64)
    precision = half @ half.T + torch.eye(3, dtype=torch.float64)
    mode = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
    normal = NormalAtMode(mode, torch.linalg.cholesky(precision))
    z = torch.randn(20_000, 3, generator=generator, dtype=torch.float64)
    x, log_q = normal.draw(z)
    exact = MultivariateNormal(mode, precision_matrix=precision)
    torch.testing.assert_close(log_q, exact.log_prob(x))
    z_inverse = (x - mode) @ normal.factor  # the whitened draws are the noise
    torch.testing.assert_close(z_inverse, z)
    assert normal.log_volume == pytest.approx(-float(exact.log_prob(mode)))


def test_a_saddle_is_refused(world):
    """Two normals far apart: halfway between them the density curves upwards."""

    def model():
        pyro.sample("a", dist.Normal(0.0, 1.0))
        b = pyro.sample("b", dist.Normal(0.0, 10.0))
        pyro.factor("two", torch.logsumexp(torch.stack([-((b - 3) ** 2), -((b + 3) ** 2)]), 0))

    with pytest.raises(FitError, match=r"does not curve downwards.*mostly along 'b'.*pathfinder") as caught:
        normal_at(density(model), torch.zeros(2))
    assert caught.value.argument == "model"
    assert normal_at(density(model), torch.tensor([0.0, 2.97])).factor[1, 1] > 1


def test_a_parameter_that_nothing_holds_is_refused(world):
    def model():
        a, b = (pyro.sample(name, dist.ImproperUniform(dist.constraints.real, (), ())) for name in "ab")
        pyro.sample("y", dist.Normal(a + 0 * b, 1.0), obs=torch.tensor(0.3))

    with pytest.raises(FitError, match="curvature of 0, mostly along 'b'"):
        normal_at(density(model), torch.zeros(2))


class _Cubed(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return -4 * x**3

    @staticmethod
    def backward(ctx, slope):
        raise NotImplementedError("there is no second derivative")


class _Once(torch.autograd.Function):
    """Minus the fourth power, whose derivative has none."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return -(x**4)

    @staticmethod
    def backward(ctx, slope):
        (x,) = ctx.saved_tensors
        return slope * _Cubed.apply(x)


def test_a_program_that_can_be_differentiated_once_is_refused(world):
    def model():
        pyro.factor("x4", _Once.apply(pyro.sample("x", dist.Normal(0.0, 1.0))))

    with pytest.raises(ModelError, match=r"cannot be differentiated twice.*no second derivative.*pathfinder"):
        normal_at(density(model), torch.tensor([0.3]))


def test_not_a_number(world):
    def model():
        x = pyro.sample("x", dist.Normal(0.0, 1.0))
        pyro.factor("root", torch.sqrt(torch.abs(x)) * 0)

    with pytest.raises(FitError, match="second derivatives that are not finite"):
        normal_at(density(model), torch.zeros(1))


def test_the_log_volume_is_that_of_the_integral():
    """Of exp(-x' P x / 2): sqrt((2 pi)^D / det P)."""
    normal = NormalAtMode(torch.zeros(2), torch.diag(torch.tensor([2.0, 5.0])))
    assert normal.log_volume == pytest.approx(math.log(2 * math.pi / 10), rel=1e-6)
