"""Read a draw log and trust nothing: the record first, then every byte that it counts; nothing is changed or run."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ppzoo.errors import StorageError
from ppzoo.storage.drawlog_record import STATE, Record, read_record
from ppzoo.storage.drawlog_rows import check_rows, damaged, map_rows, open_rows
from ppzoo.storage.manifest import digest_file
from ppzoo.storage.paths import check_path, reported, some

__all__ = ["Draws", "check_there", "open_files", "read_draws", "verify"]


@dataclass(frozen=True, eq=False)
class Draws:
    """What :func:`read_draws` found; C chains with room for S draws each.

    Args:
        header: What the log says that it is a log of.
        numbers: The numbers of the last append.
        counts: (C,): how many draws each chain has. Rows behind these are arbitrary.
        arrays: By field (C, S, ...), read-only; mapped from the file, so that memory holds what is looked at.
        finished: Whether the log is sealed, all draws in it.
    """

    header: Mapping[str, object]
    numbers: Mapping[str, object]
    counts: NDArray[np.int64]
    arrays: Mapping[str, NDArray[np.generic]]
    finished: bool


def read_draws(folder: str | os.PathLike[str]) -> Draws:
    """Read a log, finished or not, even while it is being written: what was appended by now, every byte verified.

    Args:
        folder: The folder of :meth:`DrawLog.create`.

    Returns:
        The draws, mapped and not loaded: neither this function nor its result takes memory for them.

    Raises:
        StorageError: When there is no log, or anything that was appended is damaged, edited or missing.
    """
    target = check_path(folder, writing=False)
    with reported(target, "read"), ExitStack() as held:
        check_there(target)
        record = read_record(target)
        handles = open_files(target, record, held)
        verify(target, record, handles)
        arrays = {
            field.name: map_rows(handles[field.name], field, record.chains, record.draws) for field in record.fields
        }
        return Draws(record.header, record.numbers, record.counts, arrays, record.seal is not None)


def check_there(target: Path) -> None:
    """Raise :class:`StorageError` if there is no folder at ``target``."""
    if not target.is_dir():
        problem = "is not a folder" if os.path.lexists(target) else "there is no such folder"
        raise StorageError(problem, argument=repr(str(target)), expected="a draw log", remedy="Check the path.")


def open_files(target: Path, record: Record, held: ExitStack, *, writing: bool = False) -> dict[str, int]:
    """Every file of the log, open until ``held`` closes; there is no other in the folder."""
    expected = {STATE, *(field.file for field in record.fields)}
    found = {entry.name for entry in os.scandir(target) if not entry.name.startswith(f".{STATE}.ppzoo.")}
    if added := found - expected:
        raise StorageError(
            "holds files that are not part of the log",
            argument=repr(str(target)),
            got=some(added),
            remedy="Move them elsewhere.",
        )
    handles = {}
    for field in record.fields:
        handles[field.name] = open_rows(target / field.file, record.size(field), writing=writing)
        held.callback(os.close, handles[field.name])
    return handles


def verify(target: Path, record: Record, handles: Mapping[str, int]) -> None:
    """Every byte that was appended is there: by the seal of a finished log, else by the chains' checksums."""
    for field, sums in zip(record.fields, record.sums, strict=True):
        handle, path = handles[field.name], target / field.file
        if record.seal is None:
            check_rows(handle, path, field, record.draws, record.counts, sums)
        elif (found := digest_file(handle)) != record.seal[field.name]:
            expected = f"{record.seal[field.name]:.12}..."
            raise damaged(path, "has been damaged or edited", f"SHA-256 {found[:12]}...", expected)
