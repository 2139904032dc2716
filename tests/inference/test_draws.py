"""What a pair says draw by draw, by both roads, against formulas."""

from __future__ import annotations

import math

import pyro
import pyro.distributions as dist
import pytest
import torch

from ppzoo.datasets.arguments import Arguments
from ppzoo.inference import draws
from ppzoo.inference.draws import draw_guide, evaluate, map_draws, predict
from ppzoo.inference.program import Pair
from ppzoo.inference.weights import log_weights
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

    monkeypatch.setattr(draws, "ELEMENTS_AT_ONCE", chunk)
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
