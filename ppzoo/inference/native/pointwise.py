"""Operations element by element: each is a template in C on lanes, and the type it is computed in.

Types are promoted by torch itself (``torch.result_type``). In a template ``{0}``, ``{1}``, ... are the operands and
``_T(`` ends the name of a function of the operands' type.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
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
    common_shape,
    dtype_of,
    entering,
    letter,
    shape_of,
)

__all__ = ["OPERATIONS", "apply", "floating", "is_number", "numeric", "promote", "select"]

OPERATIONS: dict[str, Handler] = {}
operation = entering(OPERATIONS)

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
    **dict.fromkeys(("erfcx", "special_erfcx"), "erfcx_T({0})"),
}
_SAME_TYPE = {
    "neg": "(-{0})",
    "abs": "abs_T({0})",
    "sgn": "sign_T({0})",
    "relu": "pick_T(MASK({0} <= 0), splat_T(0), {0})",
}
_WHOLE = {"floor": "floor_T({0})", "ceil": "ceil_T({0})", "trunc": "trunc_T({0})", "round": "rint_T({0})"}
_PROMOTED = {
    "fmax": "pick_T(MASK(({0} != {0}) | ({1} > {0})), {1}, {0})",
    "fmin": "pick_T(MASK(({0} != {0}) | ({1} < {0})), {1}, {0})",
    "fmod": "fmod_T({0}, {1})",
}
_FLOATING_PAIRS = {"atan2": "atan2_T({0}, {1})", "hypot": "hypot_T({0}, {1})"}
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
    types = {value.dtype for value in values if isinstance(value, (Variable, Tensor))}
    if len(types) == 1 and all(dtype.is_floating_point for dtype in types):
        return types.pop()
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
    shape = common_shape(*(shape_of(value) for value in values))
    operands = [builder.operand(value, shape, dtype) for value in values]
    return builder.map(template.replace("_T(", f"_{letter(dtype)}("), operands, out or dtype, shape)


def select(builder: Builder, condition: Value, a: Value, b: Value, dtype: torch.dtype) -> Value:
    """``a`` where the condition holds, else ``b``."""
    shape = common_shape(shape_of(condition), shape_of(a), shape_of(b))
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


def numeric(dtype: torch.dtype) -> torch.dtype:
    """The type, if it can be reckoned with."""
    if dtype is torch.bool:
        raise Unsupported("arithmetic on truth values")
    return dtype


def _unary(template: str, kind: Callable[[torch.dtype], torch.dtype]) -> Handler:
    def handle(builder: Builder, x: Variable, **_: Any) -> Value:
        return apply(builder, template, x, dtype=kind(x.dtype))

    return handle


def _extreme(name: str, truth: str) -> Handler:
    def handle(builder: Builder, a: Value, b: Value) -> Value:
        dtype = promote(a, b)
        return apply(builder, truth if dtype is torch.bool else f"{name}_T({{0}}, {{1}})", a, b, dtype=dtype)

    return handle


def _binary(template: str, kind: Callable[[torch.dtype], torch.dtype]) -> Handler:
    def handle(builder: Builder, a: Value, b: Value) -> Value:
        return apply(builder, template, a, b, dtype=kind(promote(a, b)))

    return handle


def _whole(template: str) -> Handler:
    def handle(builder: Builder, x: Variable, *, decimals: int = 0) -> Value:
        if decimals:
            raise Unsupported("round to decimals")
        return x if x.dtype is torch.int64 else apply(builder, template, x, dtype=numeric(x.dtype))

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
OPERATIONS |= {name: _unary(template, numeric) for name, template in _SAME_TYPE.items()}
OPERATIONS |= {name: _whole(template) for name, template in _WHOLE.items()}
OPERATIONS |= {name: _binary(template, numeric) for name, template in _PROMOTED.items()}
OPERATIONS |= {name: _binary(template, floating) for name, template in _FLOATING_PAIRS.items()}
OPERATIONS |= {name: _binary(template, lambda dtype: dtype) for name, template in _BITS.items()}
OPERATIONS |= {"maximum": _extreme("max", "({0} | {1})"), "minimum": _extreme("min", "({0} & {1})")}
OPERATIONS |= {name: _logic(template) for name, template in _LOGIC.items()}
OPERATIONS |= {name: _comparison(sign) for name, sign in _COMPARISONS.items()}
OPERATIONS["sign"] = OPERATIONS["sgn"]
OPERATIONS["__lshift__"] = OPERATIONS["bitwise_left_shift"]
OPERATIONS["__rshift__"] = OPERATIONS["bitwise_right_shift"]


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


@operation("xlogy")
def _xlogy(builder: Builder, x: Value, y: Value) -> Value:
    product = "pick_T(MASK(({0} == 0) & ({1} == {1})), splat_T(0), {0} * log_T({1}))"
    return apply(builder, product, x, y, dtype=floating(promote(x, y)))


@operation("softplus")
def _softplus(builder: Builder, x: Variable, beta: float = 1, threshold: float = 20) -> Value:
    scaled, whole = (f"({{0}} * {float(beta)!r})", f"/ {float(beta)!r}") if beta != 1 else ("{0}", "")
    template = f"pick_T(MASK({scaled} > {float(threshold)!r}), {{0}}, log1p_T(exp_T({scaled})) {whole})"
    return apply(builder, template, x, dtype=floating(x.dtype))
