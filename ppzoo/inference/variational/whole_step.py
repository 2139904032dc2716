"""Whole steps, optimiser included, as one function of tensors: what changes from step to step, and what does not."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from ppzoo.inference.graph.graph import Graph
from ppzoo.inference.graph.tracing import trace
from ppzoo.inference.native.values import Unsupported
from ppzoo.inference.variational.noise import Draw, drawn, separated
from ppzoo.inference.variational.plan import Plan

__all__ = ["WholeStep"]


class WholeStep:
    """All replicas' steps by one traced function, in which no number is read; those that inherit say how it is run.

    Attributes:
        road: How, in words.
    """

    road: str

    def __init__(self, plan: Plan, graph: Graph) -> None:
        """Raise :class:`~ppzoo.inference.native.values.Unsupported` where a step is no such function."""
        if graph.writes:
            raise Unsupported("it writes in place")
        if not plan.batches.regular:
            raise Unsupported("batches may differ in size")
        self._plan, self._taken = plan, 0
        self._device = plan.parameters[0].device
        self._graph, self._draws = separated(graph)
        streamed = plan.batches.streamed
        self._rows = plan.batches.tensors if not (plan.batches.fixed or streamed) else []
        self._given = plan.batches.example.tensors() if streamed else []  # like what comes with each step
        self._generators = [plan.generator(k, self._device) for k in range(plan.replicas)]
        self._state = {f"parameter {i}": parameter for i, parameter in enumerate(plan.parameters)}
        for j in range(plan.optimiser.moments):
            self._state |= {f"moment {j} of {i}": torch.zeros_like(p) for i, p in enumerate(plan.parameters)}
        self._state["t"] = torch.zeros(plan.replicas, dtype=torch.float64, device=self._device)
        self._shared = {f"data {i}": tensor.contiguous() for i, (tensor, _) in enumerate(self._rows)}
        self._shared |= {f"buffer {i}": buffer[0].contiguous() for i, buffer in enumerate(plan.buffers)}
        self._shared |= {f"unit {i}": unit.contiguous() for i, unit in enumerate(plan.units)}
        self._courses = {"rate": plan.rate} | ({} if plan.weight is None else {"weight": plan.weight})
        scalars = [Draw("", (), torch.float64) for _ in self._courses]
        noise = [torch.zeros(d.shape, dtype=d.dtype, device=self._device) for d in [*scalars, *self._draws]]
        rows = [plan.batches.rows(0).to(self._device)] if self._rows else self._given
        names = [f"given {i}" for i in range(len(self._given))] or ["rows"] * len(rows)
        names = [*self._courses, *(f"draw {i}" for i in range(len(self._draws))), *names]
        self._noise = dict(zip(names, [*noise, *rows], strict=True))
        self._of_one = {name: value[0] for name, value in self._state.items()}
        self._traced = trace(self._step, [*self._of_one.values(), *self._noise.values(), *self._shared.values()])

    def advance(self, steps: int) -> Tensor:
        """As :meth:`Trainer.advance`."""
        each = self._plan.portion(self._draws)
        return torch.cat([self._advance(min(each, steps - done)) for done in range(0, steps, each)], 1)

    def _advance(self, steps: int) -> Tensor:
        losses = self._take(self._ahead(steps), steps)
        self._taken += steps
        return losses

    def _take(self, noise: dict[str, Tensor], steps: int) -> Tensor:
        """Take the steps with these numbers, ``(K, T, ...)`` each; the losses ``(K, T)``, on the processor."""
        raise NotImplementedError

    def _ahead(self, steps: int) -> dict[str, Tensor]:
        """What comes anew with each of the next steps, ``(K, T, ...)`` each."""
        replicas, ahead = range(self._plan.replicas), range(self._taken, self._taken + steps)
        courses = [torch.tensor([of(t) for t in ahead], dtype=torch.float64) for of in self._courses.values()]
        draws = zip(*(drawn(self._draws, steps, g, self._device) for g in self._generators), strict=True)
        noise = [*(course.repeat(len(replicas), 1) for course in courses), *(torch.stack(each) for each in draws)]
        batches = self._plan.batches
        if self._rows:
            noise.append(torch.stack([torch.stack([batches.rows(t, k) for t in ahead]) for k in replicas]))
        if self._given:
            seen = [[batches.batch(t, k).tensors() for t in ahead] for k in replicas]
            noise += [torch.stack([torch.stack(each) for each in of]) for of in zip(*map(_columns, seen), strict=True)]
        return dict(zip(self._noise, (value.to(self._device) for value in noise), strict=True))

    def snapshot(self) -> dict[str, Tensor]:
        """As :meth:`Trainer.snapshot`."""
        taken = torch.tensor(self._taken, dtype=torch.int64)
        return self._state | {"taken": taken} | {f"random {k}": g.get_state() for k, g in enumerate(self._generators)}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """As :meth:`Trainer.restore`."""
        for name, value in self._state.items():
            value.copy_(state[name])
        for k, generator in enumerate(self._generators):
            generator.set_state(state[f"random {k}"])
        self._taken = int(state["taken"])

    def _step(self, *values: Tensor) -> tuple[Tensor, ...]:
        """One step of one replica.

        ``(*state, rate, [weight], *draws, [rows] or *given, *shared) -> (*state, True, loss)``.
        """
        plan, given = self._plan, iter(values)
        parameters = [next(given) for _ in plan.parameters]
        moments = [[next(given) for _ in parameters] for _ in range(plan.optimiser.moments)]
        t, rate = next(given), next(given)
        weight = [next(given)] if plan.weight is not None else []
        draws = [next(given) for _ in self._draws]
        seen = [next(given)] if self._rows else []
        data = [next(given) for _ in self._given]
        data += [next(given)[seen[0]] if some else next(given) for _, some in self._rows]
        buffers, units = [next(given) for _ in plan.buffers], list(given)
        loss, gradients = self._graph(*weight, *data, *parameters, *buffers, *draws)
        places = parameters
        if units:
            gradients = [None if g is None else g * unit for g, unit in zip(gradients, units, strict=True)]
            places = [place / unit for place, unit in zip(parameters, units, strict=True)]
        slopes = [None if gradient is None else gradient.double() for gradient in gradients]
        squares = [(slope**2).sum() for slope in slopes if slope is not None]
        norm = torch.sqrt(sum(squares, torch.zeros_like(t)))
        taken = torch.isfinite(loss) & torch.isfinite(norm)
        scale = torch.clamp(plan.clip / (norm + 1e-6), max=1.0)  # as torch has it
        for i, slope in enumerate(slopes):
            if slope is not None:  # what the loss does not hang on stays
                before = tuple(m[i] for m in moments)
                slope = slope if math.isinf(plan.clip) else slope * scale
                place, after = plan.optimiser.update(places[i], slope.to(places[i].dtype), before, rate, t + 1)
                parameters[i] = torch.where(taken, place * units[i] if units else place, parameters[i])
                for m, new in zip(moments, after, strict=True):
                    m[i] = torch.where(taken, new, m[i])
        state = [*parameters, *(m for each in moments for m in each), t + taken]
        return (*state, torch.ones((), dtype=torch.bool), torch.where(taken, loss.double(), math.nan))


def _columns(rows: list[list[Tensor]]) -> list[tuple[Tensor, ...]]:
    return list(zip(*rows, strict=True))
