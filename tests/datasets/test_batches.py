"""Batches come as the loader gives them; what is not like the first is named by its batch."""

from __future__ import annotations

import itertools
import random

import numpy as np
import pandas as pd
import pytest

torch = pytest.importorskip("torch")

from torch.utils.data import DataLoader, IterableDataset, TensorDataset  # noqa: E402  # needs torch

from ppzoo.datasets.arguments import Arguments  # noqa: E402
from ppzoo.datasets.batches import batches_of, is_loader, places_of  # noqa: E402
from ppzoo.errors import DataError, OptionError  # noqa: E402

X = torch.arange(10.0)


class Again:
    """Gives the same batches each time."""

    def __init__(self, *batches):
        self.batches = batches

    def __iter__(self):
        return iter(self.batches)


def through(loader, count, rows=None):
    source, data = batches_of(loader, rows)
    values = places_of(data)
    names = {name: value for name, value in values.items() if isinstance(name, str)}
    like = Arguments(tuple(value for name, value in values.items() if isinstance(name, int)), names)
    return source, list(itertools.islice(source.batches(like, 0, 0), count))


@pytest.mark.parametrize(
    ("data", "answer"),
    [
        (DataLoader(TensorDataset(X), batch_size=2), True),
        (Again(X), True),
        ((x for x in (X,)), True),
        (X, False),
        ([X, X], False),
        ((X,), False),
        ({"x": X}, False),
        (np.ones(3), False),
        (range(3), False),
        (pd.Series([1.0]), False),
        (pd.DataFrame({"x": [1.0]}), False),
        ("digits", False),
        (3, False),
        ({1.0}, False),
        (random, False),
    ],
)
def test_what_is_a_loader(data, answer):
    assert is_loader(data) is answer


def test_passes_in_the_order_of_the_loader(seeded):
    loader = DataLoader(TensorDataset(X, 2 * X), batch_size=4)
    source, batches = through(loader, 7)
    assert (source.rows, source.size, source.per_epoch, source.regular) == (10, 4, 3, False)
    assert [batch.args[0].tolist() for batch in batches[:3]] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    assert all(torch.equal(batch.args[1], 2 * batch.args[0]) for batch in batches)
    assert torch.equal(batches[3].args[0], batches[0].args[0])
    assert "its last batch weigh 2 times" in source.notes[1]


def test_a_dict_goes_by_name_and_a_tensor_alone():
    _, (batch,) = through(Again({"x": X, "y": np.arange(10)}), 1, rows=10)
    assert batch.kwargs["y"].dtype is torch.int64
    _, (batch,) = through(Again(X), 1, rows=10)
    assert torch.equal(batch.args[0], X)


def test_batches_are_copies():
    x = X.clone()
    _, (batch,) = through(Again(x), 1, rows=10)
    batch.args[0].zero_()
    assert torch.equal(x, X)


def test_a_short_last_batch_that_is_dropped(seeded):
    source, batches = through(DataLoader(TensorDataset(X), batch_size=4, drop_last=True), 5)
    assert (source.per_epoch, source.regular, source.notes) == (2, True, ())
    assert {len(batch.args[0]) for batch in batches} == {4}
    assert list(source.once(batches[0])) == []


def test_a_loader_that_shuffles_needs_no_warning():
    source, _ = through(DataLoader(TensorDataset(X), batch_size=4, shuffle=True, generator=torch.Generator()), 1)
    assert source.notes == ("Batches of other than 4 rows take the slower road, by the program.",)
    assert len(list(source.once(Arguments((X,), {})))) == 3


class Stream(IterableDataset):
    def __iter__(self):
        return iter(X)


def test_who_does_not_tell_how_many_rows_there_are(seeded):
    for loader in (DataLoader(Stream(), batch_size=5), Again(X), DataLoader([X, X], batch_size=None)):
        with pytest.raises(OptionError, match="rows: is needed to weigh batches"):
            batches_of(loader, None)
    source, _ = through(DataLoader(Stream(), batch_size=5), 4, rows=10)
    assert source.per_epoch == 2


@pytest.mark.parametrize(
    ("rows", "got"), [(11, "10 rows in 2 batches; expected 11"), (9, "more than 9 rows in 2 batches; expected 9")]
)
def test_a_pass_of_other_rows_than_it_said(rows, got):
    with pytest.raises(DataError, match=f"data: gives another number of rows in a pass than it should; got {got}"):
        through(Again(X[:5], X[5:]), 5, rows=rows)


@pytest.mark.parametrize(
    ("second", "message"),
    [
        (
            X.double(),
            r"batch 1 has the wrong type in argument 0; got torch.float64; expected torch.float32",
        ),
        (X[:, None], r"batch 1 has the wrong shape of a row in argument 0; got \(1,\); expected \(\)"),
        ((X, X), r"batch 1 has the wrong arguments; got \[0, 1\]; expected \[0\]"),
        (torch.tensor(1.0), r"batch 1 has the wrong number of rows; got shapes \{0: \(\)\}"),
        (X[:0], r"batch 1 has the wrong number of rows"),
        ((X, "word"), r"batch 1 has the wrong argument 1; got a str; expected a tensor"),
        ((X, X[:4]), r"batch 1 has the wrong number of rows"),
        (torch.where(X == 3, torch.nan, X), r"argument 0: .*got nan in row 3 of batch 1"),
        (["a", "b"], r"batch 1 has the wrong argument 0"),
    ],
)
def test_a_batch_that_is_not_like_the_first(second, message):
    with pytest.raises(DataError, match=message):
        through(Again(X, second), 2, rows=20)


def test_nothing():
    with pytest.raises(DataError, match="data: gives no batch; got a Again without any"):
        batches_of(Again(), 10)
    loader = Again(X)
    source, _ = batches_of(loader, 10)
    loader.batches = ()
    with pytest.raises(DataError, match="gives no batch"):
        next(source.batches(Arguments((X,), {}), 0, 0))


def test_what_can_be_gone_through_once():
    with pytest.raises(DataError, match=r"data: can be gone through only once; got a generator; .*DataLoader"):
        batches_of((x for x in (X,)), 10)
