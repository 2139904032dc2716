"""Each way for a single chain to fail is found by its number; healthy chains are left alone."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from arviz_stats.base.array import array_stats
from scipy.signal import lfilter

from ppzoo.diagnostics.chains import (
    OFFSET,
    Outlier,
    bfmi,
    few_values,
    longest_stay,
    outlying_chains,
    usual_stay,
)
from ppzoo.diagnostics.ranks import Ranked
from ppzoo.diagnostics.rhat import rhat


def autoregressive(rho, shape, seed=0):
    rng = np.random.default_rng(seed)
    start, noise = rng.normal(size=(*shape[:-1], 1)), rng.normal(size=shape) * np.sqrt(1 - rho**2)
    return lfilter([1], [1, -rho], noise, axis=-1, zi=rho * start)[0]


def outliers_of(x):
    return outlying_chains(Ranked(x), tests=x.shape[0] * x.shape[1])


@pytest.mark.parametrize(("chains", "draws"), [(4, 200), (32, 200), (1024, 100), (1024, 25)])
@pytest.mark.parametrize("rho", [0.0, 0.5, 0.9, -0.5])
def test_healthy_chains_are_left_alone(chains, draws, rho):
    """40 parameters in a run: false alarm rate 1e-4, of all 16 runs 2e-3 at most.

    25 draws with a correlation of 0.9 are worth one: if chains of so few were judged, one parameter of 16 would fail.
    """
    assert outliers_of(autoregressive(rho, (40, chains, draws))) == []


@pytest.mark.parametrize("tails", [1.0, 1.4])
def test_heavy_tails_are_left_alone(tails):
    """Scores are of ranks: a Cauchy distribution is as good as a normal one. False alarm rate 1e-4 each."""
    x = np.tan(tails * np.arctan(autoregressive(0.5, (10, 256, 200))))
    assert outliers_of(x) == []


@pytest.mark.parametrize("chains", [4, 5, 50, 1000])
@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        pytest.param(lambda row: row + 3, "sd too high", id="another mode"),
        pytest.param(lambda row: row - 3, "sd too low", id="another mode below"),
        pytest.param(lambda row: 3 * row, "too wide", id="three times as wide"),
        pytest.param(lambda row: 0.3 * row, "too narrow", id="a third as wide"),
    ],
)
def test_the_chain_that_stays_away_is_named(chains, wrong, said):
    """False alarm rate for the other chains 1e-4; among 1,000, R-hat sees none of them."""
    x = autoregressive(0.3, (3, chains, 400))
    x[1, chains - 2] = wrong(x[1, chains - 2])
    found = outliers_of(x)
    assert {outlier.chain for outlier in found} == {chains - 2}
    assert {outlier.parameter for outlier in found} == {1}
    assert any(str(outlier).endswith(said) for outlier in found)
    if chains == 1000:
        assert (rhat(x) < 1.01).all()


def test_an_offset_that_would_pass_among_four_passes_among_a_thousand():
    """0.31 sd in one chain of four is an R-hat of 1.01; a smaller offset is let pass however certain it is."""
    x = np.random.default_rng(0).normal(size=(1, 4, 200_000))
    x[0, 2] += OFFSET
    assert rhat(x) == pytest.approx(1.01, abs=0.0005)
    x = np.random.default_rng(0).normal(size=(1, 256, 4000))  # MCSE of a chain 0.016
    x[0, 17] += 0.7 * OFFSET
    assert outliers_of(x) == []
    x[0, 17] += 0.6 * OFFSET
    assert [(outlier.chain, outlier.spread) for outlier in outliers_of(x)] == [(17, False)]


def test_nothing_is_told_of_chains_worth_few_draws():
    """Ten draws with a correlation of 0.99 between neighbours: each chain is one draw, wherever it is."""
    x = autoregressive(0.99, (2, 1000, 10))
    x[0, 7] += 3
    assert outliers_of(x) == []


def test_two_camps_are_no_outliers_but_all_are_far_apart_among_four():
    camps = np.where(np.arange(64) % 2, 3.0, -3.0)[:, None]
    assert outliers_of(autoregressive(0, (1, 64, 200)) + camps) == []  # R-hat says it
    assert {found.chain for found in outliers_of(autoregressive(0, (1, 4, 200)) + camps[:4])} == {0, 1, 2, 3}


def test_one_chain_has_no_others():
    assert outliers_of(autoregressive(0, (2, 1, 100))) == []


def test_discrete_draws_are_left_alone():
    """Rare events: in 256 chains of 100 draws, 0 to 6 ones. False alarm rate 1e-4."""
    x = (np.random.default_rng(0).uniform(size=(5, 256, 100)) < 0.01).astype(float)
    assert outliers_of(x) == []


def test_how_an_outlier_reads():
    assert str(Outlier(0, 0, spread=False, offset=0.5)) == "0.5 sd too high"
    assert str(Outlier(0, 0, spread=True, offset=-0.5)) == "too narrow"


def test_values_are_counted_chain_by_chain():
    rng = np.random.default_rng(0)
    x = rng.integers(0, rng.integers(1, 60, size=(6, 8, 1)), size=(6, 8, 100)).astype(float)
    counts = np.array([[len(np.unique(row)) for row in chains] for chains in x])
    for least in (2, 10, 33.3, 100):
        np.testing.assert_array_equal(few_values(x, least), counts < least)


def test_the_longest_stay_is_that_of_the_whole_state():
    rng = np.random.default_rng(0)
    x = rng.integers(0, 2, size=(2, 30, 200)).astype(float)
    stays, shares = longest_stay(x)
    for chain in range(30):
        states = [tuple(state) for state in x[:, chain].T]
        run = longest = 1
        for before, after in itertools.pairwise(states):
            run = run + 1 if before == after else 1
            longest = max(longest, run)
        assert stays[chain] == longest
        assert shares[chain] == np.mean([a == b for a, b in itertools.pairwise(states)])
    np.testing.assert_array_equal(longest_stay(np.ones((1, 3, 7)))[0], 7)
    np.testing.assert_array_equal(longest_stay(np.arange(12.0).reshape(1, 3, 4))[0], 1)


@pytest.mark.parametrize("p", [0.1, 0.4, 0.7])
def test_independent_rejections_stay_below_the_usual(p):
    """A run exceeds the limit with probability 1e-4; 200 runs of 8 x 500 draws with rate 2e-2 (p >= 0.35) altogether.

    The limit is no idle one: the longest stay of all runs comes within half of it, which fails with probability 1e-3.
    """
    rng = np.random.default_rng(0)
    longest, limits = [], []
    for _ in range(200):
        moves = np.cumsum(rng.uniform(size=(8, 500)) >= p, axis=1).astype(float)
        stays, shares = longest_stay(moves[None])
        longest.append(stays.max())
        limits.append(usual_stay(shares, 500))
    assert (np.array(longest) <= limits).all()
    if p > 0.35:
        assert max(longest) > 0.5 * max(limits)


def test_a_few_chains_may_reject_where_most_do_not():
    """The least that is taken for p is 0.35: of 64 x 25 steps, runs of 16 rejections are the first to be told."""
    assert usual_stay(np.zeros(64), 25) == pytest.approx(1 + math.log(1e-4 / 1600) / math.log(0.35))
    assert 16 < usual_stay(np.zeros(64), 25) < 17 < usual_stay(np.full(64, 0.5), 25)


def test_nothing_is_unusual_where_most_chains_stand_still():
    assert usual_stay(np.array([0.0, 1.0, 1.0, 1.0]), 100) == math.inf


def test_bfmi_is_that_of_arviz():
    energy = autoregressive(0.9, (5, 300))
    np.testing.assert_allclose(bfmi(energy), array_stats.bfmi(energy), rtol=1e-12)


@pytest.mark.parametrize("draws", [10, 50, 400])
def test_bfmi_of_short_chains_is_not_noise(draws):
    """Energies with E-BFMI 1, 1,000 chains: the least of all chains is 0.2 at 10 draws, their common one is 1.

    It scatters by 1.7 / √S: 5 standard deviations, false alarm rate 2 x 6e-7 (and 1e-6 for the chains at 400 draws).
    """
    energy = autoregressive(0.5, (1000, draws))
    found = bfmi(energy)
    if draws < 200:
        assert found == pytest.approx([1.0], abs=5 * 1.7 / math.sqrt(1000 * draws))
    else:
        assert found.shape == (1000,)
        assert found.min() > 0.3
