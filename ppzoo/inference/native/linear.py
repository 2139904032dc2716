"""Matrix products, factors and solutions; in double, whatever the type."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import torch

from ppzoo.inference.native.builder import Builder
from ppzoo.inference.native.pointwise import apply, floating, promote
from ppzoo.inference.native.reductions import reduce
from ppzoo.inference.native.values import (
    Handler,
    Literal,
    Load,
    Splat,
    Unsupported,
    Value,
    Variable,
    Whole,
    broadcast,
    dtype_of,
    entering,
    shape_of,
)

__all__ = ["OPERATIONS"]

OPERATIONS: dict[str, Handler] = {}
operation = entering(OPERATIONS)


def _viewed(value: Value, shape: Sequence[int]) -> Value:
    """The value with more or fewer dimensions of size one."""
    if isinstance(value, Variable):
        return value.seen(value.view.view(tuple(shape)) if value.view.numel() else value.view.reshape(tuple(shape)))
    return torch.as_tensor(value).reshape(tuple(shape))


def _factor(builder: Builder, value: Value, shape: Sequence[int]) -> Load | Splat:
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
    left, right = _factor(builder, a, (batch, n, k)), _factor(builder, b, (batch, k, m))

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
    (n, _), (_, m) = shape_of(a), shape_of(b)
    return _flat(product(builder, _batched(a), _batched(b)), (n, m))


def _batched(value: Value) -> Value:
    return value.seen(value.view.unsqueeze(0)) if isinstance(value, Variable) else torch.as_tensor(value).unsqueeze(0)


def _flat(value: Value, shape: Sequence[int]) -> Value:
    return _viewed(value, shape)


@operation("mv")
def _mv(builder: Builder, a: Value, b: Value) -> Value:
    column = b.seen(b.view.unsqueeze(1)) if isinstance(b, Variable) else torch.as_tensor(b).unsqueeze(1)
    return _flat(_mm(builder, a, column), (shape_of(a)[0],))


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


@operation("linalg_cholesky_ex")
def _cholesky(builder: Builder, x: Value, *, upper: bool = False, **_: bool) -> tuple[Value, Value]:
    """The factor, NaN from the first pivot on that is not positive, and the number of that pivot."""
    shape, dtype = shape_of(x), dtype_of(x)
    source = builder.materialise(_transposed(x) if upper else x, torch.float64)

    def make() -> tuple[Variable, Variable]:
        factor, info = builder.new(shape, torch.float64), builder.new(shape[:-2], torch.int64)
        text = f"cholesky({{1}}, {{2}}, {{0}}, {prod(shape[:-2])}, {shape[-1]})"
        builder.block([factor, info], text, [Whole(source.buffer)])
        return factor, info

    factor, info = builder.once(("cholesky", source.buffer, tuple(shape)), make)
    factor = builder.cast(factor, dtype)
    return (_transposed(factor) if upper else factor), info


def _transposed(value: Value) -> Value:
    return value.seen(value.view.mT) if isinstance(value, Variable) else torch.as_tensor(value).mT


@operation("linalg_solve_triangular")
def _solve_triangular(
    builder: Builder, a: Value, b: Value, *, upper: bool, left: bool = True, unitriangular: bool = False
) -> Value:
    """``x`` with ``a x = b``; from the right by transposing both."""
    if not left:
        x = _solve_triangular(builder, _transposed(a), _transposed(b), upper=not upper, unitriangular=unitriangular)
        return _transposed(x)
    dtype = floating(promote(a, b))
    batch = torch.broadcast_shapes(shape_of(a)[:-2], shape_of(b)[:-2])
    n, m = shape_of(b)[-2:]
    count = prod(batch)
    if 0 in (count, n, m):
        return torch.zeros((*batch, n, m), dtype=dtype)
    matrix = _factor(builder, _merged(builder, a, (*batch, n, n), count), (count, n, n))
    right = builder.materialise(broadcast(b, (*batch, n, m)), torch.float64)

    def make() -> Variable:
        result = builder.new((*batch, n, m), torch.float64)
        name = f"solve_{'upper' if upper else 'lower'}_{'v' if isinstance(matrix, Load) else 's'}"
        strides = ", ".join(map(str, matrix.strides[1:]))
        text = (
            f"for (long i = 0; i < {count}; i++) {name}({{2}} + i * {n * m}, {{0}} + i * {matrix.strides[0]}, "
            f"{{1}} + i * {n * m}, {n}, {m}, {strides}, {int(unitriangular)})"
        )
        builder.block([result], text, [matrix, Whole(right.buffer)])
        return result

    key = ("solve", matrix, right.buffer, upper, unitriangular, n, m)
    return builder.cast(builder.once(key, make), dtype)


def _merged(builder: Builder, a: Value, shape: Sequence[int], count: int) -> Value:
    """A batch of matrices with one batch dimension; one matrix for all of them stays one."""
    if prod(shape_of(a)[:-2]) == 1:
        return (
            _viewed(a, shape_of(a)[-2:]) if not isinstance(a, Variable) else a.seen(a.view[(0,) * (a.view.dim() - 2)])
        )
    whole = broadcast(a, shape)
    if isinstance(whole, Variable):
        whole = builder.materialise(whole)
        return whole.seen(whole.view.view((count, *shape[-2:])))
    return torch.as_tensor(whole).reshape((count, *shape[-2:]))


@operation("cholesky_solve")
def _cholesky_solve(builder: Builder, b: Value, factor: Value, upper: bool = False) -> Value:
    """``x`` with ``L L' x = b``."""
    lower = _transposed(factor) if upper else factor
    y = _solve_triangular(builder, lower, b, upper=False)
    return _solve_triangular(builder, _transposed(lower), y, upper=True)


@operation("cholesky_inverse")
def _cholesky_inverse(builder: Builder, factor: Value, upper: bool = False) -> Value:
    n = shape_of(factor)[-1]
    return _cholesky_solve(builder, torch.eye(n, dtype=dtype_of(factor)), factor, upper)
