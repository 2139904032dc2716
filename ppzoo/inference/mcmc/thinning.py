"""Of every few draws one is kept; none of what the others did wrong is forgotten."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Thinning"]

Rows = dict[str, Tensor]


@dataclass
class Thinning:
    """Which of the draws are kept: of each chain the ``every``-th, ``2 every``-th and so on.

    Attributes:
        every: Draws to one that is kept.
        given: Draws of each chain so far, ``(C,)``.
        diverged: Those of them that diverged since the last one that was kept, ``(C,)``.
    """

    every: int
    given: Tensor
    diverged: Tensor

    @classmethod
    def of(cls, every: int, keys: Tensor) -> Thinning:
        """No draws yet, of the chains with ``keys (C, 2)``."""
        zeros = torch.zeros(len(keys), dtype=torch.int64, device=keys.device)
        return cls(every, zeros, zeros.clone())

    def snapshot(self) -> Rows:
        """Tensors for :meth:`restore`."""
        return {"given": self.given, "diverged": self.diverged}

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Stand where the snapshot was taken."""
        self.given, self.diverged = (tensors[name].to(self.given.device) for name in ("given", "diverged"))

    def take(self, rows: Rows, counts: Tensor) -> tuple[Rows, Tensor]:
        """The rows ``(C, B', ...)`` to keep of new ones ``(C, B, ...)``, of which each chain has ``counts (C,)``.

        A kept row's ``diverging`` says whether it or one left out before it diverged.
        """
        if self.every == 1:
            self.given = self.given + counts
            return rows, counts
        chain, size = torch.arange(len(counts), device=counts.device)[:, None], rows["diverging"].shape[1]
        first = self.every - 1 - self.given % self.every
        kept = torch.clamp((counts - first + self.every - 1) // self.every, min=0)
        place = first[:, None] + self.every * torch.arange(max(1, int(kept.max())), device=counts.device)
        place = torch.clamp(place, max=size - 1)
        new = torch.arange(size, device=counts.device) < counts[:, None]
        total = self.diverged[:, None] + torch.cumsum(rows["diverging"] & new, 1)  # up to each row
        upto = total[chain, place]
        before = torch.cat([torch.zeros_like(upto[:, :1]), upto[:, :-1]], 1)
        picked = {name: row[chain, place] for name, row in rows.items()} | {"diverging": upto > before}
        last = torch.where(kept > 0, upto[chain[:, 0], torch.clamp(kept - 1, min=0)], 0)
        self.diverged, self.given = total[:, -1] - last, self.given + counts
        return picked, kept
