"""Every road to the flat density gives the program's own numbers, and says which it is."""

from __future__ import annotations

import math

import pyro
import pyro.distributions as dist
import pytest
import torch

from ppzoo.datasets.arguments import Arguments
from ppzoo.errors import ModelError
from ppzoo.inference.density import density_of
from ppzoo.inference.flat import flatten
from ppzoo.inference.graph.tracing import trace
from ppzoo.inference.program import Pair
from ppzoo.isolation import isolated

Y = torch.tensor([0.4, 1.9, -0.6, 3.1])


def eight_schools():
    mu = pyro.sample("mu", dist.Normal(0.0, 5.0))
    tau = pyro.sample("tau", dist.HalfCauchy(5.0))
    with pyro.plate("school", 4):
        z = pyro.sample("z", dist.Normal(0.0, 1.0))
        pyro.sample("y", dist.Normal(mu + tau * z, 2.0), obs=Y)


def mixture():
    weights = pyro.sample("weights", dist.Dirichlet(torch.ones(3)))
    locs = pyro.sample("locs", dist.Normal(0.0, 3.0).expand([3]).to_event(1))
    with pyro.plate("row", 4):
        z = pyro.sample("z", dist.Categorical(weights))
        pyro.sample("y", dist.Normal(locs[z], 1.0), obs=Y)


def nested_plates():
    corr = pyro.sample("corr", dist.LKJCholesky(3, 1.5))
    with pyro.plate("group", 2, dim=-2):
        a = pyro.sample("a", dist.Normal(0.0, 1.0))
        with pyro.plate("row", 4, dim=-1):
            b = pyro.sample("b", dist.HalfNormal(a.exp()))
            v = pyro.sample("v", dist.MultivariateNormal(torch.zeros(3), scale_tril=corr))
            pyro.sample("y", dist.Normal(b + v.sum(-1), 1.0), obs=Y)


def every_support():
    pyro.sample("interval", dist.Uniform(-1.0, 3.0))
    pyro.sample("positive", dist.Gamma(2.0, 1.0))
    pyro.sample("unit", dist.Beta(2.0, 3.0))
    pyro.sample("cholesky", dist.LKJCholesky(3, 1.0))
    pyro.sample("improper", dist.ImproperUniform(dist.constraints.greater_than(2.0), (), ()))
    pyro.sample("ordered", dist.ImproperUniform(dist.constraints.ordered_vector, (), (3,)))
    pyro.sample("heavy", dist.StudentT(3.0).expand([2]).to_event(1))
    pyro.factor("pull", -(pyro.sample("real", dist.ImproperUniform(dist.constraints.real, (), ())) ** 2))


def counts():  # its density picks elements by a mask: their number depends on values
    p = pyro.sample("p", dist.Dirichlet(torch.ones(3)))
    with pyro.plate("row", 2):
        pyro.sample("y", dist.Multinomial(10, p), obs=torch.tensor([[1.0, 2.0, 7.0], [0.0, 0.0, 10.0]]))


def fixed():  # a term that no chain changes
    pyro.sample("x", dist.Normal(0.0, 1.0))
    pyro.sample("y", dist.Normal(0.0, 1.0), obs=torch.tensor(1.5))


def branches():
    x = pyro.sample("x", dist.Normal(0.0, 1.0))
    pyro.sample("y", dist.Normal(x if float(x) > 0 else 2 * x, 1.0), obs=torch.tensor(1.0))


ROADS = [
    (eight_schools, "graph"),
    (mixture, "graph"),
    (nested_plates, "graph"),
    (every_support, "graph"),
    (counts, "chains as a batch dimension"),
    (branches, "one chain at a time"),
]


@pytest.fixture
def world():
    with isolated(seed=0, dtype=torch.float64):
        yield


def density(model):
    return density_of(Pair(model, model, Arguments((), {}, {}, {}, ())))


@pytest.mark.parametrize(("model", "road"), ROADS)
def test_value_and_gradient_are_the_programs(world, model, road):
    program = density(model)
    flat = flatten(program, torch.zeros(()))
    assert flat.road == road
    assert bool(flat.reason) == (road != "graph")
    q = torch.randn(5, program.size)
    values, gradients = torch.func.vmap(flat.function)(q)
    for row, value, gradient in zip(q, values, gradients, strict=True):
        expected, by_name = program.value_and_gradient(program.named(row))
        torch.testing.assert_close(value, expected, rtol=1e-12, atol=1e-12)
        flat_gradient = torch.cat([by_name[name].reshape(-1) for name in program.shapes])
        torch.testing.assert_close(gradient, flat_gradient, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize(("model", "road"), ROADS)
def test_a_road_can_be_traced_into_a_larger_graph(world, model, road):
    flat = flatten(density(model), torch.zeros(()))
    q = torch.randn(flat.density.size)
    graph = trace(flat.function, [q])
    for found, expected in zip(graph(q + 0.1), flat.function(q + 0.1), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("model", [eight_schools, nested_plates, every_support, counts, fixed])
def test_chains_as_a_batch_dimension(world, model):
    program = density(model)
    q = torch.randn(4, program.size)
    found = program.log_densities(q)
    expected = torch.stack([program.log_density(program.named(row)) for row in q])
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


def test_gradients_against_differences(world):
    program = density(every_support)
    flat = flatten(program, torch.zeros(()))
    q = torch.randn(program.size)
    _, gradient = flat.function(q)
    step = 1e-6
    for i in range(program.size):
        shift = torch.zeros(program.size)
        shift[i] = step
        slope = (flat.function(q + shift)[0] - flat.function(q - shift)[0]) / (2 * step)
        assert float(gradient[i]) == pytest.approx(float(slope), rel=1e-6, abs=1e-7)


def test_constrained_values(world):
    flat = flatten(density(eight_schools), torch.zeros(()))
    q = torch.randn(7, 6)
    values = flat.constrain(q)
    assert {name: tuple(v.shape) for name, v in values.items()} == {"mu": (7,), "tau": (7,), "z": (7, 4)}
    assert torch.equal(values["mu"], q[:, 0])
    torch.testing.assert_close(values["tau"], q[:, 1].exp())


def test_the_sum_over_assignments_by_hand(world):
    flat = flatten(density(mixture), torch.zeros(()))
    q = torch.tensor([0.3, -0.2, 1.0, 0.0, -1.5])
    values = flat.constrain(q[None])
    weights, locs = values["weights"][0], values["locs"][0]
    rows = (weights.log() - 0.5 * (Y[:, None] - locs) ** 2 - 0.5 * math.log(2 * math.pi)).logsumexp(1)
    transform = torch.distributions.biject_to(dist.constraints.simplex)
    jacobian = transform.log_abs_det_jacobian(q[:2], weights)
    prior = dist.Dirichlet(torch.ones(3)).log_prob(weights) + dist.Normal(0.0, 3.0).log_prob(locs).sum()
    assert float(flat.function(q)[0]) == pytest.approx(float(rows.sum() + prior + jacobian), rel=1e-12)


def test_a_program_without_a_number_to_sample(world):
    def model():
        pyro.sample("simplex", dist.Dirichlet(torch.ones(1)))
        pyro.sample("empty", dist.Normal(0.0, 1.0).expand([0]).to_event(1))

    with pytest.raises(
        ModelError, match=r"no unknown number to sample; got 'simplex' of shape \(1,\), 'empty' of shape"
    ):
        flatten(density(model), torch.zeros(()))


def matrix(a):
    """Two observations whose correlation is ``a``: no covariance where ``|a| > 1``."""
    ones = torch.tensor([[0.0, 1.0], [1.0, 0.0]])
    factor = torch.linalg.cholesky(torch.eye(2) + ones * a[..., None, None])
    pyro.sample("z", dist.MultivariateNormal(torch.zeros(2), scale_tril=factor), obs=torch.ones(2))


def on_the_graph():
    matrix(pyro.sample("a", dist.Normal(0.0, 0.4)))


def in_a_batch():
    on_the_graph()
    p = pyro.sample("p", dist.Dirichlet(torch.ones(3)))
    pyro.sample("y", dist.Multinomial(10, p), obs=torch.tensor([1.0, 2.0, 7.0]))


def one_by_one():
    on_the_graph()
    pyro.factor("nothing", 0.0 * float(pyro.sample("x", dist.Normal(0.0, 1.0)).detach()) * torch.ones(()))


FAR_OUT = [
    (on_the_graph, "graph"),
    (in_a_batch, "chains as a batch dimension"),
    (one_by_one, "one chain at a time"),
]


@pytest.mark.parametrize(("model", "road"), FAR_OUT)
def test_a_matrix_that_cannot_be_decomposed_is_nan_for_its_chain_alone(world, model, road):
    flat = flatten(density(model), torch.zeros(()))
    assert flat.road == road
    q = torch.zeros(3, flat.density.size)
    q[:, 0] = torch.tensor([0.2, 1.7, -0.4])
    values, gradients = torch.func.vmap(flat.function)(q)
    assert values.isfinite().tolist() == [True, False, True]
    assert gradients.isfinite().all(1).tolist() == [True, False, True]


def test_what_a_program_raises_far_out_is_said(world):
    def model():
        if float(pyro.sample("x", dist.Normal(0.0, 1.0))) > 2.5:
            raise ValueError("too large")

    flat = flatten(density(model), torch.zeros(()))
    with pytest.raises(ModelError, match=r"model: failed at values .*ValueError: too large"):
        torch.func.vmap(flat.function)(torch.tensor([[0.0], [3.0]]))
