"""Tensors put together from others, as long as nobody has read them as a whole.

Programs cut vectors up and put them together again: a solver stacks derivatives, the gradient of a slice is zero but
there. Kept as pieces, what is cut out again is the piece itself, and sums of pieces add up region by region.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TypeAlias

import torch
from torch import Tensor

from ppzoo.inference.native.values import Value, through

__all__ = ["Pieces", "Region", "added", "cut_out", "elements", "grows", "pieces", "region_of"]

Region: TypeAlias = tuple[tuple[int, ...], tuple[int, ...], int]
"""Sizes and strides without dimensions of size 1, and the offset, in a tensor in order."""

Pieces: TypeAlias = dict[Region, tuple[Tensor, Value]]
"""The sum of these, zero outside their regions: each as a view of the whole on the meta device, and what lies there."""

_FEW = 8  # elements of a vector that is computed one by one


def region_of(view: Tensor) -> Region:
    """Which elements a view shows."""
    kept = [d for d, size in enumerate(view.shape) if size != 1]
    return tuple(view.shape[d] for d in kept), tuple(view.stride(d) for d in kept), int(view.storage_offset())


def pieces(parts: Iterable[tuple[Tensor, Value]]) -> Pieces:
    """Parts of different regions."""
    return {region_of(view): (view, value) for view, value in parts}


def added(one: Pieces, other: Pieces, add: Callable[[Value, Value], Value]) -> Pieces:
    """The sum of two tensors of one shape; what lies in the same region is added up."""
    total = dict(one)
    for region, (view, value) in other.items():
        if region in total:
            view, first = total[region]
            value = add(first, _shaped(value, view.shape))
        total[region] = view, value
    return total


def grows(parts: Pieces, size: int) -> bool:
    """Whether a whole tensor is better added to the pieces than they to it: they are few, or one is a whole."""
    sizes = [view.numel() for view, _ in parts.values()]
    return sum(sizes) < size or size in sizes


def cut_out(parts: Pieces, view: Tensor) -> Value | None:
    """What a view shows, if it is one of the pieces and no other touches it."""
    region = region_of(view)
    if region not in parts or any(other != region and _touch(other, region) for other in parts):
        return None
    return _shaped(parts[region][1], view.shape)


def elements(parts: Pieces, shape: torch.Size) -> list[Value] | None:
    """The elements of a vector, each as a vector of one, if its pieces are such and they are few."""
    if len(shape) != 1 or not 2 <= shape[0] <= _FEW or any(view.numel() != 1 for view, _ in parts.values()):
        return None
    zero = torch.zeros(1, dtype=next(iter(parts.values()))[0].dtype)
    found = [parts.get(((), (), i)) for i in range(shape[0])]
    return [zero if part is None else _shaped(part[1], (1,)) for part in found]


def _shaped(value: Value, shape: Sequence[int]) -> Value:
    """The value with other dimensions of size 1."""
    return through(value, lambda x: x.reshape(tuple(shape)))


def _touch(one: Region, other: Region) -> bool:
    """Whether two regions may have an element in common."""
    (begin, end), (first, last) = _extent(one), _extent(other)
    return begin <= last and first <= end


def _extent(region: Region) -> tuple[int, int]:
    sizes, strides, offset = region
    return offset, offset + sum((size - 1) * stride for size, stride in zip(sizes, strides, strict=True))
