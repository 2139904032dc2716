"""ChEES: the draws of HMC, and what the length of a trajectory is judged by."""

from __future__ import annotations

import torch

from ppzoo.inference.mcmc import chees, hmc
from ppzoo.inference.mcmc.kernel import Settings
from ppzoo.inference.mcmc.machines import machine_of
from ppzoo.inference.mcmc.streams import chain_keys

LIKE = torch.zeros(2, dtype=torch.float64)
MASS = torch.tensor([0.5, 2.0], dtype=torch.float64)


def density(q):
    return -0.25 * torch.sum(q**4) - q[0] * q[1], -(q**3) - q.flip(0)


def rows_of(kernel):
    machine, _ = machine_of(kernel, density, chain_keys(3, 10), LIKE)
    q = torch.linspace(-1, 1, 20, dtype=torch.float64).reshape(10, 2)
    ones = torch.ones(10, dtype=torch.float64)
    chains = machine.start(q, Settings(0.3 * ones, MASS.expand(10, 2), 2.0 * ones))
    chains = chains.emptied(torch.full((10,), 30), 30)
    while bool((chains.counts < 30).any()):
        machine.advance(chains, 16)
    return q, chains.rows


def test_the_draws_are_those_of_hmc():
    _, mine = rows_of(chees.build())
    _, theirs = rows_of(hmc.build())
    assert list(mine)[: len(theirs)] == list(theirs)
    for name in theirs:
        torch.testing.assert_close(mine[name], theirs[name], rtol=1e-9, atol=1e-9)


def test_a_trajectory_begins_at_the_draw_before_it_and_ends_where_it_may_be_taken():
    start, rows = rows_of(chees.build())
    before = torch.cat([start[:, None], rows["q"][:, :-1]], 1)
    assert torch.equal(rows["begin_q"], before)
    taken = (rows["q"] != before).any(-1)
    assert torch.equal(rows["q"][taken], rows["end_q"][taken])
    assert bool(taken.any())
    assert not bool(taken.all())


def test_the_energy_at_the_end_is_that_of_its_velocity():
    _, rows = rows_of(chees.build())
    taken = (rows["q"] == rows["end_q"]).all(-1)
    p = rows["end_velocity"] / MASS
    energy = 0.5 * (p * rows["end_velocity"]).sum(-1) - rows["lp"]
    torch.testing.assert_close((energy - rows["energy"])[taken], rows["energy_error"][taken], rtol=1e-9, atol=1e-12)
