"""MAP, Laplace and Pathfinder by ``ppzoo.fit``: closed forms, what they say of themselves, and what a fit can do."""

from __future__ import annotations

import math

import pyro
import pyro.distributions as dist
import pytest
import torch

import ppzoo
from ppzoo.errors import FitError, ModelError, OptionError
from ppzoo.inference.approximate import approximations
from ppzoo.inference.approximate.approximations import MAP, Laplace, Pathfinder

Y = torch.tensor([0.9, 1.1, 1.6, 0.4])
VARIANCE = 1 / (1 + len(Y))
METHODS = ("map", "laplace", "pathfinder")


def conjugate(y):
    """mu | y ~ N(sum(y) / (n + 1), 1 / (n + 1))."""
    mu = pyro.sample("mu", dist.Normal(0.0, 1.0))
    with pyro.plate("row", len(y)):
        pyro.sample("y", dist.Normal(mu, 1.0), obs=y)


def evidence(y):
    covariance = torch.eye(len(y)) + torch.ones(len(y), len(y))
    return float(torch.distributions.MultivariateNormal(torch.zeros(len(y)), covariance).log_prob(y))


def bounded():
    pyro.sample("x", dist.Gamma(3.0, 2.0))
    pyro.sample("p", dist.Beta(2.0, 5.0))


def mixture(y):
    low = pyro.sample("low", dist.Normal(-2.0, 0.5))
    apart = pyro.sample("apart", dist.LogNormal(1.4, 0.2))
    with pyro.plate("row", len(y)):
        z = pyro.sample("z", dist.Bernoulli(0.5))
        loc = pyro.deterministic("loc", low + apart * z)
        pyro.sample("y", dist.Normal(loc, 0.5), obs=y)


MIXED = torch.tensor([-2.2, -1.9, -1.7, 1.8, 2.1, 2.4])


def words(fit, level):
    return " | ".join(str(finding) for finding in fit.diagnose().findings if finding.level == level)


def test_the_mode_with_and_without_jacobian():
    """Of Gamma(3, 2) 1 and 3 / 2, of Beta(2, 5) 1 / 5 and 2 / 7: the value's own mode is what is asked for."""
    plain, unconstrained = (ppzoo.fit(bounded, (), method="map", jacobian=flag) for flag in (False, True))
    for fit, x, p in ((plain, 1.0, 1 / 5), (unconstrained, 3 / 2, 2 / 7)):
        mode = fit.draws()
        assert float(mode["x"]) == pytest.approx(x, abs=1e-6)
        assert float(mode["p"]) == pytest.approx(p, abs=1e-6)
        exact = dist.Gamma(3.0, 2.0).log_prob(torch.tensor(x)) + dist.Beta(2.0, 5.0).log_prob(torch.tensor(p))
        jacobian = math.log(x) + math.log(p * (1 - p)) if fit is unconstrained else 0.0
        assert fit.outcome.numbers["log_density"] == pytest.approx(float(exact) + jacobian, abs=1e-6)
        assert fit.outcome.numbers["converged"] == 1
        assert fit.outcome.numbers["paths_agree"] == 8
    assert ppzoo.fit(bounded, (), method="map").draws()["x"] == plain.draws()["x"]


def test_laplace_is_exact_where_the_posterior_is_normal():
    """z-tests of mean and variance over 4,000 draws at 5 errors: false alarm rate 1e-6; the evidence to rounding."""
    fit = ppzoo.fit(conjugate, Y, method="laplace", seed=1)
    mu = fit.draws()["mu"]
    assert abs(float(mu.mean() - Y.double().sum() * VARIANCE)) < 5 * math.sqrt(VARIANCE / 4000)
    assert abs(float(mu.var() / VARIANCE - 1)) < 5 * math.sqrt(2 / 4000)
    diagnosis = fit.diagnose()
    assert diagnosis.numbers["k_hat"] == -math.inf
    assert diagnosis.numbers["log_evidence"] == pytest.approx(evidence(Y), abs=1e-5)
    assert diagnosis.verdict == "trust"
    exact = torch.distributions.Normal(Y.double().sum() * VARIANCE, math.sqrt(VARIANCE)).log_prob(mu)
    torch.testing.assert_close(fit.outcome.statistics["log_q"][0], exact, rtol=0, atol=1e-6)


def test_pathfinder_of_a_conjugate_normal():
    """z-tests of 1,000 draws at 5 errors."""
    fit = ppzoo.fit(conjugate, Y, method="pathfinder", seed=1)
    mu = fit.draws()["mu"]
    assert len(mu.unique()) == 1000
    assert abs(float(mu.mean() - Y.double().sum() * VARIANCE)) < 5 * math.sqrt(VARIANCE / 1000)
    assert abs(float(mu.var() / VARIANCE - 1)) < 5 * math.sqrt(2 / 1000)
    assert fit.diagnose().numbers["k_hat"] < 0.5
    assert fit.diagnose().verdict == "trust"
    assert fit.outcome.numbers["gradients"] < 100
    assert set(fit.outcome.statistics["path"].unique().tolist()) <= set(range(8))


def test_a_mode_is_a_point():
    fit = ppzoo.fit(conjugate, Y, method="map")
    assert fit.kind == "point"
    assert fit.diagnose().verdict == "caution"
    assert "a point" in words(fit, "caution")
    assert list(fit.summary().columns) == ["value"]
    assert float(fit.summary().loc["mu", "value"]) == pytest.approx(float(Y.sum() * VARIANCE), abs=1e-6)
    assert fit.draws()["mu"].shape == (1,)
    assert len(fit.draws(5)["mu"].unique()) == 1
    predicted = fit.predict(draws=2000)["y"]  # noise around the mode: 5 errors of a variance
    assert abs(float(predicted.var(0).mean()) - 1) < 5 * math.sqrt(2 / 8000)


@pytest.mark.parametrize("method", ["laplace", "pathfinder"])
def test_independent_draws_are_not_judged_as_chains(method):
    fit = ppzoo.fit(conjugate, Y, method=method)
    assert fit.kind == "draws"
    assert not {"r_hat", "ess_bulk", "ess_tail"} & {*fit.summary().columns, *fit.diagnose().numbers}
    tree = fit.to_arviz()
    assert tree["posterior"]["mu"].dims == ("chain", "draw")
    assert tree["posterior"].sizes["chain"] == 1
    assert "lp" in tree["sample_stats"]
    assert fit.predict(draws=7)["y"].shape == (7, 4)


def test_heavy_tails_are_not_laplaces():
    def model():
        pyro.sample("x", dist.StudentT(3.0, 0.0, 1.0).expand([6]).to_event(1))

    fit = ppzoo.fit(model, (), method="laplace")
    assert fit.diagnose().numbers["k_hat"] > 0.5
    assert fit.diagnose().verdict != "trust"


def test_a_shifted_mode_is_seen_by_the_weights():
    """The mode of a skewed, light-tailed density over log x is not its mean: its moments are off."""

    def model():
        pyro.sample("x", dist.Gamma(1.5, 1.0))

    fit = ppzoo.fit(model, (), method="laplace", seed=2)
    assert fit.diagnose().verdict != "trust"
    corrected = ppzoo.fit(model, (), method="importance", proposal=fit)
    assert abs(float(corrected.draws()["x"].mean()) - 1.5) < abs(float(fit.draws()["x"].mean()) - 1.5)


def test_heavy_tails_are_rejected_by_pathfinder():
    def heavy():
        pyro.sample("x", dist.Cauchy(0.0, 1.0).expand([10]).to_event(1))

    fit = ppzoo.fit(heavy, (), method="pathfinder")
    assert fit.outcome.numbers["k_hat"] > fit.outcome.numbers["k_hat_threshold"]
    assert fit.diagnose().verdict == "reject"
    assert "misses the posterior" in words(fit, "reject")


def test_several_modes_are_told():
    def two():
        x = pyro.sample("x", dist.Normal(0.0, 10.0))
        left, right = -((x + 3) ** 2), -((x - 3) ** 2) + 1.0
        pyro.factor("modes", torch.logsumexp(torch.stack([left, right]), 0))

    for method in ("map", "laplace"):
        fit = ppzoo.fit(two, (), method=method, seed=4)
        assert float(fit.draws()["x"].mean()) == pytest.approx(3.0, abs=0.2)
        assert "several modes" in words(fit, "caution")
        assert 0 < fit.outcome.numbers["paths_agree"] < 8


def test_no_mode_is_rejected():
    """A scale that may reach zero beside the value it scales: the density has no bound."""

    def hierarchy():
        tau = pyro.sample("tau", dist.HalfCauchy(1.0))
        x = pyro.sample("x", dist.Normal(0.0, tau).expand([3]).to_event(1))
        pyro.sample("y", dist.Normal(x, 1.0).to_event(1), obs=torch.tensor([0.1, -0.2, 0.3]))

    fit = ppzoo.fit(hierarchy, (), method="map")
    assert fit.outcome.numbers["converged"] == 0
    assert "no path reached a mode" in words(fit, "reject")


def test_a_mode_at_the_edge_is_told():
    """An exponential is highest at zero, which no unconstrained value is; with the Jacobian at its mean."""

    def model():
        pyro.sample("rate", dist.Exponential(2.0))
        pyro.sample("far", dist.Normal(1e6, 1.0))  # a large number on the line is no edge

    fit = ppzoo.fit(model, (), method="map")
    assert float(fit.draws()["rate"]) < 1e-4
    assert "towards infinity" in words(fit, "caution")
    assert "'rate', the density" in words(fit, "caution")
    inside = ppzoo.fit(model, (), method="map", jacobian=True)
    assert float(inside.draws()["rate"]) == pytest.approx(0.5, abs=1e-6)
    assert "towards infinity" not in words(inside, "caution")


def test_no_normal_stands_at_an_edge():
    """A scale beside a value that nothing else holds: on the way to zero the density rises without end."""

    def model():
        rate = pyro.sample("rate", dist.HalfCauchy(50.0))
        scale = pyro.sample("scale", dist.HalfCauchy(0.5))
        pyro.sample("y", dist.Normal(rate, scale), obs=torch.tensor(2.0))

    with pytest.raises(FitError, match=r"no mode to stand at; got .*'scale'"):
        ppzoo.fit(model, (), method="laplace")


def test_a_normal_is_cut_to_where_the_density_is():
    """A bound leaves 1 - Phi(-0.5) of a normal: the draws are of this part, and so is the evidence, to 5 errors."""

    def model():
        x = pyro.sample("x", dist.Normal(0.0, 1.0))
        pyro.factor("bound", torch.where(x > -0.5, 0.0, -math.inf))

    fit = ppzoo.fit(model, (), method="laplace", draws=20_000, seed=5)
    inside = 0.6914625
    x = fit.draws()["x"]
    assert float(x.min()) > -0.5
    assert abs(len(x) / 20_000 - inside) < 5 * math.sqrt(inside * (1 - inside) / 20_000)
    assert "density is not finite: 3" in words(fit, "caution")
    weighed = ppzoo.fit(model, (), method="importance", proposal=fit)
    for found in (weighed, fit):
        assert found.outcome.numbers["log_evidence"] == pytest.approx(math.log(len(x) / 20_000), abs=1e-6)


def test_a_density_without_curvature_is_refused():
    def flat(y):
        a, b = (pyro.sample(name, dist.ImproperUniform(dist.constraints.real, (), ())) for name in "ab")
        pyro.sample("y", dist.Normal(a - b, 1.0).expand([4]).to_event(1), obs=y)

    with pytest.raises(FitError, match="does not curve downwards"):
        ppzoo.fit(flat, Y, method="laplace")


def test_discrete_sites_are_summed_out_and_drawn_afterwards():
    """Rows 2 and more apart, with a noise of 0.5, are certain of their component."""
    for method in ("laplace", "pathfinder"):
        fit = ppzoo.fit(mixture, MIXED, method=method)
        z = fit.draws(200)["z"]
        assert z.shape == (200, 6)
        assert z.double().mean(0).round().tolist() == [0, 0, 0, 1, 1, 1]
        assert {"z", "loc"} <= set(fit.to_arviz()["posterior"].data_vars)


def test_a_mode_has_no_discrete_values():
    fit = ppzoo.fit(mixture, MIXED, method="map")
    assert set(fit.draws()) == {"low", "apart"}
    assert "summed out" in words(fit, "note")
    assert fit.predict(draws=300)["y"].shape == (300, 6)
    assert "y" in fit.to_arviz()["log_likelihood"]
    assert list(fit.summary().index) == ["low", "apart"]


def test_a_discrete_site_without_end_is_refused():
    def endless(y):
        n = pyro.sample("n", dist.Poisson(3.0))
        mu = pyro.sample("mu", dist.Normal(n, 1.0))
        pyro.sample("y", dist.Normal(mu, 1.0).expand([4]).to_event(1), obs=y)

    for method in METHODS:
        with pytest.raises(ModelError, match="cannot be enumerated"):
            ppzoo.fit(endless, Y, method=method)


def test_too_many_coordinates_for_a_matrix(monkeypatch):
    monkeypatch.setattr(approximations, "LARGEST", 2)

    def model(y):
        pyro.sample("b", dist.Normal(0.0, 1.0).expand([3]).to_event(1))

    with pytest.raises(ModelError, match=r"too many unknown numbers.*got 3; expected at most 2.*pathfinder"):
        ppzoo.fit(model, Y, method="laplace")


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("init", ["uniform", "prior"])
def test_the_seed_decides(method, init):
    one, again = (ppzoo.fit(mixture, MIXED, method=method, init=init, seed=3) for _ in range(2))
    other = ppzoo.fit(mixture, MIXED, method=method, init=init, seed=4)
    assert all(torch.equal(value, again.draws()[name]) for name, value in one.draws().items())
    assert one.notes == again.notes
    if method != "map":
        assert not torch.equal(one.draws()["low"], other.draws()["low"])


@pytest.mark.parametrize("method", METHODS)
def test_a_fit_comes_back_from_a_folder(method, tmp_path):
    fit = ppzoo.fit(mixture, MIXED, method=method)
    again = ppzoo.load(fit.save(tmp_path / "fit"), model=mixture)
    assert (again.kind, again.method) == (fit.kind, fit.method)
    assert str(again.diagnose()) == str(fit.diagnose())
    assert all(torch.equal(value, again.draws()[name]) for name, value in fit.draws().items())
    assert again.summary().equals(fit.summary())


@pytest.mark.parametrize("method", METHODS)
def test_a_model_with_parameters_keeps_them_and_says_so(method):
    def model(y):
        scale = pyro.param("scale", torch.tensor(2.0), constraint=dist.constraints.positive)
        mu = pyro.sample("mu", dist.Normal(0.0, 1.0))
        pyro.sample("y", dist.Normal(mu, scale).expand([4]).to_event(1), obs=y)

    fit = ppzoo.fit(model, Y, method=method)
    assert "parameters were not sampled" in words(fit, "caution")
    assert float(fit.parameters()["scale"]) == pytest.approx(2.0)


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        (MAP, {"paths": 0}, "paths: must be a whole number in range; got 0"),
        (MAP, {"jacobian": 1}, "jacobian: not a flag; got 1"),
        (Laplace, {"draws": 24}, "draws: .*got 24; expected an int >= 25 .*for k-hat needs a tail"),
        (Laplace, {"init": "median"}, "init: not one of the known names; got 'median'"),
        (Pathfinder, {"draws": 0}, "draws: must be a whole number in range"),
        (Pathfinder, {"paths": 2**13}, "paths: must be a whole number in range; got 8192"),
    ],
)
def test_options_out_of_range(kind, options, message):
    with pytest.raises(OptionError, match=message):
        kind(**options)


def test_single_precision():
    fit = ppzoo.fit(conjugate, Y, method="laplace", dtype=torch.float32)
    assert fit.draws()["mu"].dtype == torch.float32
    assert float(fit.outcome.statistics["lp"].sub(fit.outcome.statistics["log_q"]).std()) < 1e-5  # rounding alone


@pytest.mark.parametrize("method", METHODS)
def test_a_game_has_no_posterior(method):
    with pytest.raises(ModelError, match="game"):
        ppzoo.fit(ppzoo.create_model("gan", features=2), torch.zeros(30, 2), method=method)
