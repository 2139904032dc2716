"""What takes steps with all replicas of a pair's parameters: in machine code, or one operation after the other.

Shapes: ``K`` replicas, ``T`` steps.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor

from ppzoo.inference.graph.graph import Graph, Node
from ppzoo.inference.graph.tracing import NotTraceable, trace
from ppzoo.inference.native import Unsupported, compile_loop
from ppzoo.inference.native.build import lanes
from ppzoo.inference.variational.descent import Descent
from ppzoo.inference.variational.minibatch import Minibatches
from ppzoo.inference.variational.noise import Draw, drawn, separated
from ppzoo.inference.variational.optimisers import Optimiser
from ppzoo.inference.variational.step import Step
from ppzoo.rng import stream_seed

__all__ = ["Native", "Plan", "Stepwise", "Trainer", "trainer_of"]

_aten: Any = torch.ops.aten
_PRODUCTS = {_aten.mm.default, _aten.bmm.default, _aten.addmm.default, _aten.baddbmm.default}

# Seconds, on a core of 2026. What an operation costs that torch is asked for, and a number in machine code:
_OPERATION, _NUMBER = 4e-6, 1e-9
_COMPILER, _COMPILED_OPERATION = 0.4, 2e-3  # what the C compiler takes, and for each operation
_FUSED_OPERATION, _FUSED_NUMBER, _TORCH_COMPILER = 2.4e-6, 3e-10, 25.0  # what torch's compiler saves, and takes


@dataclass(frozen=True)
class Plan:
    """What is to be done.

    Attributes:
        step: Loss and gradients.
        batches: The data of each step.
        parameters: Where the replicas begin, ``(K, ...)`` each; trained in place.
        buffers: What their modules remember beside, ``(K, ...)`` each.
        optimiser: How to use the gradients.
        rate: The learning rate of step 0, 1, ...
        clip: Largest norm of a gradient; infinite for no limit.
        seed: The root seed.
        steps: How many steps there will be, as far as one can tell.
        weight: The weight of step 0, 1, ...; None if steps have none.
        units: What each parameter is measured in by rates and gradients, ``(...)`` each; empty for ones.
    """

    step: Step
    batches: Minibatches
    parameters: list[Tensor]
    buffers: list[Tensor]
    optimiser: Optimiser
    rate: Callable[[int], float]
    clip: float
    seed: int
    steps: int
    weight: Callable[[int], float] | None = None
    units: list[Tensor] = field(default_factory=list)

    @property
    def replicas(self) -> int:
        """How many there are."""
        return len(self.parameters[0]) if self.parameters else 1

    def weight_of(self, t: int) -> Tensor | None:
        """The weight of a step, a scalar of float64; None if steps have none."""
        return None if self.weight is None else torch.tensor(self.weight(t), dtype=torch.float64, device="cpu")


class Trainer(Protocol):
    """Advances all replicas of a plan, in place.

    Attributes:
        road: How, in words.
    """

    road: str

    def advance(self, steps: int) -> Tensor:
        """Take some steps with each; the losses ``(K, T)`` of float64, NaN where a step was skipped."""

    def snapshot(self) -> dict[str, Tensor]:
        """All that the next steps hang on: parameters, moments, random states, the number of steps."""

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Go on from a snapshot."""


def trainer_of(plan: Plan) -> tuple[Trainer, str]:
    """The fastest trainer for this plan, and why it is not a faster one (empty for the fastest)."""
    reason = plan.step.reason
    if plan.step.graph is not None and plan.parameters:
        try:
            if _pays(plan.step.graph, plan):
                return Native(plan, plan.step.graph), ""
        except (Unsupported, NotTraceable) as why:
            reason = str(why)
    road = "the program itself" if plan.step.graph is None else "traced graph"
    if plan.step.graph is not None and _compiling_pays(plan.step.graph, plan):
        try:
            plan.step.compile(plan.step.graph, plan.batches.example, plan.weight_of(0))
            road = "compiled graph"
        except NotTraceable as why:
            reason = str(why)
    return Stepwise(plan, road), reason


class Stepwise:
    """Step by step, each replica for itself: by the traced graph, compiled or operation by operation, or the program.

    Args:
        plan: What is to be done.
        road: In words.
    """

    def __init__(self, plan: Plan, road: str) -> None:
        self.road = road
        self._plan, self._taken = plan, 0
        self._places = [([p[k] for p in plan.parameters], [b[k] for b in plan.buffers]) for k in range(plan.replicas)]
        self._descents = [
            Descent([p.requires_grad_() for p in own], plan.optimiser, plan.rate, plan.clip, plan.units)
            for own in ([p[k].detach() for p in plan.parameters] for k in range(plan.replicas))
        ]
        self._randomness = [_random_state(_seed(plan.seed, k)) for k in range(plan.replicas)]

    def advance(self, steps: int) -> Tensor:
        """As :meth:`Trainer.advance`."""
        rows = [self._advance(k, steps) for k in range(self._plan.replicas)]
        self._taken += steps
        return torch.tensor(rows, dtype=torch.float64, device="cpu")

    def snapshot(self) -> dict[str, Tensor]:
        """As :meth:`Trainer.snapshot`."""
        return self._tensors() | {
            f"random {k} {i}": value for k, states in enumerate(self._randomness) for i, value in enumerate(states)
        }

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """As :meth:`Trainer.restore`."""
        for name, value in self._tensors().items():
            value.detach().copy_(state[name])
        self._randomness = [
            [state[f"random {k} {i}"] for i in range(len(states))] for k, states in enumerate(self._randomness)
        ]
        self._taken = self._descents[0].steps

    def _tensors(self) -> dict[str, Tensor]:
        """What changes in place."""
        own = {f"parameter {i}": value for i, value in enumerate(self._plan.parameters)}
        own |= {f"buffer {i}": value for i, value in enumerate(self._plan.buffers)}
        return own | {f"descent {k} {n}": v for k, each in enumerate(self._descents) for n, v in each.state.items()}

    def _advance(self, replica: int, steps: int) -> list[float]:
        step, batches, descent = self._plan.step, self._plan.batches, self._descents[replica]
        step.stand_at(*self._places[replica])
        _put_back(self._randomness[replica])
        ahead = range(self._taken, self._taken + steps)
        losses = [descent.step(*step(batches.batch(t, replica), self._plan.weight_of(t))) for t in ahead]
        self._randomness[replica] = _random_state()
        return losses


class Native:
    """The whole step, optimiser included, as machine code: replicas are lanes of a CPU's vectors."""

    road = "machine code"

    def __init__(self, plan: Plan, graph: Graph) -> None:
        """Raise :class:`~ppzoo.inference.native.values.Unsupported` where some operation has no machine code."""
        if graph.writes:
            raise Unsupported("it writes in place")
        if not plan.batches.regular:
            raise Unsupported("batches may differ in size")
        self._plan, self._taken = plan, 0
        self._graph, self._draws = separated(graph)
        streamed = plan.batches.streamed
        self._rows = plan.batches.tensors if not (plan.batches.fixed or streamed) else []
        self._given = plan.batches.example.tensors() if streamed else []  # like what comes with each step
        self._generators = [torch.Generator("cpu").manual_seed(_seed(plan.seed, k)) for k in range(plan.replicas)]
        self._state = {f"parameter {i}": parameter for i, parameter in enumerate(plan.parameters)}
        for j in range(plan.optimiser.moments):
            self._state |= {f"moment {j} of {i}": torch.zeros_like(p) for i, p in enumerate(plan.parameters)}
        self._state["t"] = torch.zeros(plan.replicas, dtype=torch.float64, device="cpu")
        self._shared = {f"data {i}": tensor.contiguous() for i, (tensor, _) in enumerate(self._rows)}
        self._shared |= {f"buffer {i}": buffer[0].contiguous() for i, buffer in enumerate(plan.buffers)}
        self._shared |= {f"unit {i}": unit.contiguous() for i, unit in enumerate(plan.units)}
        self._courses = {"rate": plan.rate} | ({} if plan.weight is None else {"weight": plan.weight})
        noise = [*(Draw("", (), torch.float64) for _ in self._courses), *self._draws]
        own = [*(value[0] for value in self._state.values()), *(torch.zeros(d.shape, dtype=d.dtype) for d in noise)]
        rows = [plan.batches.rows(0)] if self._rows else self._given
        step = trace(self._step, [*own, *rows, *self._shared.values()])
        names = [f"given {i}" for i in range(len(self._given))] or ["rows"] * len(rows)
        self._names = [*self._courses, *(f"draw {i}" for i in range(len(self._draws))), *names]
        self._loop = compile_loop(
            step,
            state=dict(zip(self._state, own, strict=False)),
            noise=dict(zip(self._names, [*own[len(self._state) :], *rows], strict=True)),
            shared=self._shared,
            row={"loss": torch.zeros((), dtype=torch.float64)},
        )

    def advance(self, steps: int) -> Tensor:
        """As :meth:`Trainer.advance`."""
        each = self._plan.batches.portion
        return torch.cat([self._advance(min(each, steps - done)) for done in range(0, steps, each)], 1)

    def _advance(self, steps: int) -> Tensor:
        replicas, ahead = range(self._plan.replicas), range(self._taken, self._taken + steps)
        courses = [torch.tensor([of(t) for t in ahead], dtype=torch.float64) for of in self._courses.values()]
        draws = zip(*(drawn(self._draws, steps, generator) for generator in self._generators), strict=True)
        noise = [*(course.repeat(len(replicas), 1) for course in courses), *(torch.stack(each) for each in draws)]
        if self._rows:
            noise.append(torch.stack([torch.stack([self._plan.batches.rows(t, k) for t in ahead]) for k in replicas]))
        if self._given:
            seen = [[self._plan.batches.batch(t, k).tensors() for t in ahead] for k in replicas]
            noise += [torch.stack([torch.stack(each) for each in of]) for of in zip(*map(_columns, seen), strict=True)]
        losses = torch.zeros(len(replicas), steps, dtype=torch.float64)
        count = torch.zeros(len(replicas), dtype=torch.int64)
        named = dict(zip(self._names, noise, strict=True))
        self._loop.run(
            self._state, named, self._shared, {"loss": losses}, count, steps, threads=torch.get_num_threads()
        )
        self._taken += steps
        return losses

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


def _pays(graph: Graph, plan: Plan) -> bool:
    """Whether machine code is worth its compiler."""
    operations, numbers = len(graph.calls), sum(_numbers(call) for call in graph.calls)
    saved = plan.replicas * operations * _OPERATION - math.ceil(plan.replicas / lanes()) * numbers * _NUMBER
    return plan.steps * saved > _COMPILER + _COMPILED_OPERATION * operations


def _compiling_pays(graph: Graph, plan: Plan) -> bool:
    """Whether fusing operations is worth torch's compiler; products of matrices gain nothing."""
    numbers = sum(_numbers(call) for call in graph.calls if call.target not in _PRODUCTS)
    saved = len(graph.calls) * _FUSED_OPERATION + numbers * _FUSED_NUMBER
    return plan.replicas * plan.steps * saved > _TORCH_COMPILER


def _numbers(call: Node) -> int:
    """How many numbers an operation computes; a product of matrices each of its terms."""
    if call.shape is None:
        return 0
    size = math.prod(call.shape)
    inner = call.sources[-1].shape if call.target in _PRODUCTS else None
    return size * inner[-2] if inner is not None and len(inner) > 1 else size


def _seed(root: int, replica: int) -> int:
    return stream_seed(root, "svi", "replica", replica)


def _random_state(seed: int | None = None) -> list[Tensor]:
    """The state of torch's global generators, the processor's first; fresh from a seed, if one is given."""
    if seed is not None:
        torch.manual_seed(seed)
    return [torch.get_rng_state(), *(torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else ())]


def _put_back(state: list[Tensor]) -> None:
    torch.set_rng_state(state[0])
    if state[1:]:
        torch.cuda.set_rng_state_all(state[1:])
