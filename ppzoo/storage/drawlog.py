"""Draws that survive: a log that many chains write side by side, each at its own pace, and that a killed run resumes.

A log is a folder with one flat file per field (``q.draws`` is the array (C, S, D) itself, for C chains of S draws) and
``state``, the record of how far each chain has come and of what the sampler needs to go on. An append writes the new
rows into their slots, syncs them, and only then replaces the record, which alone says what counts: rows beyond it were
never written. So whatever happens at whatever instant (a kill, a power cut, a full disk, an interrupt), the log
stands as it was before the append or after it, and a deterministic sampler that goes on from there writes the same
bytes as one that was never stopped. That the old record stands until the new one is whole is the shadow of Lorie,
Physical Integrity in a Large Segmented Database, 1977 (https://doi.org/10.1145/320521.320540).
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ppzoo.errors import StorageError
from ppzoo.storage import swap
from ppzoo.storage.drawlog_door import check_counts, check_new, first_record
from ppzoo.storage.drawlog_reading import check_there, open_files, read_draws, verify
from ppzoo.storage.drawlog_record import STATE, Record, differences, plain_json, read_record, write_record
from ppzoo.storage.drawlog_rows import make_rows, write_rows
from ppzoo.storage.lock import folder_lock
from ppzoo.storage.manifest import digest_file
from ppzoo.storage.paths import check_path, reported, some
from ppzoo.storage.tensors import dump_tensors, load_tensors

__all__ = ["DrawLog", "Resumed"]


class Resumed(NamedTuple):
    """A log that goes on, and what was given to its last append: nothing, if there has been none.

    Args:
        log: The log, open for appending.
        state: The tensors, on the CPU.
        numbers: The numbers.
        counts: (C,) int64: how many draws each chain has.
    """

    log: DrawLog
    state: dict[str, Tensor]
    numbers: dict[str, object]
    counts: Tensor


class DrawLog:
    """A log open for appending: from :meth:`create` or :meth:`resume`, never by its own name.

    It is the one writer of its folder until it is closed, which the ``with`` block does. When an append fails or is
    interrupted, nothing more can be appended to this object: what is on disk stands, and :meth:`resume` goes on there.

    Example:
        >>> import tempfile
        >>> rows = {"q": torch.arange(12.0).reshape(2, 3, 2)}  # 2 chains, up to 3 new draws, 2 numbers each
        >>> with tempfile.TemporaryDirectory() as parent:
        ...     fields = {"q": (torch.float32, (2,))}
        ...     with DrawLog.create(f"{parent}/run", fields, chains=2, draws=4, header={"seed": 7}) as log:
        ...         log.append(rows, torch.tensor([3, 1]), {"step": torch.tensor(0.1)}, {"warmup": 100})
        ...     log, state, numbers, counts = DrawLog.resume(f"{parent}/run", {"seed": 7})
        ...     with log:
        ...         print(state, numbers, counts)
        ...         print(log.read()["q"][1, :1])
        {'step': tensor(0.1000)} {'warmup': 100} tensor([3, 1])
        [[6. 7.]]
    """

    def __init__(self, folder: Path, record: Record, handles: Mapping[str, int], held: ExitStack) -> None:
        self.folder = folder
        self._record, self._handles, self._held = record, handles, held
        self._refusal = ""

    @classmethod
    def create(
        cls,
        folder: str | os.PathLike[str],
        fields: Mapping[str, tuple[torch.dtype, Sequence[int]]],
        *,
        chains: int,
        draws: int,
        header: Mapping[str, object],
    ) -> Self:
        """A new log, whole on disk or not there at all.

        Args:
            folder: A folder that is new or empty. Missing parents are made.
            fields: By name the type and the shape of one row. Names are plain: letters, digits, ``_ - .``.
            chains: C.
            draws: S, how many draws each chain shall have.
            header: JSON values that tell this run from any other (seed, settings, versions, hashes of model and data):
                who resumes must give the same. Header, numbers and fields together take less than 1 MB.

        Raises:
            OptionError: For numbers of chains or draws out of range.
            StorageError: When the folder is not free or cannot be written, another process is writing there, or a
                field or the header cannot be kept.
        """
        target = check_path(folder)
        record = first_record(fields, chains, draws, header)
        missing = [parent for parent in target.parents if not parent.exists()]
        with reported(target, "write"), ExitStack() as held:
            target.parent.mkdir(parents=True, exist_ok=True)
            for parent in missing:
                swap.sync_folder(parent.parent)
            held.enter_context(folder_lock(target))
            swap.recover(target)
            _check_free(target)
            _build(target, record)
            return cls(target, record, open_files(target, record, held, writing=True), held.pop_all())

    @classmethod
    def resume(cls, folder: str | os.PathLike[str], header: Mapping[str, object]) -> Resumed:
        """Open a log to go on with it, after every byte that was appended has been verified.

        Args:
            folder: The folder of :meth:`create`.
            header: What :meth:`create` was given.

        Raises:
            StorageError: When there is no log, it is damaged or edited, it is one of another run (the message says in
                what they differ), or another process is writing there.
        """
        target = check_path(folder)
        with reported(target, "read"), ExitStack() as held:
            check_there(target)
            held.enter_context(folder_lock(target))
            record = read_record(target)
            if differ := list(differences(record.header, plain_json(header, name="header"))):
                raise StorageError(
                    "is the log of another run",
                    argument=repr(str(target)),
                    got="; ".join(differ[:5]),
                    remedy="Resume with what it was begun with, or choose another folder.",
                )
            handles = open_files(target, record, held, writing=True)
            verify(target, record, handles)
            state = load_tensors(record.state)
            numbers, counts = plain_json(record.numbers, name="numbers"), torch.from_numpy(record.counts.copy())
            return Resumed(cls(target, record, handles, held.pop_all()), state, numbers, counts)

    @property
    def counts(self) -> Tensor:
        """(C,) int64: how many draws each chain has."""
        return torch.from_numpy(self._record.counts.copy())

    @property
    def finished(self) -> bool:
        """Whether the log is sealed."""
        return self._record.seal is not None

    def append(
        self,
        rows: Mapping[str, Tensor],
        counts: Tensor,
        state: Mapping[str, Tensor],
        numbers: Mapping[str, object],
    ) -> None:
        """Make new draws durable, together with the state from which the sampler goes on after them.

        Args:
            rows: By field (C, B, ...) on any device, the first ``counts`` rows of each chain being new. Not looked at
                if there is no new one.
            counts: (C,) whole numbers from 0 to B: how many draws each chain has finished since the last append.
            state: Tensors for :meth:`resume`.
            numbers: JSON values for :meth:`resume`.

        Raises:
            StorageError: When an argument does not fit the log, and nothing was written; or when the system reports a
                fault, and the log can be resumed as it was before.
        """
        if problem := "is finished" if self.finished else self._refusal:
            raise StorageError(problem, argument=repr(str(self.folder)), remedy="Resume it, or create another one.")
        old = self._record
        fresh = check_counts(counts, old)
        arrays = check_new(rows, fresh, old.fields) if fresh.any() else {}
        new = replace(
            old,
            counts=old.counts + fresh,
            sums=old.sums.copy(),
            numbers=plain_json(numbers, name="numbers"),
            state=dump_tensors(state),
        )
        spans = list(zip(old.counts.tolist(), fresh.tolist(), strict=True))
        with self._changing():
            for field, sums in zip(new.fields, new.sums, strict=True):
                if field.name in arrays:
                    write_rows(self._handles[field.name], field, new.draws, arrays[field.name], spans, sums)
            for name in arrays:
                os.fsync(self._handles[name])
            write_record(self.folder, new)
            self._record = new

    def read(self) -> dict[str, NDArray[np.generic]]:
        """All fields as read-only arrays (C, S, ...), mapped; rows behind :attr:`counts` are arbitrary.

        Raises:
            StorageError: When any byte of what was appended has changed on disk.
        """
        return dict(read_draws(self.folder).arrays)

    def finish(self) -> None:
        """Seal the log: every chain has its draws, and from now on each file has its SHA-256. A second time is fine.

        Raises:
            StorageError: When draws are missing, the files have changed, or the system reports a fault.
        """
        if self.finished:
            return
        if self._refusal or not self._record.complete:
            raise StorageError(
                self._refusal or "is not complete",
                argument=repr(str(self.folder)),
                got=f"a chain with {self._record.counts.min()} draws",
                expected=f"{self._record.draws} draws in each of {self._record.chains} chains",
                remedy="Resume it and append the rest.",
            )
        with reported(self.folder, "read"):
            verify(self.folder, self._record, self._handles)
        with self._changing():
            new = replace(self._record, seal={name: digest_file(handle) for name, handle in self._handles.items()})
            write_record(self.folder, new)
            self._record = new

    def close(self) -> None:
        """Let go of the folder; what was appended stays. A second time is fine."""
        self._refusal = self._refusal or "is closed"
        self._held.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @contextmanager
    def _changing(self) -> Iterator[None]:
        """What ends this block early leaves open whether the record was replaced: only the disk knows, so resume."""
        self._refusal = "was left in the middle of an append"
        try:
            yield
        except StorageError:
            raise
        except OSError as error:
            raise StorageError(
                "cannot append to this log",
                argument=repr(str(self.folder)),
                got=error.strerror or str(error),
                remedy="Nothing that was appended before is lost: free space or mend the disk, then resume.",
            ) from error
        self._refusal = ""


def _build(target: Path, record: Record) -> None:
    """Put a log with nothing in it where ``target`` is to be; on any failure leave nothing."""
    new = target.with_name(f".{target.name}.ppzoo.new")
    try:
        os.mkdir(new)
        for field in record.fields:
            make_rows(new / field.file, record.size(field))
        write_record(new, record)
        if target.exists():
            os.rmdir(target)
        os.rename(new, target)
        swap.sync_folder(target.parent)
    except BaseException:
        with suppress(OSError):  # what cannot be undone now, the next writer undoes
            swap.discard(new)
        raise


def _check_free(target: Path) -> None:
    if not os.path.lexists(target):
        return
    if not target.is_dir():
        raise StorageError("is a file", argument=repr(str(target)), expected="a folder", remedy="Choose another name.")
    if found := {entry.name for entry in os.scandir(target)}:
        resume = "Resume it, choose another folder," if STATE in found else "Choose another folder,"
        raise StorageError(
            "is not empty and will not be overwritten",
            argument=repr(str(target)),
            got=f"a folder with {some(found)}",
            remedy=f"{resume} or delete this one first.",
        )
