"""Importance resampling: evidence in closed form, draws mended, and proposals that cannot be weighed."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import Trace_ELBO

import ppzoo
from ppzoo.diagnostics.reweighting import smoothed_weights
from ppzoo.errors import DataError, FitError, ModelError, OptionError
from ppzoo.inference.approximate.importance import Importance, resampled

Y = torch.tensor([0.9, 1.1, 1.6, 0.4])
MEAN, SD = float(Y.sum() / 5), math.sqrt(1 / 5)
EVIDENCE = float(torch.distributions.MultivariateNormal(torch.zeros(4), torch.eye(4) + torch.ones(4, 4)).log_prob(Y))


def conjugate(y):
    """mu | y ~ N(sum(y) / 5, 1 / 5)."""
    mu = pyro.sample("mu", dist.Normal(0.0, 1.0))
    with pyro.plate("row", len(y)):
        pyro.sample("y", dist.Normal(mu, 1.0), obs=y)


def off(y):
    """A fixed guide that is shifted and too wide."""
    pyro.sample("mu", dist.Normal(0.5, 0.7))


def guided(guide, y=Y, model=conjugate, **settings):
    return ppzoo.fit(model, y, method="svi", guide=guide, steps=1, **settings)


def words(fit, level):
    return " | ".join(str(finding) for finding in fit.diagnose().findings if finding.level == level)


def test_the_evidence_and_the_posterior_of_a_conjugate_normal():
    """Six seeds at 4 standard errors, as told: false alarm rate 6 × 6e-5; the draws at 5 of their effective number."""
    proposal = guided(off)
    for seed in range(6):
        fit = ppzoo.fit(conjugate, Y, method="importance", proposal=proposal, seed=seed)
        numbers = fit.outcome.numbers
        assert 0 < numbers["log_evidence_error"] < 0.02
        assert abs(numbers["log_evidence"] - EVIDENCE) < 4 * numbers["log_evidence_error"]
        ess = min(numbers["ess_weights"], 1000)
        mu = fit.draws()["mu"]
        assert abs(float(mu.mean()) - MEAN) < 5 * SD / math.sqrt(ess)
        assert abs(float(mu.std()) / SD - 1) < 5 / math.sqrt(2 * ess)
    assert fit.diagnose().verdict == "trust", str(fit.diagnose())
    assert guided(off).diagnose().verdict != "trust"  # the weights mend what the proposal is judged for


def test_the_effective_size_is_that_of_two_normals():
    """E[w]^2 / E[w^2] for N(m, s^2) weighed by N(0.5, 0.7^2), by quadrature; a share of 8,000 draws to 5 %."""
    grid = torch.linspace(-6, 6, 40_001, dtype=torch.float64)
    posterior = dist.Normal(MEAN, SD).log_prob(grid).exp()
    q = dist.Normal(0.5, 0.7).log_prob(grid).exp()
    share = 1 / float(torch.trapezoid(posterior**2 / q, grid))
    fit = ppzoo.fit(conjugate, Y, method="importance", proposal=guided(off), proposals=8000)
    assert fit.outcome.numbers["ess_weights"] / 8000 == pytest.approx(share, rel=0.05)


def test_an_exact_proposal_has_the_exact_evidence():
    model = ppzoo.create_model("linear_regression")
    exact = ppzoo.fit(model, "diabetes", method="exact")
    fit = ppzoo.fit(model, "diabetes", method="importance", proposal=exact)
    assert fit.outcome.numbers["log_evidence"] == pytest.approx(exact.outcome.numbers["log_evidence"], abs=1e-6)
    assert fit.outcome.numbers["ess_weights"] == pytest.approx(4000)
    assert fit.outcome.numbers["log_evidence_error"] < 1e-5


def test_draws_outside_of_the_support_count_for_the_evidence():
    """A normal prior cut to x > 1 has the evidence P(x > 1); the guide knows of no bound."""

    def model():
        x = pyro.sample("x", dist.Normal(0.0, 1.0))
        pyro.factor("bound", torch.where(x > 1, 0.0, -math.inf))

    def guide():
        pyro.sample("x", dist.Normal(1.5, 1.0))

    fit = ppzoo.fit(model, (), method="importance", proposal=guided(guide, (), model))
    error = fit.outcome.numbers["log_evidence_error"]
    assert abs(fit.outcome.numbers["log_evidence"] - math.log(0.1586553)) < 4 * error < 0.1
    assert float(fit.draws()["x"].min()) > 1


def test_laplaces_draws_are_weighed_as_they_are():
    """Gamma(3, 2) over its logarithm is skewed: the weights mend the mean, and the evidence is one."""

    def model():
        pyro.sample("x", dist.Gamma(3.0, 2.0))

    laplace = ppzoo.fit(model, (), method="laplace", draws=8000, seed=3)
    fit = ppzoo.fit(model, (), method="importance", proposal=laplace, draws=4000)
    numbers = fit.outcome.numbers
    assert numbers["proposals"] == 8000
    assert abs(numbers["log_evidence"]) < 4 * numbers["log_evidence_error"]
    error = math.sqrt(3 / 4 / min(4000, numbers["ess_weights"]))
    assert abs(float(fit.draws()["x"].mean()) - 1.5) < 5 * error
    assert set(fit.draws()["x"].tolist()) <= set(laplace.draws()["x"].tolist())


def test_rows_with_latent_values_of_their_own_are_weighed_together():
    def model(y):
        with pyro.plate("row", len(y)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("y", dist.Normal(z, 1.0), obs=y)

    def guide(y):
        with pyro.plate("row", len(y)):
            pyro.sample("z", dist.Normal(y / 2, 0.8))

    fit = ppzoo.fit(model, Y, method="importance", proposal=guided(guide, model=model))
    exact = float(dist.Normal(0.0, math.sqrt(2)).log_prob(Y).sum())
    assert abs(fit.outcome.numbers["log_evidence"] - exact) < 4 * fit.outcome.numbers["log_evidence_error"]
    assert fit.draws()["z"].shape == (1000, 4)


def test_discrete_sites_are_drawn_given_what_was_weighed():
    def model(y):
        low = pyro.sample("low", dist.Normal(-2.0, 0.5))
        with pyro.plate("row", len(y)):
            z = pyro.sample("z", dist.Bernoulli(0.5))
            pyro.sample("y", dist.Normal(low + 4 * z, 0.5), obs=y)

    y = torch.tensor([-2.2, -1.9, -1.7, 1.8, 2.1, 2.4])
    svi = ppzoo.fit(model, y, steps=600, lr=0.03)
    fit = ppzoo.fit(model, y, method="importance", proposal=svi)
    assert fit.draws()["z"].double().mean(0).round().tolist() == [0, 0, 0, 1, 1, 1]
    laplace = ppzoo.fit(model, y, method="laplace")
    again = ppzoo.fit(model, y, method="importance", proposal=laplace)
    assert again.draws()["z"].shape == (1000, 6)
    gap = abs(fit.outcome.numbers["log_evidence"] - again.outcome.numbers["log_evidence"])
    assert gap < 5 * (fit.outcome.numbers["log_evidence_error"] + again.outcome.numbers["log_evidence_error"])


def test_a_model_keeps_the_parameters_that_the_proposal_learnt():
    def model(y):
        scale = pyro.param("scale", torch.tensor(1.0), constraint=dist.constraints.positive)
        mu = pyro.sample("mu", dist.Normal(0.0, 1.0))
        with pyro.plate("row", len(y)):
            pyro.sample("y", dist.Normal(mu, scale), obs=y)

    svi = ppzoo.fit(model, Y, steps=300, lr=0.03)
    fit = ppzoo.fit(model, Y, method="importance", proposal=svi)
    assert float(svi.parameters()["scale"]) != 1
    torch.testing.assert_close(fit.parameters()["scale"], svi.parameters()["scale"].double())


def test_no_evidence_of_an_improper_prior():
    def model(y):
        mu = pyro.sample("mu", dist.ImproperUniform(dist.constraints.real, (), ()))
        pyro.sample("y", dist.Normal(mu, 1.0).expand([4]).to_event(1), obs=y)

    fit = ppzoo.fit(model, Y, method="importance", proposal=ppzoo.fit(model, Y, method="laplace"))
    assert "log_evidence" not in fit.outcome.numbers
    assert "No evidence is told" in words(fit, "note")


def test_a_proposal_that_misses_is_rejected():
    def narrow(y):
        pyro.sample("mu", dist.Normal(-1.0, 0.15))

    fit = ppzoo.fit(conjugate, Y, method="importance", proposal=guided(narrow))
    assert fit.diagnose().verdict == "reject"
    assert "few draws carry the weight" in words(fit, "caution")


def test_few_effective_draws_are_told():
    fit = ppzoo.fit(conjugate, Y, method="importance", proposal=guided(off), draws=5000)
    assert "larger than the summary's" in words(fit, "note")


def test_the_seed_decides_and_a_fit_comes_back(tmp_path):
    proposal = guided(off)
    one, again, other = (
        ppzoo.fit(conjugate, Y, method="importance", proposal=proposal, seed=seed) for seed in (1, 1, 2)
    )
    assert torch.equal(one.draws()["mu"], again.draws()["mu"])
    assert not torch.equal(one.draws()["mu"], other.draws()["mu"])
    back = ppzoo.load(one.save(tmp_path / "fit"), model=conjugate)
    assert back.kind == "draws"
    assert str(back.diagnose()) == str(one.diagnose())
    assert torch.equal(back.draws()["mu"], one.draws()["mu"])
    assert back.predict(draws=3)["y"].shape == (3, 4)


def other_prior(y):
    mu = pyro.sample("mu", dist.Normal(0.0, 2.0))
    with pyro.plate("row", len(y)):
        pyro.sample("y", dist.Normal(mu, 1.0), obs=y)


def other_site(y):
    nu = pyro.sample("nu", dist.Normal(0.0, 1.0))
    with pyro.plate("row", len(y)):
        pyro.sample("y", dist.Normal(nu, 1.0), obs=y)


def with_parameter(y):
    conjugate(y)
    pyro.factor("term", pyro.param("extra", torch.tensor(0.0)))


@pytest.mark.parametrize(
    ("model", "got"), [(other_prior, "log density"), (other_site, "sites"), (with_parameter, "parameters")]
)
def test_a_fit_of_another_model_is_refused(model, got):
    proposal = ppzoo.fit(conjugate, Y, method="svi", steps=20)
    with pytest.raises(ModelError, match=rf"proposal: is a fit of another model; got {got}"):
        ppzoo.fit(model, Y, method="importance", proposal=proposal)


def test_a_fit_of_other_data_is_refused():
    proposal = ppzoo.fit(conjugate, Y, method="laplace")
    with pytest.raises(DataError, match="proposal: is a fit of other data"):
        ppzoo.fit(conjugate, Y + 0.1, method="importance", proposal=proposal)
    with pytest.raises(DataError, match="proposal: is a fit of other data"):
        ppzoo.fit(conjugate, Y[:2], method="importance", proposal=proposal)


def test_other_covariates_are_another_model():
    def regression(x, y):
        b = pyro.sample("b", dist.Normal(0.0, 1.0))
        pyro.sample("y", dist.Normal(b * x, 1.0).to_event(1), obs=y)

    x = torch.tensor([1.0, 2.0, 3.0, 4.0])
    proposal = ppzoo.fit(regression, (x, Y), method="laplace")
    ppzoo.fit(regression, {"x": x, "y": Y}, method="importance", proposal=proposal)
    with pytest.raises(ModelError, match="log density"):
        ppzoo.fit(regression, (x + 1, Y), method="importance", proposal=proposal)


@pytest.mark.parametrize(
    ("method", "options", "why"),
    [
        ("nuts", {"chains": 1, "warmup": 20, "draws": 4}, "Markov chains, by method 'nuts'"),
        ("map", {}, "a point, by method 'map'"),
        ("pathfinder", {}, "draws that were chosen by weights, by method 'pathfinder'"),
    ],
)
def test_draws_of_unknown_density_are_refused(method, options, why):
    proposal = ppzoo.fit(conjugate, Y, method=method, **options)
    with pytest.raises(OptionError, match=f"proposal: has draws whose density is not known; got {why}"):
        ppzoo.fit(conjugate, Y, method="importance", proposal=proposal)


def test_a_guide_that_is_a_point_has_no_density():
    with pytest.raises(OptionError, match=r"proposal: .*density is not known; got a point, at site 'mu'"):
        ppzoo.fit(conjugate, Y, method="importance", proposal=ppzoo.fit(conjugate, Y, steps=5, guide="delta"))


def test_a_site_that_cannot_vary_is_no_point():
    def model(y):
        weight = pyro.sample("weight", dist.Dirichlet(torch.ones(1)))
        mu = pyro.sample("mu", dist.Normal(0.0, 1.0))
        pyro.sample("y", dist.Normal(mu * weight, 1.0).expand([4]).to_event(1), obs=y)

    fit = ppzoo.fit(model, Y, method="importance", proposal=ppzoo.fit(model, Y, method="laplace"))
    assert fit.draws()["weight"].unique().tolist() == [1.0]


def test_a_guide_that_is_scaled_is_no_density():
    @pyro.poutine.scale(scale=2.0)
    def guide(y):
        pyro.sample("mu", dist.Normal(0.5, 0.7))

    with pytest.raises(ModelError, match="draws that cannot be weighed"):
        ppzoo.fit(conjugate, Y, method="importance", proposal=guided(guide))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "proposal: is needed; got None"),
        ({"proposal": "runs/svi"}, "proposal: is not a fit whose draws could be weighed; got a str"),
        ({"proposal": Trace_ELBO()}, "got a Trace_ELBO"),
        ({"proposals": 24}, "proposals: must be a whole number in range; got 24; expected an int >= 25"),
        ({"draws": 0}, "draws: must be a whole number in range"),
    ],
)
def test_options_out_of_range(options, message):
    with pytest.raises(OptionError, match=message):
        ppzoo.fit(conjugate, Y, method="importance", **options)


def test_each_draw_is_taken_as_often_as_its_weight_says():
    """But for less than one; the largest of 600 weights are smoothed, which hardly moves the shares of others."""
    rng = np.random.default_rng(1)
    log_w = rng.exponential(0.1, 600)
    log_w[:50] = -np.inf
    counts = np.bincount(resampled(log_w, 6000, seed=2), minlength=600)
    smooth = smoothed_weights(log_w[50:])
    assert counts.sum() == 6000
    assert (counts[:50] == 0).all()
    assert (np.abs(counts[50:] - 6000 * smooth) < 1).all()
    raw = np.exp(log_w[50:]) / np.exp(log_w).sum()
    np.testing.assert_allclose(smooth[raw < np.quantile(raw, 0.8)], raw[raw < np.quantile(raw, 0.8)], rtol=0.01)


def test_without_finite_weights_there_is_nothing_to_draw():
    log_w = np.full(100, -np.inf)
    log_w[:24] = 0.0
    with pytest.raises(FitError, match="24 of 100"):
        resampled(log_w, 10, seed=0)


def test_a_value_with_its_proposal_means_the_same():
    proposal = guided(off)
    one = ppzoo.fit(conjugate, Y, method=Importance(proposal=proposal, draws=50))
    two = ppzoo.fit(conjugate, Y, method="importance", proposal=proposal, draws=50)
    assert torch.equal(one.draws()["mu"], two.draws()["mu"])
    assert replace(one.method, draws=60).draws == 60
