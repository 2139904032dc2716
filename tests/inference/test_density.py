"""The density against formulas written by hand, the table of sites, and the search for a start."""

from __future__ import annotations

import math

import pyro
import pyro.distributions as dist
import pytest
import torch

from ppzoo.datasets.arguments import Arguments
from ppzoo.errors import FitError, ModelError
from ppzoo.inference.density import density_of, find_start, format_sites, report_sites
from ppzoo.inference.program import Pair
from ppzoo.isolation import isolated


def pair_of(model, *args):
    return Pair(model, model, Arguments(args, {}, {}, {}, ()))


@pytest.fixture
def world():
    with isolated(seed=0, dtype=torch.float64):
        yield


def test_potential_has_the_jacobian_of_each_support(world):
    """HalfNormal through exp: U(u) = -(log p(exp u) + u); an interval through the logistic function likewise."""

    def model():
        pyro.sample("scale", dist.HalfNormal(2.0))
        pyro.sample("share", dist.Beta(2.0, 3.0))

    density = density_of(pair_of(model))
    u = {"scale": torch.tensor(0.3), "share": torch.tensor(-0.7)}
    scale, share = u["scale"].exp(), torch.sigmoid(u["share"])
    expected = dist.HalfNormal(2.0).log_prob(scale) + u["scale"]
    expected = expected + dist.Beta(2.0, 3.0).log_prob(share) + (share * (1 - share)).log()
    value, gradient = density.value_and_gradient(u)
    assert float(value) == pytest.approx(float(expected), rel=1e-12)
    assert float(density.potential(u)) == -float(value)
    step = 1e-6
    for name in u:
        above, below = ({**u, name: u[name] + s} for s in (step, -step))
        slope = (density.log_density(above) - density.log_density(below)) / (2 * step)
        assert float(gradient[name]) == pytest.approx(float(slope), rel=1e-6)
    assert {name: float(v) for name, v in density.constrain(u).items()} == pytest.approx(
        {"scale": float(scale), "share": float(share)}
    )


def test_without_jacobians_it_is_the_density_of_the_values(world):
    """One vector at a time and many at once: the values that the unconstrained ones stand for decide alone."""

    def model():
        pyro.sample("scale", dist.HalfNormal(2.0))
        pyro.sample("share", dist.Beta(2.0, 3.0))

    density = density_of(pair_of(model), jacobian=False)
    q = torch.tensor([[0.3, -0.7], [-1.1, 0.4]])
    expected = dist.HalfNormal(2.0).log_prob(q[:, 0].exp()) + dist.Beta(2.0, 3.0).log_prob(torch.sigmoid(q[:, 1]))
    torch.testing.assert_close(density.log_densities(q), expected, rtol=1e-12, atol=0)
    torch.testing.assert_close(density.log_density(density.named(q[0])), expected[0], rtol=1e-12, atol=0)


def test_a_support_that_depends_on_another_site_moves_with_it(world):
    """y ~ Uniform(0, x): in unconstrained space the pair (x, y) keeps the triangle, wherever x is."""

    def model():
        x = pyro.sample("x", dist.HalfNormal(1.0))
        pyro.sample("y", dist.Uniform(0.0, x))

    density = density_of(pair_of(model))
    for a, b in ((-2.0, 0.4), (1.5, -0.3)):
        u = {"x": torch.tensor(a), "y": torch.tensor(b)}
        x, share = u["x"].exp(), torch.sigmoid(u["y"])
        values = density.constrain(u)
        assert float(values["y"]) == pytest.approx(float(share * x), rel=1e-12)
        expected = dist.HalfNormal(1.0).log_prob(x) - x.log() + u["x"] + (x * share * (1 - share)).log()
        assert float(density.log_density(u)) == pytest.approx(float(expected), rel=1e-12)


def test_factors_scales_and_masks_count(world):
    """log N(u) + 3 log N(y | u) + 2 u: what is scaled counts so often, what is masked not at all."""
    y = torch.tensor([0.4, 1.9])

    def model():
        u = pyro.sample("u", dist.Normal(0.0, 1.0))
        pyro.factor("pull", 2 * u)
        with pyro.poutine.scale(scale=3.0):
            pyro.sample("y", dist.Normal(u, 1.0), obs=y[0])
        with pyro.poutine.mask(mask=False):
            pyro.sample("missing", dist.Normal(u, 1.0), obs=y[1])

    u = torch.tensor(0.3)
    expected = dist.Normal(0.0, 1.0).log_prob(u) + 3 * dist.Normal(u, 1.0).log_prob(y[0]) + 2 * u
    assert float(density_of(pair_of(model)).log_density({"u": u})) == pytest.approx(float(expected), rel=1e-12)


def test_simplex_density_integrates_to_one(world):
    """Over the unconstrained plane, exp(-U) of a Dirichlet integrates to 1: the stick-breaking Jacobian is right."""

    def model():
        pyro.sample("p", dist.Dirichlet(torch.tensor([2.0, 3.0, 1.5])))

    density = density_of(pair_of(model))
    assert density.shapes["p"] == (2,)
    grid = torch.linspace(-12, 12, 97)
    total = sum(float((-density.potential({"p": torch.stack([a, b])})).exp()) for a in grid for b in grid)
    assert total * float(grid[1] - grid[0]) ** 2 == pytest.approx(1.0, abs=1e-3)


def test_discrete_sites_are_summed_out(world):
    def model(x):
        loc = pyro.sample("loc", dist.Normal(0.0, 1.0))
        with pyro.plate("row", len(x)):
            z = pyro.sample("z", dist.Bernoulli(0.3))
            pyro.sample("x", dist.Normal(loc + 4 * z, 1.0), obs=x)

    x = torch.tensor([0.1, 3.9])
    density = density_of(pair_of(model, x))
    loc = torch.tensor(0.2)
    parts = torch.stack(
        [dist.Normal(loc + 4 * z, 1.0).log_prob(x) + math.log(p) for z, p in ((0, 0.7), (1, 0.3))]
    ).logsumexp(0)
    expected = dist.Normal(0.0, 1.0).log_prob(loc) + parts.sum()
    assert float(density.potential({"loc": loc})) == pytest.approx(-float(expected), rel=1e-12)


def test_what_cannot_be_sampled_is_refused(world):
    def counts():
        pyro.sample("n", dist.Poisson(3.0))
        pyro.sample("m", dist.Normal(0.0, 1.0))

    def subsampled(x):
        m = pyro.sample("m", dist.Normal(0.0, 1.0))
        with pyro.plate("row", len(x), subsample_size=2) as i:
            pyro.sample("x", dist.Normal(m, 1.0), obs=x[i])

    def sequential():
        m = pyro.sample("m", dist.Normal(0.0, 1.0))
        pyro.sample("k", dist.Bernoulli(m.sigmoid()), infer={"enumerate": "sequential"})

    def crossed():
        m = pyro.sample("m", dist.Normal(0.0, 1.0))
        rows, columns = pyro.plate("rows", 2, dim=-2), pyro.plate("columns", 3, dim=-1)
        with rows:
            r = pyro.sample("r", dist.Bernoulli(0.5))
        with columns:
            c = pyro.sample("c", dist.Bernoulli(0.5))
        with rows, columns:
            pyro.sample("x", dist.Normal(m * r * c, 1.0), obs=torch.zeros(2, 3))

    with pytest.raises(ModelError, match=r"than parallel enumeration; got sites 'k'.* Remove infer="):
        density_of(pair_of(sequential))
    with pytest.raises(ModelError, match=r"cannot be summed out; got sites 'c', 'r'.* Python loop"):
        density_of(pair_of(crossed))
    with pytest.raises(ModelError, match=r"cannot be enumerated; got sites 'n'"):
        density_of(pair_of(counts))
    with pytest.raises(ModelError, match=r"subsamples a plate.*batch_size"):
        density_of(pair_of(subsampled, torch.zeros(5)))


def test_a_start_is_found_where_some_points_are_bad(world):
    """Half of the starting points have density zero: one of a hundred draws is finite."""

    def model():
        u = pyro.sample("u", dist.Normal(0.0, 1.0))
        pyro.factor("wall", torch.where(u > 0, 0.0, -math.inf))

    pair = pair_of(model)
    density = density_of(pair)
    assert float(find_start(density, pair)["u"]) > 0


def test_no_start_is_an_error_with_the_table(world):
    def model():
        pyro.sample("u", dist.Normal(0.0, 1.0))
        pyro.factor("wall", torch.tensor(-math.inf))

    pair = pair_of(model)
    with pytest.raises(FitError, match=r"(?s)100 tries.*site.*u +latent +Normal.*wall +factor.*-inf"):
        find_start(density_of(pair), pair)


def test_the_table_names_a_gradient_that_is_not_finite(world):
    def model():
        u = pyro.sample("u", dist.Normal(0.0, 1.0))
        v = pyro.sample("v", dist.Normal(0.0, 1.0))
        pyro.factor("cusp", (u - u.detach()).abs().sqrt() + v)

    rows = {row.name: row for row in report_sites(pair_of(model))}
    assert rows["u"].gradient_finite is False
    assert rows["v"].gradient_finite is True
    assert "NOT FINITE" in format_sites(list(rows.values()))
