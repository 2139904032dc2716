"""Every array-like becomes a plain array of numbers, or an error that names the value and the remedy."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest
from scipy import sparse

from ppzoo.datasets.numeric import LARGEST_INTEGER, is_array_like, plain_array
from ppzoo.errors import DataError

REFUSED = {
    "text": (["red", "blue"], r"y: holds text; got 'red' at index 0.*get_dummies"),
    "text in a table": ([[1.0, "red"]], r"y: holds text"),
    "numbers in text": (["1.5", "2"], r"y: holds text; got '1.5' at index 0.*never read silently"),
    "decimal comma": (["1,5"], r"got '1,5' at index 0.*decimal comma"),
    "bytes": ([b"1"], r"y: holds text; got '1'"),
    "text among objects": (np.array([1, "a"], dtype=object), r"holds text; got 'a' at index 1"),
    "none": ([1.0, None], r"y: has missing entries; got None at index 1.*Drop these rows"),
    "ragged": ([[1, 2], [3]], r"y: is ragged; got rows of 2, 1 entries; expected rows of equal length\. Pad"),
    "complex": (np.array([1j]), r"y: is complex; got complex128.*real and imaginary parts"),
    "dates": (np.array(["2020-01-01"], dtype="datetime64[D]"), r"y: holds dates or times.*days since"),
    "times": (np.array([1], dtype="timedelta64[s]"), r"y: holds dates or times"),
    "date objects": ([dt.date(2020, 1, 1)], r"y: holds objects; got date at index 0"),
    "sparse": (sparse.csr_matrix(np.eye(2)), r"y: is a sparse matrix; got csr_matrix.*y\.toarray\(\)"),
    "sparse array": (sparse.coo_array(np.eye(2)), r"y: is a sparse matrix.*toarray"),
    "fields": (np.zeros(2, dtype=[("a", float)]), r"y: has named fields.*one array per field"),
    "masked": (np.ma.masked_equal([1, 2, 1], 2), r"y: has masked entries; got 1 masked, the first at index 1"),
    "large": ([1, 2**53 + 1], rf"got {2**53 + 1} at index 1 \(1 such\).*integers within {2**53}"),
    "large, negative": (np.array([[-(2**62)]]), r"at index \(0, 0\)"),
    "large, unsigned": (np.array([2**64 - 1], dtype=np.uint64), r"too large for float64"),
    "large, python": ([2**70], r"too large for float64"),
    "numbers as objects": (np.array([1, 2.5], dtype=object), r"dtype object.*y\.astype\(float\)"),
    "decimals": ([Decimal("1.5")], r"y: holds objects; got Decimal at index 0"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_not_numbers_is_refused(case: str):
    value, message = REFUSED[case]
    with pytest.raises(DataError, match=message):
        plain_array("y", value)


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ([1, 2], np.int64),
        (range(2), np.int64),
        (np.array([1, 255], dtype=np.uint8), np.int64),
        (np.array([1, 2], dtype=np.uint64), np.int64),
        (np.array([1, 2], dtype=">i4"), np.int64),
        (np.array([True, False]), np.bool_),
        (np.array([1, 2], dtype=np.float16), np.float16),
        (np.array([1, 2], dtype=np.float32), np.float32),
        (np.array([1, 2], dtype=">f8"), np.float64),
        (np.array([1, 2], dtype=np.longdouble), np.float64),
        (np.ma.array([1.0, 2.0], mask=[False, False]), np.float64),
        ([2**53, -(2**53)], np.int64),
    ],
)
def test_numbers_keep_their_value_and_get_a_plain_type(value: object, kind: type):
    array = plain_array("y", value)
    assert array.dtype == kind
    assert array.dtype.isnative
    assert type(array) is np.ndarray
    np.testing.assert_array_equal(array, np.asarray(value))


def test_views_read_only_and_mapped_arrays_are_copied(tmp_path: Path):
    table = np.arange(12.0).reshape(3, 4)
    np.save(tmp_path / "table.npy", table)
    mapped = np.load(tmp_path / "table.npy", mmap_mode="r")
    frozen = table.copy()
    frozen.setflags(write=False)
    for value in (table[::-1], table.T, table[:, ::2], np.asfortranarray(table), frozen, mapped):
        array = plain_array("x", value)
        np.testing.assert_array_equal(array, value)
        assert array.flags.c_contiguous
        assert array.flags.writeable
        array[:] = -1
    np.testing.assert_array_equal(table, np.arange(12.0).reshape(3, 4))
    np.testing.assert_array_equal(mapped, table)


def test_settings_are_told_from_data():
    assert all(is_array_like(value) for value in (np.ones(2), [1], range(3), sparse.eye(2)))
    assert not any(is_array_like(value) for value in (1, 2.5, "a", None, True, (1, 2), {"a": 1}, np.float64(1), object))
    assert LARGEST_INTEGER == 2**53
