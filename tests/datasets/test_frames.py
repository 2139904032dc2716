"""One rule per column type; what is refused names the column, the value or row, and the remedy."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from ppzoo.datasets import load_dataset
from ppzoo.datasets.frames import column_array, is_frame, is_series, record_from_frame
from ppzoo.errors import DataError

REFUSED = {
    "text": (pd.Series(["red", "blue"]), r"column 'c': holds text; got 'red' at row 0.*get_dummies"),
    "text as objects": (pd.Series([1, "red"], dtype=object), r"column 'c': holds text; got 'red' at row 1"),
    "a word among numbers": (pd.Series(["1", "x", "2"]), r"got 'x' at row 1.*get_dummies"),
    "a decimal comma among numbers": (pd.Series(["1", "1,5"]), r"got '1,5' at row 1.*decimal=','"),
    "numbers in text": (pd.Series(["1", "2"]), r"got '1' at row 0.*pandas\.to_numeric"),
    "decimal comma": (pd.Series(["1,5", "2,5"]), r"got '1,5' at row 0.*decimal=','"),
    "category": (pd.Series(["a", "b"], dtype="category"), r"is a category; got levels 'a', 'b'.*get_dummies.*'c'"),
    "whole-number category": (pd.Series([1, 2], dtype="category"), r"column 'c': is a category"),
    "dates": (pd.Series(pd.to_datetime(["2020-01-01"])), r"column 'c': holds dates or times.*days since the first"),
    "dates with a zone": (pd.Series(pd.to_datetime(["2020-01-01"]).tz_localize("UTC")), r"dates or times"),
    "spans": (pd.Series(pd.to_timedelta(["1 day"])), r"dates or times"),
    "periods": (pd.Series(pd.period_range("2020", periods=1, freq="Y")), r"dates or times"),
    "missing integer": (
        pd.Series([1, pd.NA, 3], dtype="Int64"),
        r"column 'c': has missing entries; got 1 of 3 rows, the first at row 1.*dropna",
    ),
    "missing truth": (pd.Series([True, pd.NA], dtype="boolean"), r"has missing entries"),
    "missing nullable float": (pd.Series([1.5, pd.NA], dtype="Float64"), r"has missing entries"),
    "missing object": (pd.Series([1.5, None], dtype=object), r"has missing entries; got 1 of 2 rows"),
    "numbers as objects": (pd.Series([1, 2.5], dtype=object), r"has dtype object; got int at row 0.*astype"),
    "complex": (pd.Series([1j]), r"column 'c': is complex"),
    "sparse": (pd.Series(pd.arrays.SparseArray([0.0, 1.0])), r"column 'c': is sparse.*to_dense"),
    "large": (pd.Series([2**60]), r"column 'c': holds integers too large"),
    "large, unsigned": (pd.Series([2**64 - 1], dtype=np.uint64), r"column 'c': holds integers too large"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_column_that_holds_no_numbers_is_refused_by_name(case: str):
    column, message = REFUSED[case]
    with pytest.raises(DataError, match=message):
        record_from_frame(pd.DataFrame({"good": np.arange(len(column)), "c": column}))


@pytest.mark.parametrize(
    ("column", "kind"),
    [
        (pd.Series([1, 2]), np.int64),
        (pd.Series([1, 255], dtype=np.uint8), np.int64),
        (pd.Series([1, 2], dtype="Int64"), np.int64),
        (pd.Series([1, 2], dtype="UInt8"), np.int64),
        (pd.Series([1.5, 2.5]), np.float64),
        (pd.Series([1.5, 2.5], dtype=np.float32), np.float32),
        (pd.Series([1.5, 2.5], dtype=np.float16), np.float16),
        (pd.Series([1.5, 2.5], dtype="Float32"), np.float32),
        (pd.Series([1.5, np.nan]), np.float64),
        (pd.Series([True, False]), np.bool_),
        (pd.Series([True, False], dtype="boolean"), np.bool_),
    ],
)
def test_numbers_keep_their_value(column: pd.Series, kind: type):
    array = column_array("c", column)
    assert array.dtype == kind
    np.testing.assert_array_equal(array, column.to_numpy(dtype=kind))


@pytest.mark.parametrize("kind", ["int64[pyarrow]", "double[pyarrow]", "bool[pyarrow]"])
def test_arrow_columns_follow_the_same_rules(kind: str):
    pytest.importorskip("pyarrow")
    column = pd.Series([1, 0], dtype=kind)
    np.testing.assert_array_equal(column_array("c", column), [1, 0])
    with pytest.raises(DataError, match="has missing entries"):
        column_array("c", pd.Series([1, None], dtype=kind))


def test_a_mixed_table_is_x_and_keeps_whole_numbers_by_name():
    frame = pd.DataFrame({"height": [1.5, 1.8, 1.7], "age": [30, 40, 50], "smokes": [True, False, True]})
    record = record_from_frame(frame, name="people", source="us", seed=1)
    assert record.columns == {"x": ("height", "age", "smokes")}
    np.testing.assert_array_equal(record.data["x"], frame.to_numpy(dtype=float))
    assert {name: array.dtype.kind for name, array in record.data.items()} == {"x": "f", "age": "i", "smokes": "b"}


def test_a_uniform_table_is_x_alone_in_its_own_type():
    record = load_dataset(pd.DataFrame({0: [1, 2], 1: [3, 4]}))
    assert record.data["x"].dtype == np.int64
    assert list(record.data) == ["x"]
    assert record.columns == {"x": ("0", "1")}


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (pd.DataFrame({"a": []}, dtype=float), r"x: has no rows; got shape \(0, 1\).*Check the filter"),
        (pd.DataFrame(index=[0, 1]), r"x: has no columns"),
        (pd.DataFrame([[1, 2]], columns=["a", "a"]), r"x: two columns have one name; got 'a'"),
        (pd.DataFrame([[1, 2]], columns=[1, "1"]), r"two columns have one name; got '1'"),
    ],
)
def test_an_empty_or_ambiguous_table_is_refused(frame: pd.DataFrame, message: str):
    with pytest.raises(DataError, match=message):
        record_from_frame(frame)


def test_the_frame_is_never_written_to():
    frame = pd.DataFrame({"a": [1.0, 2.0]})
    record_from_frame(frame)
    assert frame.equals(pd.DataFrame({"a": [1.0, 2.0]}))


def test_frames_and_series_are_told_from_arrays():
    frame = pd.DataFrame({"a": [1]})
    assert (is_frame(frame), is_frame(frame["a"]), is_series(frame["a"]), is_series(np.ones(1))) == (
        True,
        False,
        True,
        False,
    )
