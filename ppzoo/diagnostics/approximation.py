"""Is the approximation close enough to the posterior for its intervals to be used?

The importance weights of its draws, log w = log p(x, z) - log q(z), tell: the heavier their right tail, the less it
covers the posterior. Its tail index is estimated as k-hat (Yao, Vehtari, Simpson, Gelman 2018,
https://arxiv.org/abs/1802.02538; thresholds from Vehtari, Simpson, Gelman, Yao, Gabry 2024,
https://jmlr.org/papers/v25/19-556.html), which has an error of its own: near a threshold the verdict says so. R-hat and
ESS are not here: of independent draws they are perfect and empty.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from arviz_stats.base.array import array_stats
from numpy.typing import ArrayLike, NDArray

from ppzoo.diagnostics.diagnosis import Diagnosis, Finding
from ppzoo.errors import DataError

__all__ = [
    "diagnose_approximation",
    "draws_needed",
    "is_borderline",
    "is_usable",
    "k_hat_error",
    "k_hat_interval",
    "k_hat_threshold",
    "pareto_k",
]

CONSTANT = 1e-6
FEWEST_WEIGHTS = 25  # a fifth of the weights is the tail, and a tail needs five
CAUTION = 0.5
PRIOR = 10  # observations that ArviZ's prior of k-hat counts for
LITTLE = 0.1  # of all weight
SIDES = 1.645  # standard errors to each side: an interval of 90 %
MANY = 1e12  # draws that nobody makes
UNDERFLOW = 600.0  # nats; exp(-745) is zero
WINDOW = 0.1
SHORTEST_TRACE = 100
STILL_FALLING = 4.0  # standard errors
FALL = 0.05  # nats: what a mean that is 0.3 sd off costs, 0.3² / 2
BATCHES = 10
ROWS_CAUTION, ROWS_REJECT = 0.01, 0.05
_MISSED = "the approximation misses the posterior: do not use its intervals"
RICHER = "Use a richer guide, reparameterise, or run MCMC."


def pareto_k(log_weights: ArrayLike) -> float:
    """Tail index k-hat of importance weights: above 0.5 their variance is infinite, above 1 their mean.

    Args:
        log_weights: log p(x, z) - log q(z) of S draws from q, in nats, shape ``(S,)``; an added constant is
            irrelevant, and -inf (a draw outside the posterior's support) is a weight of zero.

    Returns:
        The shape of a generalised Pareto distribution fitted to the largest weights; -inf where the weights differ by
        less than 1e-6 nats: q is then the posterior, up to its normalising constant. inf where most of the tail
        vanishes beside the largest weight. NaN if a log weight is NaN or inf, if all weights are zero, or if too many
        are equal.

    Raises:
        DataError: There are fewer than 25 weights.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> pareto_k(rng.exponential(0.2, size=100_000)) < 0.25
        True
        >>> pareto_k(np.zeros(100))
        -inf
    """
    weights = np.asarray(log_weights, dtype=np.float64)
    if weights.ndim != 1 or weights.size < FEWEST_WEIGHTS:
        raise DataError(
            "cannot estimate the tail of the importance weights",
            argument="log_weights",
            got=f"shape {weights.shape}",
            expected=f"shape (S,) with S >= {FEWEST_WEIGHTS}",
            remedy="Make more draws; 1000 are usual.",
        )
    top = float(weights.max())
    if not math.isfinite(top):
        return math.nan
    if top - float(weights.min()) < CONSTANT:
        return -math.inf
    return _tail_index(weights - top)


def k_hat_threshold(draws: int) -> float:
    """min(1 - 1 / log10 S, 0.7), above which S draws cannot mend the approximation (Vehtari et al. 2024).

    Example:
        >>> round(k_hat_threshold(1000), 3), k_hat_threshold(100_000)
        (0.667, 0.7)
    """
    return min(1 - 1 / math.log10(draws), 0.7)


def k_hat_error(k: float, draws: int) -> float:
    r"""Standard error of k-hat, :math:`(1 + k) \sqrt{M} / (M + 10)` with the ``M = min(S / 5, 3 √S)`` largest weights.

    That of maximum likelihood, :math:`(1 + k) / \sqrt{M}` (Smith 1987, https://doi.org/10.1214/aos/1176350499), shrunk
    as k-hat is by its prior, which is worth ten weights.

    Args:
        k: Tail index, -0.5 at least, or -inf, which is certain; of another the error is unknown.
        draws: ``S``.

    Example:
        >>> round(k_hat_error(0.5, 4000), 3), k_hat_error(math.inf, 4000)
        (0.104, nan)
    """
    if k == -math.inf:
        return 0.0
    if not (math.isfinite(k) and k >= -0.5):
        return math.nan
    tail = _tail_length(draws)
    return (1 + k) * math.sqrt(tail) / (tail + PRIOR)


def k_hat_interval(k: float, draws: int) -> tuple[float, float]:
    """Where the tail index is with 90 % confidence; k-hat itself where its error is unknown."""
    error = k_hat_error(k, draws)
    return (k, k) if math.isnan(error) else (k - SIDES * error, k + SIDES * error)


def draws_needed(k: float) -> float:
    """10^(1 / (1 - k)) draws, from which on estimates by importance weights can be relied on (Vehtari et al. 2024).

    Example:
        >>> round(draws_needed(0.5)), round(draws_needed(0.7)), draws_needed(1.0)
        (100, 2154, inf)
    """
    if k >= 1:
        return math.inf
    return math.nan if math.isnan(k) else 10 ** min(1 / (1 - k), 300.0)


def is_borderline(log_weights: ArrayLike) -> bool:
    """Whether more draws would tell on which side of a threshold the tail index is.

    So it is where the 90 % interval of k-hat holds a threshold, and where a tail looks heavy and holds next to nothing:
    less than a tenth of all weight beyond its share. Then k-hat depends on where the tail is cut, and falls with more
    draws if the guide is good.

    Args:
        log_weights: As for :func:`pareto_k`.
    """
    weights = np.asarray(log_weights, dtype=np.float64)
    k, draws = pareto_k(weights), weights.size
    low, high = k_hat_interval(k, draws)
    heavy = k_hat_threshold(draws)
    return any(low <= threshold < high for threshold in (CAUTION, heavy)) or (k > heavy and _excess(weights) < LITTLE)


def is_usable(k: float, draws: int) -> bool:
    """Whether estimates by weights with this k-hat may be looked at: it is not above the threshold beyond doubt."""
    return k_hat_interval(k, draws)[0] <= k_hat_threshold(draws)


def diagnose_approximation(
    log_weights: ArrayLike | None,
    losses: ArrayLike | None = None,
    *,
    skipped: int = 0,
    steps: int = 0,
) -> Diagnosis:
    """Judge an approximation by its importance weights, and by its loss where it was trained.

    * reject: k-hat above min(1 - 1 / log10 S, 0.7) beyond doubt, its 90 % interval being above (do not use the
      intervals); for weights by row k-hat above it in more than 5 % of the rows; weights that are not finite; a last
      loss that is not finite.
    * caution: k-hat above 0.5, or an interval that holds the first threshold, so that chance would decide; k-hat above
      the first threshold in more than 1 % of the rows; a loss that still falls: the mean of its last tenth is below
      that of the tenth before by more than 4 standard errors and 0.05 nats; steps that were skipped because they were
      not finite.

    Args:
        log_weights: log p(x, z) - log q(z) in nats, shape ``(S,)``; for a guide with a latent for each row, ``(S, N)``:
            one set of weights for each row. ``None`` where there are none.
        losses: Negative ELBO of each step, in nats.
        skipped: Steps that were left out because loss or gradient was not finite.
        steps: Steps in all.

    Returns:
        Findings, and the numbers ``k_hat`` (the worst of the rows), ``k_hat_error`` (its standard error),
        ``k_hat_share_above`` (share of rows above the threshold, if there are rows), ``k_hat_threshold``,
        ``draws_weighed``, ``draws_needed`` (for estimates by these weights), ``loss_fall`` (nats) and ``skipped``.
    """
    numbers: dict[str, float] = {"skipped": float(skipped)}
    findings: list[Finding] = []
    if log_weights is not None:
        findings += _weights(np.asarray(log_weights, dtype=np.float64), numbers)
    if losses is not None:
        findings += _losses(np.asarray(losses, dtype=np.float64), numbers)
    if skipped:
        evidence = f"{skipped} of {steps} steps"
        remedy = "Lower the learning rate, clip the gradients, or scale the data."
        findings.append(Finding("caution", "steps with a non-finite loss or gradient were skipped", evidence, remedy))
    return Diagnosis(tuple(findings), numbers)


def _excess(log_weights: NDArray[np.float64]) -> float:
    """The share of all weight that the tail has, less its share of the draws."""
    w: NDArray[np.float64] = np.exp(np.sort(log_weights) - log_weights.max())
    tail = _tail_length(w.size)
    return float(w[-tail:].sum()) / float(w.sum()) - tail / w.size


def _tail_length(draws: int) -> int:
    return int(min(draws / 5, 3 * math.sqrt(draws)))


def _tail_index(log_weights: NDArray[np.float64]) -> float:
    """k-hat of weights whose largest is 1; asks ArviZ only where its fit is defined."""
    n = _tail_length(log_weights.size)
    ordered = np.sort(log_weights)
    cutoff, tail = ordered[-n - 1], ordered[-n:]
    if tail[-1] - tail[0] < CONSTANT:  # bounded: the largest weights are equal
        return -math.inf
    # The fit leans on the lower quartile of the tail. Where that underflows beside the largest weight, or equals the
    # cutoff, ArviZ 0.8 answers with its prior: a k-hat near zero to the worst weights there are.
    quartile = tail[int(n / 4 + 0.5) - 1]
    if quartile < -UNDERFLOW:
        return math.inf
    if quartile == cutoff:
        return math.nan
    with np.errstate(all="ignore"):
        # ArviZ takes log likelihoods and weighs by their inverse: hence the minus
        return float(array_stats.psislw(-log_weights)[1])


def _weights(log_weights: NDArray[np.float64], numbers: dict[str, float]) -> Iterator[Finding]:
    by_row = log_weights.ndim == 2
    k = np.array([pareto_k(row) for row in log_weights.T] if by_row else [pareto_k(log_weights)])
    draws = len(log_weights)
    threshold = numbers["k_hat_threshold"] = k_hat_threshold(draws)
    worst = numbers["k_hat"] = float(k.max())
    numbers |= {"k_hat_error": k_hat_error(worst, draws), "draws_weighed": float(draws)}
    numbers["draws_needed"] = draws_needed(worst)
    bad = ~np.isfinite(log_weights.max(0))
    if bad.any():
        where = f"in {int(bad.sum())} of {k.size} rows" if by_row else "a NaN or infinite log weight"
        remedy = "The guide and the model disagree on the support, or the model is not finite there."
        yield Finding("reject", "the importance weights are not finite", where, remedy)
    elif np.isnan(k).any():
        yield Finding("caution", "k-hat cannot be estimated", "too many equal weights", "Compare with MCMC.")
    elif by_row:
        yield from _rows(k, threshold, numbers)
    else:
        yield from _single(worst, draws)


def _single(k: float, draws: int) -> Iterator[Finding]:
    threshold, (low, high) = k_hat_threshold(draws), k_hat_interval(k, draws)
    known = f"k-hat {k:.2f}" if low == high else f"k-hat {k:.2f} ± {k_hat_error(k, draws):.2f}"
    if low > threshold:
        evidence = f"{known} > {threshold:.2f}; {_needed(k, draws)}"
        yield Finding("reject", _MISSED, evidence, RICHER)
    elif high > threshold:
        evidence = f"{known} is within its error of {threshold:.2f}, from {draws:,} draws; {_needed(k, draws)}"
        yield Finding("caution", "whether the approximation misses the posterior is uncertain", evidence, RICHER)
    elif k > CAUTION:
        evidence = f"{known} > {CAUTION}; {_needed(k, draws)}"
        yield Finding("caution", "the approximation covers the posterior only roughly", evidence, RICHER)
    elif high > CAUTION:
        evidence = f"{known} is within its error of {CAUTION}, from {draws:,} draws"
        yield Finding("note", "the approximation may cover the posterior only roughly", evidence)
    elif k == -math.inf:
        evidence = f"the log weights differ by less than {CONSTANT:g} nats"
        yield Finding("note", "the approximation is the posterior, up to its normalising constant", evidence)


def _needed(k: float, draws: int) -> str:
    """How many draws estimates by these weights would take."""
    needed = draws_needed(k)
    if needed > MANY:
        return "no number of draws would make up for it"
    return f"estimates by weights take {needed:,.0f} draws, and these are {draws:,}"


def _rows(k: NDArray[np.float64], threshold: float, numbers: dict[str, float]) -> Iterator[Finding]:
    share = numbers["k_hat_share_above"] = float((k > threshold).mean())
    if share > ROWS_CAUTION:
        evidence = f"k-hat > {threshold:.2f} in {share:.1%} of {k.size} rows, worst {k.max():.2f}"
        if share > ROWS_REJECT:
            yield Finding("reject", _MISSED, evidence, RICHER)
        else:
            yield Finding("caution", "the approximation misses the posterior of some rows", evidence, RICHER)


def _losses(losses: NDArray[np.float64], numbers: dict[str, float]) -> Iterator[Finding]:
    if losses.size and not math.isfinite(losses[-1]):
        remedy = "Lower the learning rate, clip the gradients, or scale the data."
        yield Finding("reject", "the last loss is not finite", f"{losses[-1]}", remedy)
    finite = losses[np.isfinite(losses)]
    if finite.size < SHORTEST_TRACE:
        evidence = f"{finite.size} finite losses < {SHORTEST_TRACE}"
        yield Finding("note", "the loss is too short to see whether it still falls", evidence)
        return
    window = int(finite.size * WINDOW)
    before, last = _mean_and_error(finite[-2 * window : -window]), _mean_and_error(finite[-window:])
    fall = numbers["loss_fall"] = before[0] - last[0]
    error = math.hypot(before[1], last[1])
    if fall > STILL_FALLING * error and fall > FALL:
        evidence = f"it fell by {fall:.3g} nats (standard error {error:.2g}) over the last tenth of the steps"
        yield Finding("caution", "the loss had not converged: it still falls", evidence, "Take more steps.")


def _mean_and_error(losses: NDArray[np.float64]) -> tuple[float, float]:
    """Mean and its standard error from the means of 10 batches, as neighbouring steps are correlated."""
    means = np.array([batch.mean() for batch in np.array_split(losses, BATCHES)])
    return float(losses.mean()), float(means.std(ddof=1) / math.sqrt(BATCHES))
