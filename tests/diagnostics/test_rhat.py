"""R-hat is that of ArviZ, nested R-hat keeps its derivation's promise, lasting R-hat is what noise does not explain."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from arviz_stats.base.array import array_stats
from scipy.signal import lfilter
from scipy.stats import chi2

from ppzoo.diagnostics.rhat import _nested, lasting_rhat, nested_rhat, nested_threshold, rhat, rhat_folded
from ppzoo.errors import DataError, OptionError


def autoregressive(rho, shape, seed=0):
    """Stationary chains with standard normal draws; S draws are worth S (1 - rho) / (1 + rho)."""
    rng = np.random.default_rng(seed)
    start, noise = rng.normal(size=(*shape[:-1], 1)), rng.normal(size=shape) * np.sqrt(1 - rho**2)
    return lfilter([1], [1, -rho], noise, axis=-1, zi=rho * start)[0]


SHAPES = [(3, 4, 500), (2, 2, 11), (2, 3, 101), (2, 64, 25), (2, 4, 4), (2, 6, 5), (1, 300, 40)]
CHAINS = {
    "independent": lambda shape: autoregressive(0, shape),
    "slow": lambda shape: autoregressive(0.95, shape),
    "antithetic": lambda shape: autoregressive(-0.9, shape),
    "shifted": lambda shape: autoregressive(0, shape) + np.arange(shape[1])[:, None],
    "wider and wider": lambda shape: autoregressive(0, shape) * (1 + np.arange(shape[1])[:, None]),
    "rejections": lambda shape: np.repeat(autoregressive(0, shape), 3, axis=-1)[..., : shape[-1]],
    "whole numbers": lambda shape: np.round(autoregressive(0.5, shape)),
    "heavy tails": lambda shape: np.tan(1.5 * np.arctan(autoregressive(0.5, shape))),
}


def arviz(function, *arguments, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return function(*arguments, **options)


@pytest.mark.parametrize("kind", CHAINS)
@pytest.mark.parametrize("shape", SHAPES)
def test_rhat_is_that_of_arviz(kind, shape):
    x = CHAINS[kind](shape)
    np.testing.assert_allclose(rhat(x), arviz(array_stats.rhat, x), rtol=1e-10)
    np.testing.assert_allclose(rhat_folded(x), arviz(array_stats.rhat, x, method="folded"), rtol=1e-10)


@pytest.mark.parametrize("kind", CHAINS)
@pytest.mark.parametrize(("shape", "superchains"), [((3, 4, 50), [1, 0, 0, 1]), ((2, 6, 11), [0, 1, 2, 0, 1, 2])])
def test_nested_rhat_is_that_of_arviz(kind, shape, superchains):
    x = CHAINS[kind](shape)
    expected = arviz(array_stats.rhat_nested, x, np.array(superchains))
    np.testing.assert_allclose(nested_rhat(x, superchains), expected, rtol=1e-10)


def test_superchains_of_one_are_chains():
    """Footnote of the paper: then nested R-hat is R-hat but for (n - 1) / n in place of 1."""
    x = autoregressive(0.5, (3, 4, 100))[:, :, :50]
    halves = np.concatenate([x[..., :25], x[..., 25:]], axis=1)
    plain = np.sqrt(24 / 25 + halves.mean(2).var(1, ddof=1) / halves.var(2, ddof=1).mean(1))
    nested = _nested(halves[:, :, None].reshape(3, 8, 25), np.arange(8), 1)
    np.testing.assert_allclose(nested**2 - 1, plain**2 - 24 / 25, rtol=1e-12)


def test_one_draw_per_chain_is_enough_for_nested_rhat():
    """ArviZ 0.8 says NaN below 4 draws; by hand from the definition, without halves."""
    x = np.random.default_rng(0).normal(size=(2, 20, 1))
    rank = x.reshape(2, 20).argsort(1).argsort(1) + 1
    assert np.isfinite(nested_rhat(x, np.arange(20) // 5)).all()
    z = np.vectorize(lambda r: r)(rank)[:, :, None].astype(float)
    groups = z.reshape(2, 4, 5)
    by_hand = np.sqrt(1 + groups.mean(2).var(1, ddof=1) / groups.var(2, ddof=1).mean(1))
    np.testing.assert_allclose(_nested(z, np.arange(20), 5), by_hand, rtol=1e-12)


@pytest.mark.parametrize("draws", [1, 2, 5])
def test_the_threshold_of_nested_rhat(draws):
    """4,000 runs of 16 x 8 independent chains: R² - 1 has mean 1 / (M n) over a denominator of 1 + 1 / n (1 for n = 1).

    It exceeds the threshold as often as chi-squared says. Both to 5 standard errors: false alarm rate 6 x 6e-7.
    """
    runs, g, m = 4000, 16, 8
    z = np.random.default_rng(draws).normal(size=(runs, g * m, draws))
    excess = _nested(z, np.arange(g * m), m) ** 2 - 1
    error = excess.std() / np.sqrt(runs)
    denominator = 1 if draws == 1 else 1 + 1 / draws
    mean = 1 / (m * draws * denominator)
    assert abs(excess.mean() - mean) < 5 * error + 2 / (g * m) * mean  # the denominator is random too
    threshold = nested_threshold(m) ** 2 - 1
    over = (excess > threshold).mean()
    expected = chi2.sf((g - 1) * draws * denominator * (1 + m * 1e-4), g - 1)
    assert abs(over - expected) < 5 * np.sqrt(expected / runs) + 0.02


def test_the_threshold_by_its_formula():
    assert nested_threshold(128) == np.sqrt(1 + 1 / 128 + 1e-4)
    assert nested_threshold(4, tau=0.01) == np.sqrt(1.26)
    assert nested_threshold(50) == pytest.approx(1.01, abs=1e-12)


def test_starts_that_are_not_forgotten_exceed_the_threshold():
    """16 starts of 128 chains each, 0.3 sd apart: V is about 0.09 where 1 / 128 + 1e-4 is allowed."""
    x = np.random.default_rng(0).normal(size=(16, 128, 10))
    starts = np.arange(2048) // 128
    assert nested_rhat(x.reshape(2048, 10), starts) < nested_threshold(128)
    x += 0.3 * np.random.default_rng(1).normal(size=(16, 1, 1))
    assert nested_rhat(x.reshape(2048, 10), starts) > nested_threshold(128)


def test_chains_without_common_starts_must_not_be_grouped():
    """Chains that never move pass nested R-hat about every second time; R-hat and lasting R-hat see them."""
    x = np.random.default_rng(0).normal(size=(100, 512, 1)) + 1e-3 * np.random.default_rng(1).normal(size=(512, 20))
    passed = nested_rhat(x, np.arange(512) // 64) < nested_threshold(64)
    assert 5 < passed.sum() < 70
    assert (rhat(x) > 10).all()
    assert (lasting_rhat(x, errors=0) > 10).all()


def test_lasting_rhat_is_the_disagreement_without_the_noise():
    """Offsets with sd 0.2: √1.04 however short the chains; 400 runs, 5 standard errors, false alarm rate 2 x 6e-7."""
    for draws in (12, 60):
        rng = np.random.default_rng(draws)
        x = rng.normal(size=(400, 128, draws)) + 0.2 * rng.normal(size=(400, 128, 1))
        excess = lasting_rhat(x, errors=0) ** 2 - 1
        assert abs(excess.mean() - 0.04) < 5 * excess.std() / 20 + 0.001  # the greater of place and spread


@pytest.mark.parametrize(
    ("chains", "draws", "rho"), [(512, 100, 0.6), (4096, 50, 0.6), (1024, 300, 0.9), (256, 400, 0.8)]
)
def test_short_chains_that_are_right(chains, draws, rho):
    """R-hat calls them wrong, being one over the effective draws of a half-chain; what lasts is nothing."""
    x = autoregressive(rho, (4, chains, draws))
    effective = draws / 2 * (1 - rho) / (1 + rho)
    assert (rhat(x) ** 2 - 1 > 0.7 * (1 / effective - 2 / draws)).all()
    assert (rhat(x) > 1.01).all()
    assert (lasting_rhat(x) < 1.01).all()


@pytest.mark.parametrize(
    "wrong",
    [
        pytest.param(lambda x: x + np.where(np.arange(x.shape[1]) % 2, 1.0, -1.0)[:, None], id="two modes"),
        pytest.param(lambda x: x * np.where(np.arange(x.shape[1]) % 2, 1.0, 3.0)[:, None], id="two spreads"),
        pytest.param(lambda x: x + np.where(np.arange(x.shape[1]) % 10, 0.0, 1.0)[:, None], id="one in ten apart"),
        pytest.param(lambda x: x + np.linspace(0, 1, x.shape[2]), id="all drift together"),
        pytest.param(lambda x: x[..., :1] + 1e-9 * x, id="none moves"),
    ],
)
def test_short_chains_that_are_wrong(wrong):
    x = wrong(autoregressive(0.5, (2, 512, 60)))
    assert (lasting_rhat(x, errors=0) > 1.01).all()
    assert (lasting_rhat(x) > lasting_rhat(x, errors=0)).all()


def test_where_nothing_moves():
    apart = np.repeat([[[0.1], [0.2], [0.3], [0.7]]], 10, axis=2)
    assert np.isinf(rhat(apart)).all()
    assert np.isinf(nested_rhat(apart, [0, 0, 1, 1])).sum() == 0  # the chains of one superchain differ
    assert np.isinf(nested_rhat(apart[:, [0, 0, 3, 3]], [0, 0, 1, 1])).all()
    assert np.isinf(lasting_rhat(np.repeat(apart, 8, axis=1))).all()
    same = np.full((1, 4, 10), 0.3)
    assert np.isnan(rhat(same)).all()


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_has_no_rhat(value):
    x = autoregressive(0, (2, 4, 50))
    x[0, 1, 2] = value
    for measured in (rhat(x), rhat_folded(x), nested_rhat(x, [0, 0, 1, 1]), lasting_rhat(x)):
        assert np.isnan(measured[0])
        assert np.isfinite(measured[1])
    assert np.isnan([rhat(x[1, :1]), rhat_folded(x[1, :1]), rhat(x[1, :, :3])]).all()
    assert np.isnan([lasting_rhat(x[1, :2]), lasting_rhat(x[1, :, :5])]).all()


@pytest.mark.parametrize(
    ("superchains", "message"),
    [
        ([0, 0, 1], r"which chains belong together; got shape \(3,\).*; expected a whole number for each of 4 chains"),
        ([0.0, 0.0, 1.0, 1.0], "got shape .* of float64"),
        ([0, 0, 0, 1], "two or more, of equal size; got sizes 3, 1; expected as many chains from each start"),
        ([0, 0, 0, 0], "got sizes 4"),
    ],
)
def test_superchains_that_are_none(superchains, message):
    with pytest.raises(DataError, match=message):
        nested_rhat(autoregressive(0, (4, 50)), superchains)


def test_thresholds_that_are_none():
    with pytest.raises(OptionError, match="tau: must be a number in range; got -1"):
        nested_threshold(4, tau=-1)
    with pytest.raises(OptionError, match="chains_per_start: must be a whole number in range; got 0"):
        nested_threshold(0)
