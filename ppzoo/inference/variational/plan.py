"""What a fit's steps are to be, and what takes them.

Shapes: ``K`` replicas, ``T`` steps.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor

from ppzoo.inference.variational.minibatch import Minibatches
from ppzoo.inference.variational.noise import Draw, at_once
from ppzoo.inference.variational.optimisers import Optimiser
from ppzoo.inference.variational.step import Step
from ppzoo.rng import stream_seed

__all__ = ["Plan", "Trainer"]


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

    def portion(self, draws: Sequence[Draw]) -> int:
        """How many steps' rows and draws are in memory at once, be it one replica's."""
        return min(self.batches.portion, at_once(sum(draw.nbytes for draw in draws)))

    def seed_of(self, replica: int, *what: str | int) -> int:
        """Of what is random about a replica, whatever others there are."""
        return stream_seed(self.seed, "svi", "replica", replica, *what)

    def generator(self, replica: int, device: torch.device) -> torch.Generator:
        """Of the numbers that its steps are given: the same on every road; on a GPU where the fit is on one."""
        return torch.Generator(device if device.type == "cuda" else "cpu").manual_seed(self.seed_of(replica))

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
