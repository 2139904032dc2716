"""The multivariate normal in coordinates of its own: the same family, and the same draws from a file."""

from __future__ import annotations

import pyro
import pyro.distributions as dist
import pytest
import torch

import ppzoo
from ppzoo.inference.start import near_zero
from ppzoo.inference.variational.gaussian import Multivariate
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
