"""Reductions and scans agree with torch along every dimension, also with NaN, ties and nothing to reduce."""

from __future__ import annotations

import pytest
import torch

from ppzoo.inference.native.reductions import OPERATIONS

C = 5
DIMS = (0, 1, -1, (0, 2), (1, 2), (0, 1, 2))
COVERED = {"max.other": "maximum", "min.other": "minimum"}


def _numbers(*shape: int) -> torch.Tensor:
    return torch.randn(C, *shape, dtype=torch.float64)


@pytest.fixture(scope="module")
def seen() -> set[str]:
    return set()


def test_sums_products_and_extremes(seeded, hold, seen):
    x, whole = _numbers(3, 4, 5), torch.randint(-3, 4, (C, 3, 4, 5))
    with_nan = x.masked_fill(x > 1.5, torch.nan)
    cases = {"scalar": (lambda x: (x.sum(), x.amax(), x.mean(), x.logsumexp(0)), _numbers())}
    for dims in DIMS:
        cases |= {
            f"sum {dims}": (lambda x, d=dims: (x.sum(d), x.sum(d, keepdim=True)), x),
            f"mean {dims}": (lambda x, d=dims: x.mean(d), x),
            f"extremes {dims}": (lambda x, d=dims: (x.amax(d), x.amin(d, keepdim=True)), with_nan),
            f"whole {dims}": (lambda x, d=dims: (x.sum(d), x.amax(d), x.amin(d)), whole),
            f"var {dims}": (lambda x, d=dims: (x.var(d), x.var(d, correction=0, keepdim=True)), x),
            f"logsumexp {dims}": (lambda x, d=dims: x.logsumexp(d), x),
        }
    for dim in (0, 1, -1):
        cases |= {
            f"prod {dim}": (lambda x, d=dim: (x.prod(d), x.prod(d, keepdim=True)), x),
            f"truths {dim}": (lambda x, d=dim: ((x > 1).any(d), (x > -2).all(d), (x > 0).sum(d)), x),
        }
    cases |= {
        "everything": (lambda x: (x.sum(), x.prod(), x.max(), x.min(), x.mean(), x.var(), x.std()), x),
        "truths": (lambda x: ((x > 3).any(), (x > -9).all(), (x > 0).amax(0), x[:1].sum(0), x[:1, 0].sum()), x),
        "nothing": (lambda x: (x[:0].sum(0), x[:0].prod(0), (x[:0] > 0).all(), x[:0].sum()), x),
        "transposed": (lambda x: x.permute(2, 0, 1).sum(1), x),
        "expanded": (lambda x: x[0, 0].expand(7, 5).sum(0), x),
        "of two": (lambda x: torch.maximum(x, x * x).sum(), x),
        "infinite": (lambda x: x.masked_fill(x < 9, -torch.inf).logsumexp(1), x),
        "max and min of two": (lambda x, y: (torch.max(x, y), torch.min(x, y)), x, with_nan),
    }
    seen |= hold(cases)


def test_positions_of_extremes(seeded, hold, seen):
    ties = torch.randint(0, 3, (C, 4, 6)).double()
    with_nan = ties.masked_fill(ties == 2, torch.nan)
    cases = {}
    for name, x in {"ties": ties, "nan": with_nan, "whole": ties.long()}.items():
        for dim in (0, 1):
            cases[f"{name} {dim}"] = (
                lambda x, d=dim: (*x.max(d), *x.min(d, keepdim=True), x.argmax(d), x.argmin(d, keepdim=True)),
                x,
            )
        cases[f"{name} all"] = (lambda x: (x.argmax(), x.argmin()), x)
    seen |= hold(cases)


def test_along_a_dimension(seeded, hold, seen):
    x = _numbers(3, 4, 5)
    cases = {}
    for dim in (0, 1, 2, -1):
        cases |= {
            f"running {dim}": (lambda x, d=dim: (x.cumsum(d), x.cumprod(d), (x > 0).cumsum(d)), x),
            f"softmax {dim}": (lambda x, d=dim: (x.softmax(d), x.log_softmax(d)), x),
        }
    cases |= {
        "scalar": (lambda x: x.cumsum(0), _numbers()),
        "logcumsumexp": (lambda x: (x.logcumsumexp(1), (x * 300).logcumsumexp(0)), x),
        "logcumsumexp of nothing": (lambda x: x.masked_fill(x < 1, -torch.inf).logcumsumexp(2), x),
        "softmax backward": (lambda g, y: torch._softmax_backward_data(g, y, 1, torch.float64), x, x.softmax(2)),
        "log softmax backward": (
            lambda g, y: torch.ops.aten._log_softmax_backward_data(g, y, 1, torch.float64),
            x,
            x.log_softmax(2),
        ),
    }
    seen |= hold(cases)


def test_dot(seeded, hold, seen):
    x, y = _numbers(6), _numbers(6)
    seen |= hold({"dot": (lambda x, y: (x @ y, torch.dot(x, y), torch.vdot(x, x)), x, y)})


def test_distances(seeded, hold, seen):
    def with_gradient(p):
        def function(x, y):
            x, y = x.detach().requires_grad_(), y.detach().requires_grad_()
            value = torch.cdist(x, y, p=p)
            return value.detach(), *torch.autograd.grad((value * torch.arange(5)).sum(), (x, y))

        return function

    x, y = _numbers(4, 3), _numbers(5, 3)
    seen |= hold({"2": (with_gradient(2.0), x, y), "1": (with_gradient(1.0), x, y), "self": (with_gradient(2.0), y, y)})


def test_single_precision(seeded, hold):
    x = _numbers(3, 40).float()
    hold(
        {"all": (lambda x: (x.sum(1), x.mean(), x.amax(0), x.cumsum(1), x.softmax(0), x.logsumexp(1)), x)},
        tolerance=3e-6,
    )


def test_every_operation_has_a_case(seen):
    if not seen:
        pytest.skip("the other tests of this file were not run")
    assert {COVERED.get(name, name) for name in OPERATIONS} - seen == set()


def test_what_stands_again_is_computed_once(seeded, hold):
    """Along a dimension in which nothing moves, one element stands for all."""
    x, y = _numbers(3), _numbers(4, 3)
    wide = {
        "sums": lambda x: (x.expand(7, 3).exp().sum(0), x.expand(7, 3).sum(1), x.expand(7, 3).log1p().sum()),
        "kept": lambda x: (x.expand(7, 3).sum(0, keepdim=True), x.expand(7, 3).cos().amax(0, keepdim=True)),
        "extremes": lambda x: (x.expand(7, 3).amax(0), x.expand(7, 3).amin(), x.expand(2, 7, 3).amax((0, 2))),
        "truths": lambda x: ((x > 0).expand(7, 3).any(0), (x > 0).expand(7, 3).all(), (x > 0).expand(7, 3).sum(0)),
        "products": lambda x: (x.expand(7, 3).prod(0), x.expand(7, 3).prod()),
        "softmax": lambda x: (x.expand(7, 3).log_softmax(-1), x.expand(7, 3).softmax(0), x.expand(7, 3).logsumexp(1)),
        "moments": lambda x: (x.expand(7, 3).mean(0), x.expand(7, 3).var(0), x.expand(7, 3).std()),
        "shapes": lambda x: (x.exp().expand(7, 3).T + 1, x.exp().expand(7, 3).reshape(-1), x.expand(7, 3)[2:5] * 2),
        "running": lambda x: (x.expand(7, 3).exp().cumsum(0), x.expand(7, 3).exp().flip(1).cumprod(1)),
        "positions": lambda x: (*x.expand(7, 3).max(0), *x.expand(7, 3).max(1), x.expand(7, 3).argmin()),
        "products of matrices": lambda x: (x.expand(7, 3).exp() @ x, x.expand(7, 3).T.exp() @ x.expand(7, 3)),
        "number": lambda x: (x[0].expand(5).exp(), x[0].expand(5).sum(), x[0].expand(5, 2).log_softmax(0)),
    }
    hold({name: (function, x) for name, function in wide.items()})
    hold({"beside": (lambda x, y: ((x.expand(4, 3).exp() * y).sum(0), (x.expand(4, 3) + x).exp() - y), x, y)})
