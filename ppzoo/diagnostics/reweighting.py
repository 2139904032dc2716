r"""What importance weights say the moments should be: the approximation's own estimates against corrected ones.

A guide may cover the posterior (a small k-hat) and still be off its mean, because it was not trained to the end. With
Pareto-smoothed, normalised weights :math:`w_s` of draws :math:`x_s` from the guide,

.. math:: \mu_w = \sum_s w_s x_s, \qquad \sigma_w^2 = \sum_s w_s (x_s - \mu_w)^2,

and the guide's mean and standard deviation are held against these. Vehtari, Simpson, Gelman, Yao and Gabry, *Pareto
Smoothed Importance Sampling*, 2024, https://jmlr.org/papers/v25/19-556.html.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from arviz_stats.base.array import array_stats
from numpy.typing import ArrayLike, NDArray

from ppzoo.diagnostics.approximation import pareto_k
from ppzoo.diagnostics.diagnosis import Diagnosis, Finding, Level

__all__ = ["diagnose_moments", "smoothed_weights"]

_REJECT, _CAUTION = 0.30, 0.15  # in corrected sd, and of the sd; as in a comparison
_ERRORS = 4.0  # a gap that four standard errors explain is none


def diagnose_moments(log_weights: ArrayLike, draws: Mapping[str, ArrayLike]) -> Diagnosis:
    """Hold each parameter's mean and sd against its importance-corrected ones.

    Args:
        log_weights: ``log p(x, z) - log q(z)`` of S draws, in nats, ``(S,)``; their k-hat must be small enough for
            them to be used.
        draws: The same draws of each scalar parameter, ``(S,)``.

    Returns:
        A finding for the worst parameter (reject above 0.30 sd or 30 %, caution above half of that, if more than 4
        standard errors), and the numbers ``shift`` (in sd) and ``sd_error`` (relative), the worst of all.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> x = rng.normal(0.5, 1.0, 4000)  # a guide N(0.5, 1) of a posterior N(0, 1)
        >>> diagnose_moments((x - 0.5) ** 2 / 2 - x**2 / 2, {"mu": x}).verdict
        'reject'
    """
    if not draws:
        return Diagnosis((), {})
    names = list(draws)
    x = np.stack([np.asarray(draws[name], dtype=np.float64) for name in names])
    w = smoothed_weights(np.asarray(log_weights, dtype=np.float64))
    shift, shift_error, ratio, ratio_error = _gaps(x, w)
    shift = np.where(shift > _ERRORS * shift_error, shift, 0.0)
    spread = np.where(ratio > _ERRORS * ratio_error, ratio, 0.0)
    gap = np.maximum(shift, spread)
    worst = int(gap.argmax())
    numbers = {"shift": float(shift.max()), "sd_error": float(spread.max())}
    if gap[worst] <= _CAUTION:
        return Diagnosis((), numbers)
    level: Level = "reject" if gap[worst] > _REJECT else "caution"
    what = "the mean is off" if shift[worst] >= spread[worst] else "the spread is off"
    advice = "do not use its intervals" if level == "reject" else "its intervals are rough"
    evidence = (
        f"importance weights move the mean of {names[worst]} by {shift[worst]:.2f} sd, its sd by {spread[worst]:.0%}"
    )
    remedy = "Take more steps or a richer guide; or run MCMC."
    return Diagnosis((Finding(level, f"{what}: {advice}", evidence, remedy),), numbers)


def smoothed_weights(log_weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Normalised importance weights, the largest replaced by quantiles of the Pareto fitted to them.

    Weights without a tail, equal ones among them, are normalised and left as they are.

    Args:
        log_weights: ``log p - log q`` of each draw up to a constant, ``(S,)``, finite, 25 at least.

    Returns:
        ``(S,)``, with sum one.

    Raises:
        DataError: If they are too few, or not finite.

    Source:
        Vehtari, Simpson, Gelman, Yao and Gabry, Pareto smoothed importance sampling, 2024,
        https://jmlr.org/papers/v25/19-556.html

    Example:
        >>> smoothed_weights(np.zeros(25)).sum().round(6)
        np.float64(1.0)
    """
    w = log_weights - log_weights.max()
    if math.isfinite(pareto_k(log_weights)):
        w = array_stats.psislw(-w)[0]
    w = np.exp(w - w.max())
    return np.asarray(w / w.sum())


def _gaps(x: NDArray[np.float64], w: NDArray[np.float64]) -> tuple[NDArray[np.float64], ...]:
    """Shift in corrected sd and its standard error; relative error of the sd and its standard error; each ``(P,)``."""
    mean = x @ w
    centred = x - mean[:, None]
    variance = centred**2 @ w
    still = np.ptp(x, axis=1) == 0  # a constant parameter has no sd to be off
    sd = np.sqrt(np.where(still, 1.0, variance))
    shift = np.abs(x.mean(1) - mean) / sd
    shift_error = np.sqrt(centred**2 @ w**2) / sd
    ratio = np.abs(x.std(1) / sd - 1)
    ratio_error = np.sqrt((centred**2 - variance[:, None]) ** 2 @ w**2) / (2 * sd**2)
    return np.where(still, 0.0, shift), shift_error, np.where(still, 0.0, ratio), ratio_error
