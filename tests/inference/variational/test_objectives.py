"""Objectives are those of the literature: Pyro's number for the same draws, and the closed form on average."""

from __future__ import annotations

import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import Trace_ELBO

from ppzoo.datasets.arguments import Arguments
from ppzoo.inference.variational.objectives import elbo, traces
from ppzoo.isolation import isolated

Y = torch.tensor([0.9, 1.1, 1.6, 0.4], dtype=torch.float64)
DATA = Arguments((Y,), {})
WHERE = torch.tensor([0.3, -0.4], dtype=torch.float64, requires_grad=True)


def normal(y):
    mu = pyro.sample("mu", dist.Normal(0.0, 1.0))
    with pyro.plate("row", len(y)):
        pyro.sample("y", dist.Normal(mu, 1.0), obs=y)


def normal_guide(y):
    pyro.sample("mu", dist.Normal(WHERE[0], WHERE[1].exp()))


def local(y):
    rate = pyro.sample("rate", dist.Gamma(2.0, 2.0))
    with pyro.plate("row", len(y)):
        k = pyro.sample("k", dist.Poisson(rate))
        pyro.sample("y", dist.Normal(k, 1.0), obs=y)


def local_guide(y):
    """Draws that cannot be differentiated through, each with a part in the terms of its own row alone."""
    pyro.sample("rate", dist.LogNormal(WHERE[0], 0.1))
    with pyro.plate("row", len(y)):
        pyro.sample("k", dist.Poisson((WHERE[1] * y).exp()))


def partly(y):
    """A guide with a site that only it has, and a model that weighs its terms."""
    z = pyro.sample("z", dist.Normal(0.0, 1.0).expand([2]).to_event(1))
    with pyro.plate("row", len(y)), pyro.poutine.scale(scale=3.0):
        pyro.sample("y", dist.Normal(z.sum(), 1.0), obs=y)


def partly_guide(y):
    base = pyro.sample("base", dist.Normal(WHERE, 1.0).to_event(1), infer={"is_auxiliary": True})
    pyro.sample("z", dist.Delta(base, event_dim=1))


@pytest.mark.parametrize(("model", "guide"), [(normal, normal_guide), (local, local_guide), (partly, partly_guide)])
def test_the_elbo_is_pyro_s_for_the_same_draws(model, guide):
    for seed in range(5):
        with isolated(seed=seed, dtype=torch.float64):
            theirs = Trace_ELBO().differentiable_loss(model, guide, Y)
        with isolated(seed=seed, dtype=torch.float64):
            mine = elbo([traces(model, guide, DATA)])
        torch.testing.assert_close(mine.value, theirs.detach(), rtol=1e-13, atol=0)
        assert not mine.value.requires_grad
        (expected,), (found,) = (torch.autograd.grad(loss, WHERE) for loss in (theirs, mine.surrogate))
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


def test_its_mean_is_the_closed_form():
    """-ELBO = KL(q | p) + E[-log p(y | mu)] of two normals; 4 standard errors of 20,000 draws in one plate."""
    m, s = 0.3, math.exp(-0.4)
    divergence = 0.5 * (s**2 + m**2 - 1) - math.log(s)
    expected = divergence + 0.5 * float(((Y - m) ** 2 + s**2).sum()) + 0.5 * len(Y) * math.log(2 * math.pi)
    with isolated(seed=1, dtype=torch.float64):
        values = torch.stack([elbo([traces(normal, normal_guide, DATA)]).value for _ in range(2000)])
    assert abs(float(values.mean()) - expected) < 4 * float(values.std()) / math.sqrt(len(values))


def test_without_latent_sites_it_is_the_log_likelihood():
    def observed(y):
        with pyro.plate("row", len(y)):
            pyro.sample("y", dist.Normal(WHERE[0], 1.0), obs=y)

    loss = elbo([traces(observed, lambda _: None, DATA)])
    torch.testing.assert_close(loss.value, -dist.Normal(WHERE[0], 1.0).log_prob(Y).sum().detach())
    torch.testing.assert_close(loss.surrogate.detach(), loss.value)
