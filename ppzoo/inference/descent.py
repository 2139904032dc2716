"""Gradient descent on a noisy loss that survives bad steps."""

from __future__ import annotations

import math
from collections.abc import Callable

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
        self._optimiser = self._schedule = None
        self._best_loss, self._best_state = (math.inf, 0.0), [p.detach().clone() for p in parameters]
        if parameters:
            self._optimiser = optimiser(parameters)
            self._schedule = torch.optim.lr_scheduler.LambdaLR(self._optimiser, decay)

    @property
    def mean_loss(self) -> float:
        """Average over the last window."""
        return self._window()[0] if self.losses else math.nan

    def _window(self) -> tuple[float, float]:
        """Mean loss of the last window and its standard error."""
        last = np.asarray(self.losses[-_WINDOW:])
        return float(last.mean()), float(last.std() / math.sqrt(len(last)))

    def step(self, compute: Callable[[], Tensor]) -> None:
        """One step; raises :class:`FitError` after too many non-finite ones in a row."""
        loss = compute()
        if self._optimiser is None or self._schedule is None:
            self._record(float(loss.detach()))
            return
        self._optimiser.zero_grad(set_to_none=True)
        loss.backward(inputs=self._parameters)  # and no others: a network the program closes over keeps its .grad
        norm = torch.nn.utils.clip_grad_norm_(self._parameters, self._clip)
        if bool(torch.isfinite(loss)) and bool(torch.isfinite(norm)):
            self._in_a_row = 0
            self._keep_best()
            self._optimiser.step()
            self._schedule.step()
            self._record(float(loss.detach()))
        else:
            self._skip(float(loss.detach()))

    def _record(self, loss: float) -> None:
        self.losses.append(loss)

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
