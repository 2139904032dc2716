"""Anything array-like to a plain NumPy array of numbers, or an error that names the value and the remedy.

Nothing is guessed: text, dates, objects, missing entries and sparse matrices are refused, each with what to do.
"""

from __future__ import annotations

import re
import sys
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from ppzoo.errors import DataError

__all__ = ["LARGEST_INTEGER", "is_array_like", "is_number", "plain_array", "refuse_large_integers", "refuse_text"]

LARGEST_INTEGER = 2**53
"""Beyond it a float64 cannot tell neighbouring integers apart."""

_EXPECTED = "real numbers"


def is_array_like(value: object) -> bool:
    """Whether ``value`` holds data (array, list, range, sparse matrix, column) and is not one plain setting."""
    if isinstance(value, np.generic | type):
        return False
    return isinstance(value, np.ndarray | list | range) or hasattr(value, "__array__") or _is_sparse(value)


def plain_array(argument: str, value: Any) -> NDArray[np.generic]:
    """A fresh, contiguous array of bool, int64 or floating point; never a view of ``value``.

    Args:
        argument: What to call it in errors.
        value: An array, list, range, pandas column, or anything with ``__array__``, on the CPU.

    Raises:
        DataError: For ragged lists, text, dates, objects, missing entries, complex numbers, sparse matrices, and
            integers beyond 2**53.

    Example:
        >>> plain_array("y", [1, 2, 3])
        array([1, 2, 3])
        >>> plain_array("y", ["1", "2"])
        Traceback (most recent call last):
        ppzoo.errors.DataError: y: holds text; got '1' at index 0; expected real numbers. Convert it first: ...
    """
    if _is_sparse(value):
        _refuse(argument, "is a sparse matrix", type(value).__name__, f"Make it dense: pass {argument}.toarray().")
    array = _as_array(argument, value)
    kind = array.dtype.kind
    if kind not in "biuf":
        _refuse_kind(argument, array)
    if kind in "iu":
        refuse_large_integers(argument, array)
        return np.array(array, dtype=np.int64, order="C")
    wide = np.float64 if array.dtype.itemsize > 8 else array.dtype.newbyteorder("=")
    return np.array(array, dtype=wide, order="C")


def refuse_large_integers(argument: str, array: NDArray[Any]) -> None:
    """:class:`DataError` where an integer is beyond 2**53, the first that a float64 cannot hold apart."""
    if array.size == 0 or (int(array.max()) <= LARGEST_INTEGER and int(array.min()) >= -LARGEST_INTEGER):
        return
    large = (array > LARGEST_INTEGER) | (array < -LARGEST_INTEGER)
    where = _first(large)
    _refuse(
        argument,
        "holds integers too large for float64 to tell apart",
        f"{array[where]} at {_index(where)} ({int(large.sum())} such)",
        "Identifiers are not data: drop them, or subtract an offset.",
        expected=f"integers within {LARGEST_INTEGER}",
    )


def refuse_text(argument: str, text: str, where: str, *, name: str = "the array") -> NoReturn:
    """:class:`DataError` for one entry that is text: a number in disguise, a decimal comma, or a word."""
    if re.fullmatch(r"\s*[-+]?\d+,\d+\s*", text):
        remedy = f"This looks like a decimal comma: read it with decimal=',' or replace ',' by '.' in {name}."
    elif is_number(text):
        remedy = "Convert it first, as text is never read silently: pandas.to_numeric(column) or array.astype(float)."
    else:
        remedy = "Drop it, or encode the categories as columns of 0 and 1, for instance with pandas.get_dummies."
    _refuse(argument, "holds text", f"{text[:40]!r} at {where}", remedy)


def _as_array(argument: str, value: Any) -> NDArray[Any]:
    if isinstance(value, np.ma.MaskedArray) and np.ma.is_masked(value):
        where = _first(np.ma.getmaskarray(value))
        _refuse(argument, "has masked entries", f"{value.mask.sum()} masked, the first at {_index(where)}", _MISSING)
    try:
        return np.asarray(value)
    except ValueError as error:
        if "inhomogeneous" not in str(error):
            raise
        lengths = [len(row) if hasattr(row, "__len__") else "no" for row in value]
        got = f"rows of {', '.join(map(str, lengths[:5]))}{' ...' if len(lengths) > 5 else ''} entries"
        raise DataError(
            "is ragged",
            argument=argument,
            got=got,
            expected="rows of equal length",
            remedy="Pad the rows, or pass them one by one with their lengths.",
        ) from None


_MISSING = "Drop these rows or fill them in: a model cannot see a missing entry."


def _refuse_kind(argument: str, array: NDArray[Any]) -> NoReturn:
    kind = array.dtype.kind
    if kind == "c":
        _refuse(argument, "is complex", str(array.dtype), "Pass the real and imaginary parts as columns.")
    if kind in "mM":
        _refuse(
            argument,
            "holds dates or times",
            str(array.dtype),
            "Pass numbers, such as the days since the first one: (t - t.min()) / numpy.timedelta64(1, 'D').",
        )
    if kind in "US":
        where = _first(np.ones(array.shape, dtype=bool)) if array.size else (0,)
        text = array[where] if array.size else ""
        refuse_text(argument, text.decode("latin-1") if isinstance(text, bytes) else str(text), _index(where))
    if kind == "O":
        _refuse_object(argument, array)
    _refuse(argument, "has named fields", str(array.dtype)[:60], "Pass one array per field, as a dict.")


def _refuse_object(argument: str, array: NDArray[Any]) -> NoReturn:
    for where, entry in np.ndenumerate(array):
        if isinstance(entry, str):
            refuse_text(argument, entry, _index(where))
        if entry is None or type(entry).__name__ in {"NAType", "NaTType"}:
            _refuse(argument, "has missing entries", f"{entry!r} at {_index(where)}", _MISSING)
        if isinstance(entry, int) and not isinstance(entry, bool) and abs(entry) > LARGEST_INTEGER:
            refuse_large_integers(argument, np.array([entry], dtype=object))
        if not isinstance(entry, int | float | np.number | np.bool_):
            _refuse(
                argument, "holds objects", f"{type(entry).__name__} at {_index(where)}", "Pass an array of numbers."
            )
    _refuse(argument, "has dtype object", f"{array.size} numbers as objects", f"Convert it: {argument}.astype(float).")


def _is_sparse(value: object) -> bool:
    scipy = sys.modules.get("scipy.sparse")  # a sparse matrix exists only where its module was imported
    return scipy is not None and bool(scipy.issparse(value))


def is_number(text: str) -> bool:
    """Whether a text reads as a number."""
    try:
        float(text)
    except ValueError:
        return False
    return True


def _first(good: NDArray[np.bool_]) -> tuple[int, ...]:
    return tuple(int(i) for i in np.argwhere(good)[0])


def _index(where: tuple[int, ...]) -> str:
    return f"index {where[0] if len(where) == 1 else where}"


def _refuse(argument: str, problem: str, got: str, remedy: str, *, expected: str = _EXPECTED) -> NoReturn:
    raise DataError(problem, argument=argument, got=got, expected=expected, remedy=remedy)
