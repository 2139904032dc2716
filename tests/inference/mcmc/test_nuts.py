"""Trees: their size, their ends, and that a long one does not hold the others."""

from __future__ import annotations

import pytest
import torch

from ppzoo.inference.mcmc import nuts
from ppzoo.inference.mcmc.kernel import Settings
from ppzoo.inference.mcmc.machine import machine_of
from ppzoo.inference.mcmc.streams import chain_keys

SCALES = torch.tensor([1.0, 0.1, 3.0], dtype=torch.float64)


def normal(q):
    return -0.5 * torch.sum((q / SCALES) ** 2), -q / SCALES**2


def run(chains, draws, step_size=0.05, limit=8, memory=8):
    machine, _ = machine_of(nuts.build(memory), normal, chain_keys(0, chains), SCALES)
    settings = Settings(
        torch.full((chains,), step_size, dtype=torch.float64),
        torch.ones(chains, 3, dtype=torch.float64),
        torch.full((chains,), limit, dtype=torch.float64),
    )
    start = torch.linspace(-1, 1, 3 * chains, dtype=torch.float64).reshape(chains, 3) * SCALES
    state = machine.start(start, settings)
    state = state.emptied(torch.full_like(state.counts, draws), draws)
    gradients = 0
    while bool((state.counts < draws).any()):
        gradients += machine.advance(state, 32)
    return state, gradients


def test_depth_and_leapfrogs_belong_together():
    """A tree whose last half was left unfinished has at least the leaves of its depth, and fewer than twice as many."""
    rows = run(20, 30)[0].rows
    depth, leapfrogs = rows["tree_depth"], rows["n_steps"]
    assert bool((leapfrogs >= 2**depth - 1).all())
    assert bool((leapfrogs < 2 ** (depth + 1)).all())
    assert not bool(rows["reached_max_treedepth"].any())
    assert int(depth.max()) > 3


def test_the_limit_on_the_depth_is_kept_and_reported():
    rows = run(20, 30, limit=3)[0].rows
    assert int(rows["tree_depth"].max()) == 3
    assert int(rows["n_steps"].max()) == 7
    full = (rows["n_steps"] == 7) & (rows["tree_depth"] == 3)
    assert torch.equal(rows["reached_max_treedepth"], full & rows["reached_max_treedepth"])
    assert bool(rows["reached_max_treedepth"].any())


def test_memory_beyond_the_limit_changes_nothing():
    one, other = run(5, 10, limit=6, memory=6)[0], run(5, 10, limit=6, memory=9)[0]
    assert all(torch.equal(one.rows[name], other.rows[name]) for name in one.rows)


def test_a_longer_tree_does_not_hold_the_others():
    """Steps that chains take beyond their own trees come only from waiting for the slowest chain's last draw."""
    state, gradients = run(64, 100)
    needed = int(state.rows["n_steps"].sum())
    assert int(state.steps.sum()) - 64 == needed  # a chain that has its draws stands still
    assert gradients < 1.3 * needed


def test_the_energy_error_is_that_of_the_draw():
    rows = run(10, 20)[0].rows
    assert bool((rows["energy_error"].abs() < 1).all())
    assert float(rows["energy"].std()) == pytest.approx(3**0.5, rel=0.2)  # H of a normal in three dimensions
