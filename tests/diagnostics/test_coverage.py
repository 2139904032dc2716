"""Coverage and bias against their closed forms for normals that are shifted or too narrow by a known amount."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from ppzoo.diagnostics.calibration import ranks_among
from ppzoo.diagnostics.coverage import (
    LEVELS,
    coverage_band,
    coverage_of,
    coverage_table,
    diagnose_coverage,
    symmetry_p_value,
)

L = 199


def ranks(shift=0.0, scale=1.0, replicates=4000, seed=0):
    """Of truths N(0, 1) among draws N(shift, scale²)."""
    rng = np.random.default_rng(seed)
    return ranks_among(rng.normal(size=replicates), rng.normal(shift, scale, size=(replicates, L)))


@pytest.mark.parametrize("level", LEVELS)
def test_uniform_ranks_are_covered_as_often_as_the_level_says(level):
    assert coverage_of(np.arange(L + 1), L, level) == pytest.approx(level, abs=1e-12)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("scale", [0.5, 0.8, 1.0, 1.5])
def test_coverage_of_a_normal_of_another_width(level, scale):
    """P(|z| < scale z_level) = 2 Φ(scale z_level) - 1; 5 binomial errors, and 0.01 for the finite number of draws."""
    expected = 2 * stats.norm.cdf(scale * stats.norm.ppf((1 + level) / 2)) - 1
    error = np.sqrt(expected * (1 - expected) / 4000)
    assert coverage_of(ranks(scale=scale), L, level) == pytest.approx(expected, abs=5 * error + 0.01)


@pytest.mark.parametrize(("replicates", "level", "confidence"), [(20, 0.5, 0.9), (100, 0.8, 0.99), (1000, 0.95, 0.999)])
def test_the_band_is_the_binomials(replicates, level, confidence):
    low, high = (round(replicates * share) for share in coverage_band(replicates, level, confidence))
    inside = stats.binom.cdf(high, replicates, level) - stats.binom.cdf(low - 1, replicates, level)
    assert inside >= confidence
    fewer = stats.binom.cdf(high - 1, replicates, level) - stats.binom.cdf(low, replicates, level)
    assert fewer < confidence


@pytest.mark.parametrize("shift", [0.5, -0.2, 0.0])
def test_bias_of_a_shifted_normal(shift):
    """P(draw > truth) - P(draw < truth) = 2 Φ(shift / √2) - 1; the mean of p has the sd 0.29 / √R: 5 of them."""
    row = coverage_table({"mu": ranks(shift)}, L).loc["mu"]
    expected = 2 * stats.norm.cdf(shift / np.sqrt(2)) - 1
    assert row["bias"] == pytest.approx(expected, abs=2 * 5 * 0.29 / np.sqrt(4000))
    assert (row["p_bias"] < 1e-3) == (shift != 0)


def test_symmetry_is_wilcoxons_test():
    found = np.random.default_rng(0).permutation(L + 1)[:60]
    theirs = stats.wilcoxon(2 * found - L, correction=True, method="approx").pvalue
    assert symmetry_p_value(found, L) == pytest.approx(theirs, rel=1e-6)


def test_symmetric_ranks_are_seldom_accused():
    """Uniform ranks: 5 % of 1,000 tests at 5 %, standard error 0.7 %: within 5 of them."""
    rng = np.random.default_rng(0)
    p = [symmetry_p_value(rng.integers(0, L + 1, 60), L) for _ in range(1000)]
    assert np.mean(np.array(p) < 0.05) == pytest.approx(0.05, abs=0.035)


def test_narrow_but_unbiased_ranks_are_symmetric():
    """What is asked of an approximation: too narrow, and yet on no side. A false alarm in 1,000."""
    row = coverage_table({"mu": ranks(scale=0.6)}, L).loc["mu"]
    assert row["p_bias"] > 1e-3
    assert row["p_ranks"] < 1e-10


def test_ranks_in_the_middle_are_symmetric():
    assert symmetry_p_value(np.full(30, 50), 100) == 1.0


@pytest.mark.parametrize(
    ("shift", "scale", "what"),
    [
        (0.0, 1.0, None),
        (0.6, 1.0, "too high"),
        (-0.6, 1.0, "too low"),
        (0.0, 0.6, "too narrow"),
        (0.0, 1.7, "too wide"),
    ],
)
def test_findings_say_what_is_wrong(shift, scale, what):
    """Beside ten quantities that are right: a false alarm in 100 seeds."""
    found = {f"right[{i}]": ranks(replicates=300, seed=i) for i in range(10)}
    table = coverage_table(found | {"mu": ranks(shift, scale, 300, seed=77)}, L)
    diagnosis = diagnose_coverage(table, 300)
    assert [finding.what for finding in diagnosis.findings] == ([f"the draws of 'mu' are {what}"] if what else [])
    assert diagnosis.verdict == ("reject" if what else "trust")
    assert diagnosis.numbers["replicates"] == 300
    assert diagnosis.numbers["worst_coverage"] == table["cover95"].min()
    if what:
        assert f"80% intervals hold {table.loc['mu', 'cover80']:.0%}" in diagnosis.findings[0].evidence


def test_many_quantities_are_told_in_one_finding():
    table = coverage_table({f"x[{i}]": ranks(scale=0.5, replicates=200, seed=i) for i in range(8)}, L)
    (finding,) = diagnose_coverage(table, 200).findings
    assert finding.what == "the draws of 'x[0]', 'x[1]', 'x[2]', 'x[3]', 'x[4]' and 3 more are too narrow"
