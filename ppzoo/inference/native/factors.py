"""Factors of square matrices, and what is solved with them; in double, whatever the type."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import torch

from ppzoo.inference.native.builder import Builder
from ppzoo.inference.native.linear import matrix
from ppzoo.inference.native.pointwise import floating, promote
from ppzoo.inference.native.values import (
    Handler,
    Load,
    Value,
    Variable,
    Whole,
    broadcast,
    dtype_of,
    entering,
    shape_of,
    through,
)

__all__ = ["OPERATIONS"]

OPERATIONS: dict[str, Handler] = {}
operation = entering(OPERATIONS)


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
    return through(value, lambda x: x.mT)


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
    left_side = matrix(builder, _merged(builder, a, (*batch, n, n), count), (count, n, n))
    right = builder.materialise(broadcast(b, (*batch, n, m)), torch.float64)

    def make() -> Variable:
        result = builder.new((*batch, n, m), torch.float64)
        name = f"solve_{'upper' if upper else 'lower'}_{'v' if isinstance(left_side, Load) else 's'}"
        strides = ", ".join(map(str, left_side.strides[1:]))
        text = (
            f"for (long i = 0; i < {count}; i++) {name}({{2}} + i * {n * m}, {{0}} + i * {left_side.strides[0]}, "
            f"{{1}} + i * {n * m}, {n}, {m}, {strides}, {int(unitriangular)})"
        )
        builder.block([result], text, [left_side, Whole(right.buffer)])
        return result

    key = ("solve", left_side, right.buffer, upper, unitriangular, n, m)
    return builder.cast(builder.once(key, make), dtype)


def _merged(builder: Builder, a: Value, shape: Sequence[int], count: int) -> Value:
    """A batch of matrices with one batch dimension; one matrix for all of them stays one."""
    if prod(shape_of(a)[:-2]) == 1:
        return through(a, lambda x: x[(0,) * (x.dim() - 2)])
    whole = broadcast(a, shape)
    if isinstance(whole, Variable):
        whole = builder.materialise(whole)
    return through(whole, lambda x: x.reshape(count, *shape[-2:]))


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
