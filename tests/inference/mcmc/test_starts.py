"""Where chains start: inside of what was asked for, each chain by itself, and what cannot be a start."""

from __future__ import annotations

import pyro
import pyro.distributions as dist
import pytest
import torch

import ppzoo
from ppzoo.errors import FitError, ModelError
from ppzoo.fitting import prepare
from ppzoo.inference.density import density_of
from ppzoo.inference.flat import flatten
from ppzoo.inference.mcmc.starts import starting_points
from ppzoo.inference.mcmc.streams import chain_keys, uniforms
from ppzoo.isolation import isolated

Y = torch.tensor([0.9, 1.1, 1.6, 0.4])


def model(y):
    scale = pyro.sample("scale", dist.LogNormal(3.0, 0.1))
    mu = pyro.sample("mu", dist.Normal(100.0, 1.0))
    with pyro.plate("row", len(y)):
        pyro.sample("y", dist.Normal(mu, scale), obs=y)


def starts(init, chains=50, seed=0, program=model, batch=7):
    pair, dtype, _ = prepare(program, Y, prefer=torch.float64)
    with isolated(seed=0, dtype=dtype, store=pair.store):
        flat = flatten(density_of(pair), torch.zeros((), dtype=dtype))
        return starting_points(init, flat, pair, chain_keys(seed, chains), seed, batch)


def test_uniform_lies_between_minus_two_and_two():
    q = starts("uniform", 500)
    assert q.shape == (500, 2)
    assert bool((q.abs() < 2).all())
    assert bool((q.abs() > 1.9).any(0).all())


def test_a_start_is_made_of_numbers_that_no_step_uses():
    """Two numbers come as near as 1e-12 by chance in one seed of 100,000."""
    u = (starts("uniform") / 2 + 1) / 2
    for key, mine in zip(chain_keys(0, 50), u, strict=True):
        used = torch.cat([uniforms(key, torch.tensor(step), 16) for step in range(5)])
        assert float((mine[:, None] - used).abs().min()) > 1e-12


def test_prior_starts_are_draws_of_the_prior():
    """5 standard errors of the mean and of the standard deviation of 500 normal draws."""
    q = starts("prior", 500)
    for value, mean, sd in ((q[:, 0], 3.0, 0.1), (q[:, 1], 100.0, 1.0)):
        assert abs(float(value.mean()) - mean) < 5 * sd / 500**0.5
        assert abs(float(value.std()) - sd) < 5 * sd / 1000**0.5


def test_the_median_lies_in_the_middle_of_the_prior():
    """A median of 15 draws has 1.25 / sqrt(15) of their standard deviation."""
    q = starts("median", 50)
    assert bool(((q[:, 1] - 100).abs() < 5 * 1.25 / 15**0.5).all())


def test_an_improper_site_starts_without_being_drawn():
    def improper(y):
        mu = pyro.sample("mu", dist.ImproperUniform(dist.constraints.positive, (), ()))
        pyro.sample("y", dist.Normal(mu, 1.0).expand([4]).to_event(1), obs=y)

    assert bool((starts("prior", 20, program=improper).abs() < 2).all())


def log_density(mu, scale):
    """Of the program over unconstrained values, where the log of the scale is its coordinate: no Jacobian is left."""
    data = dist.Normal(mu, scale.exp()).log_prob(Y.double()[:, None]).sum(0)
    return data + dist.Normal(100.0, 1.0).log_prob(mu) + dist.Normal(3.0, 0.1).log_prob(scale)


def test_all_chains_start_at_the_mode():
    q = starts("map", 5)
    assert torch.equal(q, q[:1].expand(5, 2))
    grid = q[0] + torch.cartesian_prod(torch.linspace(-0.1, 0.1, 21), torch.linspace(-0.1, 0.1, 21)).double()
    best = grid[log_density(grid[:, 1], grid[:, 0]).argmax()]
    torch.testing.assert_close(best, q[0], rtol=0, atol=1e-6)


def test_pathfinders_starts_are_draws_near_the_posterior():
    """Importance resampling of 8 x 300 draws of a nearly normal posterior: 6 standard errors of 300 draws."""
    q = starts("pathfinder", 300)
    assert len(q[:, 0].unique()) == 300
    axes = torch.linspace(2.0, 4.5, 400).double(), torch.linspace(90.0, 105.0, 400).double()
    grid = torch.cartesian_prod(*axes)
    weight = torch.softmax(log_density(grid[:, 1], grid[:, 0]), 0)
    mean = weight @ grid
    sd = (weight @ (grid - mean) ** 2).sqrt()
    assert bool(((q.mean(0) - mean).abs() < 6 * sd / 300**0.5).all())
    assert bool(((q.std(0) / sd - 1).abs() < 6 / 600**0.5).all())


@pytest.mark.parametrize("init", ["uniform", "prior", "median", "map"])
def test_a_chain_starts_where_the_seed_and_its_number_say(init):
    alone, company, other = starts(init, 1), starts(init, 3), starts(init, 3, seed=1)
    assert torch.equal(alone[0], company[0])
    assert len({float(x) for x in (*company[:, 0], *other[:, 0])}) == (2 if init == "map" else 6)


def test_a_fit_starts_the_chains_at_its_draws():
    fit = ppzoo.fit(model, Y, method="svi", steps=50, guide="normal")
    q = starts(fit, 20)
    mu = fit.flat_draws(None, "start")["mu"].double()
    assert bool(torch.isin(q[:, 1], mu).all())
    assert len(q[:, 1].unique()) > 10


@pytest.mark.parametrize("method", ["map", "svi"])
def test_a_fit_without_the_discrete_sites_is_a_start(method):
    def mixture(y):
        mu = pyro.sample("mu", dist.Normal(100.0, 1.0))
        with pyro.plate("row", len(y)):
            z = pyro.sample("z", dist.Bernoulli(0.5))
            pyro.sample("y", dist.Normal(mu + z, 20.0), obs=y)

    fit = ppzoo.fit(mixture, Y, method=method, **({"steps": 20} if method == "svi" else {}))
    q = starts(fit, 5, program=mixture)
    assert bool(torch.isin(q[:, 0], fit.flat_draws(None, "start")["mu"].double()).all())


def test_a_fit_of_another_model_is_none_to_start_from():
    def other(y):
        mu = pyro.sample("mu", dist.Normal(0.0, 1.0).expand([4]).to_event(1))
        pyro.sample("y", dist.Normal(mu, 1.0).to_event(1), obs=y)

    fit = ppzoo.fit(other, Y, method="svi", steps=10)
    with pytest.raises(ModelError, match=r"init: is a fit of another model; got draws of \{'mu': \(4,\)\}"):
        starts(fit)


def test_starts_without_density_are_an_error_with_the_sites():
    def impossible(y):
        mu = pyro.sample("mu", dist.Normal(0.0, 1.0))
        pyro.sample("y", dist.Normal(mu, float("inf")).expand([4]).to_event(1), obs=y)

    with pytest.raises(FitError, match=r"(?s)no starting point.*mu"):
        starts("prior", 2, program=impossible)
