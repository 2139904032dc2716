r"""When a fit at a fixed rate has settled, and the mean of its iterates since then.

At a fixed rate the iterates of a stochastic optimiser end in a cloud around the optimum. A fit of :math:`T` steps has
settled when its mean loss :math:`\bar\ell` has stopped falling: an upper bound of its fall from the third quarter to
the fourth is below a tolerance in nats,

.. math:: \bar\ell_3 - \bar\ell_4 + t\,\mathrm{se} < \tau,

with the standard error from means of batches of steps, and Student's quantile :math:`t` for their number. The mean of
the iterates of both quarters, in unconstrained space, then is nearer to the optimum than any of them.

That iterates are averaged at a fixed rate, and when, follows A. Dhaka et al. (2020), *Robust, Accurate Stochastic
Optimization for Variational Inference*, https://arxiv.org/abs/2009.00666, and M. Welandawe et al. (2022), *A Framework
for Improving the Reliability of Black-box Variational Inference*, https://arxiv.org/abs/2203.15945. They wait until the
R-hat of every parameter is small; directions in which the loss is flat then take up to ten times the steps for nothing
in the bound. Here R-hat of the iterates of several replicas is told, not waited for.

Shapes: ``K`` replicas, ``T`` steps.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import stats
from torch import Tensor

from ppzoo.inference.variational.course import WINDOW, Course

__all__ = ["TOLERANCE", "Settling", "fall"]

TOLERANCE = 0.35  # nats
_FIRST, _LOOKS = 40, 5  # windows before the first look, and looks until there are twice as many
_CONFIDENCE = 0.977  # two standard errors, of many steps


class Settling:
    """Watches the iterates of replicas, window by window.

    Args:
        parameters: Where they stand, ``(K, ...)`` each; read after every window.
        course: Their losses.
        tolerance: What the mean loss of a settled fit may fall by, in nats.

    Attributes:
        settled: Whether every replica has.
    """

    def __init__(self, parameters: Sequence[Tensor], course: Course, tolerance: float) -> None:
        self.settled = False
        self._parameters, self._course, self._tolerance = parameters, course, tolerance
        self._windows = 0
        self._sums = [torch.zeros_like(p, dtype=torch.float64) for p in parameters for _ in range(2)]
        self._marks = {0: [total.clone() for total in self._sums]}  # by windows, the sums so far

    def look(self) -> bool:
        """Another window is done; whether every replica has settled."""
        self._windows += 1
        for i, parameter in enumerate(self._parameters):
            value = parameter.detach().double()
            self._sums[2 * i] += value
            self._sums[2 * i + 1] += value**2
        if _is_turn(self._windows):
            if self._windows >= _FIRST:
                self.settled = all(fall(row) < self._tolerance for row in self._course.losses)
            self._marks[self._windows] = [total.clone() for total in self._sums]
            self._marks = {k: sums for k, sums in self._marks.items() if k >= self._half()}
        return self.settled

    def snapshot(self) -> dict[str, Tensor]:
        """All that it has seen, to go on from."""
        counts = torch.tensor([self._windows, int(self.settled)], dtype=torch.int64, device="cpu")
        sums = {f"sum {i}": value for i, value in enumerate(self._sums)}
        return {"counts": counts} | sums | {f"mark {k} {i}": v for k, m in self._marks.items() for i, v in enumerate(m)}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Go on from a snapshot."""
        self._windows, settled = state["counts"].tolist()
        self.settled = bool(settled)
        device = [total.device for total in self._sums]
        self._sums = [state[f"sum {i}"].to(at, copy=True) for i, at in enumerate(device)]
        marks = {int(name.split()[1]) for name in state if name.startswith("mark ")}
        self._marks = {
            k: [state[f"mark {k} {i}"].to(at, copy=True) for i, at in enumerate(device)] for k in sorted(marks)
        }

    def means(self) -> list[Tensor]:
        """Of each parameter's iterates, one a window, in the last two quarters, ``(K, ...)``."""
        moments = self._moments()
        return [mean.to(p.dtype) for mean, p in zip(moments[::2], self._parameters, strict=True)]

    def r_hat(self) -> float:
        """The largest R-hat of a parameter's iterates in the last two quarters, of at least two replicas."""
        moments = self._moments()
        worst = 1.0
        for mean, square in zip(moments[::2], moments[1::2], strict=True):
            within = (square - mean**2).clamp(min=0).mean(0)
            ratio = 1 + mean.var(0) / within
            worst = max(worst, float(ratio[within > 0].max()) if bool((within > 0).any()) else 1.0)
        return math.sqrt(worst)

    def _half(self) -> int:
        """The latest mark that leaves both quarters whole."""
        return max(mark for mark in self._marks if 2 * mark <= self._windows)

    def _moments(self) -> list[Tensor]:
        """The mean and the mean square of each parameter."""
        half = self._half()
        return [(now - then) / (self._windows - half) for now, then in zip(self._sums, self._marks[half], strict=True)]


def _is_turn(windows: int) -> bool:
    """Whether it is time to note where the iterates stand: from half of the first look on, five times in a doubling."""
    turn = round(_LOOKS * math.log2(2 * windows / _FIRST))
    return turn >= 0 and windows == round(_FIRST / 2 * 2 ** (turn / _LOOKS))


def fall(losses: NDArray[np.float64]) -> float:
    """An upper bound of what the mean loss ``(T,)`` falls by from the third quarter to the fourth; NaN is left out.

    Example:
        >>> round(fall(np.linspace(100.0, 0.0, 4000)), 1)
        29.8
    """
    quarter = len(losses) // 4
    third, fourth = (_batches(part) for part in (losses[2 * quarter : 3 * quarter], losses[3 * quarter : 4 * quarter]))
    freedom = len(third) + len(fourth) - 2
    if min(len(third), len(fourth)) < 2:
        return math.inf
    error = math.hypot(*(part.std(ddof=1) / math.sqrt(len(part)) for part in (third, fourth)))
    return float(third.mean() - fourth.mean() + stats.t.ppf(_CONFIDENCE, freedom) * error)


def _batches(losses: NDArray[np.float64]) -> NDArray[np.float64]:
    """Means of batches that are longer than what iterates remember."""
    whole = losses[: len(losses) // WINDOW * WINDOW].reshape(-1, WINDOW)
    return np.asarray(np.nanmean(whole[~np.isnan(whole).all(1)], axis=1))
