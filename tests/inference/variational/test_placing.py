"""A guide begins at the normal it is given, in its units; and long thin posteriors are fitted at the usual rate."""

from __future__ import annotations

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from torch.nn import functional

import ppzoo
from ppzoo.datasets.arguments import Arguments
from ppzoo.errors import ModelError
from ppzoo.inference.pathfinder import Normals
from ppzoo.inference.program import Pair
from ppzoo.inference.variational.guides import GUIDES, choose_guide
from ppzoo.inference.variational.placing import Near, can_be_placed, near_posterior, place
from ppzoo.isolation import isolated

X = torch.linspace(1990, 2010, 21, dtype=torch.float64)
Y = 30 + 0.05 * (X - 2000) + torch.sin(40 * X)
SIZES = {"a": 1, "b": 2, "theta": 3}


def years(x, y):
    """Level and slope hang together as 1 - 2e-5, and their sd differ by a factor of 2,000."""
    level = pyro.sample("level", dist.Normal(0.0, 1000.0))
    slope = pyro.sample("slope", dist.Normal(0.0, 1.0))
    with pyro.plate("year", len(x)):
        pyro.sample("y", dist.Normal(level + slope * x, 1.0), obs=y)


def posterior_of_years():
    design = torch.stack([torch.ones_like(X), X], 1)
    precision = torch.diag(torch.tensor([1e-6, 1.0], dtype=torch.float64)) + design.T @ design
    covariance = torch.linalg.inv(precision)
    return covariance @ design.T @ Y, covariance


def six_numbers(y):
    a = pyro.sample("a", dist.Normal(0.0, 1.0))
    b = pyro.sample("b", dist.Dirichlet(torch.ones(3)))
    with pyro.plate("group", 3):
        theta = pyro.sample("theta", dist.Normal(a + b[0], 1.0))
        pyro.sample("y", dist.Normal(theta, 1.0), obs=y)


def near_of(seed):
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    directions, _ = torch.linalg.qr(draw(6, 4))
    factor = torch.linalg.cholesky(torch.eye(4, dtype=torch.float64) + (half := draw(4, 4)) @ half.T)
    return Near(SIZES, Normals(draw(6), draw(6).exp() * 10, directions, factor))


def placed(kind, near, frame):
    """A guide for six numbers, placed, its units by the name of the parameter, and its draws' mean and covariance."""
    with isolated(seed=0, dtype=torch.float64):
        y = torch.zeros(3)
        pair = Pair(six_numbers, six_numbers, Arguments((y,), {}))
        guide = pair.guide = choose_guide(kind, None, six_numbers, list(SIZES))
        pair.first_run()
        units = place(guide, near, frame)
        return guide, {name: units[p] for name, p in guide.named_parameters() if p in units}


def test_scales_and_covariance_of_a_normal():
    near = near_of(1)
    drawn, _ = near.normal.draw(torch.eye(6, dtype=torch.float64))
    half = drawn - near.normal.mean
    covariance = half.T @ half
    torch.testing.assert_close(near.covariance(), covariance)
    torch.testing.assert_close(near.conditional_scale(), torch.linalg.inv(covariance).diagonal() ** -0.5)


@pytest.mark.parametrize("kind", ["mvn", "iaf", "spline"])
def test_a_joint_guide_begins_at_the_very_normal(kind):
    near, frame = near_of(1), near_of(2)
    guide, units = placed(kind, near, frame)
    assert units == {}
    torch.testing.assert_close(guide.centre + guide.factor @ guide.loc, near.normal.mean)
    factor = guide.factor @ (guide.scale[:, None] * guide.scale_tril)
    torch.testing.assert_close(factor @ factor.T, near.covariance())
    torch.testing.assert_close(guide.factor @ guide.factor.T, frame.covariance())
    own, _ = placed(kind, frame, frame)
    torch.testing.assert_close(own.loc.detach(), torch.zeros(6, dtype=torch.float64))
    torch.testing.assert_close(own.scale.detach(), torch.ones(6, dtype=torch.float64))


@pytest.mark.parametrize("kind", ["normal", "lowrank", "structured"])
def test_a_guide_of_single_scales_begins_at_the_nearest(kind):
    near, frame = near_of(1), near_of(2)
    guide, units = placed(kind, near, frame)
    parameters = {name: p.detach() for name, p in guide.named_parameters()}
    rows = {"locs": near.normal.mean, "scales": near.conditional_scale()}
    unit = frame.conditional_scale()
    if kind == "lowrank":
        torch.testing.assert_close(parameters["loc"], rows["locs"])
        torch.testing.assert_close(functional.softplus(parameters["scale_unconstrained"]), rows["scales"])
        torch.testing.assert_close(units["loc"], unit)
        return
    for name, mean, scale, u in zip(SIZES, *(each.split([1, 2, 3]) for each in (*rows.values(), unit)), strict=True):
        torch.testing.assert_close(parameters[f"locs.{name}_unconstrained"].reshape(-1), mean)
        of_rows = f"conds.{name}.scale_unconstrained"
        rho = of_rows if of_rows in parameters else f"scales.{name}_unconstrained"
        torch.testing.assert_close(functional.softplus(parameters[rho]).reshape(-1), scale)
        torch.testing.assert_close(units[f"locs.{name}_unconstrained"].reshape(-1), u)
        torch.testing.assert_close(units[rho].reshape(-1), u / (1 - torch.exp(-u)))
    if kind == "structured":
        weights = {name: value for name, value in units.items() if name.startswith("deps")}
        assert weights.keys() == {name for name in parameters if name.startswith("deps")}
        a, _, theta = unit.split([1, 2, 3])
        torch.testing.assert_close(weights["deps.theta.a.weight"], theta[:, None] / a)


def test_low_rank_begins_with_the_widest_directions():
    """Scales of one but for one direction, of width 100: all of that normal is of rank one."""
    along = functional.normalize(torch.ones(6, 1, dtype=torch.float64), dim=0)
    mean, one = torch.zeros(6, dtype=torch.float64), torch.ones(6, dtype=torch.float64)
    near = Near(SIZES, Normals(mean, one, along, torch.full((1, 1), 100.0, dtype=torch.float64)))
    guide, _ = placed("lowrank", near, near)
    scaled = guide.scale[:, None] * guide.cov_factor
    correlation = (torch.diag(guide.scale**2) + scaled @ scaled.T) / torch.outer(one, one)
    torch.testing.assert_close(correlation.detach() / 1e4, near.covariance() / 1e4, rtol=0, atol=1e-3)


def test_which_can_be_placed():
    with isolated(seed=0):
        can = {
            name
            for name in GUIDES
            if name != "amortised" and can_be_placed(choose_guide(name, None, six_numbers, list(SIZES)))
        }
    assert can == {"normal", "mvn", "lowrank", "iaf", "spline", "structured"}
    assert not can_be_placed(None)


def test_a_normal_posterior_is_found():
    mean, covariance = posterior_of_years()
    with isolated(seed=0, dtype=torch.float64):
        pair = Pair(years, years, Arguments((X, Y), {}))
        first, *others = near_posterior(pair, torch.zeros(()), 0, 10)
    assert len(others) == 9
    assert first.sizes == {"level": 1, "slope": 1}
    sd = covariance.diagonal().sqrt()
    assert float(((first.normal.mean - mean) / sd).abs().max()) < 0.05
    torch.testing.assert_close(
        first.covariance() / torch.outer(sd, sd), covariance / torch.outer(sd, sd), rtol=0, atol=0.1
    )


def test_a_program_without_density_is_refused():
    def counts():
        pyro.sample("n", dist.Poisson(3.0))

    with isolated(seed=0), pytest.raises(ModelError, match="cannot be enumerated"):
        near_posterior(Pair(counts, counts, Arguments((), {})), torch.zeros(()), 0, 1)


@pytest.mark.parametrize("guide", ["mvn", "iaf"])
def test_a_thousandth_wide_and_two_thousand_times_as_long(guide):
    """At the usual rate and number of steps: within a tenth of an sd, and the sd within a tenth."""
    mean, covariance = posterior_of_years()
    sd = covariance.diagonal().sqrt()
    fit = ppzoo.fit(years, (X, Y), guide=guide, seed=1)
    drawn = torch.stack(list(fit.draws(20_000).values()), 1)
    assert fit.outcome.numbers["settled"] == 1.0
    assert float(((drawn.mean(0) - mean) / sd).abs().max()) < 0.1
    assert float((drawn.std(0) / sd - 1).abs().max()) < 0.1
    assert fit.diagnose().verdict == "trust"


def test_mean_field_of_it_is_thin_and_not_trusted():
    mean, covariance = posterior_of_years()
    fit = ppzoo.fit(years, (X, Y), guide="normal", seed=1)
    conditional = torch.linalg.inv(covariance).diagonal() ** -0.5
    drawn = torch.stack(list(fit.draws(20_000).values()), 1)
    np.testing.assert_allclose(drawn.std(0).numpy(), conditional.numpy(), rtol=0.1)
    assert float(((drawn.mean(0) - mean) / covariance.diagonal().sqrt()).abs().max()) < 0.1
    assert fit.diagnose().verdict == "reject"
