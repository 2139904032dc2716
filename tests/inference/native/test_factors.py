"""Factors and solutions agree with torch for every shape and flag; a chain without one is NaN alone."""

from __future__ import annotations

from itertools import product

import pytest
import torch

from ppzoo.inference.graph.recording import record
from ppzoo.inference.native import compile_map
from ppzoo.inference.native.factors import OPERATIONS

C = 5


def _numbers(*shape: int) -> torch.Tensor:
    return torch.randn(C, *shape, dtype=torch.float64)


def _triangular(n: int) -> torch.Tensor:
    return torch.randn(n, n, dtype=torch.float64).tril(-1) * 0.3 + torch.eye(n, dtype=torch.float64) * 2


@pytest.fixture(scope="module")
def seen() -> set[str]:
    return set()


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
    factor, info = compile_map(record(torch.linalg.cholesky_ex, [x[0]]), [x[0]])(x)
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


def _with_gradient(function):
    def both(*tensors):
        leaves = [tensor.detach().requires_grad_() for tensor in tensors]
        value = function(*leaves)
        return value.detach(), *torch.autograd.grad(value, leaves)

    return both


def test_elimination(seeded, hold, seen):
    cases = {}
    for n in (1, 2, 3, 6):
        a, b = _numbers(n, n), _numbers(n, 4)
        cases |= {
            f"inverse {n}": (torch.linalg.inv, a),
            f"determinant {n}": (torch.linalg.det, a),
            f"logarithm {n}": (torch.linalg.slogdet, a),
            f"solve {n}": (torch.linalg.solve, a, b),
            f"solve from the right {n}": (lambda a, b: torch.linalg.solve(a, b.mT, left=False), a, b),
            f"vector {n}": (lambda a, b: torch.linalg.solve(a, b[:, 0]), a, b),
            f"transposed {n}": (lambda a, b: torch.linalg.solve(a.mT, b), a, b),
            f"batch {n}": (
                lambda a, b: (torch.linalg.solve(torch.stack([a, a.mT]), b), torch.linalg.inv(a[None])),
                a,
                b,
            ),
        }
    permuted = torch.eye(4, dtype=torch.float64)[[2, 0, 3, 1]].expand(C, 4, 4).contiguous()
    cases |= {"permutation": (lambda p: (torch.linalg.det(p), torch.linalg.inv(p)), permuted)}
    seen |= hold(cases, tolerance=1e-10)


def test_gradients_through_elimination(seeded, hold, seen):
    a, b = _numbers(4, 4), _numbers(4, 2)
    functions = {
        "solve": lambda a, b: torch.linalg.solve(a, b).square().sum(),
        "solve transposed": lambda a, b: torch.linalg.solve(a.mT, b).square().sum(),
        "inverse": lambda a, b: (torch.linalg.inv(a) @ b).square().sum(),
        "determinant": lambda a, b: torch.linalg.det(a) * b.sum(),
        "determinant transposed": lambda a, b: torch.linalg.det(a.mT) * b.sum(),
        "logarithm": lambda a, b: torch.linalg.slogdet(a)[1] * b.sum(),
        "logarithm transposed": lambda a, b: torch.linalg.slogdet((a * 2).mT)[1] * b.sum(),
        "of a sum": lambda a, b: torch.logdet(a @ a.mT + torch.eye(4, dtype=a.dtype)) * b.sum(),
    }
    seen |= hold({name: (_with_gradient(f), a, b) for name, f in functions.items()}, tolerance=1e-10)


def test_a_singular_matrix_spoils_its_own_chain_only():
    x = torch.stack([torch.eye(2), torch.ones(2, 2), 2 * torch.eye(2)]).double()
    inverse, det = compile_map(record(lambda x: (torch.linalg.inv(x), torch.linalg.det(x)), [x[0]]), [x[0]])(x)
    assert det.tolist() == [1.0, 0.0, 4.0]
    assert torch.equal(inverse[[0, 2]], torch.linalg.inv(x[[0, 2]]))
    assert not inverse[1].isfinite().any()


def test_every_operation_has_a_case(seen):
    if not seen:
        pytest.skip("the other tests of this file were not run")
    assert set(OPERATIONS) - seen == set()
