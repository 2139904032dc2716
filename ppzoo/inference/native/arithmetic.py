"""Sums, products, quotients and powers, where more is known than their types.

Division by what is known, or by the same number for many elements, is multiplication by its reciprocal: it rounds once
more, and costs a tenth.
"""

from __future__ import annotations

from math import prod

import torch
from torch import Tensor

from ppzoo.inference.native.builder import Builder
from ppzoo.inference.native.pointwise import apply, floating, is_number, numeric, promote
from ppzoo.inference.native.values import (
    Handler,
    Unsupported,
    Value,
    Variable,
    broadcast,
    common_shape,
    entering,
    shape_of,
)

__all__ = ["OPERATIONS"]

OPERATIONS: dict[str, Handler] = {}
operation = entering(OPERATIONS)

_MANY = 4  # elements that share a divisor, from which on it is inverted first


def _scaled(builder: Builder, b: Value, alpha: float, dtype: torch.dtype) -> Value:
    return b if alpha == 1 else apply(builder, "({0} * {1})", b, alpha, dtype=dtype)


@operation("add")
def _add(builder: Builder, a: Value, b: Value, alpha: float = 1) -> Value:
    dtype = promote(a, b)
    if dtype is torch.bool:
        return apply(builder, "({0} | {1})", a, b, dtype=dtype)
    for x, nothing in ((a, b), (b, a)):
        if is_number(nothing, 0) and (alpha == 1 or nothing is b):
            return broadcast(builder.cast(x, dtype), common_shape(shape_of(a), shape_of(b)))
    return apply(builder, "({0} + {1})", a, _scaled(builder, b, alpha, dtype), dtype=dtype)


@operation("sub")
def _sub(builder: Builder, a: Value, b: Value, alpha: float = 1) -> Value:
    dtype = numeric(promote(a, b))
    if is_number(b, 0):
        return broadcast(builder.cast(a, dtype), common_shape(shape_of(a), shape_of(b)))
    return apply(builder, "({0} - {1})", a, _scaled(builder, b, alpha, dtype), dtype=dtype)


@operation("rsub")
def _rsub(builder: Builder, a: Value, b: Value, alpha: float = 1) -> Value:
    return _sub(builder, b, a, alpha)


@operation("mul")
def _mul(builder: Builder, a: Value, b: Value) -> Value:
    dtype = promote(a, b)
    for x, factor in ((a, b), (b, a)):
        if is_number(factor, 1) and dtype.is_floating_point:
            shape = common_shape(shape_of(a), shape_of(b))
            return broadcast(builder.cast(x, dtype), shape)
    result = apply(builder, "({0} & {1})" if dtype is torch.bool else "({0} * {1})", a, b, dtype=dtype)
    if dtype is torch.float64 and isinstance(result, Variable):
        builder.products[result.buffer] = (a, b)
    return result


@operation("div")
def _div(builder: Builder, a: Value, b: Value, *, rounding_mode: str | None = None) -> Value:
    dtype = numeric(promote(a, b)) if rounding_mode else floating(promote(a, b))
    bits = _bits(b) if dtype is torch.int64 else None
    if bits is not None and rounding_mode == "floor":
        return apply(builder, "shift_right({0}, {1})", a, bits, dtype=dtype)
    if dtype is torch.int64:
        name = "floor_quotient_i" if rounding_mode == "floor" else "quotient_i"
        return apply(builder, f"{name}({{0}}, {{1}})", a, b, dtype=dtype)
    if rounding_mode is None:
        inverse = _inverse(builder, a, b, dtype)
        if inverse is not None:
            return _mul(builder, builder.cast(a, dtype), inverse)
    template = {None: "({0} / {1})", "trunc": "trunc_T({0} / {1})", "floor": "floor_quotient_T({0}, {1})"}[
        rounding_mode
    ]
    return apply(builder, template, a, b, dtype=dtype)


def _bits(number: Value) -> int | None:
    """The logarithm of a known power of two."""
    if isinstance(number, (Variable, Tensor)) or number < 1 or int(number) & (int(number) - 1):
        return None
    return int(number).bit_length() - 1


@operation("remainder")
def _remainder(builder: Builder, a: Value, b: Value) -> Value:
    dtype = numeric(promote(a, b))
    bits = _bits(b) if dtype is torch.int64 else None
    if bits is not None:
        return apply(builder, "({0} & {1})", a, (1 << bits) - 1, dtype=dtype)
    return apply(builder, "remainder_T({0}, {1})", a, b, dtype=dtype)


def _inverse(builder: Builder, a: Value, b: Value, dtype: torch.dtype) -> Value | None:
    """The reciprocal of a divisor, where it is computed once for many: known now, or the same for many elements.

    It rounds once more than a division; where it is not a normal number there is none.
    """
    if isinstance(b, Variable):
        many = isinstance(a, Variable) and prod(shape_of(a)) >= _MANY * b.view.numel()
        return apply(builder, "(splat_T(1) / {0})", b, dtype=dtype) if many else None
    inverse = 1 / torch.as_tensor(b, dtype=dtype)
    size, limits = inverse.abs(), torch.finfo(dtype)
    normal = (size >= limits.tiny) & (size <= limits.max)
    return inverse if bool(normal.all()) else None


@operation("floor_divide")
def _floor_divide(builder: Builder, a: Value, b: Value) -> Value:
    return _div(builder, a, b, rounding_mode="floor")


_POWERS = {  # as torch computes them
    0.5: "sqrt_T({0})",
    -0.5: "(splat_T(1) / sqrt_T({0}))",
    -1.0: "(splat_T(1) / {0})",
    -2.0: "(splat_T(1) / ({0} * {0}))",
}


@operation("pow")
def _pow(builder: Builder, a: Value, b: Value) -> Value:
    dtype = numeric(promote(a, b))
    exponent = next((float(n) for n in (0, 1, 2, 3, 4, 5, 6, 0.5, -0.5, -1, -2) if is_number(b, n)), None)
    if exponent is not None and exponent >= 0 and exponent == int(exponent):
        shape = common_shape(shape_of(a), shape_of(b))
        if exponent == 0:
            return torch.ones((), dtype=dtype).expand(shape)
        template = "(" + " * ".join(["{0}"] * int(exponent)) + ")"
        return broadcast(apply(builder, template, a, dtype=dtype), shape)
    if dtype is torch.int64:
        raise Unsupported("integer powers of integers")
    if exponent is not None:
        shape = common_shape(shape_of(a), shape_of(b))
        return broadcast(apply(builder, _POWERS[exponent], a, dtype=dtype), shape)
    return apply(builder, "pow_T({0}, {1})", a, b, dtype=dtype)


def _decay(builder: Builder, x: Variable, dtype: torch.dtype) -> Value:
    """``exp(-|x|)``, which a logistic likelihood needs for its value and for its gradient: shared by both."""
    return apply(builder, "exp_T(-{0})", apply(builder, "abs_T({0})", x, dtype=dtype), dtype=dtype)


@operation("sigmoid")
def _sigmoid(builder: Builder, x: Variable) -> Value:
    dtype = floating(x.dtype)
    e = _decay(builder, x, dtype)
    inverse = apply(builder, "(splat_T(1) / ({0} + splat_T(1)))", e, dtype=dtype)
    template = "pick_T(MASK({0} < 0), {1} * {2}, {2})"
    return apply(builder, template, x, e, inverse, dtype=dtype)


@operation("log_sigmoid_forward")
def _log_sigmoid_forward(builder: Builder, x: Variable) -> tuple[Value, Value]:
    low = apply(builder, "min_T({0}, splat_T(0))", x, dtype=x.dtype)
    rest = apply(builder, "log1p_T({0})", _decay(builder, x, x.dtype), dtype=x.dtype)
    return apply(builder, "({0} - {1})", low, rest, dtype=x.dtype), torch.zeros(0, dtype=x.dtype)


@operation("logaddexp")
def _logaddexp(builder: Builder, a: Value, b: Value) -> Value:
    """The larger, and what the smaller adds; two infinities of one sign are that infinity."""
    dtype = floating(promote(a, b))
    high, low = (apply(builder, f"{name}_T({{0}}, {{1}})", a, b, dtype=dtype) for name in ("max", "min"))
    rest = apply(builder, "log1p_T(exp_T({1} - {0}))", high, low, dtype=dtype)
    template = "pick_T(MASK(({0} == {1}) & (abs_T({0}) == INFINITY)), {0}, {0} + {2})"
    return apply(builder, template, high, low, rest, dtype=dtype)
