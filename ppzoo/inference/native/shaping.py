"""Views, and the operations that put tensors together.

A tensor put together from others is kept as pieces until it is read: the gradients of slices are sums of tensors that
are zero nearly everywhere, and adding fifty of those is writing one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from math import prod
from typing import Any

import torch
from torch import Tensor

from ppzoo.inference.native.arithmetic import OPERATIONS as ARITHMETIC
from ppzoo.inference.native.builder import Builder
from ppzoo.inference.native.pieces import added, grows, pieces
from ppzoo.inference.native.pointwise import is_number, promote, select
from ppzoo.inference.native.values import (
    Handler,
    Unsupported,
    Value,
    Variable,
    broadcast,
    dtype_of,
    entering,
    is_plain,
    shape_of,
    through,
)

__all__ = ["OPERATIONS"]

OPERATIONS: dict[str, Handler] = {}
operation = entering(OPERATIONS)
aten = torch.ops.aten


@operation("detach", "alias", "clone", "lift_fresh_copy", "lift_fresh", "contiguous", "view_of")
def _same(_: Builder, x: Value, *__: Any, **___: Any) -> Value:
    return x


@operation("_linalg_check_errors")
def _nothing(*_: Any, **__: Any) -> None:
    """What failed is NaN in its own chain, and stops no other."""


@operation("view", "reshape", "_unsafe_view", "_reshape_alias", "view_copy")
def _view(builder: Builder, x: Variable, shape: Sequence[int], *_: Any) -> Value:
    try:
        return x.seen(x.view.view(tuple(shape)))
    except RuntimeError:  # no strides describe it: a copy does
        plain = builder.materialise(x)
        return plain.seen(plain.view.view(tuple(shape)))


@operation("view.dtype")
def _bits(*_: Any, **__: Any) -> Value:
    raise Unsupported("the bits of a number as another type")


@operation("new_empty_strided")
def _new_empty_strided(
    _: Builder, x: Variable, size: Sequence[int], stride: Sequence[int], *, dtype: torch.dtype | None = None, **__: Any
) -> Value:
    if torch.empty(tuple(size), device="meta").stride() != tuple(stride):
        raise Unsupported("a tensor that torch lays out in another order")
    return torch.zeros((), dtype=dtype or x.dtype).expand(tuple(size))


@operation("as_strided")
def _as_strided(
    builder: Builder, x: Variable, size: Sequence[int], stride: Sequence[int], offset: int | None = None
) -> Value:
    """Autograd takes such a view of what it has just laid out plainly; of a view it would mean another memory."""
    if x.shared or not is_plain(x):
        raise Unsupported("memory seen through a view of a view")
    builder.settle(x)
    return x.seen(x.view.as_strided(tuple(size), tuple(stride), offset or 0))


@operation("as_strided_scatter")
def _as_strided_scatter(
    builder: Builder, x: Value, source: Value, size: Sequence[int], stride: Sequence[int], offset: int | None = None
) -> Value:
    if isinstance(x, Variable) and (x.shared or not is_plain(x)):
        raise Unsupported("memory seen through a view of a view")
    result = builder.new(shape_of(x), dtype_of(x))
    return _over(builder, result, x, result.view.as_strided(tuple(size), tuple(stride), offset or 0), source)


def _filled(number: float) -> Handler:
    def handle(_: Builder, x: Variable, *__: Any, dtype: torch.dtype | None = None, **___: Any) -> Value:
        return torch.tensor(number, dtype=dtype or x.dtype).expand(x.shape)

    return handle


OPERATIONS |= {"zeros_like": _filled(0), "ones_like": _filled(1), "empty_like": _filled(0)}


@operation("full_like")
def _full_like(_: Builder, x: Variable, number: float, *, dtype: torch.dtype | None = None, **__: Any) -> Value:
    return torch.tensor(number, dtype=dtype or x.dtype).expand(x.shape)


def _new_filled(number: float) -> Handler:
    def handle(_: Builder, x: Variable, size: Sequence[int], *, dtype: torch.dtype | None = None, **__: Any) -> Value:
        return torch.tensor(number, dtype=dtype or x.dtype).expand(tuple(size))

    return handle


OPERATIONS |= {"new_zeros": _new_filled(0), "new_ones": _new_filled(1), "new_empty": _new_filled(0)}


@operation("new_full")
def _new_full(
    _: Builder, x: Variable, size: Sequence[int], number: float, *, dtype: torch.dtype | None = None, **__: Any
) -> Value:
    return torch.tensor(number, dtype=dtype or x.dtype).expand(tuple(size))


@operation("full")
def _full(builder: Builder, size: Sequence[int], number: Value, *, dtype: torch.dtype | None = None, **_: Any) -> Value:
    return broadcast(builder.cast(number, dtype or dtype_of(number)), size)


@operation("fill")
def _fill(builder: Builder, x: Value, number: Value) -> Value:
    return broadcast(builder.cast(number, dtype_of(x)), shape_of(x))


@operation("copy")
def _copy(builder: Builder, target: Value, source: Value, *_: Any) -> Value:
    """The source, laid out as the target is: plainly."""
    value = _fill(builder, target, source)
    return builder.materialise(value) if isinstance(value, Variable) else value


@operation("_to_copy", "to", "convert_element_type", "type_as")
def _to(builder: Builder, x: Variable, *args: Any, dtype: torch.dtype | None = None, **_: Any) -> Value:
    wanted = next((a for a in args if isinstance(a, torch.dtype)), dtype)
    return x if wanted is None else builder.cast(x, wanted)


@operation("cat", "concatenate")
def _cat(builder: Builder, tensors: Sequence[Value], dim: int = 0) -> Value:
    parts = [t for t in tensors if shape_of(t) != (0,)]
    dtype = promote(*tensors)
    shape = list(shape_of(parts[0]))
    dim %= len(shape)
    shape[dim] = sum(shape_of(t)[dim] for t in parts)
    result = builder.new(shape, dtype)
    placed: list[tuple[Tensor, Value]] = []
    start = 0
    for part in parts:
        placed.append((result.view.narrow(dim, start, shape_of(part)[dim]), builder.cast(part, dtype)))
        start += shape_of(part)[dim]
    return builder.assemble(result, pieces(placed))


@operation("stack")
def _stack(builder: Builder, tensors: Sequence[Value], dim: int = 0) -> Value:
    dtype = promote(*tensors)
    shape = list(shape_of(tensors[0]))
    shape.insert(dim % (len(shape) + 1), len(tensors))
    result = builder.new(shape, dtype)
    views = result.view.unbind(dim)
    return builder.assemble(result, pieces((v, builder.cast(t, dtype)) for v, t in zip(views, tensors, strict=True)))


@operation("constant_pad_nd")
def _pad(builder: Builder, x: Value, padding: Sequence[int], number: float = 0) -> Value:
    shape = list(shape_of(x))
    ends = [(0, 0)] * (len(shape) - len(padding) // 2) + list(zip(padding[-2::-2], padding[::-2], strict=True))
    result = builder.new([n + before + after for n, (before, after) in zip(shape, ends, strict=True)], dtype_of(x))
    region, inner = result.view, x
    for d, (before, after) in enumerate(ends):
        region = region.narrow(d, max(before, 0), shape[d] + min(before, 0) + min(after, 0))
        inner = _narrowed(inner, d, max(-before, 0), shape[d] + min(before, 0) + min(after, 0))
    return _over(builder, result, torch.tensor(number, dtype=dtype_of(x)), region, inner)


def _narrowed(value: Value, dim: int, start: int, length: int) -> Value:
    return through(value, lambda x: x.narrow(dim, start, length))


def _over(builder: Builder, result: Variable, base: Value, region: Tensor, source: Value) -> Value:
    """``base`` with a region replaced."""
    piece = region, broadcast(builder.cast(source, result.dtype), region.shape)
    if is_number(base, 0) or region.numel() == result.view.numel():
        return builder.assemble(result, pieces([piece]))
    builder.copy_into(result, base)
    builder.copy_into(result.seen(region), piece[1])
    return result


def _scattered(view: Handler) -> Handler:
    """The operation that writes where ``view`` reads."""

    def handle(builder: Builder, x: Value, source: Value, *args: Any, **kwargs: Any) -> Value:
        result = builder.new(shape_of(x), dtype_of(x))
        return _over(builder, result, x, view(result.view, *args, **kwargs), source)

    return handle


def _backward(view: Handler) -> Handler:
    """The gradient of a view: the gradient of what it shows, zero elsewhere."""

    def handle(builder: Builder, gradient: Value, sizes: Sequence[int], *args: Any) -> Value:
        result = builder.new(sizes, dtype_of(gradient))
        return builder.assemble(result, pieces([(view(result.view, *args), gradient)]))

    return handle


_VIEWS: dict[str, Handler] = {"slice": aten.slice.Tensor, "select": aten.select.int, "diagonal": aten.diagonal.default}
OPERATIONS |= {f"{name}_scatter": _scattered(view) for name, view in _VIEWS.items()}
OPERATIONS |= {f"{name}_backward": _backward(view) for name, view in _VIEWS.items()}


@operation("add")
def _add(builder: Builder, a: Value, b: Value, alpha: float = 1) -> Value:
    """Pieces add up, and to a whole tensor those that are zero elsewhere; all else is added element by element."""
    add: Callable[..., Value] = partial(ARITHMETIC["add"], builder)
    one, other = builder.pieces_of(a), builder.pieces_of(b)
    same = shape_of(a) == shape_of(b) and dtype_of(a) == dtype_of(b) and alpha == 1
    kept = [parts for parts in (one, other) if parts is not None]
    if not same or not kept or not (len(kept) == 2 or grows(kept[0], prod(shape_of(a)))):
        return add(a, b, alpha)
    result = builder.new(shape_of(a), dtype_of(a))
    one, other = (pieces([(result.view, x)]) if parts is None else parts for x, parts in ((a, one), (b, other)))
    return builder.assemble(result, added(one, other, add))


@operation("flip")
def _flip(builder: Builder, x: Variable, dims: Sequence[int]) -> Value:
    position = torch.arange(x.view.numel()).view(x.shape).flip(tuple(dims))
    plain = builder.materialise(x)
    return builder.map("{0}[{1}]", [builder.whole(plain, x.dtype), builder.entry(position)], x.dtype, x.shape)


@operation("roll")
def _roll(builder: Builder, x: Variable, shifts: Sequence[int], dims: Sequence[int] = ()) -> Value:
    position = torch.arange(x.view.numel()).view(x.shape).roll(tuple(shifts), tuple(dims))
    plain = builder.materialise(x)
    return builder.map("{0}[{1}]", [builder.whole(plain, x.dtype), builder.entry(position)], x.dtype, x.shape)


@operation("tril")
def _tril(builder: Builder, x: Variable, diagonal: int = 0) -> Value:
    return select(builder, torch.ones(x.shape[-2:], dtype=torch.bool).tril(diagonal), x, 0, x.dtype)


@operation("triu")
def _triu(builder: Builder, x: Variable, diagonal: int = 0) -> Value:
    return select(builder, torch.ones(x.shape[-2:], dtype=torch.bool).triu(diagonal), x, 0, x.dtype)


@operation("repeat")
def _repeat(builder: Builder, x: Variable, repeats: Sequence[int]) -> Value:
    grown = x.view.view((1,) * (len(repeats) - x.view.dim()) + tuple(x.shape)) if not x.view.dim() else x.view
    for _ in range(len(repeats) - grown.dim()):
        grown = grown.unsqueeze(0)
    outer = [n for pair in zip(repeats, grown.shape, strict=True) for n in pair]
    for d in range(grown.dim()):
        grown = grown.unsqueeze(2 * d)
    final = [r * n for r, n in zip(outer[::2], outer[1::2], strict=True)]
    plain = builder.materialise(x.seen(grown.expand(outer)))
    return plain.seen(plain.view.view(final))
