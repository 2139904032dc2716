"""What a pair says draw by draw, by both roads, against formulas."""

from __future__ import annotations

import math

import pyro
import pyro.distributions as dist
import pytest
import torch

from ppzoo.datasets.arguments import Arguments
from ppzoo.inference import draws
from ppzoo.inference.draws import (
    common_plate,
    draw_guide,
    evaluate,
    log_weights,
    log_weights_in_parts,
    map_draws,
    predict,
)
from ppzoo.inference.program import Pair
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


def stubborn(x):
    """The same, with a branch on a value, which vmap refuses."""
    mu = pyro.sample("mu", dist.Normal(0.0, 1.0))
    pyro.deterministic("twice", 2 * mu if mu.item() > -100 else mu)
    with pyro.plate("row", len(x)):
        pyro.sample("x", dist.Normal(mu, 0.5), obs=x)


@pytest.mark.parametrize(("model", "vectorised"), [(simple, True), (stubborn, False)])
def test_densities_by_either_road(model, vectorised):
    mu = torch.tensor([0.1, -0.4, 1.5, 0.0])
    found = evaluate(pair_of(model), {"mu": mu}, 4)
    assert found.vectorised is vectorised
    assert torch.allclose(found.values["value/twice"], 2 * mu)
    assert torch.allclose(found.values["prior/mu"], dist.Normal(0.0, 1.0).log_prob(mu))
    assert torch.allclose(found.values["likelihood/x"], dist.Normal(mu[:, None], 0.5).log_prob(X))


def mixture(x):
    with pyro.plate("row", len(x)):
        z = pyro.sample("z", dist.Categorical(torch.tensor([0.2, 0.8])))
        pyro.sample("x", dist.Normal(torch.tensor([-1.0, 1.0])[z], 0.5), obs=x)


def test_enumerated_likelihood_is_pointwise():
    found = evaluate(pair_of(mixture), {}, 1).values["likelihood/x"]
    parts = [dist.Normal(m, 0.5).log_prob(X) + math.log(w) for m, w in ((-1.0, 0.2), (1.0, 0.8))]
    assert torch.allclose(found[0], torch.stack(parts).logsumexp(0))


@pytest.mark.parametrize("chunk", [300_000, 6])
def test_an_enumerated_program_is_mapped(chunk, monkeypatch):
    def shifted(x):
        a = pyro.sample("a", dist.Normal(0.0, 1.0))
        with pyro.plate("row", len(x)):
            z = pyro.sample("z", dist.Categorical(torch.tensor([0.2, 0.8])))
            pyro.sample("x", dist.Normal(a + z, 0.5), obs=x)

    monkeypatch.setattr(draws, "_ELEMENTS_AT_ONCE", chunk)
    a = torch.tensor([0.1, -0.4, 1.5, 0.0, 0.3])
    found = evaluate(pair_of(shifted), {"a": a}, 5)
    parts = [dist.Normal(a[:, None] + z, 0.5).log_prob(X) + math.log(w) for z, w in ((0, 0.2), (1, 0.8))]
    assert found.vectorised
    assert torch.allclose(found.values["likelihood/x"], torch.stack(parts).logsumexp(0))
    assert set(found.values) == {"prior/a", "likelihood/x"}


def test_a_global_discrete_site_has_no_pointwise_likelihood():
    def model(x):
        z = pyro.sample("z", dist.Bernoulli(0.5))
        with pyro.plate("row", len(x)):
            pyro.sample("x", dist.Normal(z, 0.5), obs=x)

    assert "likelihood/x" not in evaluate(pair_of(model), {}, 1).values


def test_what_depends_on_a_summed_out_site_is_left_out():
    """Given the mean of a row, its component is no longer drawn from the prior: no product of terms is the density."""

    def model(x):
        a = pyro.sample("a", dist.Normal(0.0, 1.0))
        pyro.deterministic("twice", 2 * a)
        with pyro.plate("row", len(x)):
            z = pyro.sample("z", dist.Bernoulli(0.5))
            mean = pyro.sample("mean", dist.Normal(a + z, 1.0))
            pyro.deterministic("shifted", mean + z)
            pyro.sample("x", dist.Normal(mean + z, 0.5), obs=x)

    def guide(x):
        pyro.sample("a", dist.Normal(0.0, 1.0))
        with pyro.plate("row", len(x)):
            pyro.sample("mean", dist.Normal(x, 1.0))

    values = {"a": torch.randn(4), "mean": torch.randn(4, 3)}
    assert set(evaluate(pair_of(model), values, 4).values) == {"prior/a", "value/twice"}
    every = {"prior/a", "prior/mean", "prior/z", "value/twice", "value/shifted", "likelihood/x"}
    assert set(evaluate(pair_of(model), {**values, "z": torch.ones(4, 3)}, 4).values) == every
    assert log_weights(pair_of(model, guide), 5) is None


def test_predictions_have_the_moments_of_the_observation_model():
    mu = torch.full((4000,), 1.5)
    x = predict(pair_of(simple), {"mu": mu}, 4000, ["x"]).values["x"]
    assert x.shape == (4000, 3)
    assert abs(float(x.mean()) - 1.5) < 4 * 0.5 / math.sqrt(12_000)  # 4 standard errors, seed fixed
    assert abs(float(x.std()) / 0.5 - 1) < 4 / math.sqrt(24_000)


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


def test_a_scaled_guide_has_no_importance_weights():
    def guide(x):
        with pyro.poutine.scale(scale=0.5):
            pyro.sample("mu", dist.Normal(0.0, 1.0))

    assert log_weights(pair_of(simple, guide), 5) is None


def test_draws_of_a_guide_are_independent_and_repeatable():
    def guide(x):
        pyro.sample("mu", dist.Normal(2.0, 3.0))

    pair = pair_of(simple, guide)
    torch.manual_seed(1)
    one = draw_guide(pair, 5000).values["mu"]
    torch.manual_seed(1)
    assert torch.equal(one, draw_guide(pair, 5000).values["mu"])
    assert abs(float(one.mean()) - 2) < 4 * 3 / math.sqrt(5000)
    assert abs(float(one.std()) / 3 - 1) < 4 / math.sqrt(10_000)


def test_an_error_of_the_function_is_not_swallowed():
    def broken(_):
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        map_draws(broken, {"a": torch.zeros(3)}, 3)


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
    monkeypatch.setattr(draws, "_ELEMENTS_AT_ONCE", 14)

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
