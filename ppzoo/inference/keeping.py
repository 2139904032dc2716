"""Where draws go while they are made, and what a stopped run goes on from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor

__all__ = ["Keeper", "Kept", "Memory"]

Fields = Mapping[str, tuple[torch.dtype, tuple[int, ...]]]  # by name: type and shape of one row


@dataclass(frozen=True)
class Kept:
    """What a keeper has of this run: nothing, where it has just begun.

    Attributes:
        counts: Rows of each chain, ``(C,)`` of int64.
        state: The tensors that were given with the last of them, on the CPU.
        numbers: The JSON values that were given with them.
    """

    counts: Tensor
    state: Mapping[str, Tensor] = field(default_factory=dict)
    numbers: Mapping[str, object] = field(default_factory=dict)


class Keeper(Protocol):
    """Keeps the rows of ``C`` chains, each at its own pace.

    Attributes:
        lasting: Whether what is kept outlives the process, so that it pays to give it the state again and again.
    """

    lasting: bool

    def begin(self, fields: Fields, *, chains: int, draws: int) -> Kept:
        """Make room for ``draws`` rows of each chain, or go on with what there is of this run."""

    def append(
        self, rows: Mapping[str, Tensor], counts: Tensor, state: Mapping[str, Tensor], numbers: Mapping[str, object]
    ) -> None:
        """Keep the first ``counts (C,)`` of the rows ``(C, B, ...)``, and the state from which the run goes on.

        All on the CPU.
        """

    def take(self, name: str) -> Tensor:
        """All rows of a field, ``(C, draws, ...)``, on the CPU, once; those that were not appended are arbitrary."""


class Memory:
    """Rows kept in memory; a run that stops is lost.

    Example:
        >>> memory = Memory()
        >>> memory.begin({"x": (torch.int64, ())}, chains=2, draws=3).counts
        tensor([0, 0])
        >>> memory.append({"x": torch.tensor([[1, 2], [3, 4]])}, torch.tensor([2, 1]), {}, {})
        >>> memory.append({"x": torch.tensor([[5, 0], [6, 7]])}, torch.tensor([1, 2]), {}, {})
        >>> memory.take("x")
        tensor([[1, 2, 5],
                [3, 6, 7]])
    """

    lasting = False

    def begin(self, fields: Fields, *, chains: int, draws: int) -> Kept:
        """As :meth:`Keeper.begin`; there is never anything yet."""
        self._fields, self._draws = fields, draws
        self._counts = torch.zeros(chains, dtype=torch.int64, device="cpu")
        self._rows: dict[str, Tensor] = {}
        return Kept(self._counts)

    def append(
        self, rows: Mapping[str, Tensor], counts: Tensor, state: Mapping[str, Tensor], numbers: Mapping[str, object]
    ) -> None:
        """As :meth:`Keeper.append`; the state is not kept."""
        for name, (dtype, shape) in self._fields.items():
            if name not in self._rows:
                size = (len(counts), self._draws, *shape)
                self._rows[name] = torch.zeros(size, dtype=dtype, device="cpu")
            chain, row = torch.nonzero(torch.arange(rows[name].shape[1], device="cpu") < counts[:, None]).T
            self._rows[name][chain, self._counts[chain] + row] = rows[name][chain, row]
        self._counts = self._counts + counts

    def take(self, name: str) -> Tensor:
        """As :meth:`Keeper.take`."""
        return self._rows.pop(name)
