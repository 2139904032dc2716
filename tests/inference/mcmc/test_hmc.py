"""Trajectories: how long they are, that ends are taken or not, and that a longer one does not hold the others."""

from __future__ import annotations

import math

import pytest
import torch

from ppzoo.inference.mcmc import hmc
from ppzoo.inference.mcmc.kernel import Settings
from ppzoo.inference.mcmc.machines import machine_of
from ppzoo.inference.mcmc.streams import chain_keys

LIKE = torch.zeros(3, dtype=torch.float64)


def normal(q):
    return -0.5 * torch.sum(q * q), -q


def run(chains, draws, step_size=0.25, limit=math.pi, density=normal):
    machine, _ = machine_of(hmc.build(), density, chain_keys(0, chains), LIKE)
    settings = Settings(
        torch.full((chains,), step_size, dtype=torch.float64),
        torch.ones(chains, 3, dtype=torch.float64),
        torch.full((chains,), limit, dtype=torch.float64),
    )
    start = torch.linspace(-1, 1, 3 * chains, dtype=torch.float64).reshape(chains, 3)
    state = machine.start(start, settings)
    state = state.emptied(torch.full_like(state.counts, draws), draws)
    gradients = 0
    while bool((state.counts < draws).any()):
        gradients += machine.advance(state, 32)
    return state, gradients


def test_lengths_are_uniform_up_to_the_limit():
    """13 lengths, ceil(u pi / 0.25): chi-square with 12 degrees of freedom passes 45 once in 10^5 seeds."""
    steps = run(100, 100)[0].rows["n_steps"].flatten()
    count = torch.bincount(steps, minlength=14)[1:].double()
    shares = torch.full((13,), 0.25 / math.pi, dtype=torch.float64)
    shares[12] = 1 - 12 * 0.25 / math.pi
    assert len(count) == 13
    expected = shares * len(steps)
    assert float(((count - expected) ** 2 / expected).sum()) < 45


def test_draws_of_a_normal_are_uncorrelated_with_the_limit_at_pi():
    """A correlation of 20,000 pairs has a standard error of 0.007; whole leapfrogs turn it by less than 0.01."""
    q = run(100, 201, step_size=0.05)[0].rows["q"]
    pairs = torch.stack([q[:, :-1].flatten(), q[:, 1:].flatten()])
    assert abs(float(torch.corrcoef(pairs)[0, 1])) < 0.04


def test_a_limit_of_nothing_is_one_leapfrog_and_a_huge_one_is_cut():
    assert run(5, 10, limit=0.0)[0].rows["n_steps"].unique().tolist() == [1]
    assert int(run(2, 3, limit=1e9)[0].rows["n_steps"].max()) == hmc.MOST_LEAPFROGS


def test_an_end_that_is_not_taken_leaves_the_chain_where_it_was():
    rows = run(40, 60, step_size=1.5)[0].rows
    stayed = (rows["q"][:, 1:] == rows["q"][:, :-1]).all(-1)
    assert 0.05 < float(stayed.double().mean()) < 0.9
    assert bool((rows["energy_error"][:, 1:][stayed] == 0).all())
    share = 1 - float(stayed.double().mean())
    error = (0.25 / stayed.numel()) ** 0.5
    assert abs(share - float(rows["acceptance_rate"][:, 1:].mean())) < 5 * error


def test_where_there_is_no_density_a_trajectory_ends_at_once_and_is_not_taken():
    def walled(q):
        inside = (q < 1.2).all()
        lp, g = normal(q)
        return torch.where(inside, lp, -torch.inf), g

    rows = run(40, 60, step_size=0.4, density=walled)[0].rows
    assert bool((rows["q"] < 1.2).all())
    hit = rows["diverging"]
    assert 0.05 < float(hit.double().mean()) < 0.95
    assert bool((rows["acceptance_rate"][hit] == 0).all())
    assert bool(torch.isinf(rows["max_energy_error"][hit]).all())


def test_a_longer_trajectory_does_not_hold_the_others():
    state, gradients = run(64, 100)
    needed = int(state.rows["n_steps"].sum())
    assert int(state.steps.sum()) - 64 == needed  # a chain that has its draws stands still
    assert gradients < 1.3 * needed


@pytest.mark.parametrize("seed", [1, 2])
def test_a_divergence_is_a_large_error_anywhere_on_the_way(seed):
    def steep(q):
        return -500.0 * torch.sum(q**4), -2000.0 * q**3

    rows = run(20, 30, step_size=0.3 / seed, density=steep)[0].rows
    assert torch.equal(rows["diverging"], rows["max_energy_error"] > 1000)
    assert bool(rows["diverging"].any())
