"""Whole steps as one C program that takes many of them a call."""

from __future__ import annotations

import torch
from torch import Tensor

from ppzoo.inference.graph.graph import Graph
from ppzoo.inference.native import compile_loop
from ppzoo.inference.variational.plan import Plan
from ppzoo.inference.variational.whole_step import WholeStep

__all__ = ["Native"]


class Native(WholeStep):
    """The whole step as machine code: replicas are lanes of a CPU's vectors."""

    road = "machine code"

    def __init__(self, plan: Plan, graph: Graph) -> None:
        """Raise :class:`~ppzoo.inference.native.values.Unsupported` where some operation has no machine code."""
        super().__init__(plan, graph)
        row = {"loss": torch.zeros((), dtype=torch.float64)}
        self._loop = compile_loop(self._traced, state=self._of_one, noise=self._noise, shared=self._shared, row=row)

    def _take(self, noise: dict[str, Tensor], steps: int) -> Tensor:
        losses = torch.zeros(self._plan.replicas, steps, dtype=torch.float64)
        count = torch.zeros(self._plan.replicas, dtype=torch.int64)
        threads = torch.get_num_threads()
        self._loop.run(self._state, noise, self._shared, {"loss": losses}, count, steps, threads=threads)
        return losses
