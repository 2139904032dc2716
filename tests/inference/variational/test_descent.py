"""The descent on a noisy parabola, with bad steps."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from ppzoo.errors import FitError
from ppzoo.inference.variational.descent import Descent, constant, cosine_decay


def descent(at, lr=0.05, clip=None, decay=constant):
    return Descent([at], lambda p: torch.optim.SGD(p, lr=lr), decay=decay, clip=clip)


def stepped(run, at, loss):
    value = loss()
    run.step(value.detach(), torch.autograd.grad(value, [at]))


def test_it_goes_downhill():
    at = torch.tensor(3.0, requires_grad=True)
    run = descent(at)
    for _ in range(200):
        stepped(run, at, lambda: (at - 1) ** 2)
    run.restore_best()
    assert at.item() == pytest.approx(1.0, abs=1e-3)
    assert len(run.losses) == 200


def test_clipping_bounds_the_step():
    at = torch.tensor(1000.0, requires_grad=True)
    stepped(descent(at, lr=1.0, clip=0.5), at, lambda: at**2)
    assert at.item() == pytest.approx(999.5, abs=1e-3)


def test_a_step_with_a_non_finite_gradient_changes_nothing():
    at = torch.tensor(0.0, requires_grad=True)
    run = descent(at)
    stepped(run, at, at.sqrt)  # finite loss, infinite gradient
    assert at.item() == 0.0
    assert run.numbers() == {"steps": 1.0, "skipped": 1.0}


def test_too_many_in_a_row():
    at = torch.tensor(0.0, requires_grad=True)
    run = descent(at)
    for _ in range(49):
        stepped(run, at, lambda: at * math.nan)
    with pytest.raises(FitError, match="stayed non-finite; got 50 steps in a row"):
        stepped(run, at, lambda: at * math.nan)


def test_nothing_finite_at_all():
    at = torch.tensor(0.0, requires_grad=True)
    run = descent(at)
    stepped(run, at, lambda: at * math.nan)
    with pytest.raises(FitError, match="every step had a non-finite loss"):
        run.restore_best()


def test_the_luckiest_window_is_not_the_best_state():
    """Pure noise around a constant loss: the last parameters stay, though some window had a lower mean."""
    at = torch.tensor(0.0, requires_grad=True)
    run = descent(at, lr=1.0)
    noise = torch.Generator().manual_seed(0)
    for _ in range(1000):
        stepped(run, at, lambda: torch.randn((), generator=noise) - 0.01 * at + 0.01 * at.detach())
    last = at.item()
    run.restore_best()
    assert at.item() == last


def test_without_parameters_losses_are_recorded():
    run = Descent([], lambda p: torch.optim.SGD(p, lr=1.0), decay=constant, clip=None)
    run.step(torch.tensor(2.0), [])
    run.restore_best()
    assert run.losses == [2.0]


def test_the_cosine_falls_steadily():
    factors = [cosine_decay(50)(k) for k in range(51)]
    assert factors[0] == 1.0
    assert factors[-1] == pytest.approx(0.01)
    assert all(a > b for a, b in itertools.pairwise(factors))
