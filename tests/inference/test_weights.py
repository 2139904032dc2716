"""Importance weights of a guide's draws, against evidences that are known."""

from __future__ import annotations

import pyro
import pyro.distributions as dist
import pytest
import torch

from ppzoo.datasets.arguments import Arguments
from ppzoo.inference.draws import evaluate
from ppzoo.inference.program import Pair
from ppzoo.inference.weights import common_plate, log_weights, log_weights_in_parts
from ppzoo.isolation import isolated

X = torch.tensor([0.3, -1.2, 2.0], dtype=torch.float64)


@pytest.fixture(autouse=True)
def world():
    with isolated(seed=0, dtype=torch.float64):
        yield


def pair_of(model, guide=None, x=None):
    return Pair(model, model, Arguments((X if x is None else x,), {}, {}, {}, ()), guide)


def simple(x):
    mu = pyro.sample("mu", dist.Normal(0.0, 1.0))
    pyro.deterministic("twice", 2 * mu)
    with pyro.plate("row", len(x)):
        pyro.sample("x", dist.Normal(mu, 0.5), obs=x)


def test_weights_of_an_exact_guide_are_the_evidence():
    """mu | x is normal with precision 1 + 3 / 0.25: every weight is log p(x)."""
    precision = 1 + 3 / 0.25
    loc = float(X.sum()) / 0.25 / precision

    def guide(x):
        pyro.sample("mu", dist.Normal(loc, precision**-0.5))

    weights, drawn = log_weights(pair_of(simple, guide), 50)
    covariance = 0.25 * torch.eye(3) + torch.ones(3, 3)
    evidence = dist.MultivariateNormal(torch.zeros(3), covariance).log_prob(X)
    assert torch.allclose(weights, evidence.expand(50), rtol=1e-12)
    assert drawn["mu"].shape == (50,)


def local(x):
    with pyro.plate("row", len(x)):
        z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
        pyro.sample("x", dist.Normal(z.sum(-1), 0.5), obs=x)


def test_independent_rows_have_weights_of_their_own():
    def guide(x):
        with pyro.plate("row", len(x)):
            pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))

    pair = pair_of(local, guide)
    assert common_plate(pair) == "row"
    weights, drawn = log_weights(pair, 20)
    assert weights.shape == (20, 3)
    assert torch.allclose(weights, dist.Normal(drawn["z"].sum(-1), 0.5).log_prob(X))
    assert common_plate(pair_of(simple)) is None


def test_rows_that_a_guide_draws_at_once_have_weights_together():
    """By a site outside of the plate: row by row, each weight would count the guide's density of all."""

    def at_once(x):
        covariance = torch.eye(2) - torch.full((2, 2), 1 / 2.25)  # of z given x; its mean is x / 2.25
        normal = dist.MultivariateNormal((x / 2.25)[:, None].expand(3, 2), covariance).to_event(1)
        z = pyro.sample("all", normal, infer={"is_auxiliary": True})
        with pyro.plate("row", len(x)):
            pyro.sample("z", dist.Delta(z, event_dim=1))

    pair = pair_of(local, at_once)
    assert common_plate(pair) is None
    weights, _ = log_weights(pair, 20)
    assert torch.allclose(weights, dist.Normal(0.0, 1.5).log_prob(X).sum().expand(20))


def test_factors_weigh():
    """By row where they are of a row; one of all rows makes these depend on each other."""

    def local(x, own=True):
        with pyro.plate("row", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)
            if own:
                pyro.factor("term", -z)
        if not own:
            pyro.factor("term", -z.sum())

    def guide(x, own=True):
        with pyro.plate("row", len(x)):
            pyro.sample("z", dist.Normal(x / 2, 0.7))

    by_row, drawn = log_weights(pair_of(local, guide), 7)
    z = drawn["z"]
    exact = dist.Normal(0.0, 1.0).log_prob(z) + dist.Normal(z, 1.0).log_prob(X) - z
    exact = exact - dist.Normal(X / 2, 0.7).log_prob(z)
    torch.testing.assert_close(by_row, exact)
    together = Pair(local, local, Arguments((X, False), {}, {}, {}, ()), guide)
    assert common_plate(together) is None
    weights, drawn = log_weights(together, 7)
    z = drawn["z"]
    exact = dist.Normal(0.0, 1.0).log_prob(z) + dist.Normal(z, 1.0).log_prob(X) - z
    torch.testing.assert_close(weights, (exact - dist.Normal(X / 2, 0.7).log_prob(z)).sum(1))


def test_a_factor_that_hangs_on_what_is_summed_out_leaves_no_weights():
    def model(x):
        mu = pyro.sample("mu", dist.Normal(0.0, 1.0))
        with pyro.plate("row", len(x)):
            k = pyro.sample("k", dist.Bernoulli(0.4))
            pyro.sample("x", dist.Normal(mu + k, 1.0), obs=x)
            pyro.factor("term", 0.3 * k)

    def guide(x):
        pyro.sample("mu", dist.Normal(0.0, 1.0))

    assert log_weights(pair_of(model, guide), 5) is None


def test_a_scaled_guide_has_no_importance_weights():
    def guide(x):
        with pyro.poutine.scale(scale=0.5):
            pyro.sample("mu", dist.Normal(0.0, 1.0))

    assert log_weights(pair_of(simple, guide), 5) is None


def with_factors(x):
    """Beside the rows: a prior, an observation that all rows share, and columns of each row."""
    mu = pyro.sample("mu", dist.Normal(0.0, 1.0))
    pyro.sample("shared", dist.Normal(mu, 2.0), obs=torch.tensor(0.4))
    with pyro.plate("row", len(x), dim=-2), pyro.plate("column", 2, dim=-1):
        pyro.sample("x", dist.Normal(mu, 0.5), obs=torch.stack([x, x + 1], -1))


def with_labels(x):
    mu = pyro.sample("mu", dist.Normal(0.0, 1.0))
    with pyro.plate("row", len(x)):
        k = pyro.sample("k", dist.Bernoulli(0.3))
        pyro.sample("x", dist.Normal(mu + k, 0.5), obs=x)


@pytest.mark.parametrize("model", [simple, with_factors, with_labels])
def test_weights_of_all_rows_are_those_of_their_parts(model, monkeypatch):
    """What the rows do not know counts once; draws are taken some at a time."""
    monkeypatch.setattr("ppzoo.inference.weights.ELEMENTS_AT_ONCE", 14)

    def guide(x):
        pyro.sample("mu", dist.Normal(0.5, 0.3))

    x = torch.linspace(-1, 1, 7)
    pair = pair_of(model, guide, x)
    parts = [Arguments((part,), {}) for part in x.split(3)]
    weights, drawn = log_weights_in_parts(pair, 20, iter(parts), frozenset({"row"}))
    whole = evaluate(pair, drawn, 20, ("prior", "likelihood")).values.values()
    log_p = sum(value.reshape(20, -1).sum(1) for value in whole)
    torch.testing.assert_close(weights, log_p - dist.Normal(0.5, 0.3).log_prob(drawn["mu"]))
    assert log_weights_in_parts(pair, 20, iter(()), frozenset({"row"})) is None
