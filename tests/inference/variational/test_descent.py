"""The descent on a parabola, with bad steps."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from ppzoo.inference.variational.descent import Descent, constant, cosine_decay
from ppzoo.inference.variational.optimisers import OPTIMISERS


def descent(at, rate=lambda _: 0.05, clip=math.inf):
    return Descent([at], OPTIMISERS["sgd"], rate, clip)


def stepped(run, at, loss):
    value = loss()
    return run.step(value.detach(), torch.autograd.grad(value, [at]))


def test_it_goes_downhill():
    at = torch.tensor(3.0, requires_grad=True)
    run = descent(at)
    losses = [stepped(run, at, lambda: (at - 1) ** 2) for _ in range(200)]
    assert at.item() == pytest.approx(1.0, abs=1e-3)
    assert losses[0] == 4.0


def test_each_step_has_its_rate():
    at = torch.tensor(0.0, requires_grad=True)
    run = descent(at, rate=lambda t: 10.0**-t)
    places = [stepped(run, at, lambda: -at) + at.item() for _ in range(3)]
    assert places == pytest.approx([1.0, 0.1, 0.01])


def test_clipping_bounds_the_step():
    at = torch.tensor(1000.0, requires_grad=True)
    stepped(descent(at, rate=lambda _: 1.0, clip=0.5), at, lambda: at**2)
    assert at.item() == pytest.approx(999.5, abs=1e-3)


def test_a_unit_is_what_the_parameter_is_measured_in():
    """Of x = 10 p, the step down x by p: p moves by rate times dloss/dp = 10 dloss/dx, so x by 100 times as much."""
    at = torch.tensor(3.0, requires_grad=True)
    run = Descent([at], OPTIMISERS["sgd"], lambda _: 1e-3, math.inf, [torch.tensor(10.0)])
    stepped(run, at, lambda: at**2)
    assert at.item() == pytest.approx(3.0 - 1e-3 * 100 * 6)


def test_a_gradient_that_is_not_its_own_is_left_alone():
    at, gradient = torch.tensor(3.0, requires_grad=True), torch.tensor(6.0)
    Descent([at], OPTIMISERS["sgd"], constant, 0.5, [torch.tensor(10.0)]).step(torch.tensor(9.0), [gradient])
    assert gradient.item() == 6.0


@pytest.mark.parametrize("loss", ["finite loss, infinite gradient", "no loss"])
def test_a_step_with_something_non_finite_changes_nothing(loss):
    at = torch.tensor(0.0, requires_grad=True)
    told = stepped(descent(at), at, at.sqrt if loss.startswith("finite") else lambda: at * math.nan)
    assert math.isnan(told)
    assert at.item() == 0.0


def test_without_parameters_losses_are_told():
    assert Descent([], OPTIMISERS["adam"], constant, math.inf).step(torch.tensor(2.0), []) == 2.0


def test_the_cosine_falls_steadily():
    factors = [cosine_decay(50)(k) for k in range(51)]
    assert factors[0] == 1.0
    assert factors[-1] == pytest.approx(0.01)
    assert all(a > b for a, b in itertools.pairwise(factors))
