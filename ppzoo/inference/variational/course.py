"""How the training of some replicas goes: their losses, the steps that were skipped, the best state of each."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ppzoo.errors import FitError

__all__ = ["WINDOW", "Course"]

WINDOW = 50  # steps over which the loss is averaged before two states are compared
_SKIPS_IN_A_ROW = 50
_CLEARLY = 4.0  # standard errors by which an earlier state must be better than the last to be put back


class Course:
    """Losses of ``K`` replicas, and where each was when its loss was lowest.

    Args:
        parameters: Where they stand, ``(K, ...)`` each; read after every window.
    """

    def __init__(self, parameters: Sequence[Tensor]) -> None:
        replicas = len(parameters[0]) if parameters else 1
        self._parameters = parameters
        self._blocks: list[NDArray[np.float64]] = []
        self._in_a_row = np.zeros(replicas, dtype=np.int64)
        self._best = [(math.inf, 0.0)] * replicas
        self._best_state = [parameter.clone() for parameter in parameters]

    @property
    def losses(self) -> NDArray[np.float64]:
        """One row of the steps so far for each replica, NaN where a step was skipped, ``(K, T)``."""
        return np.concatenate(self._blocks, axis=1)

    def add(self, block: NDArray[np.float64]) -> None:
        """The losses ``(K, T)`` of up to a window's steps.

        Raises:
            FitError: If every replica has skipped too many steps in a row.
        """
        self._blocks.append(block)
        skipped = np.isnan(block)
        run = np.where(skipped.all(1), block.shape[1], np.argmin(skipped[:, ::-1], axis=1))  # at the end of the block
        self._in_a_row = np.where(skipped.all(1), self._in_a_row + run, run)
        if (self._in_a_row >= _SKIPS_IN_A_ROW).all():
            raise FitError(
                "loss or gradient stayed non-finite",
                got=f"{self._in_a_row.min()} steps in a row",
                remedy="Lower lr, standardise the data, or look at ppzoo.check(model, data).",
            )
        if block.shape[1] == WINDOW:
            self._keep_best(block)

    def recent(self) -> list[tuple[float, float]]:
        """Each replica's mean loss over its last window and its standard error; infinite if all were skipped."""
        return [_mean(row) for row in np.concatenate(self._blocks[-2:], axis=1)]

    def best(self) -> int:
        """The replica with the lowest mean loss over its last window."""
        return min(range(len(self._best)), key=[mean for mean, _ in self.recent()].__getitem__)

    def spread(self) -> str:
        """From the lowest to the highest of these means, in words."""
        means = sorted(mean for mean, _ in self.recent() if math.isfinite(mean))
        failed = len(self._best) - len(means)
        return f"{means[0]:.6g} to {means[-1]:.6g}{f', {failed} of them not finite' if failed else ''}"

    def restore_best(self) -> None:
        """Put the best state back where it is clearly better than the last; the luckiest window of many is not.

        Raises:
            FitError: If no replica has taken a step.
        """
        if np.isnan(self.losses).all():
            raise FitError("every step had a non-finite loss or gradient", got=f"{self.losses.shape[1]} steps")
        for k, ((last, error), (best, best_error)) in enumerate(zip(self.recent(), self._best, strict=True)):
            if last - best > _CLEARLY * math.hypot(error, best_error):
                for parameter, value in zip(self._parameters, self._best_state, strict=True):
                    parameter[k] = value[k]

    def _keep_best(self, block: NDArray[np.float64]) -> None:
        """These parameters are as good as the window's mean loss says."""
        for k, row in enumerate(block):
            now = _mean(row)
            if now[0] < self._best[k][0]:
                self._best[k] = now
                for value, parameter in zip(self._best_state, self._parameters, strict=True):
                    value[k] = parameter[k]


def _mean(losses: NDArray[np.float64]) -> tuple[float, float]:
    last = losses[~np.isnan(losses)][-WINDOW:]
    if not last.size:
        return math.inf, 0.0
    return float(last.mean()), float(last.std() / math.sqrt(len(last)))
