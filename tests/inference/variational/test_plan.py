"""A replica's numbers hang on the seed and on its own; so many steps' are in memory as there is room for."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from ppzoo.inference.variational.noise import Draw
from ppzoo.isolation import isolated
from tests.inference.variational.plans import planned


def test_seeds_are_a_replicas_own():
    with isolated(seed=0):
        one, three, other = planned(), planned(replicas=3), planned(seed=6)
    assert one.replicas == 1
    assert three.replicas == 3
    assert one.seed_of(0) == three.seed_of(0)
    assert len({one.seed_of(0), one.seed_of(1), one.seed_of(0, "program"), other.seed_of(0)}) == 4
    numbers = [torch.rand(3, generator=plan.generator(0, torch.device("cpu"))) for plan in (one, three, other)]
    assert torch.equal(numbers[0], numbers[1])
    assert not torch.equal(numbers[0], numbers[2])


@pytest.mark.parametrize(("numbers", "steps"), [(10, 50), (2**20, 5), (2**21, 2), (2**24, 1)])
def test_large_draws_are_made_for_fewer_steps_at_once(numbers, steps):
    """In memory there are at most 32 MiB, but for a single step's, and a window is whole portions."""
    with isolated(seed=0):
        plan = planned()
    assert plan.portion([Draw("normal", (numbers // 2,), torch.float32)] * 2) == steps
    assert plan.portion([]) == 50


def test_weights_follow_the_step():
    with isolated(seed=0):
        plan = planned()
        weighed = replace(plan, weight=lambda t: t / 4)
    assert plan.weight_of(3) is None
    assert weighed.weight_of(3) == torch.tensor(0.75, dtype=torch.float64)
