"""Which data are read while a fit goes on, and what of them stands for all."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch.utils.data import DataLoader, TensorDataset  # noqa: E402  # needs torch

from ppzoo.datasets.arguments import Arguments  # noqa: E402
from ppzoo.datasets.batches import Batches  # noqa: E402
from ppzoo.datasets.disk import RowsOnDisk  # noqa: E402
from ppzoo.datasets.streams import RowsElsewhere, streamed  # noqa: E402
from ppzoo.errors import OptionError  # noqa: E402


def model(x, y=None, n=0):
    """No program."""


@pytest.fixture
def x(tmp_path):
    np.save(tmp_path / "x.npy", np.arange(3000.0))
    return np.load(tmp_path / "x.npy", mmap_mode="r")


def test_a_memory_map_of_which_a_step_sees_some_rows(x):
    data, source = streamed(model, x, batch_size=10, rows=None)
    assert isinstance(source, RowsOnDisk)
    assert (len(data[0]), source.rows, source.size) == (1000, 3000, 10)
    data, _ = streamed(model, (x, np.arange(3000), 4), batch_size=10, rows=None)
    assert (len(data[1]), data[2]) == (1000, 4)
    data, source = streamed(model, {"y": x}, batch_size=10, rows=None)
    assert list(data) == ["y"]
    assert source.names == {"y": "y"}


def test_what_is_in_memory_stays_as_it_is(x):
    for data in ([1.0, 2.0], np.ones(3000), (), "digits", {"y": np.ones(3000)}, 3):
        found, source = streamed(model, data, batch_size=10, rows=None)
        assert found is data
        assert source is None
    assert streamed(model, x, batch_size=None, rows=None)[0] is x


def test_a_loader(seeded):
    loader = DataLoader(TensorDataset(torch.arange(6.0)), batch_size=2)
    data, source = streamed(model, loader, batch_size=None, rows=None)
    assert data[0].tolist() == [0, 1]
    assert isinstance(source, Batches)
    with pytest.raises(OptionError, match="batch_size: is the loader's own; got 3 with a DataLoader"):
        streamed(model, loader, batch_size=3, rows=None)
    with pytest.raises(OptionError, match="rows: is for a loader"):
        streamed(model, torch.ones(3), batch_size=3, rows=3)


def test_rows_that_nobody_has_any_more():
    source = RowsElsewhere(100, 10)
    assert list(source.once(Arguments((), {}))) == list(source.batches(Arguments((), {}), 0, 0)) == []
