"""Batches as a loader gives them: torch's ``DataLoader``, or anything else that can be gone through again and again.

A batch is a tensor or array, the one positional argument of a model; or a list or tuple of them, its positional
arguments; or a dict, its keyword arguments. Rows are along the first axis of each. A batch of B of the N rows is
weighed by N / B: it is taken for a random sample of its size, so the loader should shuffle.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Set
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from ppzoo.datasets.arguments import Arguments, Place
from ppzoo.datasets.disk import check_numbers
from ppzoo.datasets.frames import is_frame, is_series
from ppzoo.datasets.numeric import is_array_like
from ppzoo.datasets.record import Dataset
from ppzoo.datasets.tensors import is_tensor, plain_tensor
from ppzoo.errors import DataError, OptionError

if TYPE_CHECKING:
    import torch
    from torch import Tensor

__all__ = ["Batches", "batches_of", "is_loader", "places_of"]

_PLAIN = (str, bytes, list, tuple, range, Mapping, Set, Dataset)


def is_loader(data: object) -> bool:
    """Whether data are batches to come, and no data themselves."""
    if isinstance(data, _PLAIN) or is_tensor(data) or is_frame(data) or is_series(data) or is_array_like(data):
        return False
    return isinstance(data, Iterable)


def places_of(data: Any) -> dict[Place, Any]:
    """The arguments of a model by place: of a list or tuple several, of a dict by name, else one."""
    if isinstance(data, Mapping):
        return dict(data)
    return dict(enumerate(data)) if isinstance(data, list | tuple) else {0: data}


def batches_of(loader: Any, rows: int | None) -> tuple[Batches, Any]:
    """The source that a loader is, and its first batch as data, which stands for all where a program is looked at.

    Args:
        loader: Can be gone through again and again.
        rows: How many rows a pass gives; ``None`` for those of ``loader.dataset``.

    Raises:
        DataError: If it cannot, gives nothing, or gives what is no batch.
        OptionError: If the number of rows is not known.
    """
    if iter(loader) is loader:
        raise DataError(
            "can be gone through only once",
            argument="data",
            got=f"a {type(loader).__name__}",
            expected="what begins anew with each pass",
            remedy="Pass a DataLoader, or an object whose __iter__ makes a new iterator each time.",
        )
    if rows is None:
        rows = _rows_of(loader)
    first = next(iter(loader), None)
    if first is None:
        raise _no_batch(loader)
    values = _read(first, 0)
    size = len(next(iter(values.values())))
    kinds = {place: (value.dtype, value.shape[1:]) for place, value in values.items()}
    names = type(first) if isinstance(first, Mapping | list | tuple) else None
    data = dict(values) if isinstance(first, Mapping) else tuple(values.values()) if names else values[0]
    return Batches(loader, rows, size, kinds), data


@dataclass(frozen=True, eq=False)
class Batches:
    """A :class:`~ppzoo.datasets.arguments.Source` of batches that a loader gives, the same to all replicas.

    It is gone through in the thread of the fit, for it may draw from generators that the fit draws from; a
    ``DataLoader`` with ``num_workers`` reads ahead by itself.

    Attributes:
        loader: Gives them.
        rows: N.
        size: Rows of the first batch.
        kinds: By place, type and shape of a row.
    """

    loader: Any
    rows: int
    size: int
    kinds: dict[Place, tuple[torch.dtype, torch.Size]]
    threaded: bool = field(default=False, init=False)

    @property
    def dropped(self) -> int:
        """Rows that the loader leaves out of every pass, because its last batch would be short."""
        sampler = getattr(self.loader, "batch_sampler", None)
        return self.rows % self.size if getattr(sampler, "drop_last", False) is True else 0

    @property
    def per_epoch(self) -> int:
        """Batches of a pass."""
        return -(-(self.rows - self.dropped) // self.size)

    @property
    def regular(self) -> bool:
        """Whether all batches have as many rows: known of a plain ``DataLoader`` only."""
        size = getattr(self.loader, "batch_size", None)
        return size == self.size and (self.rows - self.dropped) % self.size == 0

    @property
    def notes(self) -> tuple[str, ...]:
        """Which batches take longer; a warning where a short one weighs too much, for it is always the same."""
        sampler = getattr(self.loader, "sampler", None)
        short = (self.rows - self.dropped) % self.size
        found = (
            [] if self.regular else [f"Batches of other than {self.size} rows take the slower road, by the program."]
        )
        if short and type(sampler).__name__ == "SequentialSampler":
            weight = f"the {short} rows of its last batch weigh {self.size / short:.3g} times what the others do"
            found.append(f"The loader does not shuffle, so {weight}: give it shuffle=True or drop_last=True.")
        return tuple(found)

    def batches(self, like: Arguments, seed: int, replica: int, first: int = 0) -> Iterator[Arguments]:
        """As :meth:`~ppzoo.datasets.arguments.Source.batches`, in the loader's own order.

        Raises:
            DataError: If a pass gives more or fewer rows than there are, or a batch is not like the first.
        """
        passes = (batch for _ in itertools.count() for batch in self._pass(like))
        return itertools.islice(passes, first, None)

    def once(self, like: Arguments) -> Iterator[Arguments]:
        """As :meth:`~ppzoo.datasets.arguments.Source.once`."""
        return iter(()) if self.dropped else self._pass(like)

    def _pass(self, like: Arguments) -> Iterator[Arguments]:
        seen, number = 0, -1
        for number, batch in enumerate(self.loader):
            values = _read(batch, number)
            self._check(values, number)
            seen += len(next(iter(values.values())))
            if seen > self.rows:
                break
            yield like.filled({place: _as(value, like.at(place)) for place, value in values.items()})
        if number < 0:
            raise _no_batch(self.loader)
        if seen != self.rows - self.dropped:
            raise DataError(
                "gives another number of rows in a pass than it should",
                argument="data",
                got=f"{'more than ' * (seen > self.rows)}{min(seen, self.rows):,} rows in {number + 1:,} batches",
                expected=f"{self.rows - self.dropped:,} rows, those of loader.dataset or of rows=",
                remedy="Pass rows=, how many rows a pass gives.",
            )

    def _check(self, values: dict[Place, Tensor], number: int) -> None:
        """The batch is like the first."""
        if values.keys() != self.kinds.keys():
            raise _unlike(number, "arguments", list(values), list(self.kinds))
        for place, value in values.items():
            dtype, shape = self.kinds[place]
            if value.dtype != dtype:
                raise _unlike(number, f"type in argument {place}", value.dtype, dtype)
            if value.shape[1:] != shape:
                raise _unlike(number, f"shape of a row in argument {place}", tuple(value.shape[1:]), tuple(shape))


def _read(batch: Any, number: int) -> dict[Place, Tensor]:
    """The tensors of a batch by place, fresh ones of plain types.

    Raises:
        DataError: If it holds anything else, or rows are not along the first axis of each.
    """
    places = places_of(batch)
    for place, value in places.items():
        if not (is_tensor(value) or is_array_like(value)):
            raise _unlike(number, f"argument {place}", f"a {type(value).__name__}", "a tensor or array")
    values = {place: plain_tensor(str(place), value, []) for place, value in places.items()}
    sizes = {place: tuple(value.shape) for place, value in values.items()}
    rows = {shape[:1] for shape in sizes.values()}
    if len(rows) != 1 or rows <= {(), (0,)}:
        raise _unlike(
            number, "number of rows", f"shapes {sizes}", "as many, one or more, along the first axis of each argument"
        )
    for place, value in values.items():
        check_numbers(f"argument {place}", value, np.arange(len(value)), f" of batch {number}")
    return values


def _rows_of(loader: Any) -> int:
    """How many rows a pass gives, by ``len(loader.dataset)`` if that counts rows."""
    dataset = getattr(loader, "dataset", None)
    batched = getattr(loader, "batch_sampler", dataset) is not None  # else an entry of the data set is a batch
    if dataset is None or not hasattr(dataset, "__len__") or not batched:
        raise OptionError(
            "is needed to weigh batches, and the loader does not tell",
            argument="rows",
            got=f"None with a {type(loader).__name__}",
            expected="how many rows a pass gives",
            remedy="Pass rows= to fit.",
        )
    return len(dataset)


def _no_batch(loader: Any) -> DataError:
    return DataError(
        "gives no batch",
        argument="data",
        got=f"a {type(loader).__name__} without any",
        expected="one or more in each pass",
        remedy="Look at its data set, its sampler, and drop_last.",
    )


def _unlike(number: int, what: str, got: object, expected: object) -> DataError:
    return DataError(
        f"batch {number} has the wrong {what}",
        argument="data",
        got=str(got),
        expected=str(expected),
        remedy="Make all batches alike: numbers of one type, rows of one shape; the last batch may have fewer rows.",
    )


def _as(value: Tensor, like: Tensor) -> Tensor:
    return value.to(like.device, like.dtype)
