"""Trees: their size, their ends, and that a long one does not hold the others."""

from __future__ import annotations

import pytest
import torch

from ppzoo.inference.mcmc import nuts
from ppzoo.inference.mcmc.integrator import Point, energy_of, leapfrog
from ppzoo.inference.mcmc.kernel import Settings
from ppzoo.inference.mcmc.machines import machine_of
from ppzoo.inference.mcmc.streams import chain_keys

SCALES = torch.tensor([1.0, 0.1, 3.0], dtype=torch.float64)


def normal(q):
    return -0.5 * torch.sum((q / SCALES) ** 2), -q / SCALES**2


def run(chains, draws, step_size=0.05, limit=8, memory=8, density=normal):
    machine, _ = machine_of(nuts.build(memory), density, chain_keys(0, chains), SCALES)
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


def leaf_by_leaf(steps, **noise):
    """The states before and after each step of one chain, what the step reported, and the leaf that it added."""
    generator = torch.Generator().manual_seed(1)

    def drawn():
        uniform = torch.rand(3, generator=generator, dtype=torch.float64)
        momentum = torch.randn(3, generator=generator, dtype=torch.float64)
        return nuts.Noise(*uniform, momentum)._replace(**noise)

    kernel, (lp, g), one = nuts.build(8), normal(SCALES), torch.ones(3, dtype=torch.float64)
    state = kernel.init(SCALES, lp, g, drawn(), Settings(0.15 * one[0], one, 8 * one[0]))
    for _ in range(steps):
        leaf = leapfrog(normal, Point(state.q, state.p, state.lp, state.g), state.direction * state.step_size, one)
        before, (state, ended, info) = state, kernel.step(normal, state, drawn())
        yield before, state, info if ended else None, leaf


def test_weight_and_energy_are_those_of_the_leaves():
    """Of a tree: the start and all leaves that joined. Of a draw: the leaf at which it lies."""
    joined, ended, one = 0, 0, torch.ones(3, dtype=torch.float64)
    leaves = [(SCALES, torch.zeros((), dtype=torch.float64))]
    for before, after, info, leaf in leaf_by_leaf(600):
        leaves.append((leaf.q, energy_of(leaf.p, leaf.lp, one) - before.energy))
        if info is not None:
            (error,) = [error for q, error in leaves if torch.equal(q, info.q)]
            torch.testing.assert_close(info.energy_error, error, rtol=1e-9, atol=1e-12)
            leaves, ended = [(after.q, 0 * error)], ended + 1
        elif after.depth > before.depth:
            weight = torch.logsumexp(torch.stack([-error for _, error in leaves]), 0)
            torch.testing.assert_close(after.log_weight, weight, rtol=1e-9, atol=1e-12)
            joined += int(before.depth > 0)
    assert min(joined, ended) > 5


def test_whether_a_half_is_taken_is_decided_by_its_own_number():
    """A number beyond every weight leaves the draw where it was, whatever decides on the leaves."""
    draws = [info.q for _, _, info, _ in leaf_by_leaf(300, tree=torch.tensor(torch.inf)) if info is not None]
    assert len(draws) > 3
    assert all(torch.equal(q, SCALES) for q in draws)


def test_trees_grow_both_ways_alike():
    """The mean of 2,000 directions of +1 and -1 is beyond 5 standard errors in one seed of 2 million."""
    direction = run(2000, 1)[0].state["direction"]
    assert direction.abs().unique().tolist() == [1]
    assert abs(float(direction.mean())) < 5 / 2000**0.5


def test_what_has_no_density_is_not_drawn():
    """Beyond a wall the log density is no number, as far out where a program fails."""

    def walled(q):
        lp, g = normal(q)
        return torch.where((q < 1.2 * SCALES).all(), lp, torch.nan), g

    rows = run(20, 30, density=walled)[0].rows
    assert bool((rows["q"] < 1.2 * SCALES).all())
    assert 0.05 < float(rows["diverging"].double().mean()) < 0.95
    assert bool(torch.isfinite(rows["lp"]).all())
