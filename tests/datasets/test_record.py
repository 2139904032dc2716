"""The record: read-only copies, honest names, splits that partition the rows."""

from __future__ import annotations

import copy
import subprocess
import sys

import numpy as np
import pytest

from ppzoo.datasets.record import Dataset, split_rows
from ppzoo.errors import DataError, OptionError


def _schools() -> Dataset:
    return Dataset(
        "schools",
        {"x": np.arange(20.0).reshape(10, 2), "y": np.arange(10)},
        columns={"x": ("a", "b")},
        coords={"school": tuple("ABCDEFGHIJ")},
        description="Ten <b>schools</b>",
        source="us",
        licence="Apache-2.0",
        splits=split_rows(10, seed=0),
    )


def test_arrays_are_read_only_copies():
    mine = np.ones((3, 2))
    record = Dataset("a", {"x": mine})
    mine[:] = 7
    assert (record.data["x"] == 1).all()
    with pytest.raises(ValueError, match="read-only"):
        record.data["x"][0, 0] = 2
    with pytest.raises(AttributeError):
        record.name = "b"  # type: ignore[misc]  # frozen is what is tested


@pytest.mark.parametrize("rows", [1, 2, 3, 10, 997])
@pytest.mark.parametrize("seed", [0, 1, 2**64 - 1])
def test_splits_are_disjoint_and_cover_all_rows(rows: int, seed: int):
    splits = split_rows(rows, seed=seed)
    assert sorted(np.concatenate(list(splits.values()))) == list(range(rows))
    assert len(splits["train"]) == round(0.8 * rows)


def test_the_seed_alone_decides_the_split(seeded: int):
    first = split_rows(100, seed=3)
    assert all((first[name] == rows).all() for name, rows in split_rows(100, seed=3).items())
    assert (first["train"] != split_rows(100, seed=4)["train"]).any()
    assert (np.sort(first["test"]) != first["test"]).any(), "shuffled before the cut"


def test_a_split_takes_rows_and_labels_together():
    record = _schools()
    test = record.split("test")
    rows = record.splits["test"]
    assert test.shape == {"x": (2, 2), "y": (2,)}
    assert (test.data["x"] == record.data["x"][rows]).all()
    assert test.coords["school"] == tuple("ABCDEFGHIJ"[i] for i in rows)
    assert test.columns == record.columns
    assert test.name == "schools/test"


def test_an_unknown_split_names_the_known_ones():
    with pytest.raises(OptionError, match=r"split: .*got 'tset'.*Did you mean 'test'"):
        _schools().split("tset")
    with pytest.raises(OptionError, match="None is known"):
        Dataset("a", {"x": np.ones(3)}).split("train")


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ({"columns": {"x": ("a",)}}, r"x: the column names do not fit the array; got 1 names for shape \(3, 2\)"),
        ({"columns": {"z": ("a",)}}, "z: the column names do not fit"),
        ({"coords": {"row": ("a", "b")}}, "row: needs one label per row; got 2 labels"),
    ],
)
def test_names_must_fit_the_arrays(names: dict, message: str):
    with pytest.raises(DataError, match=message):
        Dataset("a", {"x": np.ones((3, 2))}, **names)


def test_it_shows_itself():
    record = _schools()
    assert repr(record) == "Dataset('schools': x (10, 2), y (10,); train 8, test 2)"
    html = record._repr_html_()
    assert "Ten &lt;b&gt;schools&lt;/b&gt;" in html
    assert "<b>" not in html
    assert "Apache-2.0" in html


def test_hostile_names_are_escaped_and_kept():
    name = "<script>alert(1)</script>" + "x" * 10_000
    record = Dataset(name[:25], {"x": np.ones((2, 20))}, columns={"x": tuple(f"{name}{i}" for i in range(20))})
    assert "<script>" not in record._repr_html_()
    assert len(record._repr_html_()) < 2000
    assert record.columns["x"][3] == f"{name}3"


def test_it_can_be_copied():
    record = copy.deepcopy(_schools())
    assert record.shape == {"x": (10, 2), "y": (10,)}


def test_importing_datasets_imports_nothing_heavy():
    probe = (
        "import sys, ppzoo.datasets, ppzoo.datasets.record; ppzoo.datasets.list_datasets(); "
        "print(sorted({'torch', 'pandas', 'sklearn', 'pyro', 'scipy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_loading_needs_no_torch():
    probe = (
        "import sys\n"
        "from ppzoo.datasets import load_dataset\n"
        "print([load_dataset(s).shape for s in ('digits', [[1.0], [2.0]])], 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[{'x': (1797, 64), 'y': (1797,)}, {'x': (2, 1)}] False"
