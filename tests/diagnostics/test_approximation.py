"""k-hat against tails of known index; a loss that falls, that is noise, that ends in NaN."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from ppzoo.diagnostics.approximation import (
    diagnose_approximation,
    draws_needed,
    is_borderline,
    is_usable,
    k_hat_error,
    k_hat_interval,
    k_hat_threshold,
    pareto_k,
)
from ppzoo.errors import DataError


@pytest.mark.parametrize("k", [0.2, 0.5, 0.7, 1.0])
def test_k_hat_of_a_known_tail(k):
    """w = exp(k E), E exponential, is Pareto with shape k.

    Of 100,000 weights 948 are the tail, so that k-hat has a standard error of (1 + k) / sqrt(948): 4 of them.
    """
    weights = k * np.random.default_rng(0).exponential(size=100_000)
    assert pareto_k(weights) == pytest.approx(k, abs=4 * (1 + k) / math.sqrt(948))


def test_k_hat_of_a_normal_guide_that_is_too_narrow():
    """Target N(0, s²), guide N(0, 1): the tail index is 1 - 1 / s², approached slowly, hence 0.15."""
    z, s = np.random.default_rng(0).normal(size=100_000), 2.0
    assert pareto_k(stats.norm.logpdf(z, scale=s) - stats.norm.logpdf(z)) == pytest.approx(0.75, abs=0.15)


def test_a_student_target_with_a_normal_guide_is_rejected_and_the_other_way_round_is_not():
    rng = np.random.default_rng(0)
    z, t = 0.5 * rng.normal(size=64_000), rng.standard_t(3, size=64_000)
    narrow = stats.t.logpdf(z, 2) - stats.norm.logpdf(z, scale=0.5)
    wide = stats.norm.logpdf(t) - stats.t.logpdf(t, 3)
    assert diagnose_approximation(narrow).verdict == "reject"
    assert diagnose_approximation(wide).verdict == "trust"


def test_constant_weights_are_the_posterior():
    weights = -123.4 + 1e-7 * np.random.default_rng(0).uniform(size=500)
    assert pareto_k(weights) == -math.inf
    diagnosis = diagnose_approximation(weights)
    assert diagnosis.verdict == "trust"
    assert "the approximation is the posterior" in str(diagnosis)
    assert diagnosis.numbers["k_hat"] == -math.inf


@pytest.mark.parametrize("shift", [0.0, 1e4, -1e4])
def test_a_constant_factor_does_not_matter(shift):
    weights = np.random.default_rng(0).normal(size=1000)
    assert pareto_k(weights + shift) == pytest.approx(pareto_k(weights), rel=1e-6)


def test_one_weight_that_has_it_all_is_the_worst_case():
    """ArviZ 0.8 gives 0.05: the other weights underflow."""
    assert pareto_k(3000 * np.random.default_rng(0).normal(size=1000)) == math.inf
    assert diagnose_approximation(np.append(np.full(999, -1e5), 0.0)).verdict == "reject"


def test_zero_weights_are_weights():
    rng = np.random.default_rng(0)
    assert math.isfinite(pareto_k(np.append(rng.normal(size=600), np.full(400, -np.inf))))
    assert pareto_k(np.append(np.zeros(600), np.full(400, -np.inf))) == -math.inf


@pytest.mark.parametrize(
    "weights", [np.append(np.zeros(99), np.nan), np.append(np.zeros(99), np.inf), np.full(100, -np.inf)]
)
def test_weights_that_are_not_finite_are_rejected(weights):
    assert math.isnan(pareto_k(weights))
    assert diagnose_approximation(weights).verdict == "reject"


def test_weights_that_are_mostly_equal_cannot_be_judged():
    weights = np.append(np.zeros(950), np.linspace(0.1, 1, 50))
    assert "k-hat cannot be estimated" in str(diagnose_approximation(weights))


@pytest.mark.parametrize("weights", [np.zeros(24), np.zeros((5, 5)), np.zeros(())])
def test_too_few_weights_are_an_error(weights):
    with pytest.raises(DataError, match="log_weights: cannot estimate the tail") as raised:
        pareto_k(weights)
    assert "Make more draws" in raised.value.remedy


def test_threshold_of_vehtari_and_others():
    assert k_hat_threshold(100) == pytest.approx(0.5)
    assert k_hat_threshold(10**6) == 0.7


@pytest.mark.parametrize("draws", [400, 4000])
@pytest.mark.parametrize("k", [0.3, 0.5, 0.7])
def test_the_interval_of_k_hat_holds_a_known_tail_nine_times_in_ten(k, draws):
    """Exact Pareto weights; 300 repetitions have a standard error of 1.7 %, and k-hat leans to 0.5: within 7.5 %."""
    rng, inside = np.random.default_rng(1), 0
    for _ in range(300):
        low, high = k_hat_interval(pareto_k(k * rng.exponential(size=draws)), draws)
        inside += low <= k <= high
    assert inside / 300 == pytest.approx(0.9, abs=0.075)


def test_the_error_of_k_hat_where_there_is_none():
    assert k_hat_error(-math.inf, 1000) == 0
    assert math.isnan(k_hat_error(math.inf, 1000))
    assert math.isnan(k_hat_error(math.nan, 1000))
    assert math.isnan(k_hat_error(-0.6, 1000))
    assert k_hat_interval(math.inf, 1000) == (math.inf, math.inf)


@pytest.mark.parametrize(("k", "draws"), [(0.5, 100), (0.7, 2154.4), (-math.inf, 1), (1.0, math.inf), (2.0, math.inf)])
def test_the_draws_that_a_tail_needs(k, draws):
    """S such that 1 - 1 / log10 S is k."""
    assert draws_needed(k) == pytest.approx(draws, rel=1e-4)
    if 10 < draws < math.inf:
        assert 1 - 1 / math.log10(draws_needed(k)) == pytest.approx(k)


def test_draws_of_a_nan_tail():
    assert math.isnan(draws_needed(math.nan))


@pytest.mark.parametrize(("k", "near"), [(0.1, False), (0.5, True), (0.7, True), (1.6, False)])
def test_more_draws_are_asked_for_near_a_threshold(k, near):
    weights = k * np.random.default_rng(0).exponential(size=16_000)
    assert is_borderline(weights) == near


def test_a_heavy_tail_that_holds_next_to_nothing_is_looked_at_again():
    """99 weights in 100 are equal to 5 %; one is Pareto with k = 0.45, and the tail begins among the equal ones."""
    rng = np.random.default_rng(0)
    weights = 0.05 * rng.normal(size=4000)
    weights[:40] = 0.02 + 0.45 * rng.exponential(size=40)
    heavy = np.where(np.arange(4000) < 189, 1.5 * rng.exponential(size=4000), weights)
    assert pareto_k(weights) > k_hat_threshold(4000)
    assert k_hat_interval(pareto_k(weights), 4000)[0] > k_hat_threshold(4000)
    assert is_borderline(weights)
    assert not is_borderline(heavy)


def test_near_the_threshold_the_verdict_is_uncertain_and_not_left_to_chance():
    """A tail of exactly 0.7: a quarter of 4,000 and of 64,000 draws would be above and below; 5 % are beyond doubt."""
    rng = np.random.default_rng(2)
    found = [diagnose_approximation(0.7 * rng.exponential(size=4000)) for _ in range(60)]
    verdicts = [diagnosis.verdict for diagnosis in found]
    assert {diagnosis.numbers["k_hat"] > 0.7 for diagnosis in found} == {True, False}
    assert verdicts.count("caution") >= 48  # 90 % expected, 4 standard errors fewer
    assert "is uncertain" in str(found[verdicts.index("caution")])


def test_weights_may_be_used_unless_they_are_above_the_threshold_beyond_doubt():
    assert is_usable(0.5, 4000)
    assert is_usable(0.75, 4000)
    assert not is_usable(0.95, 4000)
    assert not is_usable(math.inf, 4000)
    assert not is_usable(math.nan, 4000)
    assert is_usable(-math.inf, 4000)


def test_the_evidence_has_the_error_and_what_it_would_take():
    diagnosis = diagnose_approximation(0.6 * np.random.default_rng(4).exponential(size=100_000))
    k = diagnosis.numbers["k_hat"]
    assert diagnosis.numbers["k_hat_error"] == k_hat_error(k, 100_000)
    assert diagnosis.numbers["draws_weighed"] == 100_000
    assert f"k-hat {k:.2f} ± {k_hat_error(k, 100_000):.2f}" in diagnosis.findings[0].evidence
    assert f"take {draws_needed(k):,.0f} draws" in diagnosis.findings[0].evidence
    hopeless = diagnose_approximation(2.0 * np.random.default_rng(4).exponential(size=4000))
    assert "no number of draws" in hopeless.findings[0].evidence


def test_between_the_thresholds_is_a_caution():
    weights = 0.6 * np.random.default_rng(4).exponential(size=100_000)
    assert diagnose_approximation(weights).verdict == "caution"


@pytest.mark.parametrize(("bad", "verdict"), [(0, "trust"), (3, "caution"), (10, "reject")])
def test_rows_count_by_their_share(bad, verdict):
    """Of 100 rows: 3 % above the threshold are a caution, 10 % too many."""
    rng = np.random.default_rng(0)
    weights = 0.05 * rng.normal(size=(1000, 100))
    weights[:, :bad] = 2.0 * rng.exponential(size=(1000, bad))
    diagnosis = diagnose_approximation(weights)
    assert diagnosis.verdict == verdict
    assert diagnosis.numbers["k_hat_share_above"] == pytest.approx(bad / 100)
    assert diagnosis.numbers["k_hat"] == max(pareto_k(row) for row in weights.T)


NOISE = np.random.default_rng(0).normal(size=2000)
STEPS = np.arange(2000)


@pytest.mark.parametrize("seed", range(10))
def test_noise_around_a_level_has_converged(seed):
    """4 standard errors with 18 degrees of freedom: a false alarm in 4 of 10,000 runs."""
    losses = 50 + np.random.default_rng(seed).normal(size=1000)
    assert diagnose_approximation(None, losses).verdict == "trust"


@pytest.mark.parametrize(
    ("losses", "verdict"),
    [
        pytest.param(100 - 0.01 * STEPS + NOISE, "caution", id="falls by 2 nats in a tenth"),
        pytest.param(100 - 1e-4 * STEPS + 1e-3 * NOISE, "trust", id="falls by 0.02 nats: too little to matter"),
        pytest.param(100 + 0.01 * STEPS + NOISE, "trust", id="rises"),
        pytest.param(100 * np.exp(-STEPS / 100) + NOISE, "trust", id="fell and is flat"),
        pytest.param(np.append(NOISE, np.nan), "reject", id="ends in NaN"),
        pytest.param(np.append(NOISE, np.inf), "reject", id="ends in inf"),
        pytest.param(np.where(STEPS % 50 == 3, np.nan, NOISE), "trust", id="NaN on the way"),
    ],
)
def test_losses(losses, verdict):
    assert diagnose_approximation(None, losses, steps=losses.size).verdict == verdict


def test_a_short_trace_is_said_not_judged():
    diagnosis = diagnose_approximation(None, np.linspace(10, 0, 20))
    assert diagnosis.verdict == "trust"
    assert "too short" in str(diagnosis)


def test_skipped_steps_are_counted():
    diagnosis = diagnose_approximation(None, skipped=3, steps=50)
    assert diagnosis.verdict == "caution"
    assert "3 of 50 steps" in str(diagnosis)
    assert diagnosis.numbers["skipped"] == 3


def test_no_r_hat_and_no_ess_of_an_approximation():
    diagnosis = diagnose_approximation(np.random.default_rng(0).normal(size=500), NOISE)
    assert not [name for name in diagnosis.numbers if "r_hat" in name or "ess" in name]
