r"""How many independent draws Markov chains are worth, and the Monte Carlo standard error that follows.

With the autocovariance :math:`\gamma_{t}` at lag t averaged over 2C half-chains of n draws, the mean variance within
them :math:`W = \gamma_0 n / (n - 1)`, and :math:`\sigma_+^2 = \gamma_0 + \operatorname{Var}_m \bar x_m`,

.. math:: \rho_t = 1 - \frac{W - \gamma_t}{\sigma_+^2}, \qquad S_\text{eff} = \frac{S}{\tau}, \qquad
   \tau = -1 + 2 \sum_{j < J} \min_{i \le j} (\rho_{2i} + \rho_{2i+1}) + \rho_{2J}

where pair J is the first that is not positive (Geyer 1992, https://doi.org/10.1214/ss/1177011137). Bulk, tail and
quantiles, and the errors: Vehtari, Gelman, Simpson, Carpenter and Bürkner 2021, https://arxiv.org/abs/1903.08008.

The numbers are ArviZ's but for these. *Few draws*: below 10 per chain the sum has no pair to end at, and ArviZ says S
log10 S whatever the draws are; here the variance between the chains tells: C times the variance of a draw over that
of a chain's mean, at most S. *Nothing to count*: draws that are all equal, or all on one side of a quantile, have no
ESS (NaN), where ArviZ says S. *MCSE of the sd*: from the ESS of the squares, as ArviZ has it since 1.3; 0.8 takes that
of the draws, which is several times too large where draws alternate.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike
from scipy.fft import irfft, next_fast_len, rfft
from scipy.stats import beta

from ppzoo.checks import check_real
from ppzoo.diagnostics.ranks import Floats, Ranked, per_parameter

__all__ = ["ess_bulk", "ess_mean", "ess_quantile", "ess_sd", "ess_tail", "mcse_mean", "mcse_quantile", "mcse_sd"]

_TAILS = (0.05, 0.95)
_ONE_SD = (0.1586553, 0.8413447)  # probabilities one sd from the middle of a normal, as rounded by ArviZ
_SHORTEST = 5  # draws of a half-chain from which on Geyer's sum has a pair to end at


def ess_bulk(draws: ArrayLike | Ranked) -> Floats:
    """Effective sample size of the normal scores: how well the middle of the posterior is known.

    Args:
        draws: Shape ``(..., chain, draw)``, or already ranked.

    Returns:
        ``(...)``, at most ``S log10 S``; NaN below 4 draws per chain (below 10 for a single chain), and for draws that
        are not finite or all equal.

    Raises:
        DataError: If there is no chain or no draw.

    Example:
        >>> x = np.random.default_rng(0).normal(size=(4, 500))
        >>> bool(1500 < ess_bulk(x) < 2500), bool(ess_bulk(np.repeat(x, 10, axis=1)) < 2500)
        (True, True)
    """
    if not isinstance(draws, Ranked):
        return per_parameter(draws, ess_bulk)
    return _ess(draws.scores)


def ess_tail(draws: ArrayLike | Ranked) -> Floats:
    """The lesser ESS of the 5 % and the 95 % quantile: how well the tails are known; as :func:`ess_bulk` otherwise.

    Example:
        >>> x = np.random.default_rng(0).normal(size=(3, 4, 500))
        >>> ess_tail(x).shape
        (3,)
    """
    if not isinstance(draws, Ranked):
        return per_parameter(draws, ess_tail)
    return np.fmin(*(ess_quantile(draws, probability) for probability in _TAILS))


def ess_quantile(draws: ArrayLike | Ranked, probability: float) -> Floats:
    """ESS of the share of draws up to a quantile; as :func:`ess_bulk` otherwise.

    NaN too where no draw exceeds the quantile, as when many are equal to the greatest.

    Raises:
        OptionError: If ``probability`` is not within (0, 1).

    Example:
        >>> x = np.random.default_rng(0).normal(size=(4, 500))
        >>> bool(1500 < ess_quantile(x, 0.5) < 2500)
        True
    """
    check_real("probability", probability, above=0, below=1)
    if not isinstance(draws, Ranked):
        return per_parameter(draws, lambda ranked: ess_quantile(ranked, probability))
    return _ess((draws.halves <= draws.quantile(probability)[:, None, None]).astype(np.float64))


def ess_mean(draws: ArrayLike | Ranked) -> Floats:
    """ESS of the mean; as :func:`ess_bulk` otherwise.

    Example:
        >>> x = np.random.default_rng(0).normal(size=(4, 500))
        >>> bool(1500 < ess_mean(x) < 2500)
        True
    """
    if not isinstance(draws, Ranked):
        return per_parameter(draws, ess_mean)
    return _ess(Ranked(_standard(draws.draws)[0]).halves)


def ess_sd(draws: ArrayLike | Ranked) -> Floats:
    """ESS of the standard deviation, that is of the squared distances from the mean; as :func:`ess_bulk` otherwise.

    Example:
        >>> x = np.random.default_rng(0).normal(size=(4, 500))
        >>> bool(1500 < ess_sd(x) < 2500)
        True
    """
    if not isinstance(draws, Ranked):
        return per_parameter(draws, ess_sd)
    return _ess(Ranked(_standard(draws.draws)[0] ** 2).halves)


def mcse_mean(draws: ArrayLike | Ranked) -> Floats:
    """Monte Carlo standard error of the mean, sd / √ESS, in units of the draws; as :func:`ess_bulk` otherwise.

    Example:
        >>> x = np.random.default_rng(0).normal(size=(4, 500))
        >>> bool(0.02 < mcse_mean(x) < 0.025)
        True
    """
    if not isinstance(draws, Ranked):
        return per_parameter(draws, mcse_mean)
    x, unit = _standard(draws.draws)
    return np.asarray(unit * x.std((1, 2), ddof=1) / np.sqrt(_ess(Ranked(x).halves)))


def mcse_sd(draws: ArrayLike | Ranked) -> Floats:
    """Monte Carlo standard error of the standard deviation, in units of the draws; as :func:`ess_bulk` otherwise.

    To first order in the error of the variance, whose own is known from the fourth moment and the ESS of the squares
    (Kenney and Keeping, *Mathematics of Statistics* II, 1951).

    Example:
        >>> x = np.random.default_rng(0).normal(size=(4, 500))
        >>> bool(0.014 < mcse_sd(x) < 0.018)  # 1 / √(2 S) of a normal
        True
    """
    if not isinstance(draws, Ranked):
        return per_parameter(draws, mcse_sd)
    x, unit = _standard(draws.draws)
    squares = x**2
    variance = squares.mean((1, 2))
    error = (np.square(squares).mean((1, 2)) - variance**2) / _ess(Ranked(squares).halves)
    return np.asarray(unit * np.sqrt(np.maximum(error, 0) / variance) / 2)


def mcse_quantile(draws: ArrayLike | Ranked, probability: float) -> Floats:
    """Monte Carlo standard error of a quantile: half the width of its 68 % interval; as :func:`ess_quantile` otherwise.

    Example:
        >>> x = np.random.default_rng(0).normal(size=(4, 500))
        >>> bool(0.02 < mcse_quantile(x, 0.5) < 0.04)  # √(π / 2) / √S of a normal
        True
    """
    if not isinstance(draws, Ranked):
        return per_parameter(draws, lambda ranked: mcse_quantile(ranked, probability))
    ess = ess_quantile(draws, probability)
    known = np.isfinite(ess)
    s = draws.ascending.shape[1]
    found = np.full(len(ess), np.nan)
    p, e = np.array(_ONE_SD)[:, None], ess[known]
    low, high = beta.ppf(p, e * probability + 1, e * (1 - probability) + 1) * s - 1
    rows = draws.ascending[known]
    at = np.arange(len(rows))
    top, bottom = np.ceil(np.minimum(high, s - 1)).astype(int), np.floor(np.maximum(low, 0)).astype(int)
    found[known] = rows[at, top] / 2 - rows[at, bottom] / 2
    return found


def _standard(draws: Floats) -> tuple[Floats, Floats]:
    """Draws ``(K, C, N)`` about their mean, in units ``(K,)`` in which the largest is 1: squares overflow no more."""
    unit = np.abs(draws).max((1, 2))
    x = draws / unit[:, None, None]
    x = x - x.mean((1, 2), keepdims=True)
    spread = np.abs(x).max((1, 2))
    return x / spread[:, None, None], unit * spread


def _ess(halves: Floats) -> Floats:
    """Effective sample size of K series in half-chains ``(K, 2C, n)``; NaN where a series is constant."""
    constant = halves.max((1, 2)) == halves.min((1, 2))
    s = halves.shape[1] * halves.shape[2]
    with np.errstate(divide="ignore", invalid="ignore"):  # what is constant
        ess = s / _tau(halves) if halves.shape[2] >= _SHORTEST else _ess_between(halves)
    return np.where(constant, np.nan, ess)


def _tau(halves: Floats) -> Floats:
    """Autocorrelation time by Geyer's initial monotone sequence, ``(K,)``."""
    k, m, n = halves.shape
    means = halves.mean(2)
    covariance = _autocovariance(halves - means[:, :, None])
    within = covariance[:, [0]] * n / (n - 1)
    rho = 1 - (within - covariance) / (covariance[:, [0]] + means.var(1, ddof=1)[:, None])
    rho[:, 0] = 1
    pairs = rho[:, : n - n % 2].reshape(k, -1, 2).sum(2)
    last = (n - 3) // 2  # the pair that is looked at last
    ends = np.concatenate([pairs[:, :last] <= 0, np.ones((k, 1), dtype=bool)], axis=1).argmax(1)
    monotone = np.minimum.accumulate(pairs, axis=1)
    total = np.where(np.arange(pairs.shape[1]) < ends[:, None], monotone, 0).sum(1)
    following, pair = rho[np.arange(k), 2 * ends], pairs[np.arange(k), ends]
    improved = np.where((pair >= 0) | (following > 0), following, 0)
    return np.asarray(np.maximum(-1 + 2 * total + np.where(ends > 0, improved, 1), 1 / math.log10(m * n)))


def _autocovariance(centred: Floats) -> Floats:
    """Autocovariance at each lag, averaged over chains: ``(K, 2C, n)`` to ``(K, n)``."""
    n = centred.shape[2]
    length = next_fast_len(2 * n, real=True)
    spectrum = rfft(centred, length, axis=2)
    power = np.square(spectrum.view(np.float64)).mean(1).reshape(len(centred), -1, 2).sum(2)
    return np.asarray(irfft(power, length, axis=1)[:, :n] / n)


def _ess_between(halves: Floats) -> Floats:
    """ESS of chains too short for autocorrelations, from the variance of their means; NaN for a single chain."""
    k, m, n = halves.shape
    if m < 4:
        return np.full(k, np.nan)
    means = halves.mean(2).reshape(k, 2, m // 2).mean(1)
    return np.asarray(np.minimum(m * n, m // 2 * halves.var((1, 2), ddof=1) / means.var(1, ddof=1)))
