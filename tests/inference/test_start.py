"""Starting values lie in the support, without sampling what cannot be sampled."""

from __future__ import annotations

import pyro.distributions as dist
import pytest
import torch

from ppzoo.inference.start import near_zero, prior_median, uniform

SITES = {
    "real": dist.Normal(3.0, 1.0),
    "positive": dist.Gamma(2.0, 1.0).expand([3]),
    "simplex": dist.Dirichlet(torch.ones(4)),
    "correlation": dist.LKJCholesky(3),
    "improper": dist.ImproperUniform(dist.constraints.positive, (2,), ()),
    "improper vector": dist.ImproperUniform(dist.constraints.ordered_vector, (), (3,)).expand([2]),
    "masked improper": dist.ImproperUniform(dist.constraints.real, (2,), ()).mask(torch.tensor(True)),
    "discrete": dist.Categorical(torch.ones(3)),
}


@pytest.mark.parametrize("start", [prior_median, near_zero, uniform])
@pytest.mark.parametrize("name", SITES)
@pytest.mark.usefixtures("seeded")
def test_in_the_support_and_of_the_right_shape(start, name):
    fn = SITES[name]
    value = start({"fn": fn, "name": name})
    assert value.shape == fn.shape()
    assert bool(fn.support.check(value).all())


@pytest.mark.usefixtures("seeded")
def test_the_median_of_a_prior_with_known_median():
    """15 draws of N(3, 1): their median has sd 0.32, so 1.5 is more than 4 of them."""
    assert abs(float(prior_median({"fn": dist.Normal(3.0, 1.0), "name": "x"})) - 3) < 1.5
