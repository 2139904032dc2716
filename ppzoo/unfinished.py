"""A run that is not finished yet: its draws on disk beside the folder that the fit will have, and how it goes on.

While ``runs/a`` is sampled, ``runs/a.unfinished`` holds the draws made so far and the state from which the next follow.
Whatever stops the run, the same command with ``resume=True`` goes on there, to the same draws as if it had never
stopped. When the fit has been saved, the folder goes.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from contextlib import ExitStack
from functools import partial
from types import TracebackType
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ppzoo.checks import check_flag
from ppzoo.errors import OptionError, StorageError
from ppzoo.inference.keeping import Fields, Kept
from ppzoo.inference.outcome import Method
from ppzoo.processes import Processes
from ppzoo.storage.drawlog import DrawLog
from ppzoo.storage.manifest import digest
from ppzoo.storage.paths import check_path
from ppzoo.storage.tensors import dump_tensors, load_tensors

__all__ = ["OfAll", "Unfinished", "beside", "check_resume", "digest_of"]


class Unfinished:
    """Keeps the draws of a run beside ``run_dir``, in a folder that no other process writes to meanwhile.

    Args:
        run_dir: Where the fit will be saved.
        header: JSON values that tell this run from any other.
        resume: Whether to go on with what is there, if anything is.

    Raises:
        StorageError: If there is an unfinished run, and it is not to be resumed.
    """

    lasting = True

    def __init__(self, run_dir: str | os.PathLike[str], header: Mapping[str, object], *, resume: bool) -> None:
        target = check_path(run_dir)
        self.folder = check_path(target.with_name(f"{target.name}.unfinished"))
        self._header, self._held = header, ExitStack()
        self._read: dict[str, NDArray[np.generic]] = {}
        self._there = self.folder.exists()
        if self._there and not resume:
            raise StorageError(
                "has an unfinished run beside it",
                argument=repr(str(target)),
                got=repr(str(self.folder)),
                remedy="Go on with it by resume=True (--resume), or delete it.",
            )

    def begin(self, fields: Fields, *, chains: int, draws: int) -> Kept:
        """As :meth:`~ppzoo.inference.keeping.Keeper.begin`.

        Raises:
            StorageError: If the folder cannot be written, or holds another run or one that was damaged.
        """
        if not self._there:  # made by the first append: a run that finds no start leaves nothing behind
            self._make = partial(DrawLog.create, self.folder, fields, chains=chains, draws=draws, header=self._header)
            return Kept(torch.zeros(chains, dtype=torch.int64, device="cpu"))
        self._log, state, numbers, counts = DrawLog.resume(self.folder, self._header)
        self._held.callback(self._log.close)
        return Kept(counts, state, numbers)

    def append(
        self, rows: Mapping[str, Tensor], counts: Tensor, state: Mapping[str, Tensor], numbers: Mapping[str, object]
    ) -> None:
        """As :meth:`~ppzoo.inference.keeping.Keeper.append`; what was appended is on disk when this returns.

        Raises:
            StorageError: If the system reports a fault, such as a full disk; all that was appended before stands.
        """
        if not self._there:
            self._log = self._make()
            self._held.callback(self._log.close)
            self._there = True
        self._log.append(rows, counts, state, numbers)

    def take(self, name: str) -> Tensor:
        """As :meth:`~ppzoo.inference.keeping.Keeper.take`, every byte verified."""
        if not self._read:  # once for all fields: every byte of each is read for it
            self._read = self._log.read()
        return torch.from_numpy(np.array(self._read.pop(name)))

    def discard(self) -> None:
        """Remove the folder, if there is one, for the fit is saved."""
        self._held.close()
        if self._there:
            shutil.rmtree(self.folder)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._held.close()


class OfAll:
    """What the first of several processes keeps, told to the others, so that all go on from the same state.

    Args:
        processes: All of them.
        keeper: The first one's; None in the others.
    """

    def __init__(self, processes: Processes, keeper: Unfinished | None) -> None:
        self._processes, self._keeper = processes, keeper
        self.lasting = keeper is not None

    def begin(self, fields: Fields, *, chains: int, draws: int) -> Kept:
        """As :meth:`~ppzoo.inference.keeping.Keeper.begin`, with the first process's folder."""
        numbers: list[Mapping[str, object]] = []

        def read() -> bytes:
            kept = self._first.begin(fields, chains=chains, draws=draws)
            numbers.append(kept.numbers)
            return dump_tensors({"counts": kept.counts} | {f"state {name}": v for name, v in kept.state.items()})

        state = load_tensors(self._processes.by_first(read))
        found = json.loads(self._processes.by_first(lambda: json.dumps(numbers[0]).encode()))
        return Kept(state.pop("counts"), {name.removeprefix("state "): v for name, v in state.items()}, found)

    def append(
        self, rows: Mapping[str, Tensor], counts: Tensor, state: Mapping[str, Tensor], numbers: Mapping[str, object]
    ) -> None:
        """As :meth:`~ppzoo.inference.keeping.Keeper.append`, by the first process."""
        if self._keeper is not None:
            self._keeper.append(rows, counts, state, numbers)

    def take(self, name: str) -> Tensor:
        """As :meth:`~ppzoo.inference.keeping.Keeper.take`, what the first process has."""
        return load_tensors(self._processes.by_first(lambda: dump_tensors({name: self._first.take(name)})))[name]

    def discard(self) -> None:
        """As :meth:`Unfinished.discard`, by the first process."""
        if self._keeper is not None:
            self._keeper.discard()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._keeper is not None:
            self._keeper.__exit__(kind, error, trace)

    @property
    def _first(self) -> Unfinished:
        if self._keeper is None:
            raise RuntimeError("only the first process keeps anything")
        return self._keeper


def beside(
    run_dir: str | os.PathLike[str], header: Mapping[str, object], processes: Processes, *, resume: bool
) -> Unfinished | OfAll:
    """Who keeps a run beside ``run_dir``: as :class:`Unfinished`, for all processes.

    Raises:
        StorageError: If there is an unfinished run, and it is not to be resumed.
    """
    if processes.size == 1:
        return Unfinished(run_dir, header, resume=resume)
    own: list[Unfinished] = []
    processes.first_does(lambda: own.append(Unfinished(run_dir, header, resume=resume)))
    return OfAll(processes, own[0] if own else None)


def check_resume(method: Method, run_dir: str | os.PathLike[str] | None, resume: object) -> None:
    """Raise :class:`OptionError` where ``resume=True`` cannot mean anything."""
    if not check_flag("resume", resume):
        return
    if not method.resumable:
        raise OptionError(
            "cannot go on where a run was stopped",
            argument="resume",
            got=f"True for {method.name!r}",
            remedy="Leave it out: the fit begins anew.",
        )
    if run_dir is None:
        raise OptionError(
            "needs the folder of the run", argument="resume", got="True without run_dir", remedy="Pass run_dir (--out)."
        )


def digest_of(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 of the names, types, shapes and bytes of the tensors.

    Example:
        >>> digest_of({"y": torch.tensor([1.0])})[:8] == digest_of({"y": torch.tensor([2.0])})[:8]
        False
    """
    return digest(dump_tensors(dict(sorted(tensors.items()))))
