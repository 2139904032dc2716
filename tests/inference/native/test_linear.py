"""Products, factors and solutions agree with torch for every shape, flag and kind of operand."""

from __future__ import annotations

import pytest
import torch

from ppzoo.inference.graph.recording import record
from ppzoo.inference.native.linear import OPERATIONS
from ppzoo.inference.native.program import map_source

C = 5
aten = torch.ops.aten


def _numbers(*shape: int) -> torch.Tensor:
    return torch.randn(C, *shape, dtype=torch.float64)


@pytest.fixture(scope="module")
def seen() -> set[str]:
    return set()


def test_products(seeded, hold, seen):
    cases = {}
    for n, k, m in ((1, 1, 1), (3, 5, 2), (9, 4, 13), (8, 1, 4), (17, 6, 1), (1, 30, 5)):
        known = torch.randn(n, k, dtype=torch.float64)
        a, b = _numbers(n, k), _numbers(k, m)
        cases |= {
            f"mm {n} {k} {m}": (torch.mm, a, b),
            f"known left {n} {k} {m}": (lambda b, a=known: a @ b, b),
            f"known right {n} {k} {m}": (lambda c, a=known: c.T @ a, _numbers(n, m)),
            f"transposed {n} {k} {m}": (lambda a, b: b.T @ a.T, a, b),
            f"mv {n} {k} {m}": (lambda a, b, c=known: (a @ b[:, 0], c @ b[:, 0], c.T @ a[:, 0]), a, b),
            f"bmm {n} {k} {m}": (torch.bmm, _numbers(3, n, k), _numbers(3, k, m)),
            f"bmm known {n} {k} {m}": (lambda b, a=known: torch.bmm(a.expand(2, *a.shape), b), _numbers(2, k, m)),
        }
    long = torch.randn(700, 6, dtype=torch.float64)
    x, y, square = _numbers(6), _numbers(6), _numbers(6, 6)
    cases |= {
        "outer": (torch.outer, x, y),
        "addmm": (lambda s, x: (torch.addmm(s, s, s.T), torch.addmm(x, s, s, beta=0.5, alpha=2)), square, x),
        "addmv": (lambda s, x: torch.addmv(x, s, x, beta=2, alpha=-1), square, x),
        "baddbmm": (lambda s: torch.baddbmm(s[None], s[None], s[None], beta=0, alpha=3), square),
        "constant operand": (lambda x: torch.ones(4, 6, dtype=torch.float64) @ x, x),
        "single precision": (lambda s: s.float() @ s.float().T, _numbers(4, 3)),
        "einsum": (lambda s, x: torch.einsum("ij,j,kj->ik", s, x, s), square, x),
        "long sums": (lambda x: (long.T @ (long @ x), long[:, :1].T @ long @ x), x),
        "nothing": (lambda s: s[:, :0] @ s[:0], square),
    }
    seen |= hold({name: case for name, case in cases.items() if name != "single precision"})
    hold({"single precision": cases["single precision"]}, tolerance=3e-6)


def test_sums_of_products_are_matrix_products(seeded, hold):
    known, batch = torch.randn(9, 5, dtype=torch.float64), torch.randn(3, 9, 5, dtype=torch.float64)
    cases = {
        "rows": (lambda x: ((known * x).sum(-1), (x * known).sum(1, keepdim=True)), _numbers(5)),
        "columns": (lambda y: ((known * y[:, None]).sum(0), (known * y[:, None]).sum(0, keepdim=True)), _numbers(9)),
        "matrices": (lambda a, b: (a[:, :, None] * b[None]).sum(1), _numbers(6, 5), _numbers(5, 7)),
        "other order": (lambda a, b: (a.T[:, None, :] * b[..., None]).sum(0), _numbers(6, 5), _numbers(5, 7)),
        "batch": (lambda x: ((batch * x).sum(-1), (batch * x).sum((1, 2)), (batch * x).sum()), _numbers(5)),
        "batch of both": (lambda x: (batch * x[:, None]).sum(2), _numbers(3, 5)),
        "two at once": (lambda a, b: (a[:, None] * b).sum((0, 2)), _numbers(6, 5), _numbers(6, 4, 5)),
        "not one": (
            lambda a, b: ((a * b).sum(1), (a[:, :1] * b).sum(1), (a[0] * b).sum(0)),
            _numbers(6, 5),
            _numbers(6, 5),
        ),
        "used elsewhere": (lambda x: ((known * x).sum(-1), known * x), _numbers(5)),
        "of a view": (lambda x: (known * x.T[1]).sum(-1) + (known * x[:5, 0]).sum(-1), _numbers(5, 5)),
        "shaped": (lambda x: (known * x).view(3, 15).sum(1) + (known * x).T.sum(0).view(3, 3).sum(0), _numbers(5)),
    }
    hold(cases)


def test_a_sum_of_products_has_no_loop_of_its_own():
    known, x = torch.arange(4500.0, dtype=torch.float64).view(90, 50), torch.zeros(50, dtype=torch.float64)
    text = map_source(record(lambda x: (known * x).sum(-1).exp(), [x]), [x], 4).text.split("static void part0")[1]
    assert text.count("product_sv(") == 1
    assert "i < 4500" not in text


def test_a_vector_of_every_chain_is_summed_in_the_loop_that_makes_it():
    x = torch.zeros(9, 8, dtype=torch.float64)
    text = map_source(record(lambda x: (x.exp() * x[0]).sum(1), [x]), [x], 4).text.split("static void part0")[1]
    assert "product_" not in text


def test_every_operation_has_a_case(seen):
    if not seen:
        pytest.skip("the other tests of this file were not run")
    assert set(OPERATIONS) - seen == set()
