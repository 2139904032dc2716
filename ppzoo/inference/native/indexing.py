"""Elements by position: known positions become tables, computed ones are read and written lane by lane.

A computed position outside its range is clipped and noted; the call then raises, as torch does.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import torch
from torch import Tensor

from ppzoo.inference.native.builder import Builder
from ppzoo.inference.native.pointwise import apply, select
from ppzoo.inference.native.values import (
    Buffer,
    Handler,
    Unsupported,
    Value,
    Variable,
    broadcast,
    common_shape,
    dtype_of,
    entering,
    letter,
    shape_of,
    through,
)

__all__ = ["OPERATIONS"]

OPERATIONS: dict[str, Handler] = {}
operation = entering(OPERATIONS)


class Positions:
    """Positions in a contiguous tensor: a known part, and a part computed by every chain."""

    def __init__(self, builder: Builder, base: Sequence[int], shape: Sequence[int]) -> None:
        self.builder, self.base, self.shape = builder, tuple(base), tuple(shape)
        self.strides = torch.empty(self.base, device="meta").stride()
        self.known = torch.zeros((), dtype=torch.int64)
        self.computed: Value = 0

    def add(self, dim: int, index: Value) -> None:
        """Add what an index along a dimension contributes; it broadcasts to the positions' shape."""
        size, stride = self.base[dim], self.strides[dim]
        if isinstance(index, Variable):
            text = f"({{1}} + position({{0}}, {size}, (I *)a) * {stride})"
            self.computed = apply(self.builder, text, index, self.computed, dtype=torch.int64)
            return
        table = torch.as_tensor(index).to(torch.int64)
        if bool(((table < -size) | (table >= size)).any()):
            raise IndexError(f"a known position is out of range for dimension {dim} with size {size}")
        self.known = self.known + torch.where(table < 0, table + size, table) * stride

    def span(self, dim: int, along: int) -> None:
        """Every index of a dimension in turn, along a dimension of the positions."""
        view = [1] * len(self.shape)
        view[along] = self.base[dim]
        self.add(dim, torch.arange(self.base[dim]).view(view))

    def read(self, x: Value) -> Variable:
        """The elements there."""
        builder, dtype = self.builder, dtype_of(x)
        kind = letter(dtype)
        source = builder.whole(x, dtype)
        if not isinstance(self.computed, Variable):
            return builder.map("{0}[{1}]", [source, builder.entry(self.known.expand(self.shape))], dtype, self.shape)
        lookup = f"lookup_{kind}" if isinstance(source.source, Buffer) else f"lookup_shared_{kind}"
        where = apply(builder, "({0} + {1})", self.computed, self.known, dtype=torch.int64)
        return builder.map(f"{lookup}({{0}}, {{1}})", [source, builder.operand(where, self.shape)], dtype, self.shape)

    def write(self, x: Value, source: Value, *, accumulate: bool) -> Variable:
        """``x`` with the elements there replaced or increased, one after the other."""
        builder, dtype = self.builder, dtype_of(x)
        result = builder.new(self.base, dtype)
        builder.copy_into(result, x)
        value = builder.operand(source, self.shape, dtype)
        if not isinstance(self.computed, Variable):
            entry = builder.entry(self.known.expand(self.shape))
            builder.update(result, f"{{0}}[{{1}}] {'+=' if accumulate else '='} {{2}};", [entry, value], self.shape)
        else:
            where = apply(builder, "({0} + {1})", self.computed, self.known, dtype=torch.int64)
            text = f"{'increase' if accumulate else 'replace'}_{letter(dtype)}({{0}}, {{1}}, {{2}});"
            builder.update(result, text, [builder.operand(where, self.shape), value], self.shape)
        return result


def _by_indices(builder: Builder, x: Value, indices: Sequence[Value | None]) -> Positions:
    """Positions of ``x[indices]``: NumPy's rules, with None for a whole dimension."""
    given: list[Value | None] = []
    for index in indices:
        if index is not None and dtype_of(index) is torch.bool:
            if not isinstance(index, Tensor):
                raise Unsupported("a mask that every chain computes, as an index")
            given += list(index.nonzero(as_tuple=True))
        else:
            given.append(index)
    base = shape_of(x)
    given += [None] * (len(base) - len(given))
    advanced = [d for d, index in enumerate(given) if index is not None]
    block = common_shape(*(shape_of(index) for index in given if index is not None))
    together = advanced == list(range(advanced[0], advanced[-1] + 1))
    first = advanced[0] if together else 0
    free = [d for d in range(len(base)) if given[d] is None]
    before = [d for d in free if d < first] if together else []
    after = [d for d in free if d not in before]
    shape = [base[d] for d in before] + list(block) + [base[d] for d in after]
    positions = Positions(builder, base, shape)
    for d in advanced:
        index = given[d]
        if index is not None:
            positions.add(d, _widened(index, len(shape_of(index)) + len(after)))
    for k, d in enumerate(before):
        positions.span(d, k)
    for k, d in enumerate(after):
        positions.span(d, len(before) + len(block) + k)
    return positions


def _widened(value: Value, dims: int) -> Value:
    """The value with dimensions of size one behind its own."""
    return through(value, lambda x: x[(..., *[None] * (dims - x.dim()))])


def _single(value: Value) -> Value:
    """A value of one element without dimensions."""
    return through(value, lambda x: x[(0,) * x.dim()])


def _along(builder: Builder, x: Value, dim: int, index: Value) -> Positions:
    """Positions of ``gather`` and ``scatter``: the index along one dimension, its own place along the others."""
    base, shape = shape_of(x), shape_of(index)
    positions = Positions(builder, base, shape)
    for d in range(len(base)):
        if d == dim % len(base):
            positions.add(d, index)
        else:
            view = [1] * len(base)
            view[d] = shape[d]
            positions.add(d, torch.arange(shape[d]).view(view))
    return positions


@operation("index", "_unsafe_index")
def _index(builder: Builder, x: Value, indices: Sequence[Value | None]) -> Value:
    return _by_indices(builder, x, indices).read(x)


@operation("index_put", "_unsafe_index_put", "_index_put_impl")
def _index_put(
    builder: Builder, x: Value, indices: Sequence[Value | None], values: Value, accumulate: bool = False, *_: Any
) -> Value:
    mask = indices[0]
    if len(indices) == 1 and isinstance(mask, Variable) and mask.dtype is torch.bool and not accumulate:
        if prod(shape_of(values)) != 1:
            raise Unsupported("several values where a mask holds that every chain computes")
        return select(builder, _widened(mask, len(shape_of(x))), _single(values), x, dtype_of(x))
    return _by_indices(builder, x, indices).write(x, values, accumulate=accumulate)


@operation("gather")
def _gather(builder: Builder, x: Value, dim: int, index: Value, **_: Any) -> Value:
    if not shape_of(x):
        return broadcast(x, shape_of(index))
    return _along(builder, x, dim, index).read(x)


@operation("embedding")
def _embedding(builder: Builder, table: Value, index: Value, *_: Any) -> Value:
    return _by_indices(builder, table, [index]).read(table)


@operation("index_select")
def _index_select(builder: Builder, x: Value, dim: int, index: Value) -> Value:
    return _by_indices(builder, x, [None] * (dim % max(len(shape_of(x)), 1)) + [index]).read(x)


def _scatter(builder: Builder, x: Value, dim: int, index: Value, source: Value, *, accumulate: bool) -> Value:
    if not shape_of(x):
        total = apply(builder, "({0} + {1})", x, source, dtype=dtype_of(x)) if accumulate else source
        return broadcast(builder.cast(total, dtype_of(x)), ())
    if shape_of(source):
        source = through(source, lambda x: x[tuple(slice(0, n) for n in shape_of(index))])
    return _along(builder, x, dim, index).write(x, source, accumulate=accumulate)


@operation("scatter")
def _scatter_replace(builder: Builder, x: Value, dim: int, index: Value, source: Value, **kwargs: Any) -> Value:
    if kwargs.get("reduce") is not None:
        raise Unsupported("scatter with reduce")
    return _scatter(builder, x, dim, index, source, accumulate=False)


@operation("scatter_add")
def _scatter_add(builder: Builder, x: Value, dim: int, index: Value, source: Value) -> Value:
    return _scatter(builder, x, dim, index, source, accumulate=True)


@operation("index_add")
def _index_add(builder: Builder, x: Value, dim: int, index: Value, source: Value, *, alpha: float = 1) -> Value:
    if alpha != 1:
        raise Unsupported("index_add with alpha")
    positions = _by_indices(builder, x, [None] * (dim % max(len(shape_of(x)), 1)) + [index])
    return positions.write(x, source, accumulate=True)
