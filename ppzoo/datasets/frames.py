"""DataFrames to records: one explicit rule per column type, pandas imported by whoever made the frame.

=====================  ==========================================================
column                 becomes
=====================  ==========================================================
integer, floating      itself; nullable ones too, where nothing is missing
True/False             1/0
text, also "1.5"       an error: convert it, or encode the categories
category               an error: encode it (``pandas.get_dummies``) or use its codes
dates and times        an error: pass numbers, such as days since the first
complex, sparse        an error: two columns; a dense column
=====================  ==========================================================
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, NoReturn, TypeGuard

import numpy as np
from numpy.typing import NDArray

from ppzoo.datasets.numeric import is_number, refuse_large_integers, refuse_text
from ppzoo.datasets.record import Dataset, split_rows
from ppzoo.errors import DataError

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["column_array", "is_frame", "is_series", "record_from_frame"]


def is_frame(value: object) -> TypeGuard[pd.DataFrame]:
    """Whether ``value`` is a pandas DataFrame; pandas is not imported for the question."""
    pandas = sys.modules.get("pandas")
    return pandas is not None and isinstance(value, pandas.DataFrame)


def is_series(value: object) -> TypeGuard[pd.Series[Any]]:
    """Whether ``value`` is a pandas Series; pandas is not imported for the question."""
    pandas = sys.modules.get("pandas")
    return pandas is not None and isinstance(value, pandas.Series)


def record_from_frame(
    frame: pd.DataFrame, *, name: str = "table", argument: str = "x", source: str = "", seed: int = 0
) -> Dataset:
    """A record with the whole table as ``x``; in a mixed table, integer and True/False columns by name beside it.

    Args:
        frame: The table, one row per observation.
        name: What to call the record.
        argument: What to call the table in errors.
        source: Where it came from.
        seed: Decides the train and test rows.

    Raises:
        DataError: Where a column does not hold numbers, two have one name, or there is no row or column.

    Example:
        >>> import pandas as pd
        >>> record_from_frame(pd.DataFrame({"height": [1.5, 1.8], "smokes": [True, False]})).data["x"]
        array([[1.5, 1. ],
               [1.8, 0. ]])
    """
    names = tuple(str(column) for column in frame.columns)
    _check_names(argument, names)
    if 0 in frame.shape:
        what = "rows" if len(frame) == 0 else "columns"
        raise DataError(
            f"has no {what}",
            argument=argument,
            got=f"shape {frame.shape}",
            expected="at least one row and one column",
            remedy="Check the filter or file it came from.",
        )
    arrays = {column: column_array(column, frame.iloc[:, i]) for i, column in enumerate(names)}
    kind = np.result_type(*arrays.values())
    beside = {c: a for c, a in arrays.items() if a.dtype.kind in "ib" and a.dtype != kind and c != "x"}
    return Dataset(
        name,
        {"x": np.stack([array.astype(kind) for array in arrays.values()], axis=1), **beside},
        columns={"x": names},
        description=f"A table of {len(frame)} rows and {len(names)} columns.",
        source=source,
        licence="as its owner says",
        splits=split_rows(len(frame), seed=seed),
    )


def column_array(name: str, column: pd.Series[Any]) -> NDArray[np.generic]:
    """One column as bool, int64 or floating point, by the table above.

    Args:
        name: The column's name, for errors.
        column: The column.

    Raises:
        DataError: Where it does not hold numbers.
    """
    from pandas.api import types

    kind: Any = column.dtype
    argument = _label(name)
    _refuse_type(argument, name, column)
    if not (types.is_numeric_dtype(kind) or types.is_bool_dtype(kind)):
        _refuse_entries(argument, column)
    if types.is_extension_array_dtype(kind):
        _refuse_missing(argument, column)
    if types.is_bool_dtype(kind):
        return column.to_numpy(dtype=np.bool_)
    if types.is_integer_dtype(kind):
        refuse_large_integers(argument, column.to_numpy(dtype=np.uint64 if _is_unsigned(kind) else np.int64))
        return column.to_numpy(dtype=np.int64)
    width = getattr(kind, "itemsize", 8)
    return column.to_numpy(dtype={2: np.float16, 4: np.float32}.get(width, np.float64))


def _check_names(argument: str, names: tuple[str, ...]) -> None:
    seen: set[str] = set()
    twice = [name for name in names if name in seen or seen.add(name)]  # type: ignore[func-returns-value]  # add is None
    if twice:
        raise DataError(
            "two columns have one name",
            argument=argument,
            got=", ".join(repr(name) for name in twice[:5]),
            expected="different names",
            remedy="Rename or drop one of them.",
        )


def _refuse_type(argument: str, name: str, column: pd.Series[Any]) -> None:
    import pandas as pd
    from pandas.api import types

    kind: Any = column.dtype
    if isinstance(kind, pd.CategoricalDtype):
        levels = ", ".join(repr(level) for level in column.cat.categories[:4])
        _refuse(
            argument,
            "is a category",
            f"levels {levels}",
            f"Encode it: pandas.get_dummies(frame, columns=[{name!r}]), or .cat.codes as an index.",
        )
    if isinstance(kind, pd.SparseDtype):
        _refuse(argument, "is sparse", str(kind), "Make it dense: column.sparse.to_dense().")
    if types.is_complex_dtype(kind):
        _refuse(argument, "is complex", str(kind), "Pass the real and imaginary parts as columns.")
    if isinstance(kind, pd.PeriodDtype) or types.is_datetime64_any_dtype(kind) or types.is_timedelta64_dtype(kind):
        _refuse(
            argument,
            "holds dates or times",
            str(kind),
            "Pass numbers, such as the days since the first one: (t - t.min()).dt.total_seconds() / 86400.",
        )


def _refuse_entries(argument: str, column: pd.Series[Any]) -> None:
    _refuse_first_text(argument, column)
    _refuse_missing(argument, column)
    _refuse(
        argument,
        f"has dtype {column.dtype}",
        f"{type(column.iloc[0]).__name__} at row 0",
        "Convert it to numbers first, for instance with column.astype(float).",
    )


def _refuse_first_text(argument: str, column: pd.Series[Any]) -> None:
    """The first word; the first number in text where there is no word, for one word makes a file's column text."""
    texts = [(row, entry) for row, entry in enumerate(column) if isinstance(entry, str)]
    if texts:
        row, entry = next((found for found in texts if not is_number(found[1])), texts[0])
        refuse_text(argument, entry, f"row {row}", name="the column")


def _refuse_missing(argument: str, column: pd.Series[Any]) -> None:
    missing = column.isna().to_numpy()
    if missing.any():
        _refuse(
            argument,
            "has missing entries",
            f"{int(missing.sum())} of {len(missing)} rows, the first at row {int(missing.argmax())}",
            "Drop these rows (frame.dropna()) or fill them in: a model cannot see a missing entry.",
        )


def _is_unsigned(kind: Any) -> bool:
    from pandas.api import types

    return bool(types.is_unsigned_integer_dtype(kind))


def _label(name: str) -> str:
    return f"column {name!r}"


def _refuse(argument: str, problem: str, got: str, remedy: str) -> NoReturn:
    raise DataError(problem, argument=argument, got=got, expected="real numbers", remedy=remedy)
