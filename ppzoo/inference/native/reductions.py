"""Operations that take many elements to one, and those that run along a dimension."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import torch

from ppzoo.inference.native.builder import Builder
from ppzoo.inference.native.linear import contraction
from ppzoo.inference.native.pointwise import OPERATIONS as POINTWISE
from ppzoo.inference.native.pointwise import apply, floating, promote, select
from ppzoo.inference.native.values import (
    Handler,
    Value,
    Variable,
    Whole,
    common_shape,
    dtype_of,
    entering,
    is_plain,
    letter,
    shape_of,
    through,
)

__all__ = ["OPERATIONS", "reduce"]

OPERATIONS: dict[str, Handler] = {}
operation = entering(OPERATIONS)
Dims = Sequence[int] | int | None

_COMBINATIONS = {  # combine, start
    "sum": ("({0} + {1})", "splat_T(0)"),
    "prod": ("({0} * {1})", "splat_T(1)"),
    "amax": ("max_T({0}, {1})", "splat_T(LOWEST_T())"),
    "amin": ("min_T({0}, {1})", "splat_T(HIGHEST_T())"),
    "any": ("({0} | {1})", "splat_T(0)"),
    "all": ("({0} & {1})", "splat_T(-1)"),
}

_OF_NOTHING = {"sum": 0, "prod": 1, "any": 0, "all": 1}


def reduced_dims(shape: Sequence[int], dims: Dims) -> set[int]:
    """The dimensions that a reduction takes away: none named means all."""
    if dims is None or dims == () or dims == []:
        return set(range(len(shape)))
    named = [dims] if isinstance(dims, int) else dims
    return {d % len(shape) for d in named} if len(shape) else set()


def reduce(builder: Builder, kind: str, value: Value, dims: Dims, *, keepdim: bool, dtype: torch.dtype) -> Value:
    """Combine the elements along dimensions, in order."""
    shape = shape_of(value)
    gone = reduced_dims(shape, dims)
    kept = [1 if d in gone else n for d, n in enumerate(shape)]
    final = kept if keepdim else [n for d, n in enumerate(shape) if d not in gone]
    if 0 in shape:
        return torch.full(final, _OF_NOTHING[kind], dtype=dtype)
    if all(shape[d] == 1 for d in gone):
        return through(builder.cast(value, dtype), lambda x: x.reshape(final))
    repeated = _repeated(value) if kind != "prod" else set()
    if repeated:
        once = through(value, lambda x: x[tuple(slice(0, 1 if d in repeated else n) for d, n in enumerate(shape))])
        result = reduce(builder, kind, once, sorted(gone), keepdim=True, dtype=dtype)
        count = prod(shape[d] for d in repeated & gone)
        if kind == "sum" and count > 1:
            result = apply(builder, "({0} * {1})", result, count, dtype=dtype)
        return through(result, lambda x: x.expand(kept) if keepdim else x.expand(kept).squeeze(tuple(gone)))
    total = _contracted(builder, value, gone) if kind == "sum" else None
    if total is not None:
        return through(total, lambda x: x.reshape(final))
    operand = builder.operand(value, shape, dtype)
    combine, start = (text.replace("_T(", f"_{letter(dtype)}(") for text in _COMBINATIONS[kind])

    def make() -> Variable:
        result = builder.new(kept, dtype)
        builder.reduce(result.buffer, combine, start, operand, shape, result.view.expand(shape))
        return result

    combined: Variable = builder.once((kind, operand, tuple(shape), tuple(kept), dtype), make)
    return combined.seen(combined.view.view(final))


def _repeated(value: Value) -> set[int]:
    """The dimensions along which the same elements stand again."""
    if not isinstance(value, Variable):
        return set()
    return {
        d for d, (n, stride) in enumerate(zip(value.shape, value.view.stride(), strict=True)) if n > 1 and not stride
    }


def _contracted(builder: Builder, value: Value, gone: set[int]) -> Value | None:
    """The sum of what is a product, by a matrix product where that pays."""
    if not isinstance(value, Variable) or not is_plain(value):
        return None
    a, b = builder.products.get(value.buffer, (0, 0))
    same = common_shape(shape_of(a), shape_of(b)) == value.shape
    return contraction(builder, a, b, value.shape, gone) if same else None


def _whole_type(dtype: torch.dtype) -> torch.dtype:
    return dtype if dtype.is_floating_point else torch.int64


def _sums(kind: str) -> Handler:
    def handle(
        builder: Builder, x: Value, dim: Dims = None, keepdim: bool = False, *, dtype: torch.dtype | None = None
    ) -> Value:
        return reduce(builder, kind, x, dim, keepdim=keepdim, dtype=dtype or _whole_type(dtype_of(x)))

    return handle


def _truths(kind: str) -> Handler:
    def handle(builder: Builder, x: Value, dim: Dims = None, keepdim: bool = False) -> Value:
        return reduce(builder, kind, x, dim, keepdim=keepdim, dtype=torch.bool)

    return handle


def _extremes(kind: str) -> Handler:
    def handle(builder: Builder, x: Value, dim: Dims = None, keepdim: bool = False) -> Value:
        dtype = dtype_of(x)
        if dtype is torch.bool:
            kind_of_truth = {"amax": "any", "amin": "all"}[kind]
            return reduce(builder, kind_of_truth, x, dim, keepdim=keepdim, dtype=dtype)
        return reduce(builder, kind, x, dim, keepdim=keepdim, dtype=dtype)

    return handle


OPERATIONS |= {kind: _sums(kind) for kind in ("sum", "prod")}
OPERATIONS |= {kind: _truths(kind) for kind in ("any", "all")}
OPERATIONS |= {kind: _extremes(kind) for kind in ("amax", "amin")}
OPERATIONS |= {"max.default": _extremes("amax"), "min.default": _extremes("amin")}
OPERATIONS |= {"max.other": POINTWISE["maximum"], "min.other": POINTWISE["minimum"]}


@operation("dot", "vdot")
def _dot(builder: Builder, a: Value, b: Value) -> Value:
    dtype = promote(a, b)
    terms = apply(builder, "({0} * {1})", a, b, dtype=dtype)
    return reduce(builder, "sum", terms, None, keepdim=False, dtype=dtype)


@operation("mean")
def _mean(
    builder: Builder, x: Value, dim: Dims = None, keepdim: bool = False, *, dtype: torch.dtype | None = None
) -> Value:
    shape, dtype = shape_of(x), dtype or floating(dtype_of(x))
    count = prod(shape[d] for d in reduced_dims(shape, dim))
    total = reduce(builder, "sum", x, dim, keepdim=keepdim, dtype=dtype)
    return apply(builder, "({0} / {1})", total, float(count), dtype=dtype)


@operation("var")
def _var(
    builder: Builder, x: Value, dim: Dims = None, *, correction: float | None = None, keepdim: bool = False
) -> Value:
    shape, dtype = shape_of(x), dtype_of(x)
    count = prod(shape[d] for d in reduced_dims(shape, dim))
    centred = apply(builder, "({0} - {1})", x, _mean(builder, x, dim, keepdim=True), dtype=dtype)
    squares = apply(builder, "({0} * {0})", centred, dtype=dtype)
    total = reduce(builder, "sum", squares, dim, keepdim=keepdim, dtype=dtype)
    freedom = max(count - (1 if correction is None else correction), 0.0)
    return apply(builder, "({0} / {1})", total, float(freedom), dtype=dtype)


def _first(builder: Builder, x: Value, best: Value, dim: int, keepdim: bool) -> Value:
    """The least position along ``dim`` at which ``x`` is the best value, or NaN where that is NaN."""
    shape = shape_of(x)
    positions = torch.arange(shape[dim] if shape else 1).view(
        [-1 if d == dim % len(shape) else 1 for d in range(len(shape))]
    )
    hit = apply(builder, "MASK(({0} == {1}) | ({0} != {0}))", x, best, dtype=promote(x, best), out=torch.bool)
    where = select(builder, hit, positions, shape[dim] - 1 if shape else 0, torch.int64)
    return reduce(builder, "amin", where, dim, keepdim=keepdim, dtype=torch.int64)


def _squeezed(value: Value, dim: int, keepdim: bool) -> Value:
    return value if keepdim or not isinstance(value, Variable) else Variable(value.buffer, value.view.squeeze(dim))


def _with_indices(kind: str) -> Handler:
    def handle(builder: Builder, x: Value, dim: int, keepdim: bool = False) -> tuple[Value, Value]:
        x = builder.cast(x, torch.int64) if dtype_of(x) is torch.bool else x
        best = reduce(builder, kind, x, dim, keepdim=True, dtype=dtype_of(x))
        return _squeezed(best, dim, keepdim), _first(builder, x, best, dim, keepdim)

    return handle


def _argument(kind: str) -> Handler:
    def handle(builder: Builder, x: Variable, dim: int | None = None, keepdim: bool = False) -> Value:
        if dim is None:
            x, dim = Variable(builder.materialise(x).buffer, builder.materialise(x).view.view(-1)), 0
        best = reduce(builder, kind, x, dim, keepdim=True, dtype=x.dtype)
        return _first(builder, x, best, dim, keepdim)

    return handle


OPERATIONS |= {"max.dim": _with_indices("amax"), "min.dim": _with_indices("amin")}
OPERATIONS |= {"argmax": _argument("amax"), "argmin": _argument("amin")}


def _scan(function: str) -> Handler:
    def handle(builder: Builder, x: Value, dim: int, *, dtype: torch.dtype | None = None) -> Value:
        dtype = dtype or _whole_type(dtype_of(x))
        shape = shape_of(x)
        if not shape:
            return builder.cast(x, dtype)
        source = builder.materialise(x, dtype)

        def make() -> Variable:
            result = builder.new(shape, dtype)
            outer, inner = prod(shape[: dim % len(shape)]), prod(shape[dim % len(shape) + 1 :])
            text = f"{function}_{letter(dtype)}({{1}}, {{0}}, {outer}, {shape[dim]}, {inner})"
            builder.block([result], text, [Whole(source.buffer)])
            return result

        result: Variable = builder.once((function, source.buffer, tuple(shape), dim, dtype), make)
        return result

    return handle


OPERATIONS |= {"cumsum": _scan("running_sum"), "cumprod": _scan("running_product")}


@operation("logcumsumexp")
def _logcumsumexp(builder: Builder, x: Value, dim: int) -> Value:
    total: Value = _scan("running_logsumexp")(builder, builder.cast(x, torch.float64), dim)
    return builder.cast(total, floating(dtype_of(x)))


@operation("logsumexp")
def _logsumexp(builder: Builder, x: Value, dim: Dims, keepdim: bool = False) -> Value:
    dtype = floating(dtype_of(x))
    top = reduce(builder, "amax", x, dim, keepdim=True, dtype=dtype)
    safe = apply(builder, "pick_T(MASK(abs_T({0}) == INFINITY), splat_T(0), {0})", top, dtype=dtype)
    powers = apply(builder, "exp_T({0} - {1})", x, safe, dtype=dtype)
    total = reduce(builder, "sum", powers, dim, keepdim=keepdim, dtype=dtype)
    shift = through(safe, lambda t: t.reshape(shape_of(total)))
    return apply(builder, "({0} + {1})", apply(builder, "log_T({0})", total, dtype=dtype), shift, dtype=dtype)


@operation("_cdist_forward")
def _distances(builder: Builder, x: Value, y: Value, p: float, _: int | None = None) -> Value:
    dtype = promote(x, y)
    powers, root = {1.0: ("abs_T({0} - {1})", "{0}"), 2.0: ("(({0} - {1}) * ({0} - {1}))", "sqrt_T({0})")}[p]
    rows, columns = through(x, lambda t: t[..., :, None, :]), through(y, lambda t: t[..., None, :, :])
    total = reduce(builder, "sum", apply(builder, powers, rows, columns, dtype=dtype), -1, keepdim=False, dtype=dtype)
    return apply(builder, root, total, dtype=dtype)


@operation("_cdist_backward")
def _distances_backward(builder: Builder, g: Value, x: Value, y: Value, p: float, distance: Value) -> Value:
    dtype = promote(x, y)
    slope = {1.0: "({2} * sign_T({0} - {1}))", 2.0: "pick_T(MASK({3} == 0), splat_T(0), {2} * ({0} - {1}) / {3})"}[p]
    rows, columns = through(x, lambda t: t[..., :, None, :]), through(y, lambda t: t[..., None, :, :])
    outer = [through(t, lambda t: t[..., None]) for t in (g, distance)]
    return reduce(
        builder, "sum", apply(builder, slope, rows, columns, *outer, dtype=dtype), -2, keepdim=False, dtype=dtype
    )


@operation("_softmax")
def _softmax(builder: Builder, x: Value, dim: int, *_: bool) -> Value:
    dtype = floating(dtype_of(x))
    powers = _powers(builder, x, dim, dtype)
    return apply(
        builder, "({0} / {1})", powers, reduce(builder, "sum", powers, dim, keepdim=True, dtype=dtype), dtype=dtype
    )


@operation("_log_softmax")
def _log_softmax(builder: Builder, x: Value, dim: int, *_: bool) -> Value:
    dtype = floating(dtype_of(x))
    top = reduce(builder, "amax", x, dim, keepdim=True, dtype=dtype)
    total = reduce(builder, "sum", _powers(builder, x, dim, dtype), dim, keepdim=True, dtype=dtype)
    return apply(builder, "(({0} - {1}) - log_T({2}))", x, top, total, dtype=dtype)


def _powers(builder: Builder, x: Value, dim: int, dtype: torch.dtype) -> Value:
    top = reduce(builder, "amax", x, dim, keepdim=True, dtype=dtype)
    return apply(builder, "exp_T({0} - {1})", x, top, dtype=dtype)


@operation("_softmax_backward_data")
def _softmax_backward(builder: Builder, g: Value, y: Value, dim: int, *_: Any) -> Value:
    dtype = promote(g, y)
    product = apply(builder, "({0} * {1})", g, y, dtype=dtype)
    total = reduce(builder, "sum", product, dim, keepdim=True, dtype=dtype)
    return apply(builder, "({0} - {1} * {2})", product, y, total, dtype=dtype)


@operation("_log_softmax_backward_data")
def _log_softmax_backward(builder: Builder, g: Value, y: Value, dim: int, *_: Any) -> Value:
    dtype = promote(g, y)
    total = reduce(builder, "sum", g, dim, keepdim=True, dtype=dtype)
    return apply(builder, "({0} - exp_T({1}) * {2})", g, y, total, dtype=dtype)
