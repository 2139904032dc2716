"""The log density alone, without its gradient, of many points: what draws are weighed by."""

from __future__ import annotations

import torch
from torch import Tensor

from ppzoo.inference.approximate.lbfgs import map_rows
from ppzoo.inference.flat import FlatDensity
from ppzoo.inference.graph.tracing import trace

__all__ = ["Values"]

_AT_ONCE = 1024  # points at which the density is computed in one call, fewer where there are many data
_DATA = 2_000_000  # elements of data times points


class Values:
    """Log densities ``(...)`` of rows ``(..., D)``, -inf where one is not finite; ``count`` says how many so far."""

    def __init__(self, flat: FlatDensity) -> None:
        graph = trace(lambda q: (flat.function(q)[0],), [flat.like + 0.1])
        data = max((constant.numel() for constant in graph.constants), default=0)
        self._rows, self._at_once = map_rows(graph), min(_AT_ONCE, 1 + _DATA // (1 + data))
        self.count = 0

    def __call__(self, q: Tensor) -> Tensor:
        """Log densities of the rows."""
        rows = q.reshape(-1, q.shape[-1])
        self.count += len(rows)
        value = torch.cat([self._rows(part)[0] for part in rows.split(self._at_once)])
        return torch.where(torch.isfinite(value), value, -torch.inf).reshape(q.shape[:-1])
