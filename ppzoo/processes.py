"""Several processes that fit together: which of them this is, what they agree on, what the first tells the others.

``torchrun`` starts the same script in each of its processes, with their number in the environment. A fit there joins
them in a process group of ``torch.distributed`` and leaves it at its end; where the caller has made one, it is used.
Nothing that passes between processes is pickled.
"""

from __future__ import annotations

import hashlib
import itertools
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cache, partial

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.distributed_c10d import PrefixStore, Store
from torch.distributed.rendezvous import rendezvous

from ppzoo.board import Board
from ppzoo.errors import FitError, OptionError, PPZooError, StorageError

__all__ = ["ALONE", "Processes", "joined", "own_device", "restarted"]

_WAIT = timedelta(seconds=2)  # for the others to say that they are still there
_NUMBERS = itertools.count()  # of the groups of this process, which are the same in all


@dataclass(frozen=True)
class Processes:
    """Those that fit together, seen from one of them.

    Attributes:
        rank: Which it is, from 0.
        size: How many there are.
        device: Where messages are laid that all are told.
        store: Where they find each other; None where the caller has made the group.
        near: Whether all run on one machine, where numbers of the CPU need not go by its network.
        boards: By type and number, the memory that they then share.
    """

    rank: int = 0
    size: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    store: Store | None = None
    near: bool = False
    boards: dict[str, Board] = field(default_factory=dict)

    @property
    def first(self) -> bool:
        """Whether this is the one that writes."""
        return self.rank == 0

    def share(self, rows: int) -> slice:
        """Which of so many rows are this process's."""
        return slice(rows * self.rank // self.size, rows * (self.rank + 1) // self.size)

    def mean(self, values: Sequence[Tensor]) -> list[Tensor]:
        """Each tensor's mean over the processes, the same bits in all; for use before the next call.

        Raises:
            FitError: If one of them has ended.
        """
        found = [value.detach() for value in values]
        for kind in sorted({_kind(value) for value in found}):  # in one order everywhere
            own = [i for i, value in enumerate(found) if _kind(value) == kind]
            flat = self._mean(kind, [found[i].reshape(-1) for i in own])
            for i, part in zip(own, flat.split([found[i].numel() for i in own]), strict=True):
                found[i] = part.view_as(found[i])
        return found

    def first_does(self, work: Callable[[], object]) -> None:
        """Have the first process do something; the others wait until it is done.

        Raises:
            PPZooError: In the first, what the work raises; in the others an error of storage that says the same.
            FitError: If one of them has ended.
        """

        def done() -> bytes:
            work()
            return b""

        self.by_first(done)

    def by_first(self, work: Callable[[], bytes]) -> bytes:
        """What the first process makes of some work, in all of them.

        Raises:
            PPZooError: In the first, what the work raises; in the others an error of storage that says the same.
            FitError: If one of them has ended.
        """
        if self.size == 1:
            return work()
        message, error = b"", None
        if self.first:
            try:
                message = work()
            except PPZooError as caught:
                message, error = str(caught).encode(), caught
        head = self._told(torch.tensor([len(message), int(error is not None)]))
        length, failed = head.tolist()
        body = torch.frombuffer(bytearray(message), dtype=torch.uint8) if self.first and message else None
        message = self._told(torch.empty(length, dtype=torch.uint8) if body is None else body).numpy().tobytes()
        if error is not None:
            raise error
        if failed:
            raise StorageError("the first process could not do its part", got=message.decode())
        return message

    def check_alike(self, header: Mapping[str, str]) -> None:
        """Hold what the processes were given against each other.

        Args:
            header: By name, what must be the same in all, as text; the names are.

        Raises:
            OptionError: If something differs.
            FitError: If one of them has ended.
        """
        if self.size == 1:
            return
        digests = b"".join(hashlib.sha256(value.encode()).digest() for value in header.values())
        own = torch.frombuffer(bytearray(digests), dtype=torch.uint8).reshape(len(header), -1).to(self.device)
        all_of_them = [torch.empty_like(own) for _ in range(self.size)]
        with self._watched():
            dist.all_gather(all_of_them, own)
        for name, *rows in zip(header, *all_of_them, strict=True):
            others = [rank for rank, row in enumerate(rows) if not torch.equal(row, rows[0])]
            if others:
                raise OptionError(
                    "differs between the processes of a job",
                    argument=name,
                    got=f"in process {', '.join(map(str, others))} another than in process 0",
                    expected="the same call in each: a step's rows are divided among them here",
                    remedy="Give each process all data, and the same settings and seed.",
                )

    def _mean(self, kind: str, parts: Sequence[Tensor]) -> Tensor:
        """Of tensors of one type, one after the other."""
        numbers, dtype = sum(part.numel() for part in parts), parts[0].dtype
        if not self.near or parts[0].device.type != "cpu":
            flat = torch.cat(list(parts))
            with self._watched():
                dist.all_reduce(flat)
            return flat.div_(self.size)
        name = f"{kind} {numbers}"
        if name not in self.boards:
            path = self.by_first(lambda: Board.reserve(self.size, numbers, dtype).encode()).decode()
            self.boards[name] = Board(path, self.rank, self.size, numbers, dtype)
            with self._watched():
                dist.barrier()
            self.first_does(partial(os.unlink, path))
        return self.boards[name].mean(parts)

    def _told(self, value: Tensor) -> Tensor:
        """A tensor of the CPU as the first process has it."""
        message = value.to(self.device)
        with self._watched():
            dist.broadcast(message, src=0)
        return message.cpu()

    @contextmanager
    def _watched(self) -> Iterator[None]:
        try:
            yield
        except RuntimeError as error:
            raise FitError(
                "another process of the job has ended",
                got=f"{self._missing()} of {self.size} (this is {self.rank})",
                remedy="Look at its own message; with run_dir and resume=True the fit goes on from its last state.",
            ) from error

    def _missing(self) -> str:
        """Which do not say within a while that they are there."""
        if self.store is None:
            return "one"
        names = [f"there {rank}" for rank in range(self.size)]
        try:
            self.store.set(names[self.rank], "yes")
            self.store.wait(names, _WAIT)
        except RuntimeError:  # not all of them came
            try:
                gone = [str(rank) for rank, name in enumerate(names) if not self.store.check([name])]
            except RuntimeError:  # the store itself has gone
                return "one"
            return f"process {', '.join(gone)}"
        return "the connection to one"


ALONE = Processes()


def own_device(device: str | torch.device) -> str | torch.device:
    """The GPU of this process, where a job has several and none is named."""
    if str(device) != "cuda" or not dist.is_torchelastic_launched() or not torch.cuda.is_available():
        return device
    return torch.device("cuda", int(os.environ["LOCAL_RANK"]) % torch.cuda.device_count())


def restarted() -> bool:
    """Whether the job was started again after one of its processes had ended (``torchrun --max-restarts``)."""
    return _restarts() > 0


@contextmanager
def joined(device: str | torch.device) -> Iterator[Processes]:
    """The processes of the job; the only one where there is none.

    Args:
        device: Where the fit's tensors will be.
    """
    if dist.is_available() and dist.is_initialized():
        on_gpu = dist.get_backend() == "nccl"
        yield Processes(dist.get_rank(), dist.get_world_size(), torch.device(device if on_gpu else "cpu"))
        return
    size = int(os.environ.get("WORLD_SIZE", "1")) if dist.is_torchelastic_launched() else 1
    if size == 1:
        yield ALONE
        return
    rank, hook = int(os.environ["RANK"]), sys.excepthook
    own = str(device).startswith("cuda") and torch.cuda.device_count() >= int(os.environ["LOCAL_WORLD_SIZE"])
    store = PrefixStore(f"ppzoo {_restarts()} {next(_NUMBERS)}", _store())  # which outlives a process that ended
    dist.init_process_group("cpu:gloo,cuda:nccl" if own else "gloo", store=store, rank=rank, world_size=size)
    near = os.environ["LOCAL_WORLD_SIZE"] == os.environ["WORLD_SIZE"] and Board.possible()
    processes = Processes(rank, size, store=store, near=near)
    try:
        yield processes
    finally:
        for board in processes.boards.values():
            board.leave()
        dist.destroy_process_group()
        sys.excepthook = hook


def _kind(value: Tensor) -> str:
    return f"{value.dtype} {value.device}"


def _restarts() -> int:
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")) if dist.is_torchelastic_launched() else 0


@cache
def _store() -> Store:
    """The job's, one for all groups of this process."""
    store: Store
    store, _, _ = next(rendezvous("env://"))
    return store
