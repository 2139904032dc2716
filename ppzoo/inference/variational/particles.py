"""A loss of several runs: one after the other, or one run's operations on the numbers of all."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from ppzoo.datasets.arguments import Arguments
from ppzoo.inference.graph.graph import Graph, Node, map_leaves, nodes_in
from ppzoo.inference.variational.noise import Draw
from ppzoo.inference.variational.objectives import Loss

__all__ = ["Particles"]


class Particles:
    """``loss(data, [weight])`` of several runs.

    Args:
        one: What a run adds, ``one(data, [weight])``: named tuples and dicts of tensors, and what is always the same.
        together: The loss by what each run adds.
        count: How many runs.
    """

    def __init__(self, one: Callable[..., Any], together: Callable[[Sequence[Any]], Loss], count: int) -> None:
        self.one, self.count = one, count
        self._together = together

    def __call__(self, data: Arguments, *weight: Tensor) -> Loss:
        """Run after run."""
        return self._together([self.one(data, *weight) for _ in range(self.count)])

    def at_once(self, graph: Graph, draws: Sequence[Draw], *inputs: Tensor) -> Loss:
        """All runs by the graph of one, ``(*inputs, *draws) -> one``; numbers are drawn as run after run draws them."""
        numbers = zip(*([draw.made() for draw in draws] for _ in range(self.count)), strict=True)
        flat = Graph(graph.inputs, graph.calls, nodes_in(graph.outputs))
        dims = (None,) * len(inputs) + (0,) * len(draws)
        stacked = torch.func.vmap(flat, dims)(*inputs, *(torch.stack(each) for each in numbers))
        each = [value.unbind() for value in stacked]

        def of(k: int) -> Any:
            given = iter(each)
            return map_leaves(lambda leaf: next(given)[k] if isinstance(leaf, Node) else leaf, graph.outputs)

        return self._together([of(k) for k in range(self.count)])
