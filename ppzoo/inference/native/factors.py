"""Factors of square matrices, and what is solved with them; in double, whatever the type."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import torch

from ppzoo.inference.native.builder import Builder
from ppzoo.inference.native.linear import matrix
from ppzoo.inference.native.pointwise import apply, floating, promote
from ppzoo.inference.native.reductions import reduce
from ppzoo.inference.native.values import (
    Handler,
    Load,
    Value,
    Variable,
    Whole,
    broadcast,
    common_shape,
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
    batch = common_shape(shape_of(a)[:-2], shape_of(b)[:-2])
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


def _lu(builder: Builder, a: Value) -> tuple[Variable, Variable]:
    """``a = P L U``: both factors in one matrix, and the row that each row changed places with."""
    shape = shape_of(a)
    source = builder.materialise(a, torch.float64)

    def make() -> tuple[Variable, Variable]:
        factor, pivots = builder.new(shape, torch.float64), builder.new(shape[:-1], torch.int64)
        text = f"lu_factor({{1}}, {{2}}, {{0}}, {prod(shape[:-2])}, {shape[-1]})"
        builder.block([factor, pivots], text, [Whole(source.buffer)])
        return factor, pivots

    result: tuple[Variable, Variable] = builder.once(("lu", source.buffer, tuple(shape)), make)
    return result


@operation("linalg_lu_solve")
def _lu_solve(
    builder: Builder, lu: Value, pivots: Variable, b: Value, *, left: bool = True, adjoint: bool = False
) -> Value:
    if not left:
        return _transposed(_lu_solve(builder, lu, pivots, _transposed(b), adjoint=not adjoint))
    dtype = promote(lu, b)
    n, m = shape_of(b)[-2:]
    batch = common_shape(shape_of(lu)[:-2], shape_of(b)[:-2])
    factor = builder.materialise(broadcast(lu, (*batch, n, n)), torch.float64)
    places = builder.materialise(broadcast(pivots, (*batch, n)))
    right = builder.materialise(broadcast(b, (*batch, n, m)), torch.float64)
    sources = [Whole(part.buffer) for part in (factor, places, right)]

    def make() -> Variable:
        result, between = builder.new((*batch, n, m), torch.float64), builder.new((*batch, n, m), torch.float64)
        text = f"lu_solve({{3}}, {{4}}, {{0}}, {{1}}, {{2}}, {prod(batch)}, {n}, {m}, {int(adjoint)})"
        builder.block([result, between], text, sources)
        return result

    return builder.cast(builder.once(("lu_solve", *sources, n, m, adjoint), make), dtype)


@operation("_linalg_solve_ex")
def _solve(builder: Builder, a: Value, b: Value, *, left: bool = True, **_: bool) -> tuple[Value, Value, Value, Value]:
    lu, pivots = _lu(builder, a)
    is_vector = len(shape_of(b)) == 1 or shape_of(b) == shape_of(a)[:-1]
    columns = through(b, lambda x: x[..., None]) if is_vector else b
    x = builder.cast(_lu_solve(builder, lu, pivots, columns, left=left), dtype_of(b))
    return (through(x, lambda t: t[..., 0]) if is_vector else x), lu, pivots, _fine(a)


@operation("linalg_inv_ex")
def _inverse(builder: Builder, a: Value, **_: bool) -> tuple[Value, Value]:
    lu, pivots = _lu(builder, a)
    eye = torch.eye(shape_of(a)[-1], dtype=torch.float64)
    return builder.cast(_lu_solve(builder, lu, pivots, eye), dtype_of(a)), _fine(a)


def _fine(a: Value) -> Value:
    """What torch says where nothing failed; a singular matrix shows itself by infinities and NaN."""
    return torch.zeros(shape_of(a)[:-2], dtype=torch.int32)


def _signs(builder: Builder, pivots: Variable) -> Value:
    """The sign of the permutation."""
    sign = "pick_d({0} == {1}, splat_d(1), splat_d(-1))"
    signs = apply(builder, sign, pivots, torch.arange(pivots.shape[-1]), dtype=torch.int64, out=torch.float64)
    return reduce(builder, "prod", signs, -1, keepdim=False, dtype=torch.float64)


def _diagonal(value: Value) -> Value:
    return through(value, lambda x: x.diagonal(0, -2, -1))


@operation("_linalg_det")
def _determinant(builder: Builder, a: Value, *, of_transpose: bool = False) -> tuple[Value, Value, Value]:
    lu, pivots = _lu(builder, _transposed(a) if of_transpose else a)
    size = reduce(builder, "prod", _diagonal(lu), -1, keepdim=False, dtype=torch.float64)
    det = apply(builder, "({0} * {1})", size, _signs(builder, pivots), dtype=torch.float64)
    return builder.cast(det, dtype_of(a)), builder.cast(lu, dtype_of(a)), pivots


@operation("_linalg_slogdet")
def _log_determinant(builder: Builder, a: Value, *, of_transpose: bool = False) -> tuple[Value, Value, Value, Value]:
    lu, pivots = _lu(builder, _transposed(a) if of_transpose else a)
    sides = apply(builder, "sign_d({0})", _diagonal(lu), dtype=torch.float64)
    sign = reduce(builder, "prod", sides, -1, keepdim=False, dtype=torch.float64)
    sign = apply(builder, "({0} * {1})", sign, _signs(builder, pivots), dtype=torch.float64)
    logs = apply(builder, "log_d(abs_d({0}))", _diagonal(lu), dtype=torch.float64)
    total = reduce(builder, "sum", logs, -1, keepdim=False, dtype=torch.float64)
    return builder.cast(sign, dtype_of(a)), builder.cast(total, dtype_of(a)), builder.cast(lu, dtype_of(a)), pivots
