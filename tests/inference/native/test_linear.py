"""Products, factors and solutions agree with torch for every shape, flag and kind of operand."""

from __future__ import annotations

from itertools import product

import pytest
import torch
from torch.fx.experimental.proxy_tensor import make_fx

from ppzoo.inference.native import compile_map
from ppzoo.inference.native.linear import OPERATIONS

C = 5
aten = torch.ops.aten


def _numbers(*shape: int) -> torch.Tensor:
    return torch.randn(C, *shape, dtype=torch.float64)


def _triangular(n: int) -> torch.Tensor:
    return torch.randn(n, n, dtype=torch.float64).tril(-1) * 0.3 + torch.eye(n, dtype=torch.float64) * 2


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


def test_factors(seeded, hold, seen):
    cases = {}
    for n in (1, 2, 5):
        a = _numbers(n, n)
        positive = a @ a.mT + torch.eye(n, dtype=torch.float64)
        lower = torch.linalg.cholesky(positive)
        cases |= {
            f"cholesky {n}": (torch.linalg.cholesky, positive),
            f"upper {n}": (lambda x: torch.linalg.cholesky_ex(x, upper=True)[0], positive),
            f"batch {n}": (torch.linalg.cholesky, torch.stack([positive, 2 * positive], 1)),
            f"cholesky_solve {n}": (torch.cholesky_solve, _numbers(n, 3), lower),
            f"cholesky_solve upper {n}": (
                lambda b, u: torch.cholesky_solve(b, u, upper=True),
                _numbers(n, 3),
                lower.mT.contiguous(),
            ),
            f"cholesky_inverse {n}": (torch.cholesky_inverse, lower),
        }
    seen |= hold(cases, tolerance=1e-11)


def test_a_chain_without_a_factor_is_nan_alone():
    x = torch.stack([torch.eye(3), torch.diag(torch.tensor([1.0, -1.0, 1.0])), 2 * torch.eye(3)]).double()
    factor, info = compile_map(make_fx(torch.linalg.cholesky_ex)(x[0]), [x[0]])(x)
    assert info.tolist() == [0, 2, 0]
    assert torch.equal(factor[[0, 2]], torch.linalg.cholesky(x[[0, 2]]))
    assert factor[1].diagonal().isnan().tolist() == [False, True, True]


def test_triangles(seeded, hold, seen):
    cases = {}
    for n, m in ((1, 1), (4, 1), (6, 3), (3, 9)):
        lower = torch.stack([_triangular(n) for _ in range(C)])
        known = _triangular(n)
        for upper, left, unit in product((False, True), repeat=3):
            b = _numbers(n, m) if left else _numbers(m, n)
            flags = {"upper": upper, "left": left, "unitriangular": unit}
            name = f"{n} {m} {flags}"
            a = lower.mT.contiguous() if upper else lower
            k = known.mT.contiguous() if upper else known
            cases |= {
                name: (lambda a, b, f=flags: torch.linalg.solve_triangular(a, b, **f), a, b),
                f"known {name}": (lambda b, a=k, f=flags: torch.linalg.solve_triangular(a, b, **f), b),
                f"view {name}": (
                    lambda a, b, f=flags: torch.linalg.solve_triangular(a.mT, b, **f | {"upper": not f["upper"]}),
                    a,
                    b,
                ),
            }
    batch = torch.stack([_triangular(4) for _ in range(3)])
    cases |= {
        "batch": (lambda b: torch.linalg.solve_triangular(batch, b, upper=False), _numbers(3, 4, 2)),
        "one for all": (
            lambda a, b: torch.linalg.solve_triangular(a, b, upper=False),
            batch[:1].expand(C, 4, 4).contiguous(),
            _numbers(3, 4, 2),
        ),
        "all for one": (lambda b: torch.linalg.solve_triangular(batch, b, upper=False), _numbers(4, 2)),
    }
    seen |= hold(cases, tolerance=1e-11)


def test_every_operation_has_a_case(seen):
    if not seen:
        pytest.skip("the other tests of this file were not run")
    assert set(OPERATIONS) - seen == set()
