"""Steps one by one: by the traced graph, compiled or operation by operation, or by the program."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from ppzoo.inference.variational.descent import Descent
from ppzoo.inference.variational.noise import drawn
from ppzoo.inference.variational.plan import Plan
from ppzoo.inference.variational.step import Gradients

__all__ = ["Stepwise"]


class Stepwise:
    """Step by step, each replica for itself: by the traced graph, compiled or operation by operation, or the program.

    Of several processes each finds loss and gradients of its own rows; their means are what the step is taken by.

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
        self._device = plan.parameters[0].device if plan.parameters else torch.device("cpu")
        self._generators = [plan.generator(k, self._device) for k in range(plan.replicas)]
        self._randomness = [_random_state(plan.seed_of(k, "program")) for k in range(plan.replicas)]

    def advance(self, steps: int) -> Tensor:
        """As :meth:`Trainer.advance`."""
        rows = [self._advance(k, steps) for k in range(self._plan.replicas)]
        self._taken += steps
        return torch.tensor(rows, dtype=torch.float64, device="cpu")

    def snapshot(self) -> dict[str, Tensor]:
        """As :meth:`Trainer.snapshot`."""
        generators = {f"random {k}": generator.get_state() for k, generator in enumerate(self._generators)}
        return (
            self._tensors()
            | generators
            | {f"random {k} {i}": value for k, states in enumerate(self._randomness) for i, value in enumerate(states)}
        )

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """As :meth:`Trainer.restore`."""
        for name, value in self._tensors().items():
            value.detach().copy_(state[name])
        for k, generator in enumerate(self._generators):
            generator.set_state(state[f"random {k}"])
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
        if batches.processes.size > 1 and batches.local:  # rows of several have no numbers in common
            torch.manual_seed(self._plan.seed_of(replica, "process", batches.processes.rank, "step", self._taken))
        losses, end, each = [], self._taken + steps, self._plan.portion(step.draws)
        for first in range(self._taken, end, each):
            ahead = range(first, min(first + each, end))
            noise = drawn(step.draws, len(ahead), self._generators[replica], self._device)
            for i, t in enumerate(ahead):
                batch, weight = batches.batch(t, replica), self._plan.weight_of(t)
                loss, gradients = step(batch, weight, [numbers[i] for numbers in noise])
                losses.append(descent.step(*self._agreed(loss, gradients, replica)))
        descent.forget_traces()
        self._randomness[replica] = _random_state()
        return losses

    def _agreed(self, loss: Tensor, gradients: Gradients, replica: int) -> tuple[Tensor, Gradients]:
        """What the processes find together; what their modules remember becomes one again, too."""
        together = self._plan.batches.processes
        if together.size == 1:
            return loss, gradients
        step, given = self._plan.step, [gradient for gradient in gradients if gradient is not None]
        buffers = [b for b in self._places[replica][1] if b.is_floating_point()] if step.changes_buffers else []
        mean, *others = together.mean([loss, *given, *buffers])
        means = iter(others)
        gradients = [None if gradient is None else next(means) for gradient in gradients]
        for buffer, value in zip(buffers, means, strict=True):
            buffer.copy_(value)
        return mean, gradients


def _random_state(seed: int | None = None) -> list[Tensor]:
    """The state of torch's global generators, the processor's first; fresh from a seed, if one is given."""
    if seed is not None:
        torch.manual_seed(seed)
    return [torch.get_rng_state(), *(torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else ())]


def _put_back(state: list[Tensor]) -> None:
    torch.set_rng_state(state[0])
    if state[1:]:
        torch.cuda.set_rng_state_all(state[1:])
