"""Is the approximation close enough to the posterior for its intervals to be used?

The importance weights of its draws, log w = log p(x, z) - log q(z), tell: the heavier their right tail, the less it
covers the posterior. Its tail index is estimated as k-hat (Yao, Vehtari, Simpson, Gelman 2018,
https://arxiv.org/abs/1802.02538; thresholds from Vehtari, Simpson, Gelman, Yao, Gabry 2024,
https://jmlr.org/papers/v25/19-556.html). R-hat and ESS are not here: of independent draws they are perfect and empty.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from arviz_stats.base.array import array_stats
from numpy.typing import ArrayLike, NDArray

from ppzoo.diagnostics.diagnosis import Diagnosis, Finding
from ppzoo.errors import DataError

__all__ = ["diagnose_approximation", "k_hat_threshold", "pareto_k"]

CONSTANT = 1e-6
FEWEST_WEIGHTS = 25  # a fifth of the weights is the tail, and a tail needs five
CAUTION = 0.5
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


def diagnose_approximation(
    log_weights: ArrayLike | None,
    losses: ArrayLike | None = None,
    *,
    skipped: int = 0,
    steps: int = 0,
) -> Diagnosis:
    """Judge an approximation by its importance weights, and by its loss where it was trained.

    * reject: k-hat above min(1 - 1 / log10 S, 0.7) (do not use the intervals), for weights by row in more than 5 % of
      the rows; weights that are not finite; a last loss that is not finite.
    * caution: k-hat above 0.5, or above the first threshold in more than 1 % of the rows; a loss that still falls: the
      mean of its last tenth is below that of the tenth before by more than 4 standard errors and 0.05 nats; steps
      that were skipped because they were not finite.

    Args:
        log_weights: log p(x, z) - log q(z) in nats, shape ``(S,)``; for a guide with a latent for each row, ``(S, N)``:
            one set of weights for each row. ``None`` where there are none.
        losses: Negative ELBO of each step, in nats.
        skipped: Steps that were left out because loss or gradient was not finite.
        steps: Steps in all.

    Returns:
        Findings, and the numbers ``k_hat`` (the worst of the rows), ``k_hat_share_above`` (share of rows above the
        threshold, if there are rows), ``k_hat_threshold``, ``loss_fall`` (nats) and ``skipped``.
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


def _tail_index(log_weights: NDArray[np.float64]) -> float:
    """k-hat of weights whose largest is 1; asks ArviZ only where its fit is defined."""
    s = log_weights.size
    n = int(min(s / 5, 3 * math.sqrt(s)))
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
    threshold = numbers["k_hat_threshold"] = k_hat_threshold(len(log_weights))
    numbers["k_hat"] = float(k.max())
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
        yield from _single(float(k[0]), threshold)


def _single(k: float, threshold: float) -> Iterator[Finding]:
    if k > threshold:
        evidence = f"k-hat {k:.2f} > {threshold:.2f}"
        yield Finding("reject", _MISSED, evidence, RICHER)
    elif k > CAUTION:
        evidence = f"k-hat {k:.2f} > {CAUTION}"
        yield Finding("caution", "the approximation covers the posterior only roughly", evidence, RICHER)
    elif k == -math.inf:
        evidence = f"the log weights differ by less than {CONSTANT:g} nats"
        yield Finding("note", "the approximation is the posterior, up to its normalising constant", evidence)


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
