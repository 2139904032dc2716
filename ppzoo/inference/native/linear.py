"""Matrix products; in double, whatever the type."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import torch
from torch import Tensor

from ppzoo.inference.native.builder import Builder
from ppzoo.inference.native.pointwise import apply, promote
from ppzoo.inference.native.values import (
    Handler,
    Literal,
    Load,
    Splat,
    Unsupported,
    Value,
    Variable,
    broadcast,
    entering,
    shape_of,
    through,
)

__all__ = ["OPERATIONS", "contraction", "matrix"]

OPERATIONS: dict[str, Handler] = {}
operation = entering(OPERATIONS)

_AGAIN = 4  # times that an operand is used, from which on a product pays


def matrix(builder: Builder, value: Value, shape: Sequence[int]) -> Load | Splat:
    """A matrix by pointer and strides."""
    operand = builder.operand(value, shape, torch.float64)
    if isinstance(operand, Literal):
        filled = torch.as_tensor(value).to(torch.float64).expand(tuple(shape)).contiguous()
        return Splat(builder.slot(filled), tuple(filled.stride()), 0)
    if not isinstance(operand, (Load, Splat)):
        raise TypeError(operand)
    return operand


def product(builder: Builder, a: Value, b: Value) -> Value:
    """The matrix products of (B, N, K) and (B, K, M)."""
    dtype = promote(a, b)
    if not dtype.is_floating_point:
        raise Unsupported("matrix product of integers")
    batch, n, k = shape_of(a)
    m = shape_of(b)[2]
    if 0 in (batch, n, m):
        return torch.zeros((batch, n, m), dtype=dtype)
    left, right = matrix(builder, a, (batch, n, k)), matrix(builder, b, (batch, k, m))

    def make() -> Variable:
        result = builder.new((batch, n, m), torch.float64)
        kinds = "".join("v" if isinstance(operand, Load) else "s" for operand in (left, right))
        rows, columns, steps = result.view.stride(), left.strides, right.strides
        if batch == 1:
            strides = (rows[1], rows[2], columns[1], columns[2], steps[1], steps[2])
            builder.multiply(result, f"product_{kinds}", (n, k, m), strides, (left, right))
            return result
        inner = [n, k, m, *rows[1:], *columns[1:], *steps[1:], 0]
        moved = [f"{{{i}}} + {s[0]} * i" if s[0] else f"{{{i}}}" for i, s in ((2, rows), (0, columns), (1, steps))]
        text = f"for (long i = 0; i < {batch}; i++) product_{kinds}({', '.join([*moved, *map(str, inner)])})"
        builder.block([result], text, [left, right])
        return result

    return builder.cast(builder.once(("product", left, right, batch, n, k, m), make), dtype)


def contraction(builder: Builder, a: Value, b: Value, shape: Sequence[int], gone: set[int]) -> Value | None:
    """The sum of ``a b`` over dimensions of their common ``shape``, which stay as ones, by a matrix product.

    None if it would not pay: a product is quicker if it uses what all lanes share, or both operands, again and again.
    """
    sides = broadcast(a, shape), broadcast(b, shape)
    one, other = ((side.view if isinstance(side, Variable) else torch.as_tensor(side)).stride() for side in sides)
    dims: dict[str, list[int]] = {kind: [] for kind in "bnmk?"}
    for d, size in enumerate(shape):
        if size != 1:
            dims[_part(d in gone, one[d], other[d])].append(d)
    sizes = {kind: prod(shape[d] for d in dims[kind]) for kind in dims}
    again = (min if _is_per_chain(a) and _is_per_chain(b) else max)(sizes["n"], sizes["m"])
    if dims["?"] or again < _AGAIN or sizes["k"] < _AGAIN:
        return None
    try:
        left = _arranged(sides[0], [dims[kind] for kind in "bnk"])
        right = _arranged(sides[1], [dims[kind] for kind in "bkm"])
    except RuntimeError:  # no strides describe it
        return None
    kept = [d for kind in "bnm" for d in dims[kind]]
    back = sorted(range(len(kept)), key=kept.__getitem__)
    ones = tuple(slice(None) if d in kept else None for d in range(len(shape)))
    return through(product(builder, left, right), lambda x: x.view([shape[d] for d in kept]).permute(back)[ones])


def _is_per_chain(value: Value) -> bool:
    return isinstance(value, Variable) and not value.shared


def _part(gone: bool, one: int, other: int) -> str:
    """What a dimension is to a product: of both sides (``b``), of one (``n``, ``m``), summed (``k``), or none of it."""
    if one and other:
        return "k" if gone else "b"
    return "?" if gone or not (one or other) else "n" if one else "m"


def _arranged(value: Value, groups: Sequence[Sequence[int]]) -> Value:
    """The value with three dimensions, one for each group of its own; it is the same along the others."""
    used = [d for group in groups for d in group]
    position = {d: k for k, d in enumerate(sorted(used))}
    shape = shape_of(value)
    sizes = [prod(shape[d] for d in group) for group in groups]

    def view(x: Tensor) -> Tensor:
        cut = x[tuple(slice(None) if d in position else 0 for d in range(x.dim()))].permute([position[d] for d in used])
        return cut.view(sizes) if x.is_meta else cut.reshape(sizes)

    return through(value, view)


@operation("bmm")
def _bmm(builder: Builder, a: Value, b: Value) -> Value:
    return product(builder, a, b)


@operation("mm")
def _mm(builder: Builder, a: Value, b: Value) -> Value:
    batched = (through(x, lambda t: t[None]) for x in (a, b))
    return through(product(builder, *batched), lambda t: t[0])


@operation("mv")
def _mv(builder: Builder, a: Value, b: Value) -> Value:
    return through(_mm(builder, a, through(b, lambda t: t[:, None])), lambda t: t[:, 0])


def _plus(builder: Builder, c: Value, ab: Value, beta: float, alpha: float) -> Value:
    dtype = promote(c, ab)
    if alpha != 1:
        ab = apply(builder, "({0} * {1})", ab, alpha, dtype=dtype)
    if beta == 0:
        return ab
    c = c if beta == 1 else apply(builder, "({0} * {1})", c, beta, dtype=dtype)
    return apply(builder, "({0} + {1})", ab, c, dtype=dtype)


@operation("addmm")
def _addmm(builder: Builder, c: Value, a: Value, b: Value, *, beta: float = 1, alpha: float = 1) -> Value:
    return _plus(builder, c, _mm(builder, a, b), beta, alpha)


@operation("addmv")
def _addmv(builder: Builder, c: Value, a: Value, b: Value, *, beta: float = 1, alpha: float = 1) -> Value:
    return _plus(builder, c, _mv(builder, a, b), beta, alpha)


@operation("baddbmm")
def _baddbmm(builder: Builder, c: Value, a: Value, b: Value, *, beta: float = 1, alpha: float = 1) -> Value:
    return _plus(builder, c, product(builder, a, b), beta, alpha)
