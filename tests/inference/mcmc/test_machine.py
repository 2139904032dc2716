"""What all machines have in common: how chains begin."""

from __future__ import annotations

import torch

from ppzoo.inference.mcmc.kernel import Settings
from ppzoo.inference.mcmc.machines import Replayed
from tests.inference.mcmc.test_machines import density, start


def test_the_first_state_is_the_kernels():
    _, state = start(Replayed, 3)
    for c in range(3):
        lp, g = density(state.state["q"][c])
        assert torch.allclose(state.state["lp"][c], lp, rtol=1e-14)
        assert torch.allclose(state.state["g"][c], g, rtol=1e-14)
    assert state.rows["q"].shape == (3, 0, 2)
    assert state.steps.tolist() == [1, 1, 1]


def test_a_new_start_computes_the_density_once():
    """For all chains together: each metric window of a warm-up starts them anew."""
    machine, state = start(Replayed, 3)
    calls = []
    machine._density = lambda q: (calls.append(1), density(q))[1]
    settings = Settings(*(state.state[name] for name in ("step_size", "inverse_mass", "limit")))
    again = machine.start(state.state["q"], settings, state.steps)
    assert len(calls) == 1
    assert again.steps.tolist() == [2, 2, 2]
    assert {name: row.shape for name, row in again.rows.items()} == {n: r.shape for n, r in state.rows.items()}
