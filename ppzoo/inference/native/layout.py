"""Iteration spaces: how a loop over the elements of a tensor is cut into dimensions.

A statement runs over ``n`` elements in row-major order, and each operand is found by strides over the statement's
shape. Two statements share one loop nest if a common refinement of their shapes exists. A shape is therefore known by
its *cuts*, the products of its trailing sizes, without the full size: (5, 4, 3) has cuts {12, 3}. Shapes whose united
cuts divide each other in turn have a common refinement.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from math import prod

__all__ = ["collapse", "join", "sizes", "spread"]


def collapse(shape: Sequence[int], strides: Sequence[Sequence[int]]) -> tuple[tuple[int, ...], list[tuple[int, ...]]]:
    """The fewest dimensions that still describe every operand by strides.

    Args:
        shape: Sizes of the iteration space.
        strides: For each operand one stride per dimension, in elements.

    Returns:
        The collapsed shape, without dimensions of size 1, and the operands' strides over it.

    Example:
        >>> collapse((5, 1, 4), [(4, 4, 1), (0, 0, 1)])
        ((5, 4), [(4, 1), (0, 1)])
        >>> collapse((5, 4), [(4, 1), (8, 2)])
        ((20,), [(1,), (2,)])
    """
    kept: list[int] = []
    columns: list[list[int]] = []
    for dimension, size in enumerate(shape):
        column = [operand[dimension] for operand in strides]
        if size == 1:
            continue
        if columns and all(outer == inner * size for outer, inner in zip(columns[-1], column, strict=True)):
            kept[-1] *= size
            columns[-1] = column
        else:
            kept.append(size)
            columns.append(column)
    return tuple(kept), [tuple(column[i] for column in columns) for i in range(len(strides))]


def cuts_of(shape: Sequence[int]) -> frozenset[int]:
    """The products of the trailing sizes of a shape without ones and zeros, without the full size."""
    return frozenset(prod(shape[i:]) for i in range(1, len(shape)))


def join(size: int, one: frozenset[int], other: frozenset[int]) -> frozenset[int] | None:
    """The cuts of the common refinement of two shapes of ``size`` elements, or None if there is none.

    Example:
        >>> sorted(join(24, cuts_of((6, 4)), cuts_of((2, 12))))
        [4, 12]
        >>> join(6, cuts_of((2, 3)), cuts_of((3, 2))) is None
        True
    """
    united = one | other
    ordered = [size, *sorted(united, reverse=True)]
    divide = all(outer % inner == 0 for outer, inner in pairwise(ordered))
    return united if divide else None


def sizes(size: int, cuts: frozenset[int]) -> tuple[int, ...]:
    """The shape with these cuts.

    Example:
        >>> sizes(24, frozenset({12, 4}))
        (2, 3, 4)
    """
    ordered = [size, *sorted(cuts, reverse=True), 1]
    return tuple(outer // inner for outer, inner in pairwise(ordered))


def spread(shape: Sequence[int], strides: Sequence[int], finer: Sequence[int]) -> tuple[int, ...]:
    """Strides over a refinement of ``shape``.

    Example:
        >>> spread((6,), (2,), (3, 2))
        (4, 2)
    """
    result: list[int] = []
    inner = len(finer)
    for size, stride in zip(reversed(shape), reversed(strides), strict=True):
        covered = 1
        while covered < size:
            inner -= 1
            result.append(stride * covered)
            covered *= finer[inner]
    result += [0] * (len(finer) - len(result))
    return tuple(reversed(result))
