"""Gradient steps that survive bad ones: the rate of each, and one replica's optimiser."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ppzoo.inference.variational.optimisers import InPlace, Optimiser

__all__ = ["Descent", "constant", "cosine_decay"]


def cosine_decay(steps: int) -> Callable[[int], float]:
    """A factor that falls from 1 to 0.01 over ``steps`` along half a cosine.

    Example:
        >>> factor = cosine_decay(100)
        >>> factor(0), round(factor(50), 3), round(factor(100), 3)
        (1.0, 0.505, 0.01)
    """
    return lambda step: 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * step / steps))


def constant(_: int) -> float:
    """The factor 1 at every step."""
    return 1.0


class Descent:
    """Steps by a loss and its gradients: clipped, and not taken where something is not finite.

    Args:
        parameters: What is trained; without any, losses are only told.
        optimiser: How.
        rate: The learning rate of step 0, 1, ...
        clip: Largest norm of the gradient, larger ones are scaled down; infinite for no limit.
        units: What each parameter is measured in by rates and gradients; empty for ones.
    """

    def __init__(
        self,
        parameters: Sequence[Tensor],
        optimiser: Optimiser,
        rate: Callable[[int], float],
        clip: float,
        units: Sequence[Tensor] = (),
    ) -> None:
        self._parameters, self._units = list(parameters), list(units)
        self._places = [p.detach() / unit for p, unit in zip(parameters, units, strict=True)] if units else []
        self._optimiser = InPlace(optimiser, self._places or self._parameters)
        self._rate, self._clip = rate, clip
        self._steps = torch.zeros((), dtype=torch.int64, device="cpu")

    @property
    def steps(self) -> int:
        """How many were taken or skipped."""
        return int(self._steps)

    @property
    def state(self) -> dict[str, Tensor]:
        """What its steps change beside the parameters, in place."""
        places = {f"place {i}": place for i, place in enumerate(self._places)}
        return {"steps": self._steps} | places | self._optimiser.state

    def forget_traces(self) -> None:
        """As :func:`~ppzoo.inference.variational.optimisers.forget_traces`; once in a while is enough."""
        self._optimiser.forget_traces()

    def step(self, value: Tensor, gradients: Sequence[Tensor | None]) -> float:
        """Take one step; the loss, NaN if it was not taken."""
        loss, t = float(value), self.steps
        self._steps += 1
        if not self._parameters:
            return loss
        # the sum of what is finite is, but for numbers near the largest, and is found in half the norm's time
        if not math.isfinite(loss + sum(float(gradient.sum()) for gradient in gradients if gradient is not None)):
            return math.nan
        if self._units:
            gradients = [None if g is None else g * unit for g, unit in zip(gradients, self._units, strict=True)]
        if math.isfinite(self._clip):
            norm = torch.nn.utils.get_total_norm([gradient for gradient in gradients if gradient is not None])
            scale = torch.clamp(self._clip / (norm + 1e-6), max=1.0)
            gradients = [None if g is None else g * scale for g in gradients]  # not in place: one may be a constant
        self._optimiser.step(gradients, self._rate(t))
        with torch.no_grad():
            for parameter, place, unit in zip(self._parameters, self._places, self._units, strict=False):
                parameter.copy_(place * unit)
        return loss
