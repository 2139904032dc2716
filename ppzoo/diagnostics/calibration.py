r"""Simulation-based calibration: is the truth, where it is known, a typical draw of its own posterior?

With :math:`\theta \sim p(\theta)` and :math:`y \sim p(y \mid \theta)`, the truth :math:`\theta` and independent draws
:math:`\theta_1 \dots \theta_L` of :math:`p(\theta \mid y)` are exchangeable, so that for every :math:`f`

.. math:: r = \sum_{l=1}^L \mathbf 1\bigl[f(\theta_l, y) < f(\theta, y)\bigr]

is uniform on :math:`0 \dots L` (Talts, Betancourt, Simpson, Vehtari, Gelman 2018, https://arxiv.org/abs/1804.06788;
:math:`f` may see the data, and :math:`\log p(y \mid \theta)` sees what the parameters one by one do not: Modrák et al.
2023, https://arxiv.org/abs/2211.02383). Of :math:`R` replicates :math:`N_k` have a rank of at most :math:`k`,

.. math:: N_k \sim \operatorname{Binomial}\Bigl(R, \frac{k + 1}{L + 1}\Bigr), \qquad k = 0 \dots L - 1,

and all of them are held at once to intervals of one pointwise level, chosen so that together they have the level that
was asked for (Säilynoja, Bürkner, Vehtari 2022, https://arxiv.org/abs/2103.10522). The chance to leave them is exact:
uniform counts are independent Poisson counts given their sum, which makes :math:`N_0, N_1, \dots` a walk (Moscovich and
Nadler 2017, https://arxiv.org/abs/1503.04363).

Shapes: ``R`` replicates, ``L`` draws of each.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from ppzoo.checks import check_integer, check_real
from ppzoo.diagnostics.diagnosis import Diagnosis, Finding
from ppzoo.errors import DataError

__all__ = ["diagnose_calibration", "rank_band", "rank_p_value", "ranks_among"]

Counts = NDArray[np.int64]
Floats = NDArray[np.float64]

_HALVINGS = 40
_SAME = 1e-9  # relative: tail probabilities that differ by rounding are equal


def ranks_among(truth: ArrayLike, draws: ArrayLike, *, seed: int = 0) -> Counts:
    """The rank of each replicate's true value among its draws, ties broken at random.

    Args:
        truth: ``(R,)``.
        draws: ``(R, L)``, thinned so that they are nearly independent.
        seed: Of the ties.

    Returns:
        Whole numbers from 0 to L, ``(R,)``.

    Raises:
        DataError: If the shapes do not belong together or something is not a number.

    Example:
        >>> ranks_among([0.0, 9.0], [[-1.0, 1.0, 2.0], [3.0, 4.0, 5.0]]).tolist()
        [1, 3]
    """
    theta, x = np.asarray(truth, dtype=np.float64), np.asarray(draws, dtype=np.float64)
    if theta.ndim != 1 or x.ndim != 2 or len(x) != len(theta) or x.size == 0:
        raise DataError(
            "does not go with the true values",
            argument="draws",
            got=f"shape {x.shape} beside {theta.shape}",
            expected="shape (replicate, draw) beside (replicate,)",
        )
    for name, values in (("truth", theta), ("draws", x)):
        if np.isnan(values).any():
            raise DataError(
                "has values without a rank",
                argument=name,
                got=f"{int(np.isnan(values).sum())} NaN",
                expected="numbers",
                remedy="Find out why the sampler or the simulation fails before judging it.",
            )
    below, ties = (x < theta[:, None]).sum(1), (x == theta[:, None]).sum(1)
    return np.asarray(below + np.random.default_rng(seed).integers(0, ties, endpoint=True), dtype=np.int64)


def rank_band(replicates: int, draws: int, *, confidence: float = 0.95) -> tuple[Counts, Counts]:
    """Between which counts all the numbers of ranks at most 0, 1, ..., L - 1 lie with this confidence.

    Args:
        replicates: ``R``.
        draws: ``L``.
        confidence: Chance that uniform ranks stay inside everywhere; it is at least this.

    Returns:
        The lower and the upper counts, both inside, ``(L,)`` each; divide by R for a band of the distribution function.

    Raises:
        OptionError: If an argument is outside its range.

    Example:
        >>> lower, upper = rank_band(100, 3, confidence=0.95)
        >>> lower.tolist(), upper.tolist()
        ([15, 39, 65], [35, 61, 85])
    """
    check_integer("replicates", replicates)
    check_integer("draws", draws)
    alarm = 1 - check_real("confidence", confidence, above=0, below=1)
    low, high = np.log(alarm / draws) - 1, 0.0  # of the pointwise level, by Bonferroni and by what one level can be
    for _ in range(_HALVINGS):
        middle = 0.5 * (low + high)
        fits = _leaving(*_intervals(np.exp(middle), replicates, draws), replicates) <= alarm
        low, high = (middle, high) if fits else (low, middle)
    return _intervals(np.exp(low), replicates, draws)


def rank_p_value(ranks: ArrayLike, draws: int) -> float:
    """The chance that uniform ranks have somewhere a count as far out as the farthest of these, exact.

    Args:
        ranks: Whole numbers from 0 to L, ``(R,)``.
        draws: ``L``.

    Raises:
        DataError: If there are no ranks, or they are not whole numbers from 0 to L.

    Example:
        >>> ranks = np.arange(400) % 8
        >>> round(rank_p_value(ranks, 7), 3), rank_p_value(ranks // 2, 7) < 1e-12
        (1.0, True)
    """
    check_integer("draws", draws)
    found = np.asarray(ranks)
    whole = found.ndim == 1 and found.size > 0 and np.issubdtype(found.dtype, np.integer)
    if not whole or found.min() < 0 or found.max() > draws:
        raise DataError(
            "are no ranks among these draws",
            argument="ranks",
            got=f"{found.dtype} of shape {found.shape}" + (f", {found.min()} to {found.max()}" if whole else ""),
            expected=f"whole numbers from 0 to {draws}, shape (replicate,)",
        )
    n = len(found)
    counts = np.cumsum(np.bincount(found, minlength=draws + 1))[:-1]
    p = _expected(draws)
    tail = 2 * np.minimum(stats.binom.cdf(counts, n, p), stats.binom.sf(counts - 1, n, p))
    level = float(tail.min()) * (1 + _SAME)
    return 1.0 if level >= 1 else min(1.0, _leaving(*_intervals(level, n, draws), n))


def diagnose_calibration(
    truth: Mapping[str, ArrayLike], draws: Mapping[str, ArrayLike], *, false_alarm: float = 1e-4, seed: int = 0
) -> Diagnosis:
    """Hold every quantity's ranks against the uniform distribution.

    Args:
        truth: Quantity to its true values, ``(R,)``.
        draws: The same quantities of each replicate's posterior, ``(R, L)``, thinned so that they are nearly
            independent: correlated draws make a right sampler look wrong.
        false_alarm: Chance of any finding if all is right, shared out evenly over the quantities.
        seed: Of the order of ties.

    Returns:
        A finding (reject) for each quantity outside its band, and the numbers ``p_value`` (the smallest, times the
        number of quantities) and ``replicates``.

    Raises:
        DataError: If the quantities, their shapes or their values do not go together.
        OptionError: If ``false_alarm`` is no probability.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> mu = rng.normal(size=500)  # y ~ Normal(mu, 1), and the posterior is Normal(y / 2, 1 / 2)
        >>> centre = (mu + rng.normal(size=500)) / 2
        >>> z = centre[:, None] + rng.normal(size=(500, 63)) / 2**0.5
        >>> diagnose_calibration({"mu": mu}, {"mu": z}).verdict
        'trust'
        >>> narrow = centre[:, None] + rng.normal(size=(500, 63)) / 2
        >>> diagnose_calibration({"mu": mu}, {"mu": narrow}).findings[0].what
        "the draws of 'mu' are too narrow"
    """
    check_real("false_alarm", false_alarm, above=0, below=1)
    if not truth or set(truth) != set(draws):
        raise DataError(
            "has other quantities than the true values",
            argument="draws",
            got=", ".join(map(repr, draws)) or "none",
            expected=", ".join(map(repr, truth)) or "at least one quantity in both",
        )
    findings, smallest, replicates = [], 1.0, 0
    for name, true in truth.items():
        length = np.shape(draws[name])[-1] if np.ndim(draws[name]) else 0
        ranks = ranks_among(true, draws[name], seed=seed)
        p = min(1.0, rank_p_value(ranks, length) * len(truth))
        smallest, replicates = min(smallest, p), len(ranks)
        if p < false_alarm:
            evidence = f"ranks of {replicates} true values among {length} draws, p = {p:.1e} < {false_alarm:g}"
            remedy = "Mistrust this method on this model: its intervals do not have the coverage that they claim."
            findings.append(Finding("reject", f"the draws of {name!r} are {_shape(ranks, length)}", evidence, remedy))
    return Diagnosis(tuple(findings), {"p_value": smallest, "replicates": float(replicates)})


def _expected(draws: int) -> Floats:
    return np.arange(1, draws + 1) / (draws + 1)


def _intervals(level: float, replicates: int, draws: int) -> tuple[Counts, Counts]:
    """Counts of which neither tail has a probability below ``level / 2``, ``(L,)`` each."""
    half, p = level / 2, _expected(draws)
    lower = stats.binom.ppf(half, replicates, p)
    upper = replicates - stats.binom.ppf(half, replicates, 1 - p)
    return lower.astype(np.int64), upper.astype(np.int64)


def _leaving(lower: Counts, upper: Counts, replicates: int) -> float:
    """The chance that some count of uniform ranks is outside its interval.

    Each rank's number is Poisson with mean R / (L + 1), and they are independent, given that their sum is R. The
    first place where the walk of their sums is outside is summed over, which loses no digits of a small chance.
    """
    n, places = replicates, len(lower) + 1
    rate = n / places
    every = np.arange(n + 1)
    jump = stats.poisson.pmf(every, rate)
    jump = jump[: int(np.flatnonzero(jump)[-1]) + 1]
    walk = np.zeros(n + 1)  # the chance to be here without having been outside
    walk[0] = 1.0
    left = 0.0
    for k, (low, high) in enumerate(zip(lower, upper, strict=True)):
        first, last = np.flatnonzero(walk)[[0, -1]] if walk.any() else (0, 0)
        step = np.convolve(walk[first : last + 1], jump)[: n + 1 - first]
        walk[:] = 0.0
        walk[first : first + len(step)] = step
        rest = stats.poisson.pmf(n - every, rate * (places - 1 - k))
        left += float(walk[:low] @ rest[:low] + walk[high + 1 :] @ rest[high + 1 :])
        walk[:low] = 0.0
        walk[high + 1 :] = 0.0
    return left / float(stats.poisson.pmf(n, n))


def _shape(ranks: Counts, draws: int) -> str:
    """What is wrong with the draws, by the larger of the z-scores of location and spread."""
    centred = (ranks + 0.5) / (draws + 1) - 0.5
    location = float(centred.mean()) * (12 * len(ranks)) ** 0.5
    spread = float((centred**2).mean() - 1 / 12) * (180 * len(ranks)) ** 0.5
    if abs(location) > abs(spread):
        return "too low" if location > 0 else "too high"
    return "too narrow" if spread > 0 else "too wide"
