"""Files to records: ``.csv .npy .npz .parquet``, and what can be wrong with them.

Nothing in a file is run: pickled arrays are refused, text is read as text. What a reader would repair silently
(renamed duplicates, cut lines, a first column that becomes an index) is an error that says where.
"""

from __future__ import annotations

import csv
import importlib.util
import re
import zipfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from ppzoo.datasets.frames import record_from_frame
from ppzoo.datasets.numeric import is_array_like, plain_array
from ppzoo.datasets.record import Dataset, split_rows
from ppzoo.datasets.tensors import is_tensor, plain_tensor
from ppzoo.errors import DataError

__all__ = ["read_file", "record_from_array"]


def read_file(path: Path, *, seed: int = 0) -> Dataset:
    """The record in a file.

    Args:
        path: A ``.csv`` (comma, decimal point, one header line, UTF-8), ``.npy``, ``.npz`` or ``.parquet`` file.
        seed: Decides the train and test rows.

    Raises:
        DataError: Where there is no such file, its kind is unknown, or it does not hold numbers.
    """
    readers = {".csv": _read_csv, ".npy": _read_numpy, ".npz": _read_numpy, ".parquet": _read_parquet}
    known = ", ".join(readers)
    if path.is_dir():
        _refuse(path, "is a folder", "", f"a {known} file", "Name one file in it.")
    if path.suffix.lower() not in readers:
        _refuse(path, "unknown kind of file", repr(path.suffix), f"one of {known}", "Convert it, or load it yourself.")
    if not path.is_file():
        _refuse(path, "no such file", str(path), "a file that is there", "Check the path and the working directory.")
    try:
        return readers[path.suffix.lower()](path, seed)
    except OSError as error:
        raise DataError("cannot be read", argument=path.name, got=str(error)) from error


def record_from_array(value: Any, *, name: str = "array", seed: int = 0) -> Dataset:
    """A record with one array as ``x``.

    Args:
        value: An array, list or tensor.
        name: What to call the record.
        seed: Decides the train and test rows.

    Raises:
        DataError: Where it does not hold numbers, or is a single one.

    Example:
        >>> record_from_array([[1.0, 2.0], [3.0, 4.0]])
        Dataset('array': x (2, 2); train 2, test 0)
    """
    if is_tensor(value):
        value = plain_tensor("x", value, []).cpu().numpy()
    if not is_array_like(value) or getattr(value, "shape", None) == ():
        raise DataError(
            "these are no data",
            argument="dataset",
            got=f"{value!r:.40} ({type(value).__name__})",
            expected="a name, a path, an array, a tensor or a DataFrame",
        )
    return _from_arrays({"x": plain_array("x", value)}, name=name, seed=seed)


def _from_arrays(arrays: dict[str, NDArray[np.generic]], *, name: str, seed: int, source: str = "") -> Dataset:
    lengths = {array.shape[:1] for array in arrays.values()}
    aligned = len(lengths) == 1 and lengths != {()}
    splits = split_rows(next(iter(lengths))[0], seed=seed) if aligned else {}
    return Dataset(name, arrays, source=source, licence="as its owner says", splits=splits)


def _read_numpy(path: Path, seed: int) -> Dataset:
    try:
        with path.open("rb") as stream:
            loaded = np.load(stream, allow_pickle=False)
            archive = isinstance(loaded, np.lib.npyio.NpzFile)
            arrays = {name: loaded[name] for name in loaded.files} if archive else {"x": loaded}
    except (ValueError, EOFError, zipfile.BadZipFile, MemoryError, KeyError) as error:
        reason = str(error).split("\n", 1)[0]
        if "pickle" in reason:
            remedy = (
                "Objects are never loaded: loading them could run code. Save numbers: np.save(path, x.astype(float))."
            )
            _refuse(path, "holds Python objects", "pickled data", "an array of numbers", remedy)
        _refuse(path, "is damaged", reason[:120], "a file written by numpy.save or savez", "Write it again.")
    if not arrays:
        _refuse(path, "is empty", "no array", "at least one array", "Write it again.")
    if {"format", "shape", "data"} <= set(arrays):
        remedy = "Make it dense: numpy.save(new_path, scipy.sparse.load_npz(path).toarray())."
        _refuse(path, "holds a sparse matrix", f"arrays {', '.join(arrays)}", "an array of numbers", remedy)
    plain = {name: plain_array(name, array) for name, array in arrays.items()}
    return _from_arrays(plain, name=path.name, seed=seed, source=str(path))


def _read_parquet(path: Path, seed: int) -> Dataset:
    if importlib.util.find_spec("pyarrow") is None:
        _refuse(path, "needs pyarrow", "no pyarrow", "", 'Install it: pip install "ppzoo[parquet]"')
    import pandas as pd

    try:
        frame = pd.read_parquet(path, engine="pyarrow")
    except ValueError as error:  # ArrowInvalid is one
        _refuse(path, "is damaged", str(error).split("\n", 1)[0][:120], "a parquet file", "Write it again.")
    return record_from_frame(frame, name=path.name, argument=path.name, source=str(path), seed=seed)


def _read_csv(path: Path, seed: int) -> Dataset:
    import pandas as pd

    marked = _check_text(path)
    _check_header(path, _check_lines(path))
    frame = pd.read_csv(path, encoding="utf-8-sig", index_col=False, low_memory=False, skipinitialspace=True)
    record = record_from_frame(frame, name=path.name, argument=path.name, source=str(path), seed=seed)
    said = " The byte-order mark at its start was skipped." if marked else ""
    return replace(record, description=f"{record.description}{said}")


def _check_text(path: Path) -> bool:
    """Whether the file begins with UTF-8's mark; other marks and bytes that are no text are refused."""
    with path.open("rb") as stream:
        start = stream.read(4096)
    if start.startswith((b"\xff\xfe", b"\xfe\xff")):
        _refuse(path, "is UTF-16 text", "a byte-order mark", "UTF-8", "Save it as 'CSV UTF-8'.")
    if b"\x00" in start:
        _refuse(path, "is no text", "a NUL byte", "UTF-8 text", "Check what kind of file this is.")
    return start.startswith(b"\xef\xbb\xbf")


def _check_lines(path: Path) -> list[str]:
    """The header, once every line has been seen to have as many fields."""
    with path.open(encoding="utf-8-sig", newline="") as stream:
        reader = csv.reader(stream, strict=True, skipinitialspace=True)
        try:
            header = next(reader, [])
            _check_separator(path, header)
            filled = 0
            for row in reader:
                filled += bool(row)
                if row and len(row) != len(header):
                    _refuse_line(path, reader.line_num, row, header)
        except csv.Error as error:
            remedy = "Look for a quote that is opened and never closed." if "end of data" in str(error) else ""
            _refuse(path, "is not well-formed", f"{error} (line {reader.line_num})", "balanced quotes", remedy)
        except UnicodeDecodeError as error:
            _refuse(path, "is not UTF-8 text", f"byte {error.start}", "UTF-8", "Save it as 'CSV UTF-8'.")
    if header and not filled:
        _refuse(path, "has a header and no rows", "0 rows", "at least one row", "Check how it was written.")
    return header


def _check_separator(path: Path, header: Sequence[str]) -> None:
    if not header:
        _refuse(path, "is empty", "no header", "a header line and rows of numbers", "Check how it was written.")
    for mark, name in ((";", "semicolons"), ("\t", "tabs")):
        if len(header) == 1 and mark in header[0]:
            remedy = f"Load it yourself and pass the DataFrame: pandas.read_csv(path, sep={mark!r}"
            more = ", decimal=','" if mark == ";" else ""
            _refuse(path, f"is separated by {name}", repr(header[0][:60]), "commas", f"{remedy}{more}).")


def _check_header(path: Path, header: Sequence[str]) -> None:
    twice = [name for name, count in Counter(header).items() if count > 1]
    if "" in header:
        remedy = "Give it one; if it is the index, write without: frame.to_csv(path, index=False)."
        _refuse(path, "a column has no name", f"column {header.index('')}", "a name for each column", remedy)
    if twice:
        _refuse(path, "two columns have one name", ", ".join(map(repr, twice[:5])), "different names", "Rename one.")
    if all(re.fullmatch(r"\s*[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?\s*", name) for name in header):
        _refuse(path, "has no header", ", ".join(header[:5]), "column names in the first line", "Add a line of names.")


def _refuse_line(path: Path, line: int, row: Sequence[str], header: Sequence[str]) -> NoReturn:
    comma = len(row) == 2 * len(header)
    remedy = "These look like decimal commas: write decimal points." if comma else "Look for a missing or extra comma."
    _refuse(path, f"line {line} has the wrong length", _fields(row), _fields(header), remedy)


def _fields(row: Sequence[str]) -> str:
    return f"{len(row)} field{'' if len(row) == 1 else 's'}"


def _refuse(path: Path, problem: str, got: str, expected: str, remedy: str) -> NoReturn:
    raise DataError(problem, argument=path.name, got=got, expected=expected, remedy=remedy)
