"""The rows of a draw log: one flat file per field, the slots of its chains one behind the other.

Row ``k`` of chain ``c`` is at byte ``(c S + k) r``, with ``S`` draws per chain and ``r`` bytes per row: the file is the
little-endian array (C, S, ...) itself, sparse until it is written. For each chain the CRC-32 of its rows so far is
carried along, ``crc(ab)`` being a function of ``crc(a)`` and ``b``, so that an append pays for what it adds however
long the log is. A CRC of 32 bits finds every change within 32 neighbouring bits, and any other but for a chance of
2^-32 (Peterson and Brown, Cyclic Codes for Error Detection, 1961, https://doi.org/10.1109/JRPROC.1961.287814).
"""

from __future__ import annotations

import math
import os
import stat
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ppzoo.errors import StorageError
from ppzoo.storage.manifest import check_name

__all__ = [
    "Field",
    "check_field",
    "check_rows",
    "damaged",
    "make_rows",
    "map_rows",
    "open_rows",
    "write_rows",
]

_TYPES = {
    "float64": "<f8",
    "float32": "<f4",
    "float16": "<f2",
    "int64": "<i8",
    "int32": "<i4",
    "int16": "<i2",
    "int8": "|i1",
    "uint8": "|u1",
    "bool": "|b1",
}
_FLAGS = sum(getattr(os, flag, 0) for flag in ("O_NOFOLLOW", "O_NONBLOCK", "O_CLOEXEC", "O_BINARY"))
_PIECE = 2**20  # bytes read at once: memory stays flat however long a chain is
_LARGEST = 2**62  # bytes of a file; offsets are 64 bits with a sign


@dataclass(frozen=True)
class Field:
    """One quantity that every draw has: its ``name``, its ``type`` by torch's name for it, the ``shape`` of one row."""

    name: str
    type: str
    shape: tuple[int, ...]

    @property
    def file(self) -> str:
        """The name of its file."""
        return f"{self.name}.draws"

    @property
    def dtype(self) -> np.dtype[np.generic]:
        """Its type in the file."""
        return np.dtype(_TYPES[self.type])

    @property
    def row(self) -> int:
        """The bytes of one row."""
        return self.dtype.itemsize * math.prod(self.shape)


def check_field(name: object, kind: object, shape: object, *, rows: int) -> Field:
    """The field of these, if a file can hold ``rows`` rows of it.

    Args:
        name: Letters, digits, ``_ - .``: it becomes the name of a file.
        kind: The type, as torch calls it, without ``torch.``.
        shape: The shape of one row, no side of it empty.
        rows: How many rows there will be, over all chains.

    Raises:
        StorageError: For a name, type or shape that cannot be kept.

    Example:
        >>> check_field("q", "float64", (10,), rows=4000).row
        80
        >>> check_field("q", "complex64", (10,), rows=4000)
        Traceback (most recent call last):
        ppzoo.errors.StorageError: 'q': has a type that a draw log does not keep; got complex64; expected one of ...
    """
    check_name(f"{name}.draws" if isinstance(name, str) else name)
    if not isinstance(kind, str) or kind not in _TYPES:
        raise StorageError(
            "has a type that a draw log does not keep",
            argument=repr(name),
            got=f"{kind:.40}" if isinstance(kind, str) else type(kind).__name__,
            expected=f"one of {', '.join(_TYPES)}",
        )
    sides = tuple(shape) if isinstance(shape, Sequence) else (0,)
    if not all(type(side) is int and side > 0 for side in sides) or _bytes(kind, sides) * rows > _LARGEST:
        raise StorageError(
            "has a shape that no file can hold",
            argument=repr(name),
            got=f"{shape!r:.80} for each of {rows} rows",
            expected="the shape of one row, whole numbers from 1",
        )
    return Field(str(name), kind, sides)


def make_rows(path: Path, size: int) -> None:
    """A new file of ``size`` bytes that takes up no room yet, synced."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | _FLAGS, 0o666)
    try:
        os.ftruncate(handle, size)
        os.fsync(handle)
    finally:
        os.close(handle)


def open_rows(path: Path, size: int, *, writing: bool = False) -> int:
    """A handle of the plain file of ``size`` bytes at ``path``; the caller closes it.

    Raises:
        StorageError: When it is anything else; a link, a pipe or a folder is neither followed nor waited for.
        OSError: When it is missing or cannot be opened.
    """
    handle = os.open(path, (os.O_RDWR if writing else os.O_RDONLY) | _FLAGS)
    status = os.fstat(handle)
    if stat.S_ISREG(status.st_mode) and status.st_size == size:
        return handle
    os.close(handle)
    if not stat.S_ISREG(status.st_mode):
        raise damaged(path, "is not a plain file", stat.filemode(status.st_mode), "a file")
    raise damaged(path, "has the wrong size", f"{status.st_size} bytes", f"{size} bytes")


def write_rows(
    handle: int,
    field: Field,
    draws: int,
    rows: NDArray[np.generic],
    spans: Sequence[tuple[int, int]],
    sums: NDArray[np.int64],
) -> None:
    """Put each chain's new rows behind its old ones, and carry its checksum along; the caller syncs the file.

    Written, not mapped: where the disk is full, a write raises an error, while a mapped page kills the process.

    Args:
        handle: The file, from :func:`open_rows`.
        field: What is in it.
        draws: S, the rows that each chain has room for.
        rows: (C, B, ...): of chain c, the first rows are new.
        spans: For each chain, how many rows it has and how many are new.
        sums: (C,): the CRC-32 of what each chain has; updated in place.
    """
    row, room = field.row, field.row * rows.shape[1]
    source = np.ascontiguousarray(rows, dtype=field.dtype).reshape(-1).view(np.uint8).data
    carried = sums.tolist()
    for c, (start, count) in enumerate(spans):
        if count:
            piece = source[c * room : c * room + count * row]
            carried[c] = zlib.crc32(piece, carried[c])
            os.lseek(handle, (c * draws + start) * row, os.SEEK_SET)
            while piece:
                piece = piece[os.write(handle, piece) :]
    sums[:] = carried


def check_rows(
    handle: int, path: Path, field: Field, draws: int, counts: NDArray[np.int64], sums: NDArray[np.int64]
) -> None:
    """Read the first ``counts`` (C,) rows of each chain and compare their checksums with ``sums`` (C,).

    Raises:
        StorageError: When any byte differs; the message names the file and the chain.
    """
    for c, (count, stated) in enumerate(zip(counts.tolist(), sums.tolist(), strict=True)):
        os.lseek(handle, c * draws * field.row, os.SEEK_SET)
        left, found = count * field.row, 0
        while left:
            data = os.read(handle, min(left, _PIECE))
            if not data:
                raise damaged(path, "has the wrong size", f"no more bytes within chain {c}", f"{left} bytes more")
            found, left = zlib.crc32(data, found), left - len(data)
        if found != stated:
            where = f"CRC-32 {found:08x} over the {count} draws of chain {c}"
            raise damaged(path, "has been damaged or edited", where, f"{stated:08x}")


def map_rows(handle: int, field: Field, chains: int, draws: int) -> NDArray[np.generic]:
    """The file as a read-only array (C, S, ...), brought into memory where it is looked at."""
    with open(handle, "rb", closefd=False) as stream:
        return np.asarray(np.memmap(stream, dtype=field.dtype, mode="r", shape=(chains, draws, *field.shape)))


def damaged(path: Path, problem: str, got: str, expected: str) -> StorageError:
    """What to raise for a part of a log that is not as it was written."""
    return StorageError(
        problem,
        argument=repr(str(path)),
        got=got,
        expected=expected,
        remedy="Restore the folder from a copy, or sample again in another one.",
    )


def _bytes(kind: str, shape: tuple[int, ...]) -> int:
    return np.dtype(_TYPES[kind]).itemsize * math.prod(shape)
