"""Normal scores against SciPy's ranks, sorting against NumPy's, quantiles to the last bit."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from ppzoo.diagnostics import ranks
from ppzoo.diagnostics.ranks import Ranked, measurable, per_parameter
from ppzoo.errors import DataError


def draws_of(kind, shape, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=shape)
    return {
        "normal": x,
        "repeated": np.repeat(x, 3, axis=-1)[..., : shape[-1]],
        "whole": np.round(x),
        "two values": (x > 1).astype(float),
        "heavy": rng.standard_cauchy(shape),
        "far off": 1e6 + x,
        "signed zeros": np.where(x > 0.5, x, np.where(x > 0, 0.0, -0.0)),
        "extreme": np.where(np.abs(x) > 1.5, np.sign(x) * 1.7e308, x),
    }[kind]


KINDS = ["normal", "repeated", "whole", "two values", "heavy", "far off", "signed zeros", "extreme"]
SHAPES = [(3, 4, 50), (2, 1, 7), (1, 5, 4), (2, 3, 3), (2, 7, 1), (1, 6, 101)]


def halves_of(x):
    n = x.shape[2] // 2
    return x if x.shape[2] < 4 else np.concatenate([x[..., :n], x[..., -n:]], axis=1)


def scores_of(halves):
    rank = stats.rankdata(halves.reshape(len(halves), -1), axis=1)
    return stats.norm.ppf((rank - 3 / 8) / (rank.shape[1] + 1 / 4)).reshape(halves.shape)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", SHAPES)
def test_scores_are_those_of_average_ranks(kind, shape):
    x = draws_of(kind, shape)
    x = x[measurable(x)]
    ranked, halves = Ranked(x), halves_of(x)
    np.testing.assert_array_equal(ranked.halves, halves)
    np.testing.assert_allclose(ranked.scores, scores_of(halves), rtol=1e-14, atol=1e-15)
    flat = halves.reshape(len(halves), -1)
    middle = np.sort(flat, axis=1)[:, [(flat.shape[1] - 1) // 2, flat.shape[1] // 2]] / 2  # np.median would overflow
    with np.errstate(over="ignore"):
        distance = np.abs(halves - middle.sum(1)[:, None, None])
    np.testing.assert_allclose(ranked.folded, scores_of(distance), rtol=1e-14, atol=1e-15)


@pytest.mark.parametrize("kind", KINDS)
def test_many_draws_are_sorted_as_few_are(kind, monkeypatch):
    monkeypatch.setattr(ranks, "_LARGE", 1000)
    x = draws_of(kind, (2, 8, 500))
    np.testing.assert_allclose(Ranked(x).scores, scores_of(halves_of(x)), rtol=1e-14, atol=1e-15)
    order = ranks._argsort(x[0].ravel())
    np.testing.assert_array_equal(np.sort(order), np.arange(4000))
    np.testing.assert_array_equal(x[0].ravel()[order], np.sort(x[0].ravel()))


@pytest.mark.parametrize("shape", [(2, 4, 50), (2, 3, 33), (1, 2, 101), (1, 1, 5)])
def test_quantiles_are_numpys_to_the_last_bit(shape):
    x = draws_of("normal", shape)
    for probability in (0.05, 0.25, 0.3, 0.5, 0.75, 0.95, 0.999):
        expected = np.quantile(x.reshape(len(x), -1), probability, axis=1)
        np.testing.assert_array_equal(Ranked(x).quantile(probability), expected)


def test_parameters_are_worked_on_in_blocks(monkeypatch):
    x = draws_of("normal", (5, 3, 4, 20))
    whole = per_parameter(x, lambda ranked: ranked.scores.std((1, 2)) + ranked.quantile(0.3))
    monkeypatch.setattr(ranks, "_BLOCK", 200)  # two parameters
    blocked = per_parameter(x, lambda ranked: ranked.scores.std((1, 2)) + ranked.quantile(0.3))
    assert whole.shape == (5, 3)
    np.testing.assert_array_equal(blocked, whole)


def test_what_cannot_be_measured_is_nan():
    x = draws_of("normal", (5, 2, 10))
    x[1, 0, 3], x[2, 1, 0], x[3] = np.nan, np.inf, 7.0
    np.testing.assert_array_equal(measurable(x), [True, False, False, False, True])
    found = per_parameter(x, lambda ranked: np.ones(len(ranked.draws)))
    np.testing.assert_array_equal(found, [1, np.nan, np.nan, np.nan, 1])
    assert np.isnan(per_parameter(x[..., :3], lambda ranked: np.ones(len(ranked.draws)))).all()
    assert per_parameter(np.zeros((0, 2, 10)), lambda ranked: np.ones(1)).shape == (0,)


@pytest.mark.parametrize("x", [np.zeros(5), 3.0, np.zeros((2, 0)), np.zeros((3, 0, 5))])
def test_what_has_no_chains_is_refused(x):
    with pytest.raises(DataError, match=r"draws: are no chains; got shape .*; expected shape \(\.\.\., chain, draw\)"):
        per_parameter(x, lambda ranked: ranked.quantile(0.5))
