"""All replicas' whole steps as one graph of tensor operations: replayed on any device, or as a CUDA graph."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ppzoo.inference.graph.captured import captured
from ppzoo.inference.graph.graph import Graph
from ppzoo.inference.graph.tracing import map_chains
from ppzoo.inference.native.values import Unsupported
from ppzoo.inference.program import first_words
from ppzoo.inference.variational.optimisers import forget_traces
from ppzoo.inference.variational.plan import Plan
from ppzoo.inference.variational.whole_step import WholeStep

__all__ = ["Captured", "Replayed"]


class Replayed(WholeStep):
    """Each operation does all replicas' numbers at once; none is read before the end, so a device is not waited for."""

    road = "traced graph of all replicas"

    def __init__(self, plan: Plan, graph: Graph) -> None:
        """Raise :class:`~ppzoo.inference.native.values.Unsupported` where a step is no function of tensors."""
        super().__init__(plan, graph)
        noise = [value.expand(plan.replicas, *value.shape).contiguous() for value in self._noise.values()]
        self._fixed = list(self._shared.values())
        self._mapped = map_chains(self._traced, [*self._state.values(), *noise, *self._fixed], shared=len(self._fixed))

    def _take(self, noise: dict[str, Tensor], steps: int) -> Tensor:
        state, losses = list(self._state.values()), []
        with torch.no_grad():
            for t in range(steps):
                *state, _, loss = self._mapped(*state, *(numbers[:, t] for numbers in noise.values()), *self._fixed)
                losses.append(loss)
            self._stand_at(state)
        forget_traces([value for name, value in self._state.items() if name.startswith("moment")])
        return torch.stack(losses, 1).cpu()

    def _stand_at(self, state: Sequence[Tensor]) -> None:
        """From here on parameters and moments have these values, in place."""
        for own, value in zip(self._state.values(), state, strict=True):
            own.copy_(value)


class Captured(Replayed):
    """A step as one CUDA graph: one launch for all of its operations.

    It stands at a place of the numbers of some steps, takes them, leaves its loss there, and moves on by one.
    """

    road = "CUDA graphs"
    _capture = staticmethod(captured)

    def __init__(self, plan: Plan, graph: Graph) -> None:
        """Raise :class:`~ppzoo.inference.native.values.Unsupported` where some operation waits for the device."""
        super().__init__(plan, graph)
        ahead = plan.portion(self._draws)
        self._ahead_of = {
            name: torch.zeros(plan.replicas, ahead, *one.shape, dtype=one.dtype, device=self._device)
            for name, one in self._noise.items()
        }
        self._losses = torch.zeros(plan.replicas, ahead, dtype=torch.float64, device=self._device)
        self._place = torch.zeros(1, dtype=torch.int64, device=self._device)
        before = [value.clone() for value in self._state.values()]
        try:
            self._once = self._capture(self._take_one)
        except RuntimeError as error:
            raise Unsupported(first_words(error)) from error
        self._stand_at(before)  # to be captured it may have run

    def _take(self, noise: dict[str, Tensor], steps: int) -> Tensor:
        for name, numbers in noise.items():
            self._ahead_of[name][:, :steps].copy_(numbers)
        self._place.zero_()
        for _ in range(steps):
            self._once()
        return self._losses[:, :steps].cpu()

    def _take_one(self) -> None:
        with torch.no_grad():
            noise = [numbers.index_select(1, self._place)[:, 0] for numbers in self._ahead_of.values()]
            *state, _, loss = self._mapped(*self._state.values(), *noise, *self._fixed)
            self._losses.index_copy_(1, self._place, loss[:, None])
            self._stand_at(state)
            self._place += 1
