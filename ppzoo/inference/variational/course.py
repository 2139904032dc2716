"""How the training of some replicas goes: their losses, the steps that were skipped, the best state of each."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["WINDOW", "Course"]

WINDOW = 50  # steps over which the loss is averaged before two states are compared
_SKIPS_IN_A_ROW = 50
_CLEARLY = 4.0  # standard errors by which an earlier state must be better than the last to be put back


class Course:
    """Losses of ``K`` replicas, and where each was when its loss was lowest.

    Args:
        parameters: Where they stand, ``(K, ...)`` each; read after every window.

    Attributes:
        stuck: Whether every replica has skipped too many steps in a row.
    """

    def __init__(self, parameters: Sequence[Tensor]) -> None:
        replicas = len(parameters[0]) if parameters else 1
        self.stuck = False
        self._parameters = parameters
        self._blocks: list[NDArray[np.float64]] = []
        self._in_a_row = np.zeros(replicas, dtype=np.int64)
        self._best = [(math.inf, 0.0)] * replicas
        self._best_state = [parameter.clone() for parameter in parameters]

    @property
    def losses(self) -> NDArray[np.float64]:
        """One row of the steps so far for each replica, NaN where a step was skipped, ``(K, T)``."""
        return np.concatenate(self._blocks, axis=1)

    def since(self, step: int) -> NDArray[np.float64]:
        """The losses from a step on that a window began with, ``(K, T)``."""
        return np.concatenate(self._blocks[step // WINDOW :], axis=1)

    def add(self, block: NDArray[np.float64]) -> None:
        """The losses ``(K, T)`` of up to a window's steps."""
        self._blocks.append(block)
        skipped = np.isnan(block)
        run = np.where(skipped.all(1), block.shape[1], np.argmin(skipped[:, ::-1], axis=1))  # at the end of the block
        self._in_a_row = np.where(skipped.all(1), self._in_a_row + run, run)
        self.stuck = bool((self._in_a_row >= _SKIPS_IN_A_ROW).all())
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
        """Put the best state back where it is clearly better than the last; the luckiest window of many is not."""
        for k, ((last, error), (best, best_error)) in enumerate(zip(self.recent(), self._best, strict=True)):
            if last - best > _CLEARLY * math.hypot(error, best_error):
                for parameter, value in zip(self._parameters, self._best_state, strict=True):
                    parameter[k] = value[k]

    def go_back(self) -> bool:
        """Put every replica back where it was best; whether each had a whole window."""
        if not all(math.isfinite(mean) for mean, _ in self._best):
            return False
        for parameter, value in zip(self._parameters, self._best_state, strict=True):
            parameter.copy_(value)
        return True

    def snapshot(self) -> dict[str, Tensor]:
        """All but the losses, to go on from."""
        best = {f"best {i}": value for i, value in enumerate(self._best_state)}
        means = torch.tensor(self._best, dtype=torch.float64, device="cpu")
        return {"in a row": torch.from_numpy(self._in_a_row.copy()), "means": means} | best

    def restore(self, losses: NDArray[np.float64], state: Mapping[str, Tensor]) -> None:
        """Go on from a snapshot, and the losses ``(K, T)`` before it."""
        self._blocks = np.split(losses, range(WINDOW, losses.shape[1], WINDOW), axis=1)
        self._in_a_row = state["in a row"].numpy().copy()
        self._best = [(mean, error) for mean, error in state["means"].tolist()]
        for i, value in enumerate(self._best_state):
            value.copy_(state[f"best {i}"])

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
