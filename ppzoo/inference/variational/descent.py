"""Gradient descent on a noisy loss that survives bad steps."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from ppzoo.errors import FitError

__all__ = ["Descent", "constant", "cosine_decay"]

_SKIPS_IN_A_ROW = 50
_WINDOW = 50  # steps over which the loss is averaged before two states are compared
_CLEARLY = 4.0  # standard errors by which an earlier state must be better than the last to be put back


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
    """Gradient steps on a noisy loss: clipped, non-finite ones skipped and counted, the best state kept.

    Args:
        parameters: What is trained; without any, losses are only recorded.
        optimiser: Makes the optimiser of the parameters.
        decay: Factor on the learning rate at each step.
        clip: Largest norm of the gradient; ``None`` for no limit.
    """

    def __init__(
        self,
        parameters: list[Tensor],
        optimiser: Callable[[list[Tensor]], torch.optim.Optimizer],
        *,
        decay: Callable[[int], float],
        clip: float | None,
    ) -> None:
        self.losses: list[float] = []
        self.skipped = 0
        self._in_a_row = 0
        self._clip = math.inf if clip is None else clip
        self._parameters = parameters
        self._optimiser: torch.optim.Optimizer | None = None
        self._rate, self._decay = 0.0, decay
        self._best_loss, self._best_state = (math.inf, 0.0), [p.detach().clone() for p in parameters]
        if parameters:
            self._optimiser = optimiser(parameters)
            self._rate = self._optimiser.defaults["lr"]

    @property
    def mean_loss(self) -> float:
        """Average over the last window."""
        return self._window()[0] if self.losses else math.nan

    def _window(self) -> tuple[float, float]:
        """Mean loss of the last window and its standard error."""
        last = np.asarray(self.losses[-_WINDOW:])
        return float(last.mean()), float(last.std() / math.sqrt(len(last)))

    def step(self, value: Tensor, gradients: Sequence[Tensor | None]) -> None:
        """One step by a loss and its gradients; after too many non-finite ones in a row, :class:`FitError`."""
        loss = float(value)
        if self._optimiser is None:
            self.losses.append(loss)
            return
        for parameter, gradient in zip(self._parameters, gradients, strict=True):
            parameter.grad = gradient
        norm = torch.nn.utils.get_total_norm(gradient for gradient in gradients if gradient is not None)
        if math.isfinite(loss) and math.isfinite(norm):
            self._in_a_row = 0
            self._keep_best()
            if norm > self._clip:
                torch.nn.utils.clip_grads_with_norm_(self._parameters, self._clip, norm)
            for group in self._optimiser.param_groups:
                group["lr"] = self._rate * self._decay(len(self.losses))
            self._optimiser.step()
            self.losses.append(loss)
        else:
            self._skip(loss)

    def _keep_best(self) -> None:
        """At the end of a window: these parameters are as good as the window's mean loss says."""
        if self.losses and len(self.losses) % _WINDOW == 0 and self.mean_loss < self._best_loss[0]:
            self._best_loss = self._window()
            self._best_state = [p.detach().clone() for p in self._parameters]

    def restore_best(self) -> None:
        """Put the best state back where it is clearly better than the last; the luckiest window of many is not."""
        if not self.losses:
            raise FitError("every step had a non-finite loss or gradient", got=f"{self.skipped} steps")
        (last, error), (best, best_error) = self._window(), self._best_loss
        if last - best > _CLEARLY * math.hypot(error, best_error):
            with torch.no_grad():
                for parameter, value in zip(self._parameters, self._best_state, strict=True):
                    parameter.copy_(value)

    def _skip(self, loss: float) -> None:
        self.skipped += 1
        self._in_a_row += 1
        if self._in_a_row >= _SKIPS_IN_A_ROW:
            raise FitError(
                "loss or gradient stayed non-finite",
                got=f"{self._in_a_row} steps in a row, last loss {loss:g}",
                remedy="Lower lr, standardise the data, or look at ppzoo.check(model, data).",
            )

    def numbers(self) -> dict[str, float]:
        """Figures for the diagnosis."""
        return {"steps": float(len(self.losses) + self.skipped), "skipped": float(self.skipped)}
