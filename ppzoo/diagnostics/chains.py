r"""Which chain is wrong, found one by one: chains that stand still, stay away from the others, or crawl.

R-hat averages over chains: one of a thousand in another mode, three posterior sd away, raises it to 1.004. Here each
chain is held against the others by its own Monte Carlo error. With the means :math:`q_{c1} \dots q_{c4}` of the normal
scores of its quarters, chain :math:`c` of C has the mean :math:`m_c = \bar q_c`, whose variance is estimated within the
chains,

.. math:: v = \operatorname{mean}_c \frac{\operatorname{Var}_i q_{ci}}{4}, \qquad
   t_c = \frac{m_c - \operatorname{median}_c m_c}{\sqrt v} \sim t_{3C},

and from 32 chains on v is at least the square of 1.4826 median absolute deviations of the means, for quarters of slow
chains depend on each other. The folded scores tell the same of its spread. Letters as in
:mod:`ppzoo.diagnostics.ranks`. E-BFMI: Betancourt 2016, https://arxiv.org/abs/1604.00695.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as students_t

from ppzoo.diagnostics.ranks import Floats, Ranked

__all__ = [
    "FALSE_ALARM",
    "MANY",
    "Outlier",
    "bfmi",
    "few_values",
    "longest_stay",
    "outlying_chains",
    "usual_stay",
]

FALSE_ALARM = 1e-4  # of each rule, over all chains and parameters of a run
MANY = 32  # chains whose spread can be told from their own means
OFFSET = math.sqrt((1.01**2 - 1) * 14 / 3)  # two half-chains of eight so far off have an R-hat of 1.01: 0.31 sd

_FEWEST_EFFECTIVE = 10.0  # draws of a chain whose mean is near enough to normal
_MAD = 1.4826  # of a normal: its sd in median absolute deviations
_ENERGIES = 200  # draws of a chain whose own E-BFMI is not mere noise
_REJECTING = 0.35  # share of draws that a well-tuned sampler may reject: ChEES aims at an acceptance of 0.651


@dataclass(frozen=True)
class Outlier:
    """A chain that stays away from the others.

    Attributes:
        chain: Its number, from 0.
        parameter: The row in which it is farthest away.
        spread: Whether it differs in spread rather than in place.
        offset: How far, in posterior sd of normal scores (of their distance from the median, for the spread).

    Example:
        >>> print(Outlier(chain=7, parameter=0, spread=False, offset=-1.25))
        1.2 sd too low
        >>> print(Outlier(chain=7, parameter=0, spread=True, offset=0.9))
        too wide
    """

    chain: int
    parameter: int
    spread: bool
    offset: float

    def __str__(self) -> str:
        if self.spread:
            return "too wide" if self.offset > 0 else "too narrow"
        return f"{abs(self.offset):.1f} sd too {'high' if self.offset > 0 else 'low'}"


def outlying_chains(ranked: Ranked, *, tests: int) -> list[Outlier]:
    """Chains whose mean or spread Monte Carlo error cannot explain, and that R-hat would reject among four.

    A chain is named if ``|t_c|`` is beyond what chance gives once in 10,000 runs (Bonferroni over ``tests``) and its
    offset beyond 0.31 sd, where one chain of four takes R-hat above 1.01. A parameter whose chains are worth fewer than
    10 effective draws each is left out: nothing can be told of a single one.

    Args:
        ranked: The draws of K parameters.
        tests: Chains times parameters of the whole run: each is tested for place and spread.

    Returns:
        One for each outlying chain and parameter, place and spread: in no order, empty for a single chain.

    Example:
        >>> chains = np.random.default_rng(0).normal(size=(1, 1000, 100))
        >>> chains[0, 7] += 3
        >>> [(found.chain, str(found)) for found in outlying_chains(Ranked(chains), tests=1000)][:1]
        [(7, '2.7 sd too high')]
    """
    chains = ranked.draws.shape[1]
    if chains < 2 or ranked.draws.shape[2] < 4:
        return []
    limit = float(students_t.isf(FALSE_ALARM / (4 * tests), 3 * chains))
    found = []
    for spread, scores in ((False, ranked.scores), (True, ranked.folded)):
        offset, error = _offsets(scores)
        told = _FEWEST_EFFECTIVE * error**2 <= 1
        far = told[:, None] & (np.abs(offset) > np.maximum(OFFSET, limit * error[:, None]))
        found += [Outlier(int(c), int(k), spread, float(offset[k, c])) for k, c in np.argwhere(far)]
    return found


def _offsets(scores: Floats) -> tuple[Floats, Floats]:
    """Means of the chains less their median ``(K, C)``, and the standard error of one ``(K,)``."""
    k, halves, n = scores.shape
    ends = np.stack([scores[..., : n // 2].mean(2), scores[..., -(n // 2) :].mean(2)], axis=2)
    quarters = ends.reshape(k, 2, halves // 2, 2).swapaxes(1, 2).reshape(k, halves // 2, 4)
    means = quarters.mean(2)
    offset = means - np.median(means, axis=1, keepdims=True)
    variance = quarters.var(2, ddof=1).mean(1) / 4
    if halves // 2 >= MANY:
        variance = np.maximum(variance, (_MAD * np.median(np.abs(offset), axis=1)) ** 2)
    return offset, np.sqrt(variance)


def few_values(draws: Floats, least: float) -> NDArray[np.bool_]:
    """Whether a chain of a parameter has fewer than ``least`` different values: ``(K, C, N)`` to ``(K, C)``.

    Example:
        >>> few_values(np.array([[[1.0, 1.0, 2.0], [3.0, 3.0, 3.0]]]), least=2)
        array([[False,  True]])
    """
    few = _distinct(draws[..., : math.ceil(2 * least)]) < least  # most chains have enough at once
    few[few] = _distinct(draws[few]) < least
    return few


def _distinct(draws: Floats) -> NDArray[np.intp]:
    ascending = np.sort(draws, axis=-1)
    return np.asarray(1 + np.count_nonzero(ascending[..., 1:] != ascending[..., :-1], axis=-1))


def longest_stay(draws: Floats) -> tuple[NDArray[np.int64], Floats]:
    """Greatest number of draws in a row for which a chain stays where it is, and its share of draws that do not move.

    Args:
        draws: All continuous parameters, ``(K, C, N)``: a state is repeated where all of them are.

    Returns:
        Both ``(C,)``; the stay is 1 for a chain that always moves.

    Example:
        >>> longest_stay(np.array([[[1.0, 2.0, 2.0, 2.0, 3.0]]]))
        (array([3]), array([0.5]))
    """
    still = draws[0, :, 1:] == draws[0, :, :-1]
    for chains in draws[1:]:
        if not still.any():
            break
        still &= chains[:, 1:] == chains[:, :-1]
    steps = np.arange(1, still.shape[1] + 1)
    last_move = np.maximum.accumulate(np.where(still, 0, steps), axis=1)
    return 1 + (steps - last_move).max(1, initial=0), still.mean(1)


def usual_stay(shares: Floats, draws: int) -> float:
    """The longest stay that independent rejections explain, but for one run in 10,000.

    S steps that are each rejected with probability p hold a run of L rejections with probability ``S p**L`` at most;
    p is the median over the chains, and at least 0.35.

    Args:
        shares: Each chain's share of draws that do not move, ``(C,)``.
        draws: Draws per chain.

    Example:
        >>> round(usual_stay(np.full(4, 0.1), 1000)), usual_stay(np.ones(4), 1000)
        (18, inf)
    """
    p = max(float(np.median(shares)), _REJECTING)
    return 1 + math.log(FALSE_ALARM / (len(shares) * draws)) / math.log(p) if p < 1 else math.inf


def bfmi(energy: Floats) -> Floats:
    """Energy Bayesian fraction of missing information, mean squared step of the energy over its variance.

    Of each chain; below 200 draws that would be noise, and it is that of all chains together, about their common mean.

    Args:
        energy: Hamiltonian at each draw, ``(C, N)``, finite, in no chain all equal.

    Returns:
        ``(C,)``, or ``(1,)`` for short chains; independent energies have 2.

    Example:
        >>> energy = np.random.default_rng(0).normal(size=(4, 1000))
        >>> bfmi(energy).shape, bool((abs(bfmi(energy) - 2) < 0.3).all()), bfmi(energy[:, :50]).shape
        ((4,), True, (1,))
    """
    steps = np.square(np.diff(energy, axis=1)).mean(1)
    if energy.shape[1] >= _ENERGIES:
        return np.asarray(steps / energy.var(1, ddof=1))
    return np.array([steps.mean() / energy.var(ddof=1)])
