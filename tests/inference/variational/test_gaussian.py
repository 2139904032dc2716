"""The multivariate normal in coordinates of its own: the same family, and the same draws from a file."""

from __future__ import annotations

import pyro
import pyro.distributions as dist
import pytest
import torch

import ppzoo
from ppzoo.inference.start import near_zero
from ppzoo.inference.variational.gaussian import LowRankNormal, Multivariate
from ppzoo.isolation import isolated

Y = torch.tensor([0.9, 1.1, 1.6, 0.4], dtype=torch.float64)


def model(y):
    level = pyro.sample("level", dist.Normal(0.0, 1.0))
    slope = pyro.sample("slope", dist.Normal(torch.zeros(2), 1.0).to_event(1))
    with pyro.plate("row", len(y)):
        pyro.sample("y", dist.Normal(level + 100 * slope.sum(), 1.0), obs=y)


@pytest.mark.parametrize("framed", [False, True])
def test_it_is_the_normal_that_its_parameters_say(framed):
    """log q of what it draws, by torch's own density with the product of the factors."""
    with isolated(seed=1, dtype=torch.float64):
        guide = Multivariate(pyro.poutine.block(model, expose=["level", "slope"]), init_loc_fn=near_zero)
        guide(Y)
        guide.loc.data = torch.tensor([0.3, -1.0, 2.0])
        guide.scale = torch.tensor([0.5, 2.0, 1.0])
        guide.scale_tril = torch.tensor([[1.0, 0.0, 0.0], [0.4, 1.0, 0.0], [-2.0, 0.3, 1.0]])
        if framed:
            guide.centre.copy_(torch.tensor([10.0, 0.0, -5.0]))
            guide.factor.copy_(torch.tensor([[3.0, 0.0, 0.0], [1.0, 0.2, 0.0], [0.5, 4.0, 0.01]]))
        trace = pyro.poutine.trace(guide).get_trace(Y)
        z = torch.cat([trace.nodes["level"]["value"][None], trace.nodes["slope"]["value"]])
        factor = guide.factor @ (guide.scale[:, None] * guide.scale_tril)
        known = dist.MultivariateNormal(guide.centre + guide.factor @ guide.loc, scale_tril=factor)
        assert float(trace.log_prob_sum().detach()) == pytest.approx(float(known.log_prob(z).detach()), abs=1e-9)


def test_its_coordinates_are_kept_in_a_file(tmp_path):
    fit = ppzoo.fit(model, Y, guide="mvn", steps=10, run_dir=tmp_path / "fit")
    assert fit.pair.guide.factor.abs().max() > 0
    assert not torch.equal(fit.pair.guide.factor, torch.eye(3, dtype=torch.float64))
    again = ppzoo.load(tmp_path / "fit", model=model)
    for name, value in fit.draws(5).items():
        assert torch.equal(again.draws(5)[name], value)


def test_a_normal_of_low_rank_has_torchs_density():
    generator = torch.Generator().manual_seed(1)
    loc, scale, w, z = (torch.randn(*n, generator=generator, dtype=torch.float64) for n in ((5,), (5,), (5, 2), (7, 5)))
    ours = LowRankNormal(loc, scale.exp(), w)
    known = dist.LowRankMultivariateNormal(loc, scale.exp()[:, None] * w, scale.exp() ** 2)
    torch.testing.assert_close(ours.log_prob(z), known.log_prob(z))


def test_draws_of_it_have_its_moments():
    """100,000 draws: a mean is off by 5 standard errors in one run of a million, a covariance likewise."""
    loc = torch.tensor([1.0, -2.0, 0.0], dtype=torch.float64)
    scale, w = torch.tensor([1.0, 0.1, 3.0]).double(), torch.tensor([[1.0], [2.0], [-1.0]]).double()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        drawn = LowRankNormal(loc, scale, w).rsample((100_000,))
    covariance = torch.diag(scale**2) + (scale[:, None] * w) @ (scale[:, None] * w).T
    sd = covariance.diagonal().sqrt()
    assert float(((drawn.mean(0) - loc) / sd).abs().max()) < 5 / 100_000**0.5
    assert float(((drawn.T.cov() - covariance) / torch.outer(sd, sd)).abs().max()) < 5 * 2**0.5 / 100_000**0.5


def test_low_rank_is_machine_code():
    fit = ppzoo.fit(model, Y, guide="lowrank", steps=20_000)
    assert fit.notes[0] == "Steps: machine code."
