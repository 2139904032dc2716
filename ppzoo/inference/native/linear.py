"""Matrix products; in double, whatever the type."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from ppzoo.inference.native.builder import Builder
from ppzoo.inference.native.pointwise import apply, promote
from ppzoo.inference.native.reductions import reduce
from ppzoo.inference.native.values import (
    Handler,
    Literal,
    Load,
    Splat,
    Unsupported,
    Value,
    Variable,
    entering,
    shape_of,
    through,
)

__all__ = ["OPERATIONS", "matrix"]

OPERATIONS: dict[str, Handler] = {}
operation = entering(OPERATIONS)


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
        inner = [n, k, m, *rows[1:], *columns[1:], *steps[1:]]
        moved = [f"{{{i}}} + {s[0]} * i" if s[0] else f"{{{i}}}" for i, s in ((2, rows), (0, columns), (1, steps))]
        text = f"for (long i = 0; i < {batch}; i++) product_{kinds}({', '.join([*moved, *map(str, inner)])})"
        builder.block([result], text, [left, right])
        return result

    return builder.cast(builder.once(("product", left, right, batch, n, k, m), make), dtype)


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


@operation("dot", "vdot")
def _dot(builder: Builder, a: Value, b: Value) -> Value:
    dtype = promote(a, b)
    terms = apply(builder, "({0} * {1})", a, b, dtype=dtype)
    return reduce(builder, "sum", terms, None, keepdim=False, dtype=dtype)


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
