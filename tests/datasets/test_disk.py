"""Every row of a pass comes once, in an order that seed, replica and pass decide; memory holds few of them."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from ppzoo.datasets import disk  # noqa: E402  # needs torch
from ppzoo.datasets.arguments import Arguments  # noqa: E402
from ppzoo.datasets.disk import check_numbers, rows_on_disk  # noqa: E402
from ppzoo.errors import DataError  # noqa: E402

N = 103


@pytest.fixture
def mapped(tmp_path):
    def save(array):
        np.save(tmp_path / "x.npy", array)
        return np.load(tmp_path / "x.npy", mmap_mode="r")

    return save


@pytest.fixture(params=["one pool", "many pools"])
def pools(request, monkeypatch):
    """A pool holds all rows, or eight blocks of four."""
    if request.param == "many pools":
        monkeypatch.setattr(disk, "_BLOCK", 64)
        monkeypatch.setattr(disk, "_BLOCKS", 8)


def source_of(mapped, size=10, array=None):
    x = mapped(np.arange(N * 3, dtype=np.float32).reshape(N, 3)) if array is None else mapped(array)
    source = rows_on_disk({0: x, "y": torch.arange(float(N)), "n": 3}, {0: "x", "y": "y", "n": "n"}, size)
    like = Arguments((torch.zeros(2, 3, dtype=torch.float64),), {"y": torch.zeros(2), "n": 3})
    return source, like


def first(source, like, count, *, seed=0, replica=0):
    return list(itertools.islice(source.batches(like, seed, replica), count))


def test_a_pass_gives_every_row_once_and_arguments_together(mapped, pools):
    source, like = source_of(mapped)
    assert source.per_epoch == 10
    batches = first(source, like, 20)
    for one in (batches[:10], batches[10:]):
        seen = torch.cat([batch.kwargs["y"] for batch in one])
        assert len(seen.unique()) == 100
    assert all(torch.equal(batch.args[0][:, 0], 3.0 * batch.kwargs["y"].double()) for batch in batches)
    assert batches[0].args[0].dtype is torch.float64
    assert batches[0].kwargs["n"] == 3
    assert not torch.equal(batches[0].kwargs["y"], batches[10].kwargs["y"])


def test_without_a_rest_a_pass_is_all_rows(mapped, pools):
    source, like = source_of(mapped, size=1)
    assert sorted(batch.kwargs["y"].item() for batch in first(source, like, N)) == list(range(N))


def test_seed_and_replica_decide(mapped, pools):
    source, like = source_of(mapped)

    def order(**which):
        return torch.cat([batch.kwargs["y"] for batch in first(source, like, 12, **which)]).tolist()

    assert order() == order(seed=0, replica=0)
    assert order() != order(seed=1)
    assert order() != order(replica=1)


@pytest.mark.parametrize("begin", [1, 7, 10, 23])
def test_batches_from_any_step_on(mapped, pools, begin):
    source, like = source_of(mapped)
    whole = first(source, like, 30)
    rest = list(itertools.islice(source.batches(like, 0, 0, begin), 30 - begin))
    assert all(torch.equal(a.kwargs["y"], b.kwargs["y"]) for a, b in zip(whole[begin:], rest, strict=True))


def test_each_row_is_as_likely_in_each_place(mapped, monkeypatch):
    """Twelve rows in three pools: 5 sd of Binomial(3000, 1/12) over 144 counts, false alarm rate 144 × 6e-7 = 8e-5."""
    monkeypatch.setattr(disk, "_BLOCK", 32)
    monkeypatch.setattr(disk, "_BLOCKS", 2)
    x = np.arange(12, dtype=np.float64).reshape(12, 1)
    source = rows_on_disk({0: mapped(x)}, {0: "x"}, 1)
    like = Arguments((torch.zeros(1, 1, dtype=torch.float64),), {})
    counts = np.zeros((12, 12))
    rows = [int(batch.args[0]) for batch in first(source, like, 12 * 3000)]
    for place, row in enumerate(rows):
        counts[place % 12, row] += 1
    assert (abs(counts - 250) < 5 * np.sqrt(3000 / 12 * 11 / 12)).all()


def test_all_rows_in_parts(mapped, monkeypatch):
    monkeypatch.setattr(disk, "_SHOWN", 20)
    source, like = source_of(mapped)
    parts = list(source.once(like))
    assert [len(part.kwargs["y"]) for part in parts] == [20] * 5 + [3]
    assert torch.cat([part.kwargs["y"] for part in parts]).tolist() == list(range(N))


@pytest.mark.parametrize(
    ("given", "wanted"),
    [("<i2", torch.int64), (">f8", torch.float64), ("<f2", torch.float32), ("|b1", torch.float32)],
)
def test_types_are_those_of_the_example(mapped, given, wanted):
    x = mapped((np.arange(N) % 2).astype(given))
    source = rows_on_disk({0: x}, {0: "x"}, 10)
    (batch,) = first(source, Arguments((torch.zeros(2, dtype=wanted),), {}), 1)
    assert batch.args[0].dtype is wanted
    assert set(batch.args[0].tolist()) <= {0, 1}


def test_rows_that_stand_for_all(mapped, monkeypatch):
    monkeypatch.setattr(disk, "_SHOWN", 5)
    source, _ = source_of(mapped, size=4)
    assert source.shown()["y"].tolist() == [0, 20, 41, 61, 82]
    assert len(source_of(mapped, size=7)[0].shown()[0]) == 8


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e30])
def test_what_is_no_number_is_named_where_it_comes(mapped, pools, bad):
    x = np.ones((N, 3), dtype=np.float32)
    x[77, 2] = bad
    source, like = source_of(mapped, array=x)
    with pytest.raises(DataError, match=r"x: holds what cannot .* got .* in row 77, column 2 of batch \d"):
        first(source, like, 40)


def test_what_is_no_number_among_the_rows_shown(mapped):
    x = np.ones((N, 3), dtype=np.float32)
    x[102] = np.nan
    with pytest.raises(DataError, match=r"got nan in row 102, column 0; expected"):
        source_of(mapped, array=x)[0].shown()


def test_integers_that_a_float_cannot_hold():
    with pytest.raises(DataError, match=r"got .* in row 5;"):
        check_numbers("n", torch.tensor([1, 2**53 + 2]), np.array([4, 5]), "")
    check_numbers("n", torch.tensor([1, -(2**53)]), np.array([4, 5]), "")


def test_what_is_read_whole(mapped):
    x = mapped(np.ones((N, 3)))
    assert rows_on_disk({0: x}, {0: "x"}, None) is None
    assert rows_on_disk({0: x}, {0: "x"}, N) is None
    assert rows_on_disk({0: np.array(x)}, {0: "x"}, 10) is None
    assert rows_on_disk({0: x[:5], 1: np.ones(N)}, {0: "x", 1: "y"}, 10) is None


def test_changes_that_live_in_memory_only_are_kept(tmp_path):
    np.save(tmp_path / "x.npy", np.zeros(N))
    x = np.load(tmp_path / "x.npy", mmap_mode="c")
    x[:] = 1.0
    source = rows_on_disk({0: x}, {0: "x"}, 10)
    batches = first(source, Arguments((torch.zeros(2),), {}), 20)
    assert source.mappings == ()
    assert all(bool((batch.args[0] == 1).all()) for batch in batches)
