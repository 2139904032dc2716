"""Memory that processes of one machine share: each lays its numbers there and reads those of all.

A mean of a few megabytes by way of the network costs more than the step that it is of, be it the machine's own: the
processes sleep and wake each other. Here they look at each other's counters until all have come.
"""

from __future__ import annotations

import os
import platform
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from ppzoo.errors import FitError, StorageError

__all__ = ["Board"]

_PLACES = ("/dev/shm", tempfile.gettempdir())  # noqa: S108  # the file's name is nobody's to guess
_LINE = 64  # bytes that a processor moves at once: counters apart do not slow each other
_SPINS, _NAP = 2000, 5e-5  # looks before the first nap, and seconds of one
_LOOK = 0.2  # seconds between two looks whether the others still live
_LIMIT = 1800.0  # seconds to wait for a process that lives, as long as process groups of torch do


class Board:
    """A row of numbers for each process, twice: one half is read while the other is laid out anew.

    Args:
        path: Of a file made by :meth:`reserve`; its name may go when all have opened it.
        rank: Whose row is this process's.
        size: How many processes there are.
        numbers: Length of a row.
        dtype: Their type.
    """

    def __init__(self, path: str, rank: int, size: int, numbers: int, dtype: torch.dtype) -> None:
        nbytes = _nbytes(size, numbers, dtype)
        memory = torch.from_file(path, shared=True, size=nbytes, dtype=torch.uint8, device="cpu")
        counters = memory[: size * _LINE].view(torch.int64).view(size, -1).numpy()
        self._laid, self._pid, self._left = counters[:, 0], counters[:, 1], counters[:, 2]
        self._halves = memory[size * _LINE :].view(dtype).view(2, size, numbers)
        self._mean = torch.empty(numbers, dtype=dtype, device="cpu")
        self._rank, self._turn = rank, 0
        self._pid[rank] = os.getpid()

    @staticmethod
    def possible() -> bool:
        """Whether this machine has files of that kind, and shows what is written in the order of its writing."""
        return hasattr(os, "posix_fallocate") and platform.machine().lower() in ("x86_64", "amd64")

    @staticmethod
    def reserve(size: int, numbers: int, dtype: torch.dtype) -> str:
        """A new file with room for a board, in memory where the system has such files.

        Raises:
            StorageError: If there is no room for it anywhere.
        """
        nbytes, failures = _nbytes(size, numbers, dtype), []
        for place in _PLACES:
            try:
                handle, path = tempfile.mkstemp(prefix="ppzoo-", dir=place)
            except OSError as error:
                failures.append(str(error))
                continue
            try:
                os.posix_fallocate(handle, 0, nbytes)
            except OSError as error:
                failures.append(f"{place}: {error.strerror}")
                Path(path).unlink()
            else:
                return path
            finally:
                os.close(handle)
        raise StorageError(
            "there is no room for what processes tell each other",
            got="; ".join(failures),
            expected=f"{nbytes / 1e6:.3g} MB",
            remedy=f"Make room in one of {', '.join(_PLACES)}.",
        )

    def mean(self, parts: Sequence[Tensor]) -> Tensor:
        """The mean of what all lay out, parts of a row one after the other; the same bits in all processes.

        It stands where the next one will.

        Raises:
            FitError: If one of them has ended.
        """
        half, size = self._halves[self._turn % 2], len(self._laid)
        torch.cat(list(parts), out=half[self._rank])
        self._turn += 1
        self._laid[self._rank] = self._turn  # who lays out the next has read the last, so its half is free by then
        self._wait()
        torch.mul(half[0], 1 / size, out=self._mean)
        for row in half[1:]:
            self._mean.add_(row, alpha=1 / size)
        return self._mean

    def leave(self) -> None:
        """Tell the others that this process will not come again."""
        self._left[self._rank] = 1

    def _wait(self) -> None:
        """Until all have laid out what they have."""
        looks, began = 0, time.monotonic()
        looked = began
        while int(self._laid.min()) < self._turn:
            looks += 1
            if looks > _SPINS:
                time.sleep(_NAP)
            now = time.monotonic()
            if now - looked > _LOOK:
                looked = now
                self._check_there(now - began)

    def _check_there(self, waited: float) -> None:
        missing = [rank for rank, laid in enumerate(self._laid) if laid < self._turn]
        gone = [rank for rank in missing if self._left[rank] or not _lives(int(self._pid[rank]))]
        if gone or waited > _LIMIT:
            what = "has ended" if gone else f"has not come for {waited:.0f} s"
            raise FitError(
                f"another process of the job {what}",
                got=f"process {', '.join(map(str, gone or missing))} of {len(self._laid)} (this is {self._rank})",
                remedy="Look at its own message; with run_dir and resume=True the fit goes on from its last state.",
            )


def _nbytes(size: int, numbers: int, dtype: torch.dtype) -> int:
    return size * _LINE + 2 * size * numbers * dtype.itemsize


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
