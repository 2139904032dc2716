"""Products, factors and solutions agree with torch for every shape, flag and kind of operand."""

from __future__ import annotations

import pytest
import torch

from ppzoo.inference.native.linear import OPERATIONS

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
    x, y, square = _numbers(6), _numbers(6), _numbers(6, 6)
    cases |= {
        "dot": (lambda x, y: (x @ y, torch.dot(x, y), torch.vdot(x, x)), x, y),
        "outer": (torch.outer, x, y),
        "addmm": (lambda s, x: (torch.addmm(s, s, s.T), torch.addmm(x, s, s, beta=0.5, alpha=2)), square, x),
        "addmv": (lambda s, x: torch.addmv(x, s, x, beta=2, alpha=-1), square, x),
        "baddbmm": (lambda s: torch.baddbmm(s[None], s[None], s[None], beta=0, alpha=3), square),
        "constant operand": (lambda x: torch.ones(4, 6, dtype=torch.float64) @ x, x),
        "single precision": (lambda s: s.float() @ s.float().T, _numbers(4, 3)),
        "einsum": (lambda s, x: torch.einsum("ij,j,kj->ik", s, x, s), square, x),
        "nothing": (lambda s: s[:, :0] @ s[:0], square),
    }
    seen |= hold({name: case for name, case in cases.items() if name != "single precision"})
    hold({"single precision": cases["single precision"]}, tolerance=3e-6)


def test_every_operation_has_a_case(seen):
    if not seen:
        pytest.skip("the other tests of this file were not run")
    assert set(OPERATIONS) - seen == set()
