"""What all machines have in common: how chains begin."""

from __future__ import annotations

import torch

from ppzoo.inference.mcmc import nuts
from ppzoo.inference.mcmc.kernel import Settings
from ppzoo.inference.mcmc.machines import Replayed
from ppzoo.inference.mcmc.streams import chain_keys

LIKE = torch.zeros(2, dtype=torch.float64)


def density(q):
    return -0.25 * torch.sum(q**4) - q[0] * q[1], -(q**3) - q.flip(0)


def start(chains):
    machine = Replayed(nuts.build(5), density, chain_keys(3, chains), LIKE)
    q = torch.tensor([0.5, -0.2], dtype=torch.float64) + torch.arange(chains, dtype=torch.float64)[:, None] / 10
    ones = torch.ones(chains, 2, dtype=torch.float64)
    return machine, machine.start(q, Settings(0.3 * ones[:, 0], ones, torch.full((chains,), 5.0, dtype=torch.float64)))


def test_the_first_state_is_the_kernels():
    _, state = start(3)
    for c in range(3):
        lp, g = density(state.state["q"][c])
        assert torch.allclose(state.state["lp"][c], lp, rtol=1e-14)
        assert torch.allclose(state.state["g"][c], g, rtol=1e-14)
    assert state.rows["q"].shape == (3, 0, 2)
    assert state.steps.tolist() == [1, 1, 1]


def test_a_new_start_computes_the_density_once():
    """For all chains together: each metric window of a warm-up starts them anew."""
    machine, state = start(3)
    calls = []
    machine._density = lambda q: (calls.append(1), density(q))[1]
    settings = Settings(*(state.state[name] for name in ("step_size", "inverse_mass", "limit")))
    again = machine.start(state.state["q"], settings, state.steps)
    assert len(calls) == 1
    assert again.steps.tolist() == [2, 2, 2]
    assert {name: row.shape for name, row in again.rows.items()} == {n: r.shape for n, r in state.rows.items()}
