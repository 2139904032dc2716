"""The record of a draw log: what it is a log of, how far it has come, and how to go on from there.

It is the folder ``state`` inside the log, which :func:`ppzoo.storage.folder.write_folder` replaces whole or not at all:
``manifest.json`` has the header, the fields and the caller's numbers, ``state.safetensors`` the caller's tensors, and
``progress.bin`` the counts of the chains with the checksums of their rows. Whatever a row file holds beyond these
counts was never written.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ppzoo.errors import StorageError
from ppzoo.storage.drawlog_rows import Field, check_field, damaged
from ppzoo.storage.folder import read_folder, write_folder
from ppzoo.storage.text import dump_json, load_json

__all__ = ["STATE", "Record", "differences", "plain_json", "read_record", "write_record"]

STATE = "state"
_FORMAT = "ppzoo-draws-1"
_TENSORS, _PROGRESS = "state.safetensors", "progress.bin"
_INTEGER = np.dtype("<i8")


@dataclass(frozen=True, eq=False)
class Record:
    """All that a log knows beside its rows; C chains, F fields.

    Args:
        header: What the caller says that it is a log of.
        fields: The fields, in order.
        chains: C.
        draws: S, how many draws each chain shall have.
        counts: (C,): how many it has.
        sums: (F, C): the CRC-32 of these.
        numbers: The caller's numbers.
        state: The caller's tensors, as a safetensors file.
        seal: By field the SHA-256 of its file, once the log is finished.
    """

    header: Mapping[str, object]
    fields: tuple[Field, ...]
    chains: int
    draws: int
    counts: NDArray[np.int64]
    sums: NDArray[np.int64]
    numbers: Mapping[str, object]
    state: bytes
    seal: Mapping[str, str] | None = None

    def size(self, field: Field) -> int:
        """The bytes of the file of ``field``."""
        return self.chains * self.draws * field.row

    @property
    def complete(self) -> bool:
        """Whether every chain has all its draws."""
        return bool((self.counts == self.draws).all())


def write_record(log: Path, record: Record) -> None:
    """Put ``record`` in the place of the one that the log has; a crash at any instant leaves one of the two.

    Raises:
        OSError: What the system reports; the old one stays.
        StorageError: When it is too long, or something in the way of it is not ppzoo's own.
    """
    progress = np.concatenate([record.counts[None], record.sums]).astype(_INTEGER)
    content = {
        "log": _FORMAT,
        "header": record.header,
        "chains": record.chains,
        "draws": record.draws,
        "fields": {field.name: {"type": field.type, "shape": list(field.shape)} for field in record.fields},
        "numbers": record.numbers,
        "seal": record.seal,
    }
    try:
        write_folder(log / STATE, {_TENSORS: record.state, _PROGRESS: progress.tobytes()}, content)
    except StorageError as error:
        reason = error.__cause__
        if isinstance(reason, OSError) and not isinstance(reason, StorageError):
            raise reason from None  # the caller knows which log this is; ours is but a part of it
        raise


def read_record(log: Path) -> Record:
    """The record of the log in the folder ``log``, every byte verified and every number within its range.

    Raises:
        StorageError: When it is missing, damaged, edited, or not one that ppzoo wrote.
    """
    folder = read_folder(log / STATE)
    content, where = folder.manifest, log / STATE
    if content.get("log") != _FORMAT or set(folder.files) != {_TENSORS, _PROGRESS}:
        raise damaged(where, "is not the record of a draw log", f"{content.get('log')!r:.40}", repr(_FORMAT))
    chains, draws = (_count(content.get(name), name, where) for name in ("chains", "draws"))
    fields = _fields(content.get("fields"), chains * draws, where)
    counts, sums = _progress(folder.files[_PROGRESS], chains, draws, len(fields), where)
    record = Record(
        header=_table(content.get("header"), "header", where),
        fields=fields,
        chains=chains,
        draws=draws,
        counts=counts,
        sums=sums,
        numbers=_table(content.get("numbers"), "numbers", where),
        state=folder.files[_TENSORS],
        seal=_seal(content.get("seal"), fields, where),
    )
    if record.seal is not None and not record.complete:
        raise damaged(where, "is sealed before its end", f"{counts.min()} draws", f"{draws} draws in each chain")
    return record


def plain_json(value: Mapping[str, object], *, name: str) -> dict[str, object]:
    """``value`` as it will be read again: tuples are lists, and nothing in it is the caller's own.

    Raises:
        StorageError: For what JSON cannot keep, or a table without text keys.
    """
    plain = load_json(dump_json(value, name=name), name=name)
    if isinstance(plain, dict):
        return plain
    raise StorageError("is not a table", argument=name, got=type(value).__name__, expected="a dict with text keys")


def differences(logged: object, given: object, where: str = "") -> Iterator[str]:
    """Where two JSON values differ, as text: the place, what the log has and what is given.

    Example:
        >>> list(differences({"seed": 1, "nuts": {"step": 0.1}}, {"seed": 2, "nuts": {"step": 0.1, "depth": 8}}))
        ['seed 1 in the log, 2 now', 'nuts.depth nothing in the log, 8 now']
    """
    if isinstance(logged, dict) and isinstance(given, dict):
        for key in [*logged, *(key for key in given if key not in logged)]:
            place = f"{where}.{key}" if where else str(key)
            if key in logged and key in given:
                yield from differences(logged[key], given[key], place)
            else:
                yield f"{place:.80} {_shown(logged, key)} in the log, {_shown(given, key)} now"
    elif dump_json(logged) != dump_json(given):  # as text: 1, 1.0 and True are three values, and nan is one
        yield f"{where:.80} {logged!r:.80} in the log, {given!r:.80} now"


def _shown(table: Mapping[str, object], key: str) -> str:
    return f"{table[key]!r:.80}" if key in table else "nothing"


def _count(value: object, name: str, where: Path) -> int:
    if type(value) is int and value > 0:
        return value
    raise damaged(where, f"has no valid number of {name}", f"{value!r:.40}", "a whole number from 1")


def _table(value: object, name: str, where: Path) -> dict[str, object]:
    if isinstance(value, dict):
        return value
    raise damaged(where, f"has no {name}", f"{value!r:.40}", "a table")


def _fields(value: object, rows: int, where: Path) -> tuple[Field, ...]:
    table = _table(value, "fields", where)
    stated = {name: entry if isinstance(entry, dict) else {} for name, entry in table.items()}
    fields = tuple(check_field(name, one.get("type"), one.get("shape"), rows=rows) for name, one in stated.items())
    if not fields or len({field.file.lower() for field in fields}) < len(fields):
        raise damaged(where, "has fields that a log cannot have", f"{list(table)!r:.80}", "one or more, by plain names")
    return fields


def _progress(
    data: bytes, chains: int, draws: int, fields: int, where: Path
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    path = where / _PROGRESS
    if len(data) != (1 + fields) * chains * _INTEGER.itemsize:
        raise damaged(path, "has the wrong size", f"{len(data)} bytes", f"{1 + fields} numbers for {chains} chains")
    numbers = np.frombuffer(data, _INTEGER).reshape(1 + fields, chains).astype(np.int64)
    counts, sums = numbers[0], numbers[1:]
    if counts.min() < 0 or counts.max() > draws or sums.min() < 0 or sums.max() >= 2**32:
        raise damaged(path, "has numbers out of range", f"{counts.max()} draws", f"0 to {draws} draws")
    return counts, sums


def _seal(value: object, fields: tuple[Field, ...], where: Path) -> dict[str, str] | None:
    if value is None:
        return None
    table = _table(value, "seal", where)
    codes = {name: code for name, code in table.items() if isinstance(code, str)}
    if set(codes) != {field.name for field in fields} or len(codes) < len(table):
        raise damaged(where, "has a seal that is not its own", f"{list(table)!r:.80}", "a SHA-256 for each field")
    return codes
