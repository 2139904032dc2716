"""ESS and MCSE are ArviZ's where that is right; elsewhere they are what repetition shows."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from arviz_stats.base.array import array_stats
from scipy.signal import lfilter

from ppzoo.diagnostics.ess import (
    ess_bulk,
    ess_mean,
    ess_quantile,
    ess_sd,
    ess_tail,
    mcse_mean,
    mcse_quantile,
    mcse_sd,
)
from ppzoo.errors import OptionError

ALL = {
    "bulk": ess_bulk,
    "tail": ess_tail,
    "mean": ess_mean,
    "sd": ess_sd,
    "quantile": lambda x: ess_quantile(x, 0.3),
    "mcse mean": mcse_mean,
    "mcse sd": mcse_sd,
    "mcse quantile": lambda x: mcse_quantile(x, 0.3),
}
OF_ARVIZ = {
    "bulk": (array_stats.ess, {"method": "bulk"}),
    "tail": (array_stats.ess, {"method": "tail", "prob": (0.05, 0.95)}),
    "mean": (array_stats.ess, {"method": "mean"}),
    "sd": (array_stats.ess, {"method": "sd"}),
    "quantile": (array_stats.ess, {"method": "quantile", "prob": 0.3}),
    "mcse mean": (array_stats.mcse, {"method": "mean"}),
    "mcse quantile": (array_stats.mcse, {"method": "quantile", "prob": 0.3}),
}


def autoregressive(rho, shape, seed=0):
    """Stationary chains with standard normal draws; S draws are worth S (1 - rho) / (1 + rho)."""
    rng = np.random.default_rng(seed)
    start, noise = rng.normal(size=(*shape[:-1], 1)), rng.normal(size=shape) * np.sqrt(1 - rho**2)
    return lfilter([1], [1, -rho], noise, axis=-1, zi=rho * start)[0]


SHAPES = [(3, 4, 500), (2, 1, 200), (2, 2, 11), (2, 3, 101), (2, 64, 25), (2, 4, 10), (2, 7, 13), (2, 4, 12)]
CHAINS = {
    "independent": lambda shape: autoregressive(0, shape),
    "slow": lambda shape: autoregressive(0.95, shape),
    "antithetic": lambda shape: autoregressive(-0.9, shape),
    "shifted": lambda shape: autoregressive(0, shape) + np.arange(shape[1])[:, None],
    "rejections": lambda shape: np.repeat(autoregressive(0.5, shape, seed=5), 3, axis=-1)[..., : shape[-1]],
    "heavy tails": lambda shape: np.tan(1.5 * np.arctan(autoregressive(0.5, shape))),
    "far off": lambda shape: 1e3 + autoregressive(-0.5, shape),
}


def arviz(measure, x):
    function, options = OF_ARVIZ[measure]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return np.asarray(function(x, **options))


def ess_that_counts(x):
    """Tail ESS of ArviZ without the quantiles that no draw exceeds, for which it says S."""
    return np.where(x.max((1, 2)) > np.quantile(x, 0.95, axis=(1, 2)), arviz("tail", x), np.nan)


@pytest.mark.parametrize("kind", CHAINS)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("measure", [name for name in OF_ARVIZ if name != "tail"])
def test_they_are_those_of_arviz(measure, shape, kind):
    x = CHAINS[kind](shape)
    np.testing.assert_allclose(ALL[measure](x), arviz(measure, x), rtol=1e-10)


@pytest.mark.parametrize("kind", CHAINS)
@pytest.mark.parametrize("shape", [shape for shape in SHAPES if shape[2] > 10])
def test_tails_are_those_of_arviz(shape, kind):
    x = CHAINS[kind](shape)
    counts = np.isfinite(ess_that_counts(x))
    assert counts.any()
    np.testing.assert_allclose(ess_tail(x)[counts], arviz("tail", x)[counts], rtol=1e-10)


@pytest.mark.parametrize("measure", ["bulk", "mean", "sd", "quantile"])
@pytest.mark.parametrize("shape", [(2, 4, 500), (1, 3, 33)])
def test_whole_numbers_have_the_ess_of_arviz(measure, shape):
    x = np.round(autoregressive(0.5, shape))
    np.testing.assert_allclose(ALL[measure](x), arviz(measure, x), rtol=1e-10)


@pytest.mark.parametrize("rho", [0.0, 0.5, 0.9, -0.5])
def test_an_autoregression_has_a_known_ess(rho):
    """Of the mean S (1 - ρ) / (1 + ρ), of the sd the same with ρ²; 8 parameters of 64,000 draws to 15 %.

    The estimate scatters by 3 % there: 5 standard deviations, 32 numbers in all, false alarm rate 2e-5.
    """
    x = autoregressive(rho, (8, 64, 1000))
    s = 64_000
    np.testing.assert_allclose(ess_mean(x), s * (1 - rho) / (1 + rho), rtol=0.15)
    np.testing.assert_allclose(ess_bulk(x), s * (1 - rho) / (1 + rho), rtol=0.15)
    np.testing.assert_allclose(ess_sd(x), s * (1 - rho**2) / (1 + rho**2), rtol=0.15)


@pytest.mark.parametrize("rho", [0.8, 0.0, -0.4])
def test_errors_are_what_repetition_shows(rho):
    """2,000 runs of 4 x 250 draws: the sd of their estimates is the mean MCSE to 15 %, 5 standard errors and more.

    The sd of 2,000 estimates is known to 1.6 %. With the ESS of the mean, as in ArviZ 0.8, the error of the sd would be
    1.4 times too large at ρ = 0.8 and 1.8 times too small at -0.4.
    """
    x = autoregressive(rho, (2000, 4, 250))
    estimates = {mcse_mean: x.mean((1, 2)), mcse_sd: x.std((1, 2), ddof=1)}
    for measure, estimate in estimates.items():
        assert np.median(measure(x)) == pytest.approx(estimate.std(), rel=0.15), measure
    quantile = np.quantile(x, 0.3, axis=(1, 2))
    assert mcse_quantile(x, 0.3).mean() == pytest.approx(quantile.std(), rel=0.15)


def test_the_error_of_the_sd_has_the_ess_of_the_squares():
    x = autoregressive(-0.8, (3, 4, 100))
    squares = (x - x.mean((1, 2), keepdims=True)) ** 2
    ess = arviz("mean", squares)
    variance = squares.mean((1, 2))
    by_hand = np.sqrt((np.square(squares).mean((1, 2)) - variance**2) / ess / variance) / 2
    np.testing.assert_allclose(mcse_sd(x), by_hand, rtol=1e-10)


@pytest.mark.parametrize(("rho", "draws"), [(0.5, 8), (0.9, 4), (0.0, 9)])
def test_chains_too_short_for_autocorrelations(rho, draws):
    """Below 10 draws ArviZ says S log10 S whatever they are. 2,000 chains: their means' variance is known to 3.2 %.

    Exact: the variance of the mean of n draws is (1 + 2 Σ (1 - t / n) ρ^t) / n. Rank-normalised or not, to 20 %.
    """
    x = autoregressive(rho, (2000, draws))
    used = draws - draws % 2  # the middle one of an odd number belongs to neither half
    t = np.arange(1, used)
    exact = 2000 * used / (1 + 2 * ((1 - t / used) * rho**t).sum())
    assert arviz("bulk", x) == pytest.approx(2000 * used * np.log10(2000 * used))
    for measure in (ess_bulk, ess_mean):
        assert measure(x) == pytest.approx(exact, rel=0.2)
        assert measure(x) <= 2000 * used
    assert np.isnan(ess_bulk(x[:1]))


def test_short_antithetic_chains_are_worth_no_more_than_their_draws():
    """Their means scatter less than those of independent draws, by a variance that is only estimated."""
    x = autoregressive(-0.5, (3, 50, 8))
    np.testing.assert_array_equal(ess_mean(x), 400)


def test_chains_that_never_meet_are_worth_one_draw_each():
    apart = np.arange(4.0)[:, None] * 100 + autoregressive(0, (4, 500))
    assert 4 <= ess_bulk(apart) < 8
    assert 3 <= ess_bulk(apart[:, :8]) < 8


def test_draws_that_are_all_equal_are_worth_nothing():
    """ArviZ says S."""
    x = autoregressive(0, (3, 4, 50))
    x[1] = 0.1
    for measure in ALL.values():
        np.testing.assert_array_equal(np.isnan(measure(x)), [False, True, False])


def test_a_quantile_that_no_draw_exceeds_has_no_ess():
    x = (np.random.default_rng(0).uniform(size=(4, 500)) < 0.99).astype(float)
    assert np.isnan(ess_quantile(x, 0.95))
    assert arviz("quantile", x * 0 + np.arange(4)[:, None]) > 0  # ArviZ counts what it is given
    assert np.isnan(mcse_quantile(x, 0.95))
    assert np.isnan(ess_tail(x))
    assert np.isfinite(ess_quantile(x, 0.005))


@pytest.mark.parametrize("unit", [1e-200, 1e-18, 1e200])
def test_units_do_not_matter(unit):
    """ArviZ takes a parameter for a constant whose draws span less than 1e-15."""
    x = autoregressive(0.5, (2, 4, 100))
    for name, measure in ALL.items():
        expected = measure(x) * (unit if "mcse" in name else 1)
        np.testing.assert_allclose(measure(unit * x), expected, rtol=1e-9)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_has_no_ess(value):
    x = autoregressive(0, (2, 4, 50))
    x[0, 1, 2] = value
    for measure in ALL.values():
        np.testing.assert_array_equal(np.isnan(measure(x)), [True, False])


def test_three_draws_are_too_few():
    x = autoregressive(0, (2, 4, 3))
    assert all(np.isnan(measure(x)).all() for measure in ALL.values())


@pytest.mark.parametrize("probability", [0, 1, -0.1, 1.5, "half"])
def test_a_probability_is_within_0_and_1(probability):
    for measure in (ess_quantile, mcse_quantile):
        with pytest.raises(OptionError, match=r"probability: must be a number in range; got .*; expected a finite"):
            measure(autoregressive(0, (4, 50)), probability)
