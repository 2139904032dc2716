"""SVI against closed forms, and what the loop does with bad steps."""

from __future__ import annotations

import math

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch

import ppzoo
from ppzoo.errors import FitError, ModelError, OptionError
from ppzoo.inference.variational.svi import SVI

Y = torch.tensor([0.9, 1.1, 1.6, 0.4])


def conjugate(y):
    mu = pyro.sample("mu", dist.Normal(0.0, 1.0))
    with pyro.plate("row", len(y)):
        pyro.sample("y", dist.Normal(mu, 1.0), obs=y)


def exact_posterior():
    """Mean and sd of mu: precision 1 + N, mean sum(y) / (1 + N)."""
    precision = 1 + len(Y)
    return float(Y.sum()) / precision, precision**-0.5


def test_mean_field_finds_the_conjugate_posterior():
    fit = ppzoo.fit(conjugate, Y, method="svi", steps=3000, lr=0.02, seed=1)
    mean, sd = exact_posterior()
    mu = fit.draws(40_000)["mu"]
    # the guide holds the posterior; 0.02 sd is 4 standard errors of 40,000 draws, 0.03 is left to the optimiser
    assert abs(float(mu.mean()) - mean) < 0.05 * sd
    assert abs(float(mu.std()) / sd - 1) < 0.05


def test_the_elbo_of_the_fitted_guide_is_the_log_evidence():
    fit = ppzoo.fit(conjugate, Y.double(), method="svi", steps=3000, lr=0.02)
    n = len(Y)
    covariance = np.eye(n) + np.ones((n, n))
    y = Y.double().numpy()
    evidence = -0.5 * (
        n * math.log(2 * math.pi) + np.linalg.slogdet(covariance)[1] + y @ np.linalg.solve(covariance, y)
    )
    assert -fit.losses[-500:].mean() == pytest.approx(evidence, abs=0.01)


@pytest.mark.parametrize("guide", ["normal", "mvn", "lowrank", "iaf", "spline", "structured", "amortised", "delta"])
def test_guides_by_name(guide):
    def model(y):
        pyro.sample("a", dist.Normal(0.0, 1.0).expand([2]).to_event(1))
        mu = pyro.sample("mu", dist.Normal(0.0, 1.0))
        with pyro.plate("row", len(y)):
            if guide == "amortised":  # which is for sites of a row
                pyro.sample("local", dist.Normal(0.0, 1.0))
            pyro.sample("y", dist.Normal(mu, 1.0), obs=y)

    fit = ppzoo.fit(model, Y, method="svi", steps=1500, lr=0.03, guide=guide)
    assert abs(float(fit.draws(4000)["mu"].mean()) - exact_posterior()[0]) < 0.1


def test_same_seed_same_bytes_another_seed_other_numbers():
    runs = [ppzoo.fit(conjugate, Y, steps=50, seed=seed) for seed in (7, 7, 8)]
    assert np.array_equal(runs[0].losses, runs[1].losses)
    assert torch.equal(runs[0].draws(5)["mu"], runs[1].draws(5)["mu"])
    assert not np.array_equal(runs[0].losses, runs[2].losses)


def test_non_finite_steps_are_skipped_and_counted():
    calls = []

    def model(y):
        conjugate(y)
        calls.append(None)
        if 20 <= len(calls) < 25:
            pyro.factor("bad", torch.tensor(math.nan))

    fit = ppzoo.fit(model, Y, steps=100)
    assert fit.outcome.numbers == {"steps": 100.0, "skipped": 5.0}
    assert np.isfinite(fit.losses).all()


def test_a_loss_that_stays_non_finite_stops_the_run():
    def model(y):
        scale = pyro.param("scale", torch.tensor(1.0))
        pyro.sample("y", dist.Normal(0.0, scale).expand([len(y)]).to_event(1), obs=y)
        model.calls += 1
        if model.calls > 60:  # fine at the door
            pyro.factor("bad", scale * math.nan)

    model.calls = 0

    with pytest.raises(FitError, match=r"non-finite.*steps in a row.*Lower lr"):
        ppzoo.fit(model, Y, steps=200)


def test_the_best_state_is_kept_when_the_run_blows_up_late():
    def model(y):
        at = pyro.param("at", torch.tensor(0.0))
        model.calls += 1
        target = 1.0 if model.calls < 1000 else -1000.0  # the objective itself moves away near the end
        pyro.factor("loss", -((at - target) ** 2))

    model.calls = 0
    fit = ppzoo.fit(model, Y, steps=1100, lr=0.02, schedule="constant")
    assert float(fit.parameters()["at"]) == pytest.approx(1.0, abs=0.05)


def test_enumerated_sites_are_summed_out_exactly():
    def mixture(x):
        weight = pyro.param("weight", torch.tensor(0.3))
        with pyro.plate("row", len(x)):
            z = pyro.sample("z", dist.Bernoulli(weight))
            pyro.sample("x", dist.Normal(4 * z, 1.0), obs=x)

    x = torch.tensor([0.1, 3.9, 4.2])
    fit = ppzoo.fit(mixture, x, steps=1, lr=1e-9)
    parts = torch.stack(
        [dist.Normal(0.0, 1.0).log_prob(x) + math.log(0.7), dist.Normal(4.0, 1.0).log_prob(x) + math.log(0.3)]
    )
    assert fit.losses[0] == pytest.approx(-float(parts.logsumexp(0).sum()), rel=1e-6)


def test_the_model_that_was_given_is_never_changed():
    model = ppzoo.create_model("ppca", features=3, latents=1)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    x = torch.tensor([[1.0, 2.0, 0.0], [0.5, -1.0, 2.0], [0.0, 1.0, 1.0], [2.0, 0.0, -1.0]])
    fit = ppzoo.fit(model, x, steps=20)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not torch.equal(fit.pair.owner.W, model.W)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lr": 0}, "lr: must be a number in range; got 0"),
        ({"lr": math.inf}, "lr"),
        ({"lr": math.nan}, "lr"),
        ({"steps": 0}, "steps: must be a whole number"),
        ({"steps": 2.5}, r"got 2\.5"),
        ({"particles": "2"}, "particles"),
        ({"optimiser": "adm"}, "Did you mean 'adam'"),
        ({"schedule": "cosin"}, "Did you mean 'cosine'"),
        ({"steps": 5, "epochs": 5}, "exclude each other"),
        ({"clip": -1.0}, "clip"),
    ],
)
def test_options_outside_their_range(options, message):
    with pytest.raises(OptionError, match=message):
        SVI(**options)


def test_a_game_is_refused():
    class Game:
        def critic_loss(self, x):
            return x.sum()

    with pytest.raises(ModelError, match='method="adversarial"'):
        SVI().check_model(Game())
