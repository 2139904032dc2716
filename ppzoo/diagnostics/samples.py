"""Draws against data: which modes they reach, and how much of the data they cover.

For models that draw but know no density. Nothing here asks how the draws came about; all of it needs columns on a
common scale, because it measures Euclidean distance.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NoReturn

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ppzoo.checks import check_integer
from ppzoo.errors import DataError

__all__ = ["Coverage", "Modes", "ModesCovered", "coverage", "find_modes", "modes_covered"]

Floats = NDArray[np.float64]

_WITHIN = 3.0  # scales around a centre in which a draw counts
_HELD = 1 - float(np.exp(-(_WITHIN**2) / 2))  # share of a round normal in the plane within three sd: 0.989
_FAIR = 0.2  # share of its due that a mode must get to count as covered
_LEAST = 20  # draws for each mode; fewer cannot tell a lost mode from bad luck
_NEIGHBOURS = 8  # rows, itself among them, that a row needs within reach to join others
_REACH = 4.0  # in median distances to the last of them
_CLUSTER = 0.01  # share of the rows below which a cluster is a handful of outliers
_ROWS = 5000  # clustered at most: every n-th row of more
_BLOCK = 2**22  # entries of the largest table of distances made at once


@dataclass(frozen=True)
class Modes:
    """Centres around which data lie in separate heaps.

    Attributes:
        centres: One row for each mode, ``(K, D)``.
        scale: Three of these around its centre hold 98.9 % of a mode's rows, ``(K,)``; the standard deviation where
            a mode is a round normal in the plane.
        shares: Share of the rows that belong to each, ``(K,)``, adding up to one.
        how: How they were found, in words.
    """

    centres: Floats
    scale: Floats
    shares: Floats
    how: str


@dataclass(frozen=True)
class ModesCovered:
    """How many modes draws reach.

    Attributes:
        covered: Modes with at least a fifth of the draws that are due to them.
        of: Modes in all.
        high_quality: Share of the draws within three scales of their nearest centre; 0.989 when all is well.
        counts: High-quality draws at each mode, ``(K,)``.
    """

    covered: int
    of: int
    high_quality: float
    counts: NDArray[np.int64]

    def __str__(self) -> str:
        return f"{self.covered} of {self.of} modes covered, {self.high_quality:.0%} of draws of high quality"


@dataclass(frozen=True)
class Coverage:
    """How much of the data lies near draws.

    Attributes:
        coverage: Share of the rows with a draw within reach of their k-th nearest neighbour.
        expected: Mean of ``coverage`` if draws and data came from the same distribution.
        density: Mean number of rows within whose reach a draw lies, over k; one is expected, more says that draws
            crowd where the data are dense.
    """

    coverage: float
    expected: float
    density: float


def modes_covered(
    samples: ArrayLike, centres: ArrayLike, *, scale: ArrayLike, shares: ArrayLike | None = None
) -> ModesCovered:
    """Count the modes that draws reach.

    A draw is of high quality within three scales of its nearest centre, as in A. Srivastava et al. (2017), "VEEGAN",
    https://arxiv.org/abs/1705.07761. There one such draw is enough to call a mode captured; here a mode is covered
    when it gets at least a fifth of what a perfect sampler would give it, because one draw in thousands is no
    coverage. Of eight equal modes a perfect sampler loses one by chance in 1.2 of 10^5 calls at the 20 draws per mode
    that are asked for, and in 2 of 10^12 at 50.

    Args:
        samples: Draws, ``(S, D)``; a draw that is not finite is of low quality.
        centres: Centres of the modes, ``(K, D)``.
        scale: Scale of every mode, or of each, ``(K,)``; the standard deviation for round normals in the plane.
        shares: Share of the data in each mode, ``(K,)``; equal when ``None``.

    Raises:
        DataError: If shapes do not agree, a scale is not positive, or there are fewer than 20 draws per mode.

    Example:
        >>> print(modes_covered([[0.1], [-0.1]] * 20, [[0.0], [5.0]], scale=0.5))
        1 of 2 modes covered, 100% of draws of high quality
    """
    x, c = _table("samples", samples), _table("centres", centres)
    K = len(c)
    if c.shape[1] != x.shape[1]:
        _refuse(
            "samples", "has another number of columns than the centres", f"shape {x.shape}", f"(draws, {c.shape[1]})"
        )
    if len(x) < _LEAST * K:
        _refuse("samples", "has too few rows to tell a lost mode", f"{len(x)} rows", f"{_LEAST * K} draws or more")
    s = _each("scale", scale, K)
    due = np.full(K, 1 / K) if shares is None else _each("shares", shares, K)
    x = np.where(np.isfinite(x), x, np.inf)
    distance = np.concatenate([_distances(block, c) for block in _blocks(x, K)])
    nearest = distance.argmin(1)
    good = distance[np.arange(len(x)), nearest] <= _WITHIN * s[nearest]
    counts = np.bincount(nearest[good], minlength=K).astype(np.int64)
    reached = counts >= _FAIR * _HELD * due / due.sum() * len(x)
    return ModesCovered(int(reached.sum()), K, float(good.mean()), counts)


def find_modes(data: ArrayLike) -> Modes:
    """Find the separate heaps that data lie in, if they do.

    Rows are joined (DBSCAN; M. Ester et al., 1996, https://dl.acm.org/doi/10.5555/3001460.3001507) when eight lie
    within a reach that the data themselves set, four times the median distance at which the eighth is met. Clusters
    with less than 1 % of the rows are outliers. The clusters are modes when each is a heap of its own: no two balls
    of three scales around their centres meet. Otherwise (one blob, two moons, a curve) the data are one mode, and
    that it is covered says little: use :func:`coverage`. Of more than 5,000 rows, every n-th is looked at.

    Args:
        data: Rows, ``(N, D)``, with columns on a common scale.

    Raises:
        DataError: If it is not a table of finite numbers, has fewer than 20 rows, or all are identical.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> data = np.concatenate([rng.normal(m, 0.1, size=(100, 2)) for m in (-1, 1)])
        >>> find_modes(data).centres.round(1).tolist()
        [[-1.0, -1.0], [1.0, 1.0]]
    """
    from sklearn.cluster import DBSCAN
    from sklearn.neighbors import NearestNeighbors

    x = _table("data", data)
    _check_finite("data", x)
    if len(x) < _LEAST:
        _refuse("data", "has too few rows to find modes", f"{len(x)} rows", f"{_LEAST} rows or more")
    if (x == x[0]).all():
        _refuse("data", "all rows are identical", f"{len(x)} equal rows", "rows that differ")
    x = x[:: -(-len(x) // _ROWS)]
    kth = NearestNeighbors(n_neighbors=_NEIGHBOURS).fit(x).kneighbors()[0][:, -1]
    reach = _REACH * float(np.median(kth))
    labels = DBSCAN(eps=reach, min_samples=_NEIGHBOURS).fit(x).labels_ if reach > 0 else np.zeros(len(x), dtype=int)
    heaps = [x[labels == label] for label in np.unique(labels[labels >= 0])]
    modes = _modes([heap for heap in heaps if len(heap) >= _CLUSTER * len(x)])
    if modes is not None and _apart(modes):
        return modes
    whole = _modes([x])
    if whole is None:
        _refuse("data", "has no spread", "rows that are nearly all equal", "rows that differ")
    return whole


def coverage(samples: ArrayLike, data: ArrayLike, *, neighbours: int = 5) -> Coverage:
    """Share of the data that lie near draws, with no centres to be known.

    M. F. Naeem et al. (2020), "Reliable fidelity and diversity metrics for generative models",
    https://arxiv.org/abs/2002.09797. The reach of a row is its distance to its k-th nearest other row. A row has
    probability ``prod_i (N - 1 - i) / (N - 1 + S - i)``, i < k, that all its k nearest are data when the draws are as
    the data: that is what ``expected`` leaves to chance.

    Args:
        samples: Draws, ``(S, D)``.
        data: Rows, ``(N, D)``.
        neighbours: The k of the nearest neighbour, less than N.

    Raises:
        DataError: If shapes do not agree, ``data`` has no more than k rows, or an entry is not finite.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> found = coverage(rng.normal(size=(500, 2)), rng.normal(size=(500, 2)))
        >>> abs(found.coverage - found.expected) < 0.05
        True
    """
    k = check_integer("neighbours", neighbours)
    y, x = _table("samples", samples), _table("data", data)
    N, S = len(x), len(y)
    if y.shape[1] != x.shape[1]:
        _refuse("samples", "has another number of columns than the data", f"shape {y.shape}", f"(draws, {x.shape[1]})")
    _check_finite("samples", y)
    _check_finite("data", x)
    if k >= N:
        _refuse("data", "has too few rows", f"{N} rows", f"more than neighbours={k}")
    reach = np.concatenate([np.partition(_distances(block, x), k, axis=1)[:, k] for block in _blocks(x, N)])
    near, start = [], 0
    for block in _blocks(x, S):
        near.append((_distances(block, y) <= reach[start : start + len(block), None]).sum(1))
        start += len(block)
    inside = np.concatenate(near)
    i = np.arange(k)
    expected = 1 - np.prod((N - 1 - i) / (N - 1 + S - i))
    return Coverage(float((inside > 0).mean()), float(expected), float(inside.sum() / (k * S)))


def _modes(heaps: list[Floats]) -> Modes | None:
    """Centre and scale of each heap, heaps in the order of their centres; ``None`` if there is none with a spread."""
    if not heaps:
        return None
    heaps = sorted(heaps, key=lambda heap: tuple(heap.mean(0)))
    centres = np.stack([heap.mean(0) for heap in heaps])
    reach = [np.linalg.norm(heap - c, axis=1) for heap, c in zip(heaps, centres, strict=True)]
    scale = np.array([np.quantile(r, _HELD) / _WITHIN for r in reach])
    sizes = np.array([len(heap) for heap in heaps], dtype=float)
    how = "the data as one" if len(heaps) == 1 else f"{len(heaps)} separate clusters of the data (DBSCAN)"
    return Modes(centres, scale, sizes / sizes.sum(), how) if (scale > 0).all() else None


def _apart(modes: Modes) -> bool:
    between = _distances(modes.centres, modes.centres)
    np.fill_diagonal(between, np.inf)
    return bool((between > _WITHIN * (modes.scale[:, None] + modes.scale[None, :])).all())


def _blocks(x: Floats, width: int) -> list[Floats]:
    """``x`` in parts whose distances to ``width`` points fit in memory."""
    rows = max(1, _BLOCK // max(1, width))
    return [x[start : start + rows] for start in range(0, len(x), rows)]


def _distances(x: Floats, y: Floats) -> Floats:
    """Euclidean distances ``(len(x), len(y))``, one column at a time: exact, also where rows are nearly equal."""
    squared = np.zeros((len(x), len(y)))
    for a, b in zip(x.T, y.T, strict=True):
        squared += (a[:, None] - b[None, :]) ** 2
    return np.sqrt(squared)


def _refuse(argument: str, problem: str, got: object, expected: str) -> NoReturn:
    raise DataError(problem, argument=argument, got=got, expected=expected)


def _table(argument: str, values: ArrayLike) -> Floats:
    table = np.asarray(values, dtype=np.float64)
    if table.ndim != 2 or 0 in table.shape:
        _refuse(argument, "must be a table with rows and columns", f"shape {table.shape}", "shape (rows, columns)")
    return table


def _check_finite(argument: str, table: Floats) -> None:
    bad = int((~np.isfinite(table)).sum())
    if bad:
        _refuse(argument, "has entries that are not finite", f"{bad} of them", "finite numbers")


def _each(argument: str, values: ArrayLike, count: int) -> Floats:
    numbers = np.asarray(values, dtype=np.float64)
    if numbers.shape not in {(), (count,)}:
        _refuse(argument, "must be one number, or one for each mode", f"shape {numbers.shape}", f"shape ({count},)")
    if not (np.isfinite(numbers) & (numbers > 0)).all():
        _refuse(argument, "must be positive", str(values), "finite numbers > 0")
    return np.broadcast_to(numbers, (count,))
