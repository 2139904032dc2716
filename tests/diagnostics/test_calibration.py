"""Ranks by hand, bands and p-values against every outcome there is, and planted miscalibration of each kind."""

from __future__ import annotations

import itertools
from math import factorial, prod

import numpy as np
import pytest
from scipy import stats

from ppzoo.diagnostics.calibration import diagnose_calibration, rank_band, rank_p_value, ranks_among
from ppzoo.errors import DataError, OptionError

REPLICATES, DRAWS = 1000, 63


def outcomes(replicates, draws):
    """Every way that ranks can fall, and its probability: counts ``(n, L + 1)`` and ``(n,)``."""
    counts = [c for c in itertools.product(range(replicates + 1), repeat=draws + 1) if sum(c) == replicates]
    chances = [factorial(replicates) / prod(map(factorial, c)) / (draws + 1) ** replicates for c in counts]
    return np.array(counts), np.array(chances)


def tails(counts, replicates):
    """The smallest two-sided tail probability of each outcome's cumulative counts."""
    below = counts.cumsum(1)[:, :-1]
    p = np.arange(1, counts.shape[1]) / counts.shape[1]
    lower, upper = stats.binom.cdf(below, replicates, p), 1 - stats.binom.cdf(below - 1, replicates, p)
    return 2 * np.minimum(lower, upper).min(1, initial=0.5)


def conjugate(replicates=REPLICATES, draws=DRAWS, seed=0):
    """mu ~ Normal(0, 1), y ~ Normal(mu, 1): the truth, the posterior's mean, its sd, and standard draws."""
    rng = np.random.default_rng(seed)
    mu = rng.normal(size=replicates)
    y = mu + rng.normal(size=replicates)
    return mu, y, rng.normal(size=(replicates, draws))


def test_ranks_by_hand():
    draws = [[1.0, 2.0, 3.0]] * 4
    assert ranks_among([0.5, 1.5, 2.5, np.inf], draws).tolist() == [0, 1, 2, 3]


def test_ties_are_broken_evenly():
    """z-tests of 4 shares of 4,000 at 5 standard errors: false alarm rate 2e-6. A fixed seed gives fixed ranks."""
    ranks = ranks_among(np.ones(4000), np.ones((4000, 3)), seed=1)
    share = np.bincount(ranks, minlength=4) / 4000
    assert np.abs(share - 0.25).max() < 5 * (0.25 * 0.75 / 4000) ** 0.5
    np.testing.assert_array_equal(ranks, ranks_among(np.ones(4000), np.ones((4000, 3)), seed=1))
    assert ranks_among([1.0] * 50, [[0.0, 1.0, 2.0]] * 50).min() == 1
    assert ranks_among([1.0] * 50, [[0.0, 1.0, 2.0]] * 50).max() == 2


@pytest.mark.parametrize(("replicates", "draws"), [(1, 1), (6, 1), (6, 3), (9, 2)])
def test_p_values_are_those_of_every_outcome(replicates, draws):
    counts, chances = outcomes(replicates, draws)
    assert chances.sum() == pytest.approx(1, rel=1e-12)
    tail = tails(counts, replicates)
    for c, level in zip(counts, tail, strict=True):
        expected = chances[tail <= level * (1 + 1e-7)].sum()
        ranks = np.repeat(np.arange(draws + 1), c)
        assert rank_p_value(ranks, draws) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(("replicates", "draws"), [(6, 1), (6, 3), (9, 2)])
@pytest.mark.parametrize("confidence", [0.5, 0.9, 0.99])
def test_bands_hold_as_often_as_they_say(replicates, draws, confidence):
    """At least so often; and a pointwise level that lets in one outcome less would be too narrow."""
    counts, chances = outcomes(replicates, draws)
    below = counts.cumsum(1)[:, :-1]
    lower, upper = rank_band(replicates, draws, confidence=confidence)
    inside = ((lower <= below) & (below <= upper)).all(1)
    assert chances[inside].sum() >= confidence - 1e-12
    tail = tails(counts, replicates)
    assert chances[tail > tail[inside].min() * (1 + 1e-7)].sum() < confidence
    assert rank_band(replicates, draws, confidence=1 - 1e-12)[0].tolist() == [0] * draws


def test_small_chances_keep_their_digits():
    """All ranks zero: the first count is the whole sample, whose chance is 2 (1 / 4)^R by the symmetric other end."""
    assert rank_p_value(np.zeros(40, dtype=int), 3) == pytest.approx(2 * 0.25**40, rel=1e-6)


def test_counts_are_outside_the_band_of_their_own_p_value():
    mu, y, z = conjugate(200, 15)
    ranks = ranks_among(mu, y[:, None] / 2 + z * 0.6)
    below = np.bincount(ranks, minlength=16).cumsum()[:-1]
    p = rank_p_value(ranks, 15)
    for confidence, expected in ((1 - 1.001 * p, True), (1 - 0.999 * p, False)):
        lower, upper = rank_band(200, 15, confidence=confidence)
        assert ((below < lower) | (below > upper)).any() == expected


def test_a_calibrated_posterior_is_trusted():
    """False alarm rate 1e-6, exact."""
    mu, y, z = conjugate()
    diagnosis = diagnose_calibration({"mu": mu}, {"mu": y[:, None] / 2 + z / 2**0.5}, false_alarm=1e-6)
    assert diagnosis.verdict == "trust"
    assert diagnosis.numbers["replicates"] == REPLICATES
    assert 0 < diagnosis.numbers["p_value"] <= 1


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda z: z + 0.4, "too high"),
        (lambda z: z - 0.4, "too low"),
        (lambda z: z / 2, "too narrow"),
        (lambda z: z * 2, "too wide"),
    ],
    ids=["0.4 sd up", "0.4 sd down", "half the sd", "twice the sd"],
)
def test_planted_miscalibration_is_named(change, what):
    """Power: distribution functions are 0.16 apart, 0.07 is seen at 1e-4, one standard error is 0.016: misses 2e-8."""
    mu, y, z = conjugate()
    diagnosis = diagnose_calibration({"mu": mu}, {"mu": y[:, None] / 2 + change(z) / 2**0.5})
    assert [f.what for f in diagnosis.findings] == [f"the draws of 'mu' are {what}"]
    assert diagnosis.verdict == "reject"
    assert diagnosis.numbers["p_value"] < 1e-4


def test_the_likelihood_sees_a_posterior_that_ignores_the_data():
    """Draws from the prior have uniform ranks, whatever the data; their likelihood has not (Modrák et al., 2023)."""
    mu, y, z = conjugate()
    truth = {"mu": mu, "log likelihood": -((y - mu) ** 2)}
    draws = {"mu": z, "log likelihood": -((y[:, None] - z) ** 2)}
    diagnosis = diagnose_calibration(truth, draws)
    assert [f.what for f in diagnosis.findings] == ["the draws of 'log likelihood' are too low"]


def test_quantities_share_the_false_alarm_rate():
    mu, y, z = conjugate()
    right = y[:, None] / 2 + z / 2**0.5
    one = diagnose_calibration({"a": mu}, {"a": right})
    four = diagnose_calibration(dict.fromkeys("abcd", mu), dict.fromkeys("abcd", right))
    assert four.numbers["p_value"] == pytest.approx(min(1, 4 * one.numbers["p_value"]))


@pytest.mark.parametrize(
    ("truth", "draws", "message"),
    [
        ([0.0], [[1.0], [2.0]], r"draws: does not go with the true values; got shape \(2, 1\) beside \(1,\)"),
        ([0.0, 1.0], [1.0, 2.0], r"expected shape \(replicate, draw\) beside \(replicate,\)"),
        ([[0.0]], [[1.0]], "does not go"),
        ([0.0], [[]], "does not go"),
        ([], np.zeros((0, 3)), "does not go"),
        ([np.nan], [[1.0]], "truth: has values without a rank; got 1 NaN"),
        ([0.0], [[np.nan, np.nan]], "draws: has values without a rank; got 2 NaN"),
    ],
)
def test_what_cannot_be_ranked_is_refused(truth, draws, message):
    with pytest.raises(DataError, match=message):
        ranks_among(truth, draws)


@pytest.mark.parametrize("ranks", [[], [0.5], [-1], [4], [[0, 1]]])
def test_what_are_no_ranks_is_refused(ranks):
    with pytest.raises(DataError, match=r"ranks: are no ranks among these draws; .*expected whole numbers from 0 to 3"):
        rank_p_value(ranks, 3)


@pytest.mark.parametrize(
    ("truth", "draws"), [({}, {}), ({"a": [0.0]}, {}), ({"a": [0.0]}, {"b": [[0.0]]}), ({}, {"a": [[0.0]]})]
)
def test_quantities_must_be_the_same(truth, draws):
    with pytest.raises(DataError, match="draws: has other quantities than the true values"):
        diagnose_calibration(truth, draws)


def test_a_quantity_without_draws_is_refused():
    with pytest.raises(DataError, match="draws"):
        diagnose_calibration({"a": [0.0]}, {"a": 1.0})


@pytest.mark.parametrize("options", [{"replicates": 0}, {"draws": 0}, {"confidence": 1.0}, {"confidence": 0}])
def test_options_outside_their_range(options):
    with pytest.raises(OptionError, match=next(iter(options))):
        rank_band(**({"replicates": 10, "draws": 3} | options))
    with pytest.raises(OptionError, match="false_alarm"):
        diagnose_calibration({"a": [0.0]}, {"a": [[1.0]]}, false_alarm=0)
