r"""What importance weights say the moments should be: the approximation's own estimates against corrected ones.

A guide may cover the posterior (a small k-hat) and still be off its mean, because it was not trained to the end. With
Pareto-smoothed, normalised weights :math:`w_s` of draws :math:`x_s` from the guide,

.. math:: \mu_w = \sum_s w_s x_s, \qquad \sigma_w^2 = \sum_s w_s (x_s - \mu_w)^2,

and the guide's mean and standard deviation are held against these, and the correlations of its parameters. Vehtari,
Simpson, Gelman, Yao and Gabry, *Pareto Smoothed Importance Sampling*, 2024, https://jmlr.org/papers/v25/19-556.html.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from statistics import NormalDist

import numpy as np
import pandas as pd
from arviz_stats.base.array import array_stats
from numpy.typing import ArrayLike, NDArray

from ppzoo.diagnostics.approximation import pareto_k
from ppzoo.diagnostics.diagnosis import Diagnosis, Finding, Level

__all__ = ["diagnose_moments", "smoothed_weights", "weighted_estimates"]

_INTERVAL = (0.055, 0.945)  # 89 % equal-tailed, as the estimates that stand beside these
_REJECT, _CAUTION = 0.30, 0.15  # in corrected sd, and of the sd; as in a comparison
_ERRORS = 4.0  # a gap that four standard errors explain is none
_CORRELATED, _CHANCE = 200, 6e-5  # parameters whose pairs are looked at; how often chance may look like a gap


def diagnose_moments(log_weights: ArrayLike, draws: Mapping[str, ArrayLike]) -> Diagnosis:
    """Hold each parameter's mean and sd, and how they move together, against importance-corrected ones.

    Args:
        log_weights: ``log p(x, z) - log q(z)`` of S draws, in nats, ``(S,)``; their k-hat must be small enough for
            them to be used.
        draws: The same draws of each scalar parameter, ``(S,)``.

    Returns:
        A finding for the worst parameter (reject above 0.30 sd or 30 %, caution above half of that, if more than 4
        standard errors); a caution where 4 standard errors are more than 0.30, so that such a gap would not be seen;
        a note on the pair, among the first 200 that vary, whose correlation is off the most, if by more than 0.30
        and than chance makes of as many pairs in 1 of 16,000 cases; and the numbers ``shift`` (in sd) and ``sd_error``
        (relative), the worst of all.

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
    gap, unseen = np.maximum(shift, spread), _ERRORS * np.maximum(shift_error, ratio_error)
    worst, blurred = int(gap.argmax()), int(unseen.argmax())
    numbers = {"shift": float(shift.max()), "sd_error": float(spread.max())}
    findings = []
    if gap[worst] > _CAUTION:
        level: Level = "reject" if gap[worst] > _REJECT else "caution"
        what = "the mean is off" if shift[worst] >= spread[worst] else "the spread is off"
        advice = "do not use its intervals" if level == "reject" else "its intervals are rough"
        evidence = (
            f"importance weights move the mean of {names[worst]} by {shift[worst]:.2f} sd, "
            f"its sd by {spread[worst]:.0%}"
        )
        remedy = "Take more steps or a richer guide; or run MCMC."
        findings.append(Finding(level, f"{what}: {advice}", evidence, remedy))
    if unseen[blurred] > _REJECT:
        what = "the weights cannot tell whether mean and spread are off"
        evidence = (
            f"{w.size:,} draws are worth {1 / (w**2).sum():,.0f}: a gap of {names[blurred]} of up to "
            f"{unseen[blurred]:.2f} sd could hide"
        )
        findings.append(Finding("caution", what, evidence, "Use a richer guide, or run MCMC."))
    return Diagnosis((*findings, *_joint(names, x, w)), numbers)


def _joint(names: Sequence[str], x: NDArray[np.float64], w: NDArray[np.float64]) -> Iterator[Finding]:
    """A note on the pair whose correlation is off the most: intervals of each by itself do not show it."""
    mean, sd, _, _ = _moments(x, w)
    moving = np.flatnonzero(sd > 0)[:_CORRELATED]
    if moving.size < 2:
        return
    x, mean, sd = x[moving], mean[moving], sd[moving]
    own, corrected = (x - x.mean(1)[:, None]) / x.std(1)[:, None], (x - mean[:, None]) / sd[:, None]
    gaps = np.abs((corrected * w) @ corrected.T - own @ own.T / w.size)
    i, j = map(int, np.unravel_index(gaps.argmax(), gaps.shape))
    (before, parts), (after, other) = (
        _correlation(u[i], u[j], weights) for u, weights in ((own, np.full(w.size, 1 / w.size)), (corrected, w))
    )
    chance = NormalDist().inv_cdf(1 - _CHANCE / (moving.size * (moving.size - 1)))  # of both signs, of all pairs
    if abs(after - before) > max(_REJECT, chance * math.sqrt(((other - parts) ** 2).sum())):
        pair = f"{names[moving[i]]} and {names[moving[j]]}"
        evidence = f"importance weights move the correlation of {pair} from {before:.2f} to {after:.2f}"
        yield Finding("note", "parameters move together otherwise than in the posterior", evidence)


def _correlation(
    u: NDArray[np.float64], v: NDArray[np.float64], w: NDArray[np.float64]
) -> tuple[float, NDArray[np.float64]]:
    """The correlation of two standardised rows, and what each draw has a part in its error with."""
    found = float((w * u * v).sum())
    return found, w * (u * v - found / 2 * (u**2 + v**2))


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


def weighted_estimates(log_weights: ArrayLike, draws: Mapping[str, ArrayLike]) -> pd.DataFrame:
    r"""What draws from an approximation say of the posterior, each counted by its Pareto-smoothed weight.

    .. math:: e^2 = \sum_s w_s^2 (x_s - \mu_w)^2, \qquad e_\sigma^2 = \frac{1}{4 \sigma_w^2}
              \sum_s w_s^2 \bigl((x_s - \mu_w)^2 - \sigma_w^2\bigr)^2, \qquad \mathrm{ESS} = 1 / \sum_s w_s^2

    Args:
        log_weights: ``log p(x, z) - log q(z)`` of S draws, in nats, ``(S,)``.
        draws: The same draws of each scalar, ``(S,)``.

    Returns:
        One row for each scalar: ``psis_mean, psis_sd``, the 89 % interval ``psis_eti89_lb, psis_eti89_ub``, the Monte
        Carlo errors of mean and sd ``psis_mcse_mean, psis_mcse_sd``, and ``psis_ess``, which is the same for all.

    Example:
        >>> x = np.random.default_rng(0).normal(0.5, 1.0, 4000)  # draws from N(0.5, 1), of a posterior N(0, 1)
        >>> weighted_estimates((x - 0.5) ** 2 / 2 - x**2 / 2, {"mu": x})[["psis_mean", "psis_sd"]].round(1)
            psis_mean  psis_sd
        mu       -0.0      1.0
    """
    x = np.stack([np.asarray(value, dtype=np.float64) for value in draws.values()])
    w = smoothed_weights(np.asarray(log_weights, dtype=np.float64))
    mean, sd, mean_error, sd_error = _moments(x, w)
    columns = {
        "psis_mean": mean,
        "psis_sd": sd,
        "psis_eti89_lb": [_quantile(row, w, _INTERVAL[0]) for row in x],
        "psis_eti89_ub": [_quantile(row, w, _INTERVAL[1]) for row in x],
        "psis_mcse_mean": mean_error,
        "psis_mcse_sd": sd_error,
        "psis_ess": 1 / (w**2).sum(),
    }
    return pd.DataFrame(columns, index=list(draws))


def _quantile(x: NDArray[np.float64], w: NDArray[np.float64], p: float) -> float:
    """Where the weights of what is below add up to ``p``, linearly between draws."""
    order = np.argsort(x)
    below = np.cumsum(w[order]) - w[order] / 2
    return float(np.interp(p, below, x[order]))


def _moments(x: NDArray[np.float64], w: NDArray[np.float64]) -> tuple[NDArray[np.float64], ...]:
    """Mean, sd and their Monte Carlo errors, ``(P,)`` each, of draws ``(P, S)``; 0 for the errors of a constant."""
    mean = x @ w
    centred = x - mean[:, None]
    variance = np.where(np.ptp(x, axis=1) == 0, 0.0, centred**2 @ w)
    sd = np.sqrt(variance)
    with np.errstate(invalid="ignore", divide="ignore"):
        sd_error = np.sqrt((centred**2 - variance[:, None]) ** 2 @ w**2) / (2 * sd)
    return mean, sd, np.sqrt(centred**2 @ w**2), np.where(sd > 0, sd_error, 0.0)


def _gaps(x: NDArray[np.float64], w: NDArray[np.float64]) -> tuple[NDArray[np.float64], ...]:
    """Shift in corrected sd and its standard error; relative error of the sd and its standard error; each ``(P,)``.

    The errors are of the differences: both sides are of the same draws, and equal weights leave no doubt.
    """
    mean, sd, _, _ = _moments(x, w)
    still = sd == 0  # a constant parameter has no sd to be off
    unit = np.where(still, 1.0, sd)[:, None]
    own, corrected = (x - x.mean(1)[:, None]) / unit, (x - mean[:, None]) / unit
    spread = np.where(still, 1.0, own.std(1))
    shift_error = np.sqrt(((w * corrected - own / w.size) ** 2).sum(1))
    parts = w * (corrected**2 - 1) - ((own / spread[:, None]) ** 2 - 1) / w.size
    ratio_error = spread * np.sqrt((parts**2).sum(1)) / 2
    shift, ratio = np.abs(x.mean(1) - mean) / unit[:, 0], np.abs(spread - 1)
    found = np.where(still, 0.0, np.stack([shift, shift_error, ratio, ratio_error]))
    return found[0], found[1], found[2], found[3]
