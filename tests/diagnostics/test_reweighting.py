"""Known shifts and spreads are found, Monte Carlo error is called no gap; corrected estimates are the posterior's."""

from __future__ import annotations

import re

import numpy as np
import pytest
from scipy import stats

from ppzoo.diagnostics.reweighting import diagnose_moments, smoothed_weights, weighted_estimates


def weights(x, mean, sd):
    """log N(x; 0, 1) - log N(x; mean, sd), up to a constant."""
    return -(x**2) / 2 + ((x - mean) / sd) ** 2 / 2


@pytest.mark.parametrize(
    ("mean", "sd", "verdict", "what"),
    [
        (0.0, 1.0, "trust", ""),
        (0.05, 1.0, "trust", ""),
        (0.22, 1.0, "caution", "mean"),
        (0.5, 1.0, "reject", "mean"),
        (0.0, 1.5, "reject", "spread"),
        (0.0, 1.22, "caution", "spread"),
    ],
)
def test_a_guide_that_is_off_by_a_known_amount(mean, sd, verdict, what):
    x = np.random.default_rng(1).normal(mean, sd, 8000)
    found = diagnose_moments(
        weights(x, mean, sd), {"other": x * 0 + np.random.default_rng(2).normal(size=8000), "mu": x}
    )
    assert found.verdict == verdict
    if what:
        advice = {"caution": "its intervals are rough", "reject": "do not use its intervals"}
        assert found.findings[0].what == f"the {what} is off: {advice[verdict]}"
        assert "mu" in found.findings[0].evidence
        gap = found.numbers["shift" if what == "mean" else "sd_error"]
        assert gap == pytest.approx(mean if what == "mean" else sd - 1, abs=0.06)  # 4 standard errors at S = 8000


def test_an_exact_guide_is_never_accused():
    """1,000 draws, 50 parameters, 20 seeds: constant weights, so no gap but rounding."""
    for seed in range(20):
        x = np.random.default_rng(seed).normal(size=(50, 1000))
        found = diagnose_moments(np.zeros(1000), {str(i): row for i, row in enumerate(x)})
        assert found.findings == ()


def test_a_constant_parameter_has_no_gap():
    assert diagnose_moments(np.zeros(100), {"c": np.full(100, 3.0)}).numbers == {"shift": 0.0, "sd_error": 0.0}


def test_a_gap_that_the_weights_cannot_see_is_a_caution():
    """A guide of twice the posterior's sd in 12 dimensions: 400 draws are worth a few."""
    x = np.random.default_rng(0).normal(0.0, 2.0, (12, 400))
    found = diagnose_moments(weights(x, 0.0, 2.0).sum(0), {"last": x[-1]})
    assert "cannot tell" in found.findings[-1].what
    assert found.verdict != "trust"


def pair(seed, rho, sds, count=4000):
    """Independent draws of two numbers, and their weights for a posterior of unit sds and this correlation."""
    x = np.random.default_rng(seed).normal(size=(2, count)) * np.array(sds)[:, None]
    target = stats.multivariate_normal(cov=[[1, rho], [rho, 1]])
    log_q = sum(stats.norm(scale=sd).logpdf(row) for sd, row in zip(sds, x, strict=True))
    return target.logpdf(x.T) - log_q, {"a": x[0], "b": x[1], "fixed": np.ones(count)}


def test_right_numbers_one_by_one_that_do_not_move_together_are_noted():
    """The verdict is on the intervals of each, and these are right."""
    found = diagnose_moments(*pair(0, 0.6, (1.0, 1.0)))
    assert found.verdict == "trust"
    (note,) = found.findings
    assert (note.level, note.what) == ("note", "parameters move together otherwise than in the posterior")
    moved = re.fullmatch(r"importance weights move the correlation of a and b from (\S+) to (\S+)", note.evidence)
    assert float(moved[1]) == pytest.approx(0.0, abs=0.07)  # 4 standard errors
    assert float(moved[2]) == pytest.approx(0.6, abs=0.1)


def test_independent_numbers_are_not_said_to_move_together():
    """100 pairs that weights of 1.1 times the sds correct: none is accused, at 6 in 100,000 each."""
    assert [diagnose_moments(*pair(seed, 0.0, (1.1, 1.1))).findings for seed in range(100)] == [()] * 100


def test_equal_weights_leave_no_doubt_however_few_draws_there_are():
    """Also of a heavy tail, whose sd is not known well: both sides are of the same draws."""
    x = np.random.default_rng(0).standard_t(3, size=60)
    assert diagnose_moments(np.zeros(60), {"x": x}).findings == ()


@pytest.mark.parametrize(("mean", "sd"), [(0.5, 1.0), (-0.4, 1.3), (0.2, 0.9)])
def test_corrected_estimates_are_those_of_the_posterior(mean, sd):
    """Guide N(mean, sd²), posterior N(0, 1); z-tests at 5 standard errors: 4 x 6e-7 for each guide.

    The interval's ends have the error of a quantile: sqrt(p (1 - p) / ESS) over the density there, 0.11.
    """
    x = np.random.default_rng(3).normal(mean, sd, 20_000)
    row = weighted_estimates(weights(x, mean, sd), {"mu": x}).loc["mu"]
    assert abs(row["psis_mean"]) < 5 * row["psis_mcse_mean"]
    assert abs(row["psis_sd"] - 1) < 5 * row["psis_mcse_sd"]
    end = stats.norm.ppf(0.945)
    error = np.sqrt(0.055 * 0.945 / row["psis_ess"]) / stats.norm.pdf(end)
    assert abs(row["psis_eti89_ub"] - end) < 5 * error
    assert abs(row["psis_eti89_lb"] + end) < 5 * error


def test_the_errors_of_corrected_estimates_are_what_they_vary_by():
    """Over 300 repetitions: the sd of an sd is 4 %, and errors of the errors a few more; 5 of them."""
    rows = []
    for seed in range(300):
        x = np.random.default_rng(seed).normal(0.3, 1.2, 1000)
        rows.append(weighted_estimates(weights(x, 0.3, 1.2), {"mu": x}).loc["mu"])
    for value, error in (("psis_mean", "psis_mcse_mean"), ("psis_sd", "psis_mcse_sd")):
        spread = np.std([row[value] for row in rows])
        assert spread == pytest.approx(np.mean([row[error] for row in rows]), rel=0.22)


@pytest.mark.parametrize("sd", [1.1, 1.5, 2.0])
def test_what_the_weights_are_worth(sd):
    """S / E[w²] with E[w²] = sd² / sqrt(2 sd² - 1) for a guide N(0, sd²) and a posterior N(0, 1)."""
    x = np.random.default_rng(0).normal(0.0, sd, 100_000)
    found = weighted_estimates(weights(x, 0.0, sd), {"mu": x})
    assert found["psis_ess"].iloc[0] == pytest.approx(100_000 * np.sqrt(2 * sd**2 - 1) / sd**2, rel=0.01)


def test_equal_weights_correct_nothing():
    x = np.random.default_rng(0).normal(size=500)
    row = weighted_estimates(np.zeros(500), {"mu": x, "c": np.full(500, 3.0)})
    assert row.loc["mu", "psis_mean"] == pytest.approx(x.mean())
    assert row.loc["mu", "psis_sd"] == pytest.approx(x.std())
    assert row.loc["mu", "psis_ess"] == pytest.approx(500)
    assert row.loc["c", ["psis_sd", "psis_mcse_sd"]].tolist() == [0.0, 0.0]


def test_the_largest_weights_alone_are_smoothed():
    """Of 1,000 the tail has 94; the others keep their ratios, and no weight is above the largest there was."""
    log_w = 0.6 * np.random.default_rng(0).exponential(size=1000)
    change, order = np.log(smoothed_weights(log_w)) - log_w, np.argsort(log_w)
    assert np.ptp(change[order[:-100]]) < 1e-9
    assert np.ptp(change[order[-90:]]) > 0.05
    assert change[order[-1]] <= change[order[0]] + 1e-9
