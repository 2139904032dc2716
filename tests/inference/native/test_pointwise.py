"""Every operation of the table agrees with torch, on ordinary numbers and on the edges."""

from __future__ import annotations

from functools import partial

import pytest
import torch

from ppzoo.inference.native.pointwise import OPERATIONS

EDGES = [0.0, -0.0, 1.0, -1.0, 0.5, -2.5, 3.0, 1e300, -1e300, 1e-310, float("inf"), -float("inf"), float("nan")]
COVERED = {
    "__lshift__": "bitwise_left_shift",
    "__rshift__": "bitwise_right_shift",
    "erfcx": "special_erfcx",
}
C = 11


def _numbers(*shape: int, scale: float = 1.0, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.randn(C, *shape, dtype=torch.float64).mul(scale).to(dtype)


def _edges(dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.tensor(EDGES, dtype=dtype).expand(C, -1).contiguous()


def _pairs() -> tuple[torch.Tensor, torch.Tensor]:
    edges = torch.tensor(EDGES, dtype=torch.float64)
    one, other = torch.meshgrid(edges, edges, indexing="ij")
    return one.reshape(1, -1).repeat(C, 1), other.reshape(1, -1).repeat(C, 1)


UNARY = (
    *(torch.exp, torch.exp2, torch.expm1, torch.log, torch.log1p, torch.log2, torch.log10, torch.sqrt, torch.sigmoid),
    *(torch.sin, torch.cos, torch.tan, torch.asin, torch.acos, torch.atan, torch.sinh, torch.cosh, torch.tanh),
    *(
        torch.special.erfcx,
        torch.asinh,
        torch.acosh,
        torch.atanh,
        torch.erf,
        torch.erfc,
        torch.erfinv,
        torch.lgamma,
        torch.rsqrt,
    ),
    *(torch.special.erfcx, torch.reciprocal, torch.neg, torch.abs, torch.sgn, torch.sign, torch.relu),
    *(torch.floor, torch.ceil, torch.trunc),
    *(torch.round, torch.isnan, torch.isinf, torch.isfinite, torch.nn.functional.logsigmoid, torch.logical_not),
    *(torch.nn.functional.softplus, lambda x: torch.nn.functional.softplus(x, beta=0.5, threshold=3.0)),
)
BINARY = (
    *(torch.add, torch.sub, torch.mul, torch.div, torch.maximum, torch.minimum, torch.fmax, torch.fmin, torch.fmod),
    *(
        torch.remainder,
        torch.atan2,
        torch.hypot,
        torch.pow,
        torch.xlogy,
        torch.floor_divide,
        torch.eq,
        torch.ne,
        torch.lt,
        torch.le,
    ),
    *(torch.gt, torch.ge, torch.logical_and, torch.logical_or, torch.logical_xor),
)
WITH_NUMBER = (
    torch.add,
    torch.sub,
    torch.mul,
    torch.div,
    torch.fmod,
    torch.remainder,
    torch.pow,
    torch.xlogy,
    torch.lt,
)


@pytest.fixture(scope="module")
def seen() -> set[str]:
    """The operations that the tests of this file have traced."""
    return set()


def test_functions_of_one_argument(seeded, hold, seen):
    huge = _numbers(20, scale=1e7)
    cases = {
        f"{f.__name__} {k}": (f, x) for f in UNARY for k, x in enumerate((_numbers(3, 4), _numbers(20, scale=30.0)))
    }
    cases |= {f"{f.__name__} edges": (f, _edges()) for f in UNARY if f not in {torch.sin, torch.cos, torch.tan}}
    cases |= {f"{f.__name__} huge": (f, huge) for f in (torch.sin, torch.cos)}
    positive = _numbers(50).mul(8).exp()
    cases |= {
        "lgamma": (torch.lgamma, positive),
        "digamma": (torch.digamma, positive),
        "digamma below zero": (torch.digamma, -_numbers(50).abs() - 0.01),
        "trigamma": (partial(torch.polygamma, 1), positive),
        "psi": (partial(torch.polygamma, 0), positive),
        "erfcx": (torch.special.erfcx, _numbers(100, scale=8.0)),
        "log_ndtr": (torch.special.log_ndtr, _numbers(100, scale=8.0)),
        "bitwise_not": (lambda x: torch.bitwise_not(x > 0), _numbers(3)),
    }
    seen |= hold(cases, tolerance=2e-12)


def test_functions_of_two_arguments(seeded, hold, seen):
    cases = {f"{f.__name__}": (f, _numbers(3, 4), _numbers(4)) for f in BINARY}
    unusual = {torch.fmod, torch.remainder, torch.floor_divide}  # 1e300 over 1e-310: torch itself is not exact there
    cases |= {f"{f.__name__} edges": (f, *_pairs()) for f in BINARY if f not in unusual}
    cases |= {f"{f.__name__} scaled": (f, _numbers(40, scale=30.0), _numbers(40, scale=3.0)) for f in unusual}
    cases |= {f"{f.__name__} number": (lambda x, f=f: f(x, 1.5), _numbers(5)) for f in WITH_NUMBER}
    seen |= hold(cases)


def test_bounds_and_choices(seeded, hold, seen):
    x, edges = _numbers(3, 4), _edges()
    cases = {
        "clamp": (lambda x: x.clamp(-0.5, 0.5), x),
        "clamp edges": (lambda x: x.clamp(min=0.5), edges),
        "clamp tensors": (torch.clamp, x, _numbers(4), _numbers(3, 1)),
        "clamp_min": (lambda x: torch.clamp_min(x, 0.1), x),
        "clamp_max": (lambda x: torch.clamp_max(x, 0.1), x),
        "where": (lambda x, y: torch.where(x > 0, x, y), x, _numbers(4)),
        "where number": (lambda x: torch.where(x > 0, x, 0.0), edges),
        "where whole": (lambda x: torch.where(x > 0, 1, x), torch.arange(-5, 6).view(C, 1)),
        "where known": (lambda x: torch.where(torch.ones(4, dtype=torch.bool), x, 0.0), x),
        "masked_fill": (lambda x, y: x.masked_fill(y > 0, -torch.inf), x, _numbers(4)),
    }
    seen |= hold(cases)


def test_whole_numbers_wrap_and_shift(seeded, hold, seen):
    a = torch.randint(-(2**63), 2**63 - 1, (C, 30))
    b, small = torch.randint(-100, 100, (C, 30)), torch.randint(1, 40, (C, 30))
    truth = b > 0
    cases = {f.__name__: (f, a, b) for f in (torch.add, torch.sub, torch.mul, torch.maximum, torch.minimum, torch.eq)}
    cases |= {f.__name__: (f, a, b) for f in (torch.lt, torch.bitwise_and, torch.bitwise_or, torch.bitwise_xor)}
    cases |= {f.__name__: (f, a, small) for f in (torch.bitwise_left_shift, torch.bitwise_right_shift, torch.fmod)}
    cases |= {f.__name__: (f, a, small) for f in (torch.remainder, torch.floor_divide, torch.div)}
    cases |= {
        "trunc": (lambda a, b: torch.div(a, b, rounding_mode="trunc"), a, -small),
        "powers of two": (lambda a: (a % 8, a // 16, a % 1, a // 1, a % -4), a),
        "negative divisor": (lambda a, b: (a // b, a % b), b, -small),
        "square": (lambda a: a * a + a, a),
        "not": (torch.bitwise_not, a),
        "neg": (torch.neg, a),
        "abs": (torch.abs, b),
        "sign": (torch.sign, b),
        "exp of a whole number": (torch.exp, small),
        "logic": (lambda a, t: torch.logical_and(a, t) | (a.bool() ^ t), b, truth),
        "truths": (lambda t, u: (t & u, t | u, t == u, t < u, t * u, t + u), truth, truth.flip(1)),
        "extremes of truths": (lambda t, u: (torch.maximum(t, u), torch.minimum(t, u)), truth, truth.flip(1)),
        "truth and number": (lambda t, x: t * x + t, truth, b),
        "popcount": (lambda b: sum((b >> k) & 1 for k in range(8)), small),
    }
    seen |= hold(cases)


def test_types_are_promoted_as_in_torch(seeded, hold):
    d, f = _numbers(3), _numbers(3, dtype=torch.float32)
    i = torch.arange(3 * C).view(C, 3) - 10
    scalar = torch.tensor(2.5, dtype=torch.float64)
    cases = {
        "float and double": (torch.add, f, d),
        "whole and double": (torch.mul, i, d),
        "whole and float": (torch.mul, i, f),
        "truth and float": (lambda i, f: (i > 0) * f, i, f),
        "number": (lambda i: i * 2.5, i),
        "scalar tensor": (lambda f: f * scalar, f),
        "conversions": (
            lambda d: (d.long(), d.float(), d.bool(), (d > 0).double(), (d > 0).long(), d.long().float()),
            d,
        ),
    }
    hold(cases, tolerance=1e-6)


def test_single_precision(seeded, hold):
    """The functions of floats are those of doubles, rounded: nearer than torch's own."""
    x = _numbers(3, 4, dtype=torch.float32)
    cases = {f"{f.__name__}": (f, x) for f in UNARY}
    cases |= {f"{f.__name__} 2": (f, x, _numbers(4, dtype=torch.float32)) for f in BINARY}
    hold(cases, tolerance=3e-6)


def test_every_operation_has_a_case(seen):
    if not seen:
        pytest.skip("the other tests of this file were not run")
    assert {COVERED.get(name, name) for name in OPERATIONS} - seen == set()
