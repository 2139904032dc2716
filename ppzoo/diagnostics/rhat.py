r"""R-hat three ways: rank-normalised and split, nested for many short chains, and what of it outlasts the noise.

All are computed on the normal scores of the draws, and again on those of their distances from the median; the greater
counts. With the mean :math:`\bar z_m` and variance :math:`s_m^2` of each of 2C half-chains of n draws,

.. math:: \hat R^2 = \frac{n - 1}{n} + \frac{\operatorname{Var}_m \bar z_m}{W}, \qquad W = \operatorname{mean}_m s_m^2

(Vehtari, Gelman, Simpson, Carpenter and Bürkner 2021, https://arxiv.org/abs/1903.08008). Its excess over 1 is
disagreement *and* the noise of the means: of :math:`n_e` effective draws in a half-chain :math:`\hat R^2 = 1 + 1/n_e -
1/n` however right the chains are, and with fewer than 50 it may exceed 1.01 (Vats and Knudson 2021,
https://arxiv.org/abs/1812.09384). Two ways out for many chains:

*Nested R-hat* (Margossian, Hoffman, Sountsov, Riou-Durand, Vehtari and Gelman 2024, https://arxiv.org/abs/2110.13017).
K superchains of M chains start from K different points, the M of each from the same one:

.. math:: \hat R_\nu^2 = 1 + \frac{\operatorname{Var}_k \bar z_k}{\operatorname{mean}_k (B_k + W_k)}

with the means :math:`\bar z_k` of the superchains, the variance :math:`B_k` of the M means within one, and the mean
:math:`W_k` of their variances. In equilibrium, with :math:`n_e \ge 1` effective draws per chain, the numerator is
:math:`\sigma^2 / (M n_e) \le \sigma^2 / M` and the denominator no less than :math:`\sigma^2`; starts not yet
forgotten add their squared bias. So :math:`\hat R_\nu \le \sqrt{1 + 1/M + \tau}` allows one of :math:`\tau\sigma^2`.
Chains that do not share their starts must not be grouped: chains that never move would pass.

*Lasting R-hat* needs no common starts. The noise of one part of a chain is forgotten two parts later, disagreement is
not: with the mean :math:`s_{ci}` of sixth :math:`i` of chain :math:`c`, and :math:`\bar s_i` of all chains' sixths,

.. math:: \hat R_l^2 = 1 + \frac{V}{W}, \qquad
   V = \operatorname{mean}_{|i - j| \ge 2} \operatorname{Cov}_c(s_{ci}, s_{cj}) + \operatorname{Var}_i \bar s_i.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ppzoo.checks import check_integer, check_real
from ppzoo.diagnostics.ranks import Floats, Ranked, per_parameter
from ppzoo.errors import DataError

__all__ = ["lasting_rhat", "nested_rhat", "nested_threshold", "rhat", "rhat_folded"]

_ROUNDING = 1e-25
_APART = np.triu(np.ones((6, 6)), 2) / 10  # the mean over the ten pairs of sixths that do not touch


def rhat(draws: ArrayLike | Ranked) -> Floats:
    """Rank-normalised split R-hat: the greater of that of the scores and that of the folded scores.

    The same as ArviZ's, except that all is NaN where a draw is infinite.

    Args:
        draws: Shape ``(..., chain, draw)``, or already ranked.

    Returns:
        ``(...)``: infinite where no half-chain moves and they differ; NaN for one chain, fewer than 4 draws, draws
        that are not finite or all equal.

    Raises:
        DataError: If there is no chain or no draw.

    Example:
        >>> chains = np.random.default_rng(0).normal(size=(4, 500))
        >>> bool(rhat(chains) < 1.01), bool(rhat(chains + [[0], [0], [0], [1]]) > 1.05)
        (True, True)
    """
    if not isinstance(draws, Ranked):
        return per_parameter(draws, rhat)
    if draws.draws.shape[1] < 2:
        return np.full(len(draws.draws), np.nan)
    return np.fmax(_split_rhat(draws.scores), _split_rhat(draws.folded))


def rhat_folded(draws: ArrayLike | Ranked) -> Floats:
    """R-hat of the distances from the median only: whether chains disagree in spread; as :func:`rhat` otherwise.

    Example:
        >>> chains = np.random.default_rng(0).normal(size=(4, 500))
        >>> bool(rhat_folded(chains) < 1.01), bool(rhat_folded(chains * [[1], [1], [1], [3]]) > 1.1)
        (True, True)
    """
    if not isinstance(draws, Ranked):
        return per_parameter(draws, rhat_folded)
    return _split_rhat(draws.folded) if draws.draws.shape[1] > 1 else np.full(len(draws.draws), np.nan)


def nested_rhat(draws: ArrayLike | Ranked, superchains: ArrayLike) -> Floats:
    """Rank-normalised nested R-hat of superchains, split as :func:`rhat` is.

    The same as ArviZ's from 4 draws per chain on. For fewer, where ArviZ says NaN, chains are not split, as in the
    paper: one draw per chain is enough.

    Args:
        draws: Shape ``(..., chain, draw)``, or already ranked.
        superchains: For each chain the whole number of its superchain, ``(chain,)``; as many chains in each. Those of
            one superchain must have started from the same point.

    Returns:
        ``(...)``, at least 1; NaN where draws are not finite or all equal, infinite where nothing moves within any
        superchain.

    Raises:
        DataError: If there are not two or more superchains of equal size, or not one number for each chain.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> chains = np.repeat(rng.normal(size=(512, 20)), 2, axis=1)  # 4 starts, 128 chains each, 20 effective draws
        >>> bool(nested_rhat(chains, np.arange(512) // 128) < nested_threshold(128)), bool(rhat(chains) < 1.01)
        (True, False)
    """
    if not isinstance(draws, Ranked):
        return per_parameter(draws, lambda ranked: nested_rhat(ranked, superchains), fewest=1)
    order, m = _grouped(superchains, draws.draws.shape[1])
    return np.fmax(_nested(draws.scores, order, m), _nested(draws.folded, order, m))


def nested_threshold(chains_per_start: int, tau: float = 1e-4) -> float:
    """What :func:`nested_rhat` of chains in equilibrium stays below: ``sqrt(1 + 1 / M + tau)``.

    With G superchains and ``n_e`` effective draws per chain, chance exceeds it with at most the probability that
    chi-squared with G - 1 degrees of freedom exceeds ``(G - 1) n_e (1 + M tau)``: for 16 superchains nearly half of the
    time at one draw per chain, 1 % at 2, 2e-6 at 4.

    Args:
        chains_per_start: M.
        tau: Squared bias that is tolerated, in posterior variances: 1e-4 are 0.01 posterior sd.

    Raises:
        OptionError: If ``tau`` is negative or ``chains_per_start`` below 1.

    Example:
        >>> round(nested_threshold(128), 4), round(nested_threshold(32), 4)
        (1.0039, 1.0156)
    """
    check_real("tau", tau, at_least=0)
    return math.sqrt(1 + 1 / check_integer("chains_per_start", chains_per_start) + tau)


def lasting_rhat(draws: ArrayLike | Ranked, *, errors: float = 2.0) -> Floats:
    """An upper bound on R-hat without the noise of short chains: what many chains with starts of their own disagree in.

    A thousand chains of 10 effective draws each are enough to bring it below 1.01, where R-hat needs 100 of each.

    Args:
        draws: Shape ``(..., chain, draw)``, or already ranked.
        errors: Standard errors that are added to V: with 2, chains that differ by the bound stay below it in 1 run of
            40; with 0 it is the estimate.

    Returns:
        ``(...)``, at least 1; NaN for fewer than 3 chains or 6 draws, and for draws that are not finite or all equal.

    Example:
        >>> chains = np.repeat(np.random.default_rng(0).normal(size=(1024, 20)), 2, axis=1)
        >>> bool(rhat(chains) > 1.01), bool(lasting_rhat(chains) < 1.01)
        (True, True)
        >>> chains[:512] += 1  # two modes
        >>> bool(lasting_rhat(chains, errors=0) > 1.05)
        True
    """
    if not isinstance(draws, Ranked):
        return per_parameter(draws, lambda ranked: lasting_rhat(ranked, errors=errors))
    if draws.draws.shape[1] < 3 or draws.draws.shape[2] < 6:
        return np.full(len(draws.draws), np.nan)
    return np.fmax(_lasting(draws.scores, errors), _lasting(draws.folded, errors))


def _split_rhat(z: Floats) -> Floats:
    """R-hat of the scores of half-chains, ``(K, 2C, n)``."""
    n = z.shape[2]
    with np.errstate(divide="ignore", invalid="ignore"):  # nothing moves
        return np.asarray(np.sqrt((n - 1) / n + z.mean(2).var(1, ddof=1) / _real(z.var(2, ddof=1).mean(1))))


def _nested(z: Floats, order: NDArray[np.intp], m: int) -> Floats:
    """Nested R-hat of scores ``(K, C or 2C, n)``; ``order`` sorts the chains by superchain, ``m`` in each."""
    halves = z.shape[1] // len(order)
    place = np.concatenate([(order + half * len(order)).reshape(-1, m) for half in range(halves)], axis=1)
    means = z.mean(2)[:, place]  # (K, superchain, half-chain)
    between = means.var(2, ddof=1) if means.shape[2] > 1 else np.zeros(means.shape[:2])
    within = z.var(2, ddof=1)[:, place].mean(2) if z.shape[2] > 1 else np.zeros(means.shape[:2])
    with np.errstate(divide="ignore", invalid="ignore"):  # nothing moves
        return np.asarray(np.sqrt(1 + means.mean(2).var(1, ddof=1) / _real((between + within).mean(1))))


def _lasting(z: Floats, errors: float) -> Floats:
    """Lasting R-hat of the scores of half-chains ``(K, 2C, n)``."""
    k, halves, n = z.shape
    thirds = z[..., : n // 3 * 3].reshape(k, 2, halves // 2, 3, n // 3).mean(4)
    sixths = thirds.swapaxes(1, 2).reshape(k, halves // 2, 6)
    common = sixths.mean(1, keepdims=True)
    products = np.einsum("kci,ij,kcj->kc", sixths - common, _APART, sixths - common)
    v = products.sum(1) / (halves // 2 - 1) + common.var((1, 2))
    v += errors * products.std(1, ddof=1) / math.sqrt(halves // 2)
    with np.errstate(divide="ignore", invalid="ignore"):  # nothing moves
        return np.asarray(np.sqrt(1 + np.maximum(v, 0) / _real(z.var(2, ddof=1).mean(1))))


def _real(variance: Floats) -> Floats:
    """Without what is rounding: scores that are all equal have a variance of 1e-32 or so."""
    return np.where(variance > _ROUNDING, variance, 0.0)


def _grouped(superchains: ArrayLike, chains: int) -> tuple[NDArray[np.intp], int]:
    """The order of the chains that brings each superchain together, and how many chains one has."""
    ids = np.asarray(superchains)
    if ids.shape != (chains,) or ids.dtype.kind not in "iu":
        got, expected = f"shape {ids.shape} of {ids.dtype}", f"a whole number for each of {chains} chains"
        raise DataError("do not say which chains belong together", argument="superchains", got=got, expected=expected)
    sizes = np.unique(ids, return_counts=True)[1]
    if len(sizes) < 2 or len(set(sizes)) > 1:
        raise DataError(
            "must be two or more, of equal size",
            argument="superchains",
            got=f"sizes {', '.join(map(str, sizes[:5]))}{' ...' if len(sizes) > 5 else ''}",
            expected="as many chains from each start",
        )
    return np.argsort(ids, kind="stable"), int(sizes[0])
