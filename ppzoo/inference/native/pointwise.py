"""Operations element by element: each is a template in C on lanes, and the type it is computed in.

Types are promoted by torch itself (``torch.result_type``). In a template ``{0}``, ``{1}``, ... are the operands and
``_T(`` ends the name of a function of the operands' type.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from math import prod
from typing import Any

import torch
from torch import Tensor

from ppzoo.inference.native.builder import Builder
from ppzoo.inference.native.values import (
    Handler,
    Unsupported,
    Value,
    Variable,
    broadcast,
    dtype_of,
    entering,
    letter,
    shape_of,
)

__all__ = ["OPERATIONS", "apply", "is_number", "promote", "select"]

OPERATIONS: dict[str, Handler] = {}
operation = entering(OPERATIONS)
_MANY = 4  # elements that share a divisor, from which on it is inverted first

_FLOATING = {  # computed in floating point, whatever comes
    **{
        name: f"{name}_T({{0}})"
        for name in (
            *("exp", "exp2", "expm1", "log", "log1p", "log2", "log10", "sqrt"),
            *("sin", "cos", "tan", "asin", "acos", "atan", "sinh", "cosh", "tanh", "asinh", "acosh", "atanh"),
            *("erf", "erfc", "erfinv", "lgamma", "digamma"),
        )
    },
    "rsqrt": "(splat_T(1) / sqrt_T({0}))",
    "reciprocal": "(splat_T(1) / {0})",
}
_SAME_TYPE = {
    "neg": "(-{0})",
    "abs": "abs_T({0})",
    "sgn": "sign_T({0})",
    "relu": "pick_T(MASK({0} <= 0), splat_T(0), {0})",
}
_WHOLE = {"floor": "floor_T({0})", "ceil": "ceil_T({0})", "trunc": "trunc_T({0})", "round": "rint_T({0})"}
_PROMOTED = {
    "maximum": "max_T({0}, {1})",
    "minimum": "min_T({0}, {1})",
    "fmax": "pick_T(MASK(({0} != {0}) | ({1} > {0})), {1}, {0})",
    "fmin": "pick_T(MASK(({0} != {0}) | ({1} < {0})), {1}, {0})",
    "fmod": "fmod_T({0}, {1})",
}
_BITS = {
    "bitwise_and": "({0} & {1})",
    "bitwise_or": "({0} | {1})",
    "bitwise_xor": "({0} ^ {1})",
    "bitwise_left_shift": "shift_left({0}, {1})",
    "bitwise_right_shift": "shift_right({0}, {1})",
}
_LOGIC = {"logical_and": "({0} & {1})", "logical_or": "({0} | {1})", "logical_xor": "({0} ^ {1})"}
_COMPARISONS = {"eq": "==", "ne": "!=", "lt": "<", "le": "<=", "gt": ">", "ge": ">="}


def promote(*values: Value) -> torch.dtype:
    """The type in which torch combines these values."""
    parts: list[Any] = [value.view if isinstance(value, Variable) else value for value in values]
    if len(parts) == 1:
        return dtype_of(values[0])
    pairs = [torch.result_type(a, b) for k, a in enumerate(parts) for b in parts[k + 1 :]]
    return reduce(torch.promote_types, pairs)


def floating(dtype: torch.dtype) -> torch.dtype:
    """The type itself if it is floating, else torch's default."""
    return dtype if dtype.is_floating_point else torch.get_default_dtype()


def apply(builder: Builder, template: str, *values: Value, dtype: torch.dtype, out: torch.dtype | None = None) -> Value:
    """The template on values broadcast against each other and taken as ``dtype``; the result is an ``out``."""
    shape = torch.broadcast_shapes(*(shape_of(value) for value in values))
    operands = [builder.operand(value, shape, dtype) for value in values]
    return builder.map(template.replace("_T(", f"_{letter(dtype)}("), operands, out or dtype, shape)


def select(builder: Builder, condition: Value, a: Value, b: Value, dtype: torch.dtype) -> Value:
    """``a`` where the condition holds, else ``b``."""
    shape = torch.broadcast_shapes(shape_of(condition), shape_of(a), shape_of(b))
    for chosen, decided in ((a, 1), (b, 0)):
        if is_number(condition, decided):
            return broadcast(builder.cast(chosen, dtype), shape)
    operands = [builder.operand(condition, shape, torch.bool), *(builder.operand(x, shape, dtype) for x in (a, b))]
    return builder.map(f"pick_{letter(dtype)}({{0}}, {{1}}, {{2}})", operands, dtype, shape)


def is_number(value: Value, number: float) -> bool:
    """Whether the value is known to be this one number everywhere."""
    if isinstance(value, Variable):
        return False
    if isinstance(value, Tensor):
        return value.numel() > 0 and bool((value == number).all())
    return value == number


def _numeric(dtype: torch.dtype) -> torch.dtype:
    if dtype is torch.bool:
        raise Unsupported("arithmetic on truth values")
    return dtype


def _unary(template: str, kind: Callable[[torch.dtype], torch.dtype]) -> Handler:
    def handle(builder: Builder, x: Variable, **_: Any) -> Value:
        return apply(builder, template, x, dtype=kind(x.dtype))

    return handle


def _binary(template: str, kind: Callable[[torch.dtype], torch.dtype]) -> Handler:
    def handle(builder: Builder, a: Value, b: Value) -> Value:
        return apply(builder, template, a, b, dtype=kind(promote(a, b)))

    return handle


def _whole(template: str) -> Handler:
    def handle(builder: Builder, x: Variable, *, decimals: int = 0) -> Value:
        if decimals:
            raise Unsupported("round to decimals")
        return x if x.dtype is torch.int64 else apply(builder, template, x, dtype=_numeric(x.dtype))

    return handle


def _comparison(sign: str) -> Handler:
    def handle(builder: Builder, a: Value, b: Value) -> Value:
        dtype = promote(a, b)
        template = f"MASK({{0}} {sign} {{1}})"
        return apply(builder, template, a, b, dtype=torch.int64 if dtype is torch.bool else dtype, out=torch.bool)

    return handle


def _logic(template: str) -> Handler:
    def handle(builder: Builder, a: Value, b: Value) -> Value:
        return apply(builder, template, a, b, dtype=torch.bool)

    return handle


OPERATIONS |= {name: _unary(template, floating) for name, template in _FLOATING.items()}
OPERATIONS |= {name: _unary(template, _numeric) for name, template in _SAME_TYPE.items()}
OPERATIONS |= {name: _whole(template) for name, template in _WHOLE.items()}
OPERATIONS |= {name: _binary(template, _numeric) for name, template in _PROMOTED.items()}
OPERATIONS |= {name: _binary(template, lambda dtype: dtype) for name, template in _BITS.items()}
OPERATIONS |= {name: _logic(template) for name, template in _LOGIC.items()}
OPERATIONS |= {name: _comparison(sign) for name, sign in _COMPARISONS.items()}
OPERATIONS["sign"] = OPERATIONS["sgn"]
OPERATIONS["__lshift__"] = OPERATIONS["bitwise_left_shift"]
OPERATIONS["__rshift__"] = OPERATIONS["bitwise_right_shift"]


def _scaled(builder: Builder, b: Value, alpha: float, dtype: torch.dtype) -> Value:
    return b if alpha == 1 else apply(builder, "({0} * {1})", b, alpha, dtype=dtype)


@operation("add")
def _add(builder: Builder, a: Value, b: Value, alpha: float = 1) -> Value:
    dtype = promote(a, b)
    if dtype is torch.bool:
        return apply(builder, "({0} | {1})", a, b, dtype=dtype)
    return apply(builder, "({0} + {1})", a, _scaled(builder, b, alpha, dtype), dtype=dtype)


@operation("sub")
def _sub(builder: Builder, a: Value, b: Value, alpha: float = 1) -> Value:
    dtype = _numeric(promote(a, b))
    return apply(builder, "({0} - {1})", a, _scaled(builder, b, alpha, dtype), dtype=dtype)


@operation("rsub")
def _rsub(builder: Builder, a: Value, b: Value, alpha: float = 1) -> Value:
    return _sub(builder, b, a, alpha)


@operation("mul")
def _mul(builder: Builder, a: Value, b: Value) -> Value:
    dtype = promote(a, b)
    for x, factor in ((a, b), (b, a)):
        if is_number(factor, 1) and dtype.is_floating_point:
            shape = torch.broadcast_shapes(shape_of(a), shape_of(b))
            return broadcast(builder.cast(x, dtype), shape)
    return apply(builder, "({0} & {1})" if dtype is torch.bool else "({0} * {1})", a, b, dtype=dtype)


@operation("div")
def _div(builder: Builder, a: Value, b: Value, *, rounding_mode: str | None = None) -> Value:
    dtype = _numeric(promote(a, b)) if rounding_mode else floating(promote(a, b))
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
    dtype = _numeric(promote(a, b))
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


@operation("atan2")
def _atan2(builder: Builder, a: Value, b: Value) -> Value:
    return apply(builder, "atan2_T({0}, {1})", a, b, dtype=floating(promote(a, b)))


_POWERS = {  # as torch computes them
    0.5: "sqrt_T({0})",
    -0.5: "(splat_T(1) / sqrt_T({0}))",
    -1.0: "(splat_T(1) / {0})",
    -2.0: "(splat_T(1) / ({0} * {0}))",
}


@operation("pow")
def _pow(builder: Builder, a: Value, b: Value) -> Value:
    dtype = _numeric(promote(a, b))
    exponent = next((float(n) for n in (0, 1, 2, 3, 4, 5, 6, 0.5, -0.5, -1, -2) if is_number(b, n)), None)
    if exponent is not None and exponent >= 0 and exponent == int(exponent):
        shape = torch.broadcast_shapes(shape_of(a), shape_of(b))
        if exponent == 0:
            return torch.ones((), dtype=dtype).expand(shape)
        template = "(" + " * ".join(["{0}"] * int(exponent)) + ")"
        return broadcast(apply(builder, template, a, dtype=dtype), shape)
    if dtype is torch.int64:
        raise Unsupported("integer powers of integers")
    if exponent is not None:
        shape = torch.broadcast_shapes(shape_of(a), shape_of(b))
        return broadcast(apply(builder, _POWERS[exponent], a, dtype=dtype), shape)
    return apply(builder, "pow_T({0}, {1})", a, b, dtype=dtype)


@operation("polygamma")
def _polygamma(builder: Builder, order: int, x: Variable) -> Value:
    if order > 1:
        raise Unsupported(f"polygamma of order {order}")
    return apply(builder, f"{'trigamma' if order else 'digamma'}_T({{0}})", x, dtype=floating(x.dtype))


@operation("where")
def _where(builder: Builder, condition: Value, a: Value, b: Value) -> Value:
    return select(builder, condition, a, b, promote(a, b))


@operation("masked_fill")
def _masked_fill(builder: Builder, x: Value, mask: Value, number: Value) -> Value:
    return select(builder, mask, number, x, dtype_of(x))


@operation("clamp")
def _clamp(builder: Builder, x: Value, low: Value | None = None, high: Value | None = None) -> Value:
    dtype = promote(*(part for part in (x, low, high) if part is not None))
    for bound, name in ((low, "max"), (high, "min")):
        if bound is not None:
            x = apply(builder, f"{name}_T({{0}}, {{1}})", x, bound, dtype=dtype)
    return x


@operation("clamp_min")
def _clamp_min(builder: Builder, x: Value, low: Value) -> Value:
    return _clamp(builder, x, low)


@operation("clamp_max")
def _clamp_max(builder: Builder, x: Value, high: Value) -> Value:
    return _clamp(builder, x, None, high)


@operation("bitwise_not")
def _bitwise_not(builder: Builder, x: Variable) -> Value:
    return apply(builder, "(~{0})", x, dtype=x.dtype)


@operation("logical_not")
def _logical_not(builder: Builder, x: Variable) -> Value:
    return apply(builder, "(~{0})", x, dtype=torch.bool)


def _of_float(template: str, otherwise: bool) -> Handler:
    """A question about a float, with the answer for an integer."""

    def handle(builder: Builder, x: Variable) -> Value:
        if not x.dtype.is_floating_point:
            return torch.tensor(otherwise).expand(x.shape)
        return apply(builder, f"MASK({template})", x, dtype=x.dtype, out=torch.bool)

    return handle


OPERATIONS |= {
    "isnan": _of_float("{0} != {0}", otherwise=False),
    "isinf": _of_float("abs_T({0}) == INFINITY", otherwise=False),
}


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
    rest = apply(builder, "log1p_T({0})", _decay(builder, x, x.dtype), dtype=x.dtype)
    return apply(builder, "(min_T({0}, splat_T(0)) - {1})", x, rest, dtype=x.dtype), torch.zeros(0, dtype=x.dtype)


@operation("xlogy")
def _xlogy(builder: Builder, x: Value, y: Value) -> Value:
    product = "pick_T(MASK(({0} == 0) & ({1} == {1})), splat_T(0), {0} * log_T({1}))"
    return apply(builder, product, x, y, dtype=floating(promote(x, y)))
