"""Known answers: a perfect sampler covers all, a collapsed one what it collapsed to."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.datasets import load_digits, make_moons

from ppzoo.diagnostics.samples import coverage, find_modes, modes_covered
from ppzoo.errors import DataError, OptionError

ANGLES = 2 * np.pi * np.arange(8) / 8
RING = 2 * np.stack([np.cos(ANGLES), np.sin(ANGLES)], axis=1)
SD = 0.05


def _ring(n: int, modes=range(8), seed: int = 0, sd: float = SD) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return RING[rng.choice(np.asarray(modes), n)] + sd * rng.normal(size=(n, 2))


def test_a_perfect_sampler_covers_all_with_the_quality_of_a_normal():
    found = modes_covered(_ring(10_000), RING, scale=SD)
    assert (found.covered, found.of) == (8, 8)
    share = 1 - np.exp(-4.5)  # a round normal in the plane, within three sd
    assert abs(found.high_quality - share) < 4 * np.sqrt(share * (1 - share) / 10_000)
    assert found.counts.sum() == round(found.high_quality * 10_000)


@pytest.mark.parametrize("modes", [[3], [0, 4], [0, 1, 2, 3, 4, 5, 6]])
def test_a_collapsed_sampler_covers_what_it_collapsed_to(modes):
    found = modes_covered(_ring(2000, modes), RING, scale=SD)
    assert (found.covered, found.of) == (len(modes), 8)
    assert set(np.flatnonzero(found.counts)) == set(modes)


def test_a_stray_draw_covers_no_mode():
    draws = np.concatenate([_ring(2000, [0]), RING])
    assert modes_covered(draws, RING, scale=SD).covered == 1


def test_mass_between_modes_is_of_low_quality():
    rng = np.random.default_rng(0)
    found = modes_covered(rng.normal(size=(2000, 2)) * 0.2, RING, scale=SD)
    assert found.covered == 0
    assert found.high_quality == 0
    assert modes_covered(np.full((200, 2), np.nan), RING, scale=SD).high_quality == 0


def test_a_mode_is_due_its_share():
    rng = np.random.default_rng(0)
    rare = np.where(rng.random(4000) < 0.01, 5.0, 0.0)[:, None] + 0.1 * rng.normal(size=(4000, 1))
    centres = [[0.0], [5.0]]
    assert modes_covered(rare, centres, scale=0.1).covered == 1
    assert modes_covered(rare, centres, scale=[0.1, 0.1], shares=[0.99, 0.01]).covered == 2


def test_a_perfect_sampler_loses_no_mode_by_chance():
    # 20 draws a mode, the fewest allowed: chance loses one in 1.2 of 10^5 calls, so in 500 with probability 0.006
    lost = [modes_covered(_ring(160, seed=seed), RING, scale=SD).covered < 8 for seed in range(500)]
    assert not any(lost)


@pytest.mark.parametrize("sd", [0.02, 0.05, 0.15])
def test_the_modes_of_a_ring_are_found(sd):
    modes = find_modes(_ring(2000, sd=sd))
    assert modes.centres.shape == (8, 2)
    order = [int(np.linalg.norm(RING - centre, axis=1).argmin()) for centre in modes.centres]
    assert sorted(order) == list(range(8))
    np.testing.assert_allclose(modes.centres, RING[order], atol=5 * sd / np.sqrt(250))
    np.testing.assert_allclose(modes.scale, sd, rtol=0.25)  # a 98.9 % quantile of some 250 distances
    np.testing.assert_allclose(modes.shares, 1 / 8, atol=0.03)
    assert modes.how == "8 separate clusters of the data (DBSCAN)"
    new = _ring(5000, sd=sd, seed=1)
    found = modes_covered(new, modes.centres, scale=modes.scale, shares=modes.shares)
    assert found.covered == 8
    assert found.high_quality == pytest.approx(0.989, abs=0.01)


def test_modes_are_found_in_many_columns():
    rng = np.random.default_rng(0)
    centres = 10 * rng.normal(size=(5, 20))
    data = centres[rng.choice(5, 1000)] + rng.normal(size=(1000, 20))
    modes = find_modes(data)
    assert len(modes.centres) == 5
    assert modes_covered(data, modes.centres, scale=modes.scale).high_quality == pytest.approx(0.989, abs=0.005)


@pytest.mark.parametrize(
    "data",
    [
        np.random.default_rng(0).normal(size=(1000, 2)),
        np.random.default_rng(0).standard_t(3, size=(1000, 2)),
        np.random.default_rng(0).uniform(size=(1000, 3)),
        make_moons(1000, noise=0.05, random_state=0)[0],
        load_digits().data,
    ],
    ids=["normal", "heavy tails", "uniform", "two moons", "digits"],
)
def test_data_that_are_no_separate_heaps_are_one_mode(data):
    modes = find_modes(data)
    assert len(modes.centres) == 1
    assert modes.how == "the data as one"
    assert modes.shares.tolist() == [1.0]


def test_a_large_table_is_thinned():
    assert len(find_modes(_ring(20_000)).centres) == 8


def test_coverage_of_a_perfect_sampler_is_what_chance_leaves():
    # mean over 20 pairs, within 4 standard errors; more draws than rows, so that the formula is not symmetric
    rng = np.random.default_rng(0)
    found = [coverage(rng.normal(size=(300, 2)), rng.normal(size=(200, 2)), neighbours=3) for _ in range(20)]
    values = np.array([c.coverage for c in found])
    assert abs(values.mean() - found[0].expected) < 4 * values.std() / np.sqrt(20)
    density = np.array([c.density for c in found])
    assert abs(density.mean() - 1) < 4 * density.std() / np.sqrt(20)


def test_coverage_by_hand():
    # reach of the rows 0, 1, 3 with one neighbour: 1, 1, 2; draws at 0.4 and 9
    found = coverage([[0.4], [9.0]], [[0.0], [1.0], [3.0]], neighbours=1)
    assert found.coverage == pytest.approx(2 / 3)
    assert found.density == pytest.approx(2 / 2)
    assert found.expected == pytest.approx(1 - 2 / 4)


def test_coverage_sees_a_lost_mode_and_a_copy():
    data = _ring(800)
    half = coverage(_ring(800, [0, 1, 2, 3], seed=1), data)
    assert half.coverage == pytest.approx(half.expected / 2, abs=0.05)
    assert coverage(data, data).coverage == 1
    assert coverage(np.zeros((50, 2)), data).coverage == 0


def test_blocks_change_nothing(monkeypatch):
    draws, data = _ring(300, seed=1), _ring(400)
    whole = coverage(draws, data), modes_covered(draws, RING, scale=SD)
    monkeypatch.setattr("ppzoo.diagnostics.samples._BLOCK", 4096)
    assert coverage(draws, data) == whole[0]
    assert str(modes_covered(draws, RING, scale=SD)) == str(whole[1])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: modes_covered(_ring(100), RING, scale=SD), "samples: has too few rows to tell a lost mode"),
        (lambda: modes_covered(np.zeros((500, 3)), RING, scale=SD), "samples: has another number of columns"),
        (lambda: modes_covered(_ring(500), RING, scale=0), "scale: must be positive"),
        (lambda: modes_covered(_ring(500), RING, scale=[1, 2]), "scale: must be one number, or one for each mode"),
        (lambda: modes_covered(_ring(500), RING[0], scale=1), "centres: must be a table"),
        (lambda: find_modes(np.ones((100, 2))), "data: all rows are identical"),
        (lambda: find_modes(np.full((100, 2), np.nan)), "data: has entries that are not finite; got 200 of them"),
        (lambda: find_modes(_ring(10)), "data: has too few rows to find modes"),
        (lambda: coverage(_ring(10), _ring(5)), "data: has too few rows; got 5 rows; expected more than neighbours=5"),
        (lambda: coverage(np.zeros((10, 3)), _ring(10)), "samples: has another number of columns than the data"),
        (lambda: coverage(np.full((10, 2), np.inf), _ring(10)), "samples: has entries that are not finite"),
    ],
)
def test_input_that_cannot_be_judged(call, message):
    with pytest.raises(DataError, match=message):
        call()


def test_neighbours_is_a_count():
    with pytest.raises(OptionError, match="neighbours"):
        coverage(_ring(10), _ring(10), neighbours=0)
