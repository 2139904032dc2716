"""Bounds by importance weights against closed forms, quadrature, enumeration, and Pyro's number for the same draws."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import RenyiELBO

import ppzoo
from ppzoo.datasets.arguments import Arguments
from ppzoo.inference.variational.bounds import (
    dreg,
    importance,
    plates_of_units,
    wake_sleep,
    weighed,
    weighed_held,
)
from ppzoo.inference.variational.objectives import elbo, terms
from ppzoo.inference.variational.runs import Held, held, traces
from ppzoo.isolation import isolated

Y = torch.tensor([0.9, 1.1, 1.6, 0.4], dtype=torch.float64)
HALF = torch.tensor(0.5, dtype=torch.float64).sqrt()
ROWS = 40_000  # copies of one row, each with a gradient of its own: a step is as many independent estimates


def parameters(*values, rows=None):
    """One of each value, or one of each for every row."""
    numbers = torch.tensor(values, dtype=torch.float64)
    return (numbers if rows is None else numbers[:, None].expand(-1, rows).clone()).requires_grad_()


def local(y, prior=0.0):
    """Latents of each row: the evidence of a row is N(prior, 2)."""
    with pyro.plate("row", len(y)):
        z = pyro.sample("z", dist.Normal(prior, 1.0))
        pyro.sample("y", dist.Normal(z, 1.0), obs=y)


def evidence(y):
    return float(dist.Normal(torch.zeros_like(y), math.sqrt(2)).log_prob(y).sum())


def local_guide(place, slope=0.0):
    def guide(y, **_):
        with pyro.plate("row", len(y)):
            pyro.sample("z", dist.Normal(place[0] + slope * y, place[1].exp()))

    return guide


def shared(y):
    mu = pyro.sample("mu", dist.Normal(0.0, 1.0))
    with pyro.plate("row", len(y)):
        pyro.sample("y", dist.Normal(mu, 1.0), obs=y)


def shared_guide(place):
    return lambda y: pyro.sample("mu", dist.Normal(place[0], place[1].exp()))


def particles(how, model, guide, data, count):
    return [how(model, guide, Arguments((data,), {})) for _ in range(count)]


def of(runs):
    return [weighed_held(run) if isinstance(run, Held) else weighed(run) for run in runs]


def gradient(loss, place):
    return torch.autograd.grad(loss.surrogate, place)[0]


def assert_near(samples, expected, errors=5.0):
    """Mean within so many standard errors: 5 of them are a false alarm rate of 6e-7 for each number."""
    error = samples.std(-1) / math.sqrt(samples.shape[-1])
    assert bool(((samples.mean(-1) - expected).abs() < errors * error + 1e-12).all()), (
        samples.mean(-1),
        expected,
        error,
    )


@pytest.mark.parametrize("alpha", [0.0, 0.5, 2.0])
def test_of_shared_latents_it_is_pyros_for_the_same_draws(alpha):
    place = parameters(0.3, -0.4)
    with isolated(seed=2, dtype=torch.float64):
        theirs = RenyiELBO(alpha, num_particles=5).loss(shared, shared_guide(place), Y)
    with isolated(seed=2, dtype=torch.float64):
        runs = particles(traces, shared, shared_guide(place), Y, 5)
    assert plates_of_units(runs[0]) == frozenset()
    loss = importance(of(runs), alpha)
    assert float(loss.value) == pytest.approx(theirs, rel=1e-12)
    torch.testing.assert_close(loss.surrogate.detach(), loss.value)


def test_of_local_latents_each_row_has_a_bound_of_its_own():
    place = parameters(0.3, -0.4)
    with isolated(seed=2, dtype=torch.float64):
        runs = particles(traces, local, local_guide(place), Y, 5)
        z = torch.stack([run.guide.nodes["z"]["value"] for run in runs])
    assert plates_of_units(runs[0]) == {("row", -1)}
    log_w = dist.Normal(0.0, 1.0).log_prob(z) + dist.Normal(z, 1.0).log_prob(Y)
    log_w = log_w - dist.Normal(place[0], place[1].exp()).log_prob(z)
    expected = (log_w.logsumexp(0) - math.log(5)).sum()
    torch.testing.assert_close(importance(of(runs)).value, -expected.detach(), rtol=1e-12, atol=0)
    with isolated(seed=2, dtype=torch.float64):  # rows of a minibatch stand for three times as many
        scaled = (pyro.poutine.scale(each, scale=3.0) for each in (local, local_guide(place)))
        loss = importance(of(particles(traces, *scaled, Y, 5)))
    torch.testing.assert_close(loss.value, -3 * expected.detach(), rtol=1e-12, atol=0)


def test_what_hangs_on_all_rows_ties_their_weights():
    def sums(y):
        with pyro.plate("row", len(y)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.deterministic("twice", 2 * z)
        pyro.sample("sum", dist.Normal(z.sum(), 1.0), obs=y.sum())

    def noted(y):
        local(y)
        pyro.deterministic("n", y.sum())

    place = parameters(0.3, -0.4)
    with isolated(seed=0, dtype=torch.float64):
        found = [plates_of_units(traces(m, local_guide(place), Arguments((Y,), {}))) for m in (sums, noted)]
    assert found == [frozenset(), {("row", -1)}]


@pytest.mark.parametrize("count", [2, 7])
def test_under_the_exact_posterior_it_is_the_evidence_and_dreg_has_no_noise(count):
    place = parameters(0.0, math.log(0.5) / 2)
    guide = local_guide(place, slope=0.5)
    with isolated(seed=3, dtype=torch.float64):
        free = particles(traces, local, guide, Y, count)
        fixed = particles(held, local, guide, Y, count)
    losses = [importance(of(free)), importance(of(free), 0.5), dreg(of(fixed)), wake_sleep(of(fixed))]
    for loss in losses:
        assert float(loss.value) == pytest.approx(-evidence(Y), rel=1e-12)
    torch.testing.assert_close(gradient(losses[2], place), torch.zeros_like(place), rtol=0, atol=1e-12)
    assert float(gradient(losses[0], place).abs().max()) > 0.01


def quadrature(place, y, prior, alpha):
    """E of the bound of two particles, by 80 x 80 Gauss-Hermite points."""
    x, w = (torch.from_numpy(numbers) for numbers in np.polynomial.hermite_e.hermegauss(80))
    z = place[0] + place[1].exp() * x
    log_w = dist.Normal(prior, 1.0).log_prob(z) + dist.Normal(z, 1.0).log_prob(y)
    log_w = (1 - alpha) * (log_w - dist.Normal(place[0], place[1].exp()).log_prob(z))
    bound = (torch.logaddexp(log_w[:, None], log_w) - math.log(2)) / (1 - alpha)
    return (w[:, None] * w * bound).sum() / (2 * math.pi)


@pytest.mark.parametrize(("how", "alpha"), [("importance", 0.0), ("importance", 0.5), ("dreg", 0.0)])
def test_value_and_gradients_have_the_exact_mean(how, alpha):
    y, exact, prior = Y[0], parameters(0.3, -0.4), torch.tensor(0.2, dtype=torch.float64, requires_grad=True)
    bound = quadrature(exact, y, prior, alpha)
    expected, of_prior = torch.autograd.grad(-bound, [exact, prior])
    place, priors = parameters(0.3, -0.4, rows=ROWS), parameters(0.2, rows=ROWS)
    data = y.expand(ROWS)
    with isolated(seed=4, dtype=torch.float64):
        runs = particles(held if how == "dreg" else traces, lambda y: local(y, priors[0]), local_guide(place), data, 2)
    loss = dreg(of(runs)) if how == "dreg" else importance(of(runs), alpha)
    found, model = torch.autograd.grad(loss.surrogate, [place, priors])
    assert float(loss.value) / ROWS == pytest.approx(
        -float(bound.detach()), abs=0.01
    )  # 0.3 / sqrt(40,000) a standard error
    assert_near(found, expected)
    assert_near(model, of_prior)


def test_many_particles_reach_the_evidence_of_each_row():
    """One leaves the divergence from the posterior N(y / 2, 1 / 2), 50 next to nothing; 5 standard errors of a mean."""
    data, place = Y.repeat(2000), parameters(0.5, math.log(0.8))
    divergence = torch.distributions.kl_divergence(dist.Normal(place[0], place[1].exp()), dist.Normal(Y / 2, HALF))
    with isolated(seed=5, dtype=torch.float64), torch.no_grad():
        losses = [float(importance(of(particles(traces, local, local_guide(place), data, k))).value) for k in (1, 50)]
    one, many = (evidence(data) / len(data) + loss / len(data) for loss in losses)
    assert one == pytest.approx(float(divergence.mean().detach()), abs=0.03)
    assert many == pytest.approx(0, abs=0.01)


def chained(y):
    with pyro.plate("row", len(y)):
        a = pyro.sample("a", dist.Normal(0.0, 1.0))
        b = pyro.sample("b", dist.Normal(a, 1.0))
        pyro.sample("y", dist.Normal(b, 1.0), obs=y)


def chained_guide(place):
    """The second draw hangs on the first, through its mean."""

    def guide(y):
        with pyro.plate("row", len(y)):
            b = pyro.sample("b", dist.Normal(place[0], place[1].exp()))
            pyro.sample("a", dist.Normal(place[2] * b, 0.8))

    return guide


def test_dreg_has_the_mean_of_the_plain_gradient_and_less_variance():
    """Of a guide whose draws hang on each other; 5 standard errors of the difference of two independent means."""
    place, data = parameters(0.5, -0.4, 0.6, rows=ROWS), Y[0].expand(ROWS)
    with isolated(seed=6, dtype=torch.float64):
        plain = gradient(importance(of(particles(traces, chained, chained_guide(place), data, 4))), place)
        sharp = gradient(dreg(of(particles(held, chained, chained_guide(place), data, 4))), place)
    assert_near(sharp - plain, torch.zeros(3, dtype=torch.float64))
    assert bool((sharp.var(-1) < 0.5 * plain.var(-1)).all())


def binary(y):
    with pyro.plate("row", len(y)):
        k = pyro.sample("k", dist.Bernoulli(0.4))
        pyro.sample("y", dist.Normal(2 * k, 1.0), obs=y)


def binary_guide(place):
    def guide(y):
        with pyro.plate("row", len(y)):
            pyro.sample("k", dist.Bernoulli(logits=place[0]))

    return guide


@pytest.mark.parametrize("alpha", [0.0, 0.5])
def test_scores_have_the_exact_mean_gradient(alpha):
    """Three particles of a Bernoulli guide, all eight outcomes summed."""
    y, exact = Y[0], parameters(-0.3)
    q = dist.Bernoulli(logits=exact[0])
    bound = torch.zeros((), dtype=torch.float64)
    for ks in itertools.product([0.0, 1.0], repeat=3):
        k = torch.tensor(ks, dtype=torch.float64)
        log_w = dist.Bernoulli(torch.tensor(0.4, dtype=torch.float64)).log_prob(k) + dist.Normal(2 * k, 1.0).log_prob(y)
        order = 1 - alpha
        inner = ((order * (log_w - q.log_prob(k))).logsumexp(0) - math.log(3)) / order
        bound = bound + q.log_prob(k).sum().exp() * inner
    place = parameters(-0.3, rows=ROWS)
    with isolated(seed=7, dtype=torch.float64):
        loss = importance(of(particles(traces, binary, binary_guide(place), y.expand(ROWS), 3)), alpha)
    assert_near(gradient(loss, place), torch.autograd.grad(-bound, exact)[0])


def test_one_particle_is_the_elbo():
    place = parameters(0.3, -0.4)
    for model, guide in ((local, local_guide(place)), (shared, shared_guide(place))):
        with isolated(seed=8, dtype=torch.float64):
            runs = particles(traces, model, guide, Y, 1)
        for mine, theirs in zip(importance(of(runs)), elbo([terms(run, analytic=False) for run in runs]), strict=True):
            torch.testing.assert_close(mine, theirs)


def test_wake_sleep_pulls_by_the_normalised_weights():
    place, prior = parameters(0.3, -0.4), torch.tensor(0.2, dtype=torch.float64, requires_grad=True)
    with isolated(seed=9, dtype=torch.float64):
        runs = particles(held, lambda y: local(y, prior), local_guide(place), Y, 6)
    z = torch.stack([run.made["z"].detach() for run in runs])
    log_p = dist.Normal(prior, 1.0).log_prob(z) + dist.Normal(z, 1.0).log_prob(Y)
    log_q = dist.Normal(place[0], place[1].exp()).log_prob(z)
    share = (log_p - log_q).detach().softmax(0)
    expected = torch.autograd.grad(-(share * (log_p + log_q)).sum(), [place, prior])
    for mine, theirs in zip(torch.autograd.grad(wake_sleep(of(runs)).surrogate, [place, prior]), expected, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-10, atol=1e-12)


def test_the_inclusive_divergence_covers_and_the_exclusive_stays_inside():
    """Of a normal with correlation 0.9: marginal sd 1 against conditional sd sqrt(1 - 0.81) = 0.436."""
    covariance = torch.tensor([[1.0, 0.9], [0.9, 1.0]], dtype=torch.float64)

    def target():
        pyro.sample("z", dist.MultivariateNormal(torch.tensor([1.0, -2.0], dtype=torch.float64), covariance))

    settings = {"method": "svi", "guide": "normal", "steps": 1500, "lr": 0.05, "progress": False, "dtype": "float64"}
    inside = ppzoo.fit(target, (), **settings, particles=4).draws(20_000)["z"]
    covering = ppzoo.fit(target, (), **settings, objective="wake-sleep", particles=64).draws(20_000)["z"]
    for draws, sd in ((inside, 0.19**0.5), (covering, 1.0)):  # the bias of 64 particles is left to the tolerance
        torch.testing.assert_close(draws.std(0), torch.full((2,), sd).double(), rtol=0.1, atol=0)
        torch.testing.assert_close(draws.mean(0), torch.tensor([1.0, -2.0]).double(), rtol=0, atol=0.1)
