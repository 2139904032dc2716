r"""Step size, metric and length of trajectories, learnt during warm-up from the draws, outside every kernel's state.

*Step size*: dual averaging of :math:`\log \varepsilon` towards a mean acceptance (Hoffman and Gelman 2014, section 3.2,
https://jmlr.org/papers/v15/hoffman14a.html).

*Metric*: the diagonal :math:`M^{-1}` that brings the posterior closest to a standard normal in Fisher divergence,

.. math:: (M^{-1})_i = \sqrt{\operatorname{var}(q_i) / \operatorname{var}(\partial_i \log \pi(q))}

(Seyboldt, Carlson, Carpenter, *Preconditioning Hamiltonian Monte Carlo by Minimizing Fisher Divergence*, 2025,
https://arxiv.org/abs/2603.18845), from windows of growing length.

Both are vectors over groups ``G``: all chains share one group, or each chain is its own.

*Length of trajectories*: all chains together climb the change in the estimator of the expected square, see
:mod:`~ppzoo.inference.mcmc.chees`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["DualAveraging", "FisherMetric", "TrajectoryLength", "windows"]

_GAMMA, _T0, _KAPPA = 0.05, 10.0, 0.75  # Hoffman and Gelman's constants
_PRIOR_DRAWS = 1.0  # what the previous metric counts for
_RATE, _DECAY = 0.025, 0.95  # of the climb towards a length, as Hoffman, Radul and Sountsov
_TINY = 1e-30


@dataclass
class DualAveraging:
    """The step size of each group.

    Attributes:
        log_step: Logarithm of the step size to try next, ``(G,)``.
        log_average: Logarithm of the averaged one, for after warm-up.
    """

    log_step: Tensor
    log_average: Tensor
    centre: Tensor
    error: Tensor
    updates: Tensor

    @classmethod
    def around(cls, step_size: Tensor) -> DualAveraging:
        """Begin at ``step_size (G,)``, drawn towards twice it: a larger one is cheaper to try."""
        log_step, zero = torch.log(step_size), torch.zeros_like(step_size)
        return cls(log_step, log_step, log_step + torch.log(zero + 2.0), zero, zero)

    def update(self, acceptance: Tensor, seen: Tensor, target: float) -> None:
        """One step of the averaging for the groups ``seen``, from their mean acceptance."""
        t = self.updates + 1
        weight = 1 / (t + _T0)
        error = (1 - weight) * self.error + weight * (target - acceptance)
        log_step = self.centre - torch.sqrt(t) / _GAMMA * error
        fraction = t**-_KAPPA
        log_average = fraction * log_step + (1 - fraction) * self.log_average
        self.updates = torch.where(seen, t, self.updates)
        self.error = torch.where(seen, error, self.error)
        self.log_step = torch.where(seen, log_step, self.log_step)
        self.log_average = torch.where(seen, log_average, self.log_average)


@dataclass
class FisherMetric:
    """Running moments of draws and gradients of each group's window, and the metric learnt before it.

    Attributes:
        inverse_mass: ``(G, D)``.
        count: Draws in the window, ``(G,)``.
    """

    inverse_mass: Tensor
    count: Tensor
    means: Tensor  # of draws and gradients, (G, 2, D)
    squares: Tensor  # sums of squared deviations, (G, 2, D)

    @classmethod
    def at(cls, inverse_mass: Tensor) -> FisherMetric:
        """An empty window under the metric ``inverse_mass (G, D)``."""
        zeros = torch.zeros_like(inverse_mass)[:, None].repeat(1, 2, 1)
        return cls(inverse_mass, torch.zeros_like(inverse_mass[:, 0]), zeros, zeros.clone())

    def add(self, draws: Tensor, gradients: Tensor, seen: Tensor) -> None:
        """Add a batch to each group's window.

        Args:
            draws: ``(G, n, D)``.
            gradients: Of the log density there.
            seen: Which of the ``n`` there are, ``(G, n)``.
        """
        values = torch.stack([draws, gradients], 2)  # (G, n, 2, D)
        here = seen[:, :, None, None]
        values = torch.where(here, values, 0.0)
        n = torch.sum(seen, 1).to(draws.dtype)
        size = torch.clamp(n, min=1.0)[:, None, None]
        mean = torch.sum(values, 1) / size
        squares = torch.sum(torch.where(here, values - mean[:, None], 0.0) ** 2, 1)
        total = self.count + n
        share = (n / torch.clamp(total, min=1.0))[:, None, None]
        gap = mean - self.means  # Chan, Golub and LeVeque's pairwise update
        self.squares = self.squares + squares + gap**2 * (self.count[:, None, None] * share)
        self.means = self.means + gap * share
        self.count = total

    def learn(self, ready: Tensor) -> None:
        """Take the window's metric for the groups ``ready``, pulled towards the old one, and empty their windows."""
        n = self.count[:, None]
        ratio = 0.5 * (torch.log(self.squares[:, 0]) - torch.log(self.squares[:, 1]))
        old = torch.log(self.inverse_mass)
        new = torch.where(torch.isfinite(ratio), (n * ratio + _PRIOR_DRAWS * old) / (n + _PRIOR_DRAWS), old)
        self.inverse_mass = torch.where(ready[:, None], torch.exp(new), self.inverse_mass)
        keep = (~ready).to(n.dtype)
        self.count = self.count * keep
        self.means, self.squares = self.means * keep[:, None, None], self.squares * keep[:, None, None]


@dataclass
class TrajectoryLength:
    """The longest time of a trajectory that the chains have learnt; scalars.

    Attributes:
        log_time: Logarithm of the time to try next.
        log_average: Logarithm of the averaged one, for after warm-up.
    """

    log_time: Tensor
    log_average: Tensor
    square: Tensor  # running mean of squared gradients
    updates: Tensor

    @classmethod
    def at(cls, time: Tensor) -> TrajectoryLength:
        """Begin at ``time``, a scalar."""
        log_time, zero = torch.log(time), torch.zeros_like(time)
        return cls(log_time, log_time, zero, zero)

    def update(self, begin: Tensor, end: Tensor, velocity: Tensor, time: Tensor, acceptance: Tensor) -> None:
        r"""One step of Adam without momentum, along the gradient by :math:`\log T`.

        It is the average over ``n`` trajectories of

        .. math:: t \, \bigl(\|q' - \bar q'\|^2 - \|q - \bar q\|^2\bigr) (q' - \bar q')^\top v'

        weighted by their acceptance.

        Args:
            begin: Where they began, ``(n, D)``.
            end: Where they ended, taken or not.
            velocity: There.
            time: How long they took, ``(n,)``.
            acceptance: Probability that the end was taken; trajectories that are not finite do not count.
        """
        finite = torch.isfinite(end).all(1) & torch.isfinite(velocity).all(1) & (acceptance > 0)
        begin, end, velocity, time, weight = (x[finite] for x in (begin, end, velocity, time, acceptance))
        if len(weight) < 2:
            return
        share = (weight / weight.sum()).to(end.dtype)
        begin, end = begin - begin.mean(0), end - share @ end
        gain = time * ((end**2).sum(1) - (begin**2).sum(1)) * (end * velocity).sum(1)
        gradient = share @ gain
        self.updates = self.updates + 1
        self.square = _DECAY * self.square + (1 - _DECAY) * gradient**2
        size = torch.sqrt(self.square / (1 - _DECAY**self.updates) + _TINY)
        self.log_time = self.log_time + _RATE * gradient / size
        fraction = self.updates**-_KAPPA
        self.log_average = fraction * self.log_time + (1 - fraction) * self.log_average


def windows(warmup: int) -> list[int]:
    """Numbers of draws after which the metric is learnt anew; the last tenth only tunes the step size.

    Example:
        >>> windows(500)
        [25, 63, 120, 206, 335, 450]
    """
    ends, end, size = [], round(0.05 * warmup), round(0.05 * warmup)
    last = warmup - max(1, round(0.1 * warmup))
    while end < last:
        ends.append(end)
        size = max(size + 1, round(1.5 * size))
        end += size
    if len(ends) > 1 and last - ends[-1] < size / 2:
        ends.pop()  # too short a window to learn from: its draws join the one before
    return [*[e for e in ends if e > 0], last]
