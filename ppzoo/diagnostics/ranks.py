r"""Draws of Markov chains as normal scores, sorted once for everything that is measured on them.

Draw :math:`s` of :math:`S`, of average rank :math:`r_s` among all chains, has the score

.. math:: z_s = \Phi^{-1}\left(\frac{r_s - 3/8}{S + 1/4}\right),

and its folded score is that of its distance from the median. Vehtari, Gelman, Simpson, Carpenter and Bürkner,
*Rank-normalization, folding, and localization*, 2021, https://arxiv.org/abs/1903.08008. Letters: K parameters, C chains
of N draws, n = N // 2 draws in each half of a chain, S draws of all halves.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtri

from ppzoo.errors import DataError

__all__ = ["FEWEST_DRAWS", "Ranked", "blocks", "measurable", "per_parameter"]

Floats = NDArray[np.float64]

FEWEST_DRAWS = 4  # so that each half of a chain has a variance
_BLOCK = 2**20  # draws that are held sorted at a time
_LARGE = 2**17  # draws from which on sorting by digits is faster


class Ranked:
    """The draws of K parameters, sorted once; everything else follows when it is asked for.

    Args:
        draws: Shape ``(K, C, N)``, finite, and of each parameter not all equal.

    Attributes:
        draws: The same.
        halves: First halves of all chains, then their second halves, ``(K, 2C, n)``: the middle one of an odd number
            of draws belongs to neither. A chain of fewer than 4 draws is not halved: ``(K, C, N)``.

    Example:
        >>> ranked = Ranked(np.array([[[3.0, 1.0, 2.0, 9.0]]]))
        >>> ranked.scores.round(2)
        array([[[ 0.3 , -1.05],
                [-0.3 ,  1.05]]])
    """

    def __init__(self, draws: Floats) -> None:
        n = draws.shape[2] // 2
        self.draws = draws
        self.halves = np.concatenate([draws[..., :n], draws[..., -n:]], axis=1) if n >= FEWEST_DRAWS // 2 else draws

    @functools.cached_property
    def scores(self) -> Floats:
        """Normal scores of the halves, as they are shaped."""
        return self._scatter(self._ordered, self._order)

    @functools.cached_property
    def folded(self) -> Floats:
        """Normal scores of the distance from the median, which tell a chain of another spread."""
        middle = self._ordered.shape[1] // 2
        upper = self._ordered.shape[1] - middle
        median = 0.5 * self._ordered[:, [upper - 1]] + 0.5 * self._ordered[:, [middle]]
        with np.errstate(over="ignore"):  # two ends of the floating range
            distance = np.abs(self._ordered - median)
        distance = _from_the_middle(distance, middle)
        merged = _flat(np.argsort(distance, axis=1, kind="stable"))  # of two ascending runs: no more than a merge
        return self._scatter(distance.ravel()[merged], _from_the_middle(self._order, middle).ravel()[merged])

    @functools.cached_property
    def ascending(self) -> Floats:
        """All draws of each parameter in ascending order, ``(K, C N)``."""
        if self.halves.size == self.draws.size:
            return self._ordered
        return np.sort(self.draws.reshape(len(self.draws), -1), axis=1)

    def quantile(self, probability: float) -> Floats:
        """``numpy.quantile`` of all draws of each parameter, to the last bit, ``(K,)``."""
        last = self.ascending.shape[1] - 1
        below = int(probability * last)
        share = probability * last - below
        low, high = self.ascending[:, below], self.ascending[:, min(below + 1, last)]
        return np.asarray(low + (high - low) * share if share < 0.5 else high - (high - low) * (1 - share))

    @functools.cached_property
    def _order(self) -> NDArray[np.intp]:
        x = self.halves.reshape(len(self.halves), -1)
        return _flat(np.stack([_argsort(row) for row in x]) if x.shape[1] >= _LARGE else np.argsort(x, axis=1))

    @functools.cached_property
    def _ordered(self) -> Floats:
        return self.halves.ravel()[self._order]

    def _scatter(self, ordered: Floats, order: NDArray[np.intp]) -> Floats:
        """Scores of ``ordered``, ``(K, S)``, put back where the draws were."""
        k, s = ordered.shape
        new = np.ones((k, s), dtype=bool)
        np.not_equal(ordered[:, 1:], ordered[:, :-1], out=new[:, 1:])
        first = np.flatnonzero(new)
        scores = np.empty(k * s)
        if len(first) == k * s:
            scores[order] = _scores_of_half_ranks(s)[::2]
        else:
            ties = np.diff(first, append=k * s)
            at = 2 * (first % s) + ties - 1  # average rank of each run of ties, from rank 1, in half ranks
            scores[order.ravel()] = np.repeat(_scores_of_half_ranks(s)[at], ties)
        return scores.reshape(self.halves.shape)


def _argsort(x: Floats) -> NDArray[np.intp]:
    """``numpy.argsort`` of many draws ``(S,)`` in half its time: by the upper digits, then those that share them."""
    with np.errstate(over="ignore"):
        centred = x - np.median(x[:101])  # or else the upper digits would all be those of a large mean
    bits = centred.view(np.int64)
    high = ((bits ^ ((bits >> 63) & 0x7FFF_FFFF_FFFF_FFFF)) >> 32).astype(np.int32)  # ordered as the draws are
    order = np.argsort(high.astype(np.uint16), kind="stable")  # of 16 bits: a radix sort
    order = order[np.argsort((high[order] >> 16).astype(np.int16), kind="stable")]
    ascending = high[order]
    shared = np.zeros(len(x), dtype=bool)
    shared[1:] = ascending[1:] == ascending[:-1]
    shared[:-1] |= shared[1:]
    rest = order[shared]
    order[shared] = rest[np.argsort(x[rest])]
    return order


def _flat(order: NDArray[np.intp]) -> NDArray[np.intp]:
    """Places within each row of ``(K, S)`` as places in the whole table."""
    return np.asarray(order + order.shape[1] * np.arange(len(order))[:, None])


def _from_the_middle(ascending: NDArray[Any], middle: int) -> NDArray[Any]:
    """The lower part of each row backwards, then the upper part: distances from the median ascend in both."""
    return np.concatenate([ascending[:, middle - 1 :: -1], ascending[:, middle:]], axis=1)


@functools.lru_cache(maxsize=1)
def _scores_of_half_ranks(s: int) -> Floats:
    """Scores of the ranks 1, 1.5, 2, ..., S: average ranks are whole or half."""
    table: Floats = ndtri((np.arange(2, 2 * s + 1) / 2 - 3 / 8) / (s + 1 / 4))
    return table


def measurable(draws: Floats) -> NDArray[np.bool_]:
    """Which of K parameters ``(K, C, N)`` can be measured: all draws finite, and not all equal; ``(K,)``."""
    return np.asarray(np.isfinite(draws).all((1, 2)) & (draws.max((1, 2)) > draws.min((1, 2))))


def blocks(draws: Floats) -> Iterator[slice]:
    """Parameters of ``(K, C, N)`` that are worked on together: as many as fit into the cache, at least one."""
    step = max(1, _BLOCK // max(1, draws[0].size)) if len(draws) else 1
    return (slice(start, start + step) for start in range(0, len(draws), step))


def per_parameter(draws: ArrayLike, measure: Callable[[Ranked], Floats], *, fewest: int = FEWEST_DRAWS) -> Floats:
    """``measure`` of each parameter's chains, NaN where it cannot be measured.

    Args:
        draws: Shape ``(..., chain, draw)``.
        measure: Takes the draws of K parameters and returns ``(K,)``.
        fewest: Draws per chain below which all is NaN.

    Returns:
        One number for each parameter, ``(...)``.

    Raises:
        DataError: If ``draws`` has no chains or no draws.
    """
    x = np.asarray(draws, dtype=np.float64)
    if x.ndim < 2 or 0 in x.shape[-2:]:
        raise DataError("are no chains", argument="draws", got=f"shape {x.shape}", expected="shape (..., chain, draw)")
    flat = x.reshape(-1, *x.shape[-2:])
    found = np.full(len(flat), np.nan)
    if x.shape[-1] >= fewest:
        for block in blocks(flat):
            usable = measurable(flat[block])
            if usable.any():
                found[block][usable] = measure(Ranked(flat[block][usable]))
    return found.reshape(x.shape[:-2])
