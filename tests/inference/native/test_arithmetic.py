"""What is known of an operand saves work and changes no number beyond the last digits."""

from __future__ import annotations

import pytest
import torch

from ppzoo.inference.graph.recording import record
from ppzoo.inference.native import Unsupported, compile_map
from ppzoo.inference.native.arithmetic import OPERATIONS
from ppzoo.inference.native.program import map_source

C = 11
EDGES = [0.0, -0.0, 1.0, -1.0, 0.5, -2.5, 3.0, 1e300, -1e300, 1e-310, float("inf"), -float("inf"), float("nan")]


def _numbers(*shape: int, scale: float = 1.0) -> torch.Tensor:
    return torch.randn(C, *shape, dtype=torch.float64).mul(scale)


def _edges() -> torch.Tensor:
    return torch.tensor(EDGES, dtype=torch.float64).expand(C, -1).contiguous()


@pytest.fixture(scope="module")
def seen() -> set[str]:
    return set()


def test_powers(seeded, hold, seen):
    exponents = (0, 1, 2, 3, 4, 6, 7, -1, -2, -3, 0.5, -0.5, 1.7, -0.3)
    cases = {f"{n}": (lambda x, n=n: x**n, _numbers(30).exp()) for n in exponents}
    cases |= {f"edges {n}": (lambda x, n=n: x**n, _edges()) for n in exponents}
    cases |= {
        "base": (lambda x: 2.5**x, _numbers(30, scale=20.0)),
        "whole": (lambda x: x**3, torch.arange(-20, 2).view(C, 2)),
        "both": (torch.pow, _numbers(200, scale=20.0).exp(), _numbers(200, scale=10.0)),
    }
    seen |= hold(cases)


def test_quotients(seeded, hold, seen):
    x, y = _numbers(6, 4), _numbers(6, 1)
    known = torch.tensor([1.5, 0.0, -torch.inf, 1e-310], dtype=torch.float64)
    cases = {
        "by many": (lambda x, y: (x / y, y / x, x / y[0, 0], x[0] / y[0, 0].abs()), x, y),
        "by zero": (lambda x, y: (x / (y * 0), (x * 0) / (y[0] * 0)), x, y),
        "by what is known": (lambda x: (x / 3.0, x / known, known / x, x / 1, 2 / x), x),
        "edges": (lambda x: (x / 3.0, x / known[:1], x / x), _edges()),
        "rounded": (lambda x, y: (torch.div(x, y, rounding_mode="trunc"), x // y, x % y, x % 0.3), x, y),
        "edges rounded": (lambda x: (x // 3.0, x % 3.0, torch.div(x, 0.7, rounding_mode="floor")), _edges()[:, :6]),
    }
    seen |= hold(cases)


def test_sums_and_products(seeded, hold, seen):
    x, y = _numbers(6, 4), _numbers(4)
    cases = {
        "alpha": (lambda x, y: torch.add(x, y, alpha=3) - torch.sub(y, x, alpha=0.5), x, y),
        "rsub": (lambda x: (torch.rsub(x, 2.0), 1 - x), x),
        "nothing": (lambda x, y: (x + 0, 0 + x, x - 0.0, torch.add(torch.zeros(1), y, alpha=2), x * 1, 1.0 * x), x, y),
        "nothing broadcast": (lambda y: y + torch.zeros(6, 4, dtype=torch.float64), y),
        "times nothing": (lambda x: x * 0, _edges()),
    }
    seen |= hold(cases)


def test_logistic_functions(seeded, hold, seen):
    cases = {
        "sigmoid": (torch.sigmoid, _numbers(60, scale=30.0)),
        "edges": (lambda x: (torch.sigmoid(x), torch.nn.functional.logsigmoid(x)), _edges()),
        "both": (
            lambda x: (x.sigmoid(), torch.ops.aten.log_sigmoid_forward(x)[0], torch.nn.functional.logsigmoid(x)),
            _numbers(60, scale=30.0),
        ),
    }
    seen |= hold(cases)


def test_sums_of_exponentials(seeded, hold, seen):
    edges = _edges()
    cases = {
        "pairs": (torch.logaddexp, _numbers(30, scale=30.0), _numbers(30, scale=30.0)),
        "broadcast": (torch.logaddexp, _numbers(30), _numbers()),
        "edges": (lambda x: torch.logaddexp(x[:, None], x), edges),
    }
    seen |= hold(cases)


def test_a_logistic_value_and_its_gradient_share_an_exponential():
    x = torch.zeros(5, dtype=torch.float64)
    graph = record(lambda x: (torch.nn.functional.logsigmoid(x), x.sigmoid()), [x])
    assert map_source(graph, [x], 4).text.split("static void part0")[1].count("exp_d(") == 1


def test_whole_powers_that_may_be_large_are_unsupported():
    x = torch.ones(2, dtype=torch.int64)
    with pytest.raises(Unsupported, match="integer powers"):
        compile_map(record(lambda x: x**9, [x]), [x])


def test_every_operation_has_a_case(seen):
    if not seen:
        pytest.skip("the other tests of this file were not run")
    assert set(OPERATIONS) - seen == set()
