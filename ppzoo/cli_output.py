"""What the command line says: answers on standard output, as text or as one JSON document; errors on standard error."""

from __future__ import annotations

import csv
import io
import json
import numbers
import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from ppzoo.diagnostics.diagnosis import json_number
from ppzoo.errors import StorageError

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = [
    "STATUS",
    "Answer",
    "as_csv",
    "as_npy",
    "check_new_file",
    "complain",
    "give",
    "plain_json",
    "printable",
    "write_file",
]

STATUS = {"trust": "ok", "caution": "warn", "reject": "fail"}
"""Verdict to the word that scripts look for."""


@dataclass(frozen=True)
class Answer:
    """What a verb found: the document for ``--json``, the same for people, and the exit code.

    Attributes:
        document: Plain values; NaN and infinities are written as strict JSON can hold them.
        shown: Text.
        code: Exit code: 0 fine, 2 the input is not ready, 3 not to be trusted.
        rich: What a terminal shows instead of the text, drawn by rich.
    """

    document: Any
    shown: str
    code: int = 0
    rich: Any = None


def give(answer: Answer, *, as_json: bool) -> None:
    """Print an answer on standard output."""
    if as_json:
        _write(json.dumps(plain_json(answer.document), indent=2, allow_nan=False), sys.stdout)
    elif answer.rich is not None and sys.stdout.isatty():
        from rich.console import Console

        Console(highlight=False, markup=False).print(answer.rich)
    else:
        _write(printable(answer.shown), sys.stdout)


def complain(error: Mapping[str, str], message: str, *, as_json: bool) -> None:
    """Print an error: a line on standard error, and with ``--json`` the document on standard output."""
    _write(f"ppzoo: {printable(message)}", sys.stderr)
    if as_json:
        _write(json.dumps({"status": "error", **error}, indent=2), sys.stdout)


def printable(text: str) -> str:
    r"""``text`` with every control character written out, so that a name from a file cannot steer the terminal.

    Example:
        >>> print(printable("height\x1b[2J"))
        height\x1b[2J
    """
    return "".join(c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode() for c in text)


def plain_json(value: Any) -> Any:
    """``value`` as strict JSON can hold it: numbers of NumPy as plain ones, tuples as lists, NaN as null.

    Example:
        >>> plain_json({"r_hat": float("nan"), "shape": (2, 3)})
        {'r_hat': None, 'shape': [2, 3]}
    """
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, numbers.Integral):
        return int(value)
    if isinstance(value, numbers.Real):
        return json_number(float(value))
    if isinstance(value, Mapping):
        return {str(key): plain_json(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [plain_json(entry) for entry in value]
    return str(value)


def check_new_file(path: str, *, suffixes: tuple[str, ...], force: bool) -> Path:
    """The path of a file that may be written, asked before any work.

    Raises:
        StorageError: If the suffix is another, the folder is missing, or the file exists and ``force`` is not given.
    """
    target = Path(path)
    if target.suffix not in suffixes or not path.isprintable():
        raise StorageError(
            "is not a name for this file", argument=repr(path), expected=f"a name that ends in {' or '.join(suffixes)}"
        )
    if not target.absolute().parent.is_dir():
        raise StorageError("is in a folder that does not exist", argument=repr(path), remedy="Make the folder first.")
    if target.is_dir():
        raise StorageError("is a folder", argument=repr(path), expected="a file")
    if os.path.lexists(target) and not force:
        raise StorageError(
            "exists already and will not be overwritten",
            argument=repr(path),
            remedy="Choose another name, or say --force.",
        )
    return target


def write_file(target: Path, content: bytes) -> None:
    """Write a file whole or not at all.

    Raises:
        StorageError: If the system refuses.
    """
    try:
        handle, name = tempfile.mkstemp(dir=target.absolute().parent, prefix=f".{target.name[:50]}.")
    except OSError as error:
        raise _refused(target, error) from error
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(name).chmod(0o644)  # mkstemp's files are their owner's alone
        os.replace(name, target)
    except OSError as error:
        with suppress(OSError):
            Path(name).unlink()
        raise _refused(target, error) from error


def as_csv(columns: Sequence[str], rows: NDArray[Any]) -> str:
    """Rows as comma-separated text with a header; an observation of several dimensions is flattened.

    Args:
        columns: Names; ``x0, x1, ...`` where there are none.
        rows: Shape ``(n, ...)``.
    """
    flat = rows.reshape(len(rows), -1).tolist()
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([columns or [f"x{i}" for i in range(len(flat[0]))], *flat])
    return text.getvalue()


def as_npy(rows: NDArray[Any]) -> bytes:
    """Rows as the bytes of a ``.npy`` file."""
    import numpy as np

    buffer = io.BytesIO()
    np.save(buffer, rows, allow_pickle=False)
    return buffer.getvalue()


def _refused(target: Path, error: OSError) -> StorageError:
    return StorageError(
        "cannot be written",
        argument=repr(str(target)),
        got=str(error.strerror),
        remedy="Free space or choose another folder.",
    )


def _write(text: str, stream: TextIO) -> None:
    """A line, with what the stream's encoding lacks written out."""
    encoding = stream.encoding or "utf-8"
    stream.write(text.encode(encoding, "backslashreplace").decode(encoding) + "\n")
    stream.flush()
