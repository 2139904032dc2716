r"""Rows of arrays on disk, read while a fit goes on: a step sees some, memory holds few.

Each pass has its own order, by which every row comes once: blocks of neighbouring rows are shuffled, some blocks at a
time are read into a pool, and the rows of the pool are shuffled. Data that fit into one pool are shuffled row by row;
of more, a batch is a random sample of a random sample of blocks. Either way each row is as likely as any other to be in
a batch, so that a minibatch weighed by :math:`N / B` has the mean of all data.
"""

from __future__ import annotations

import itertools
import mmap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ppzoo.datasets.arguments import Arguments, Place
from ppzoo.datasets.numeric import LARGEST_INTEGER
from ppzoo.datasets.tensors import TOO_LARGE, is_tensor
from ppzoo.errors import DataError
from ppzoo.rng import stream_seed

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["RowsOnDisk", "check_numbers", "numbers", "rows_on_disk"]

_BLOCK = 2**14  # bytes that are read in one go
_BLOCKS = 1024  # of a pool
_READS = 32  # after which pages are given back: the system maps more of them around each
_SHOWN = 1000  # rows that stand for all where a program is looked at

Arrays = dict[Place, Any]


def rows_on_disk(places: Mapping[Place, Any], names: Mapping[Place, str], batch_size: int | None) -> Any:
    """The source of those arguments that are by rows, if one of them is a memory map and a step sees some rows only.

    Args:
        places: The arguments by place, as they came.
        names: What to call them in errors.
        batch_size: Rows of a step.

    Returns:
        The source, or ``None``.
    """
    arrays = {place: value for place, value in places.items() if is_tensor(value) or isinstance(value, np.ndarray)}
    arrays = {place: value for place, value in arrays.items() if len(value.shape) > 0}
    rows = max((len(value) for value in arrays.values()), default=0)
    arrays = {place: value for place, value in arrays.items() if len(value) == rows}
    mapped = any(isinstance(value, np.memmap) for value in arrays.values())
    if not mapped or batch_size is None or batch_size >= rows:
        return None
    plain = {
        place: value.detach().cpu().numpy() if is_tensor(value) else np.asarray(value)
        for place, value in arrays.items()
    }
    return RowsOnDisk(plain, dict(names), rows, batch_size, tuple(filter(None, map(_mapping, arrays.values()))))


def _mapping(value: Any) -> Any:
    """The memory map whose pages can be given back once they are read: not one whose changes live in memory only."""
    mapping = getattr(value, "_mmap", None)
    return mapping if mapping is not None and value.mode != "c" and hasattr(mapping, "madvise") else None


@dataclass(frozen=True, eq=False)
class RowsOnDisk:
    """A :class:`~ppzoo.datasets.arguments.Source` of arrays, some of them memory maps.

    Attributes:
        arrays: By place, ``(N, ...)`` each.
        names: What to call them in errors.
        rows: N.
        size: Rows of a batch.
        mappings: Whose pages need not stay in memory.
    """

    arrays: Arrays
    names: dict[Place, str]
    rows: int
    size: int
    mappings: tuple[Any, ...] = ()
    regular: bool = field(default=True, init=False)
    threaded: bool = field(default=True, init=False)
    notes: tuple[str, ...] = field(default=(), init=False)

    @property
    def per_epoch(self) -> int:
        """Batches of a pass; a ragged rest is left to the next."""
        return self.rows // self.size

    def shown(self) -> Arrays:
        """The arrays with some rows that stand for all, evenly from all.

        Raises:
            DataError: If they are not finite.
        """
        count = min(self.rows, max(_SHOWN, self.size + 1))
        index = np.arange(count) * self.rows // count
        found = {}
        for place, array in self.arrays.items():
            found[place] = np.empty((count, *array.shape[1:]), array.dtype)
            for begin in range(0, count, _READS):
                some = slice(begin, begin + _READS)
                found[place][some] = array[index[some]]
                self._give_back()
            check_numbers(self.names[place], found[place], index, "")
        return found

    def batches(self, like: Arguments, seed: int, replica: int, first: int = 0) -> Iterator[Arguments]:
        """As :meth:`~ppzoo.datasets.arguments.Source.batches`: by the seed and the replica's number.

        Raises:
            DataError: If a number is not finite.
        """
        number = first
        for epoch in itertools.count(first // self.per_epoch):
            for part in self._batches(like, (seed, replica, epoch), number % self.per_epoch):
                if part.suspect:
                    for place, value in part.values.items():
                        check_numbers(self.names[place], value, part.ids, f" of batch {number}")
                yield like.filled({place: value.to(like.at(place).device) for place, value in part.values.items()})
                number += 1

    def once(self, like: Arguments) -> Iterator[Arguments]:
        """As :meth:`~ppzoo.datasets.arguments.Source.once`."""
        step = min(self.rows, max(_SHOWN, self.size))
        for begin in range(0, self.rows, step):
            starts = np.arange(begin, min(begin + step, self.rows), step)
            pool = self._read(like, starts, min(step, self.rows - begin))
            yield like.filled({place: value.to(like.at(place).device) for place, value in pool.items()})

    def _batches(self, like: Arguments, order: tuple[int, int, int], first: int) -> Iterator[_Part]:
        """The batches of a pass from the first on; its order is by seed, replica and number."""
        parts: list[_Part] = []
        missing, at = self.size, first * self.size
        for number, (starts, rows) in enumerate(self._pools(order)):
            if at >= rows:  # it has gone by
                at -= rows
                continue
            pool = self._pool(like, starts, stream_seed(order[0], "pool", *order[1:], number))
            while at < rows:
                parts.append(pool.cut(at, at + missing))
                at, missing = at + len(parts[-1].ids), missing - len(parts[-1].ids)
                if not missing:
                    yield _joined(parts)
                    parts, missing = [], self.size
            at = 0
            del pool  # before the next one is read

    def _pools(self, order: tuple[int, int, int]) -> Iterator[tuple[NDArray[np.int64], int]]:
        """Where the blocks of each pool begin, and how many rows they have."""
        import torch

        block, seed = self._block, stream_seed(order[0], "rows", *order[1:])
        generator = torch.Generator("cpu").manual_seed(seed)
        starts = block * torch.randperm(-(-self.rows // block), device="cpu", generator=generator).numpy()
        for begin in range(0, len(starts), _BLOCKS):
            some = starts[begin : begin + _BLOCKS]
            yield some, int(np.minimum(block, self.rows - some).sum())

    @property
    def _block(self) -> int:
        """Rows of a block."""
        return max(1, _BLOCK // max(1, sum(int(array[:1].nbytes) for array in self.arrays.values())))

    def _pool(self, like: Arguments, starts: NDArray[np.int64], seed: int) -> _Part:
        import torch

        ids = (starts[:, None] + np.arange(self._block)).ravel()
        ids = ids[ids < self.rows]
        values = self._read(like, starts, self._block)
        suspect = any(not numbers(value) for value in values.values())
        order = torch.randperm(len(ids), device="cpu", generator=torch.Generator("cpu").manual_seed(seed))
        return _Part(ids[order.numpy()], {p: value.index_select(0, order) for p, value in values.items()}, suspect)

    def _read(self, like: Arguments, starts: NDArray[np.int64], block: int) -> dict[Place, Tensor]:
        """The rows of some blocks, one after the other, in the types of ``like``."""
        import torch

        count = sum(min(block, self.rows - int(start)) for start in starts)
        found = {}
        for place, array in self.arrays.items():
            value = torch.empty((count, *array.shape[1:]), dtype=like.at(place).dtype, device="cpu")
            into, at = value.numpy(), 0
            for i, start in enumerate(starts):
                part = array[start : start + block]
                into[at : at + len(part)] = part
                at += len(part)
                if i % _READS == 0:
                    self._give_back()
            found[place] = value
        self._give_back()
        return found

    def _give_back(self) -> None:
        """Pages of a file that were read count as this process's memory until they are given back; they stay cached."""
        for mapping in self.mappings:
            mapping.madvise(mmap.MADV_DONTNEED)


class _Part(NamedTuple):
    """Some rows: their numbers, the rows themselves, and whether one of them, or near them, may be no number."""

    ids: NDArray[np.int64]
    values: dict[Place, Tensor]
    suspect: bool

    def cut(self, begin: int, end: int) -> _Part:
        return _Part(self.ids[begin:end], {p: value[begin:end] for p, value in self.values.items()}, self.suspect)


def _joined(parts: list[_Part]) -> _Part:
    import torch

    if len(parts) == 1:
        return parts[0]
    values = {place: torch.cat([part.values[place] for part in parts]) for place in parts[0].values}
    return _Part(np.concatenate([part.ids for part in parts]), values, any(part.suspect for part in parts))


def numbers(tensor: Tensor) -> bool:
    """Whether all entries can be computed with: below 1e18, of integers within 2**53."""
    if not tensor.is_floating_point():
        low, high = tensor.aminmax() if tensor.numel() else (0, 0)
        return int(low) >= -LARGEST_INTEGER and int(high) <= LARGEST_INTEGER
    return bool((tensor.abs() < TOO_LARGE).all())


def check_numbers(name: str, values: Any, ids: NDArray[np.int64], where: str) -> None:
    """What was read are numbers to compute with.

    Args:
        name: The argument.
        values: Its rows, a tensor or an array.
        ids: The numbers of these rows.
        where: Which batch they are of.

    Raises:
        DataError: If one is not finite, is 1e18 or more, or an integer beyond 2**53.
    """
    import torch

    tensor = values if is_tensor(values) else torch.from_numpy(values) if values.dtype.kind == "f" else None
    if tensor is None or tensor.dtype is torch.bool or numbers(tensor):
        return
    limit = TOO_LARGE if tensor.is_floating_point() else LARGEST_INTEGER + 1
    bad = (~(tensor.abs() < limit)).nonzero()[0].tolist()
    column = f", column {bad[1]}" if len(bad) == 2 else f", index {tuple(bad[1:])}" if len(bad) > 2 else ""
    raise DataError(
        "holds what cannot be computed with",
        argument=name,
        got=f"{tensor[tuple(bad)].item():g} in row {ids[bad[0]]:,}{column}{where}",
        expected=f"finite numbers below {limit:g}",
        remedy="Drop such rows, or fill them in, before they are written.",
    )
