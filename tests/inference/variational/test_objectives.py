"""Objectives are those of the literature: Pyro's number for the same draws, and the closed form on average."""

from __future__ import annotations

import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import Trace_ELBO

from ppzoo.datasets.arguments import Arguments
from ppzoo.inference.variational.objectives import elbo, terms
from ppzoo.inference.variational.runs import traces
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
            mine = elbo([terms(traces(model, guide, DATA), analytic=False)])
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
        values = torch.stack([elbo([terms(traces(normal, normal_guide, DATA))]).value for _ in range(2000)])
    assert abs(float(values.mean()) - expected) < 4 * float(values.std()) / math.sqrt(len(values))


def test_closed_forms_change_neither_the_loss_nor_the_mean_gradient_and_lower_its_variance():
    """Rows are independent: 20,000 estimates, 5 standard errors; ratios of variances known to 1/70 each."""
    place = torch.tensor([0.3, -0.4], dtype=torch.float64)[:, None].expand(-1, 20_000).clone().requires_grad_()

    def rows(y):
        with pyro.plate("row", len(y)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("y", dist.Normal(z, 1.0), obs=y)

    def guide(y):
        with pyro.plate("row", len(y)):
            pyro.sample("z", dist.Normal(place[0], place[1].exp()))

    with isolated(seed=3, dtype=torch.float64):
        run = traces(rows, guide, Arguments((Y[0].expand(20_000),), {}))
        losses = [elbo([terms(run, analytic=analytic)]) for analytic in (False, True)]
    torch.testing.assert_close(losses[1].value, losses[0].value, rtol=1e-13, atol=0)
    sampled, closed = (torch.autograd.grad(loss.surrogate, place, retain_graph=True)[0] for loss in losses)
    difference = closed - sampled
    assert bool((difference.mean(1).abs() < 5 * difference.std(1) / 20_000**0.5).all())
    assert bool((closed.var(1) < 0.5 * sampled.var(1)).all())  # of the mean a quarter: the prior pulls as the row does


LOGIT = torch.tensor([-0.3], dtype=torch.float64)


@pytest.mark.parametrize("weight", [None, 0.25])
def test_beta_weighs_what_is_not_the_likelihood(weight):
    """In the loss; in the gradient a step's own weight, if it has one."""
    given = None if weight is None else torch.tensor(weight, dtype=torch.float64)
    with isolated(seed=2, dtype=torch.float64):
        run = traces(normal, normal_guide, DATA)
    mu = run.guide.nodes["mu"]["value"]
    q, p = dist.Normal(WHERE[0], WHERE[1].exp()), dist.Normal(torch.zeros_like(mu), 1.0)
    likelihood = dist.Normal(mu, 1.0).log_prob(Y).sum()
    sampled, closed = q.log_prob(mu) - p.log_prob(mu), torch.distributions.kl_divergence(q, p)
    for analytic, divergence in ((False, sampled), (True, closed)):
        loss = elbo([terms(run, given, analytic=analytic, beta=3.0)])
        torch.testing.assert_close(loss.value, (3 * sampled - likelihood).detach())
        expected = torch.autograd.grad((weight or 3.0) * divergence - likelihood, WHERE, retain_graph=True)
        torch.testing.assert_close(torch.autograd.grad(loss.surrogate, WHERE, retain_graph=True), expected)


@pytest.mark.parametrize(("analytic", "beta"), [(True, 1.0), (False, 1.0), (True, 0.4), (False, 0.4)])
def test_scores_have_the_exact_mean_gradient_and_other_particles_lower_the_variance(analytic, beta):
    """A Bernoulli guide summed out; 20,000 estimates, 5 standard errors."""
    y, exact = Y[2], LOGIT.clone().requires_grad_()
    ks = torch.tensor([0.0, 1.0], dtype=torch.float64)
    q, p = dist.Bernoulli(logits=exact), dist.Bernoulli(torch.tensor(0.4, dtype=torch.float64))
    costs = beta * (q.log_prob(ks) - p.log_prob(ks)) - dist.Normal(2 * ks, 1.0).log_prob(y)
    (expected,) = torch.autograd.grad((q.log_prob(ks).exp() * costs).sum(), exact)

    def rows(y):
        with pyro.plate("row", len(y)):
            k = pyro.sample("k", dist.Bernoulli(0.4))
            pyro.sample("y", dist.Normal(2 * k, 1.0), obs=y)

    found = []
    place = LOGIT.expand(20_000).clone().requires_grad_()

    def guide(y):
        with pyro.plate("row", len(y)):
            pyro.sample("k", dist.Bernoulli(logits=place))

    for together in (False, True):
        with isolated(seed=4, dtype=torch.float64):
            data = Arguments((y.expand(20_000),), {})
            runs = [terms(traces(rows, guide, data), analytic=analytic, beta=beta) for _ in range(3)]
            groups = [runs] if together else [[run] for run in runs]
            surrogate = torch.stack([elbo(group).surrogate for group in groups]).mean()
        found.append(torch.autograd.grad(surrogate, place)[0])
    for gradient in found:
        assert abs(float(gradient.mean() - expected)) < 5 * float(gradient.std()) / 20_000**0.5
    assert float(found[1].var()) < 0.7 * float(found[0].var())


def test_a_score_sees_the_closed_form_of_what_hangs_on_its_draw():
    """A guide's Bernoulli k summed out, with KL of a normal about 2 k; 20,000 estimates, 5 standard errors."""
    exact = LOGIT.clone().requires_grad_()
    ks = torch.tensor([0.0, 1.0], dtype=torch.float64)
    q, p = dist.Bernoulli(logits=exact), dist.Bernoulli(torch.tensor(0.4, dtype=torch.float64))
    costs = q.log_prob(ks) - p.log_prob(ks) + 0.5 * (0.7 - 2 * ks) ** 2  # up to what k does not change
    (expected,) = torch.autograd.grad((q.log_prob(ks).exp() * costs).sum(), exact)
    place = LOGIT.expand(20_000).clone().requires_grad_()

    def rows(y):
        with pyro.plate("row", len(y)):
            k = pyro.sample("k", dist.Bernoulli(0.4))
            z = pyro.sample("z", dist.Normal(2 * k, 1.0))
            pyro.sample("y", dist.Normal(z, 1.0), obs=y)

    def guide(y):
        with pyro.plate("row", len(y)):
            pyro.sample("k", dist.Bernoulli(logits=place))
            pyro.sample("z", dist.Normal(0.7, 1.0))

    with isolated(seed=5, dtype=torch.float64):
        loss = elbo([terms(traces(rows, guide, Arguments((Y[0].expand(20_000),), {})))])
    (gradient,) = torch.autograd.grad(loss.surrogate, place)
    assert abs(float(gradient.mean() - expected)) < 5 * float(gradient.std()) / 20_000**0.5


def test_without_latent_sites_it_is_the_log_likelihood():
    def observed(y):
        with pyro.plate("row", len(y)):
            pyro.sample("y", dist.Normal(WHERE[0], 1.0), obs=y)

    loss = elbo([terms(traces(observed, lambda _: None, DATA))])
    torch.testing.assert_close(loss.value, -dist.Normal(WHERE[0], 1.0).log_prob(Y).sum().detach())
    torch.testing.assert_close(loss.surrogate.detach(), loss.value)
