"""Warm-up on a normal with known scales: the metric, the acceptance, the number of draws; together and apart."""

from __future__ import annotations

import pytest
import torch

from ppzoo.inference.mcmc import chees, nuts
from ppzoo.inference.mcmc.machines import machine_of
from ppzoo.inference.mcmc.streams import chain_keys
from ppzoo.inference.mcmc.warmup import Limits, WarmUp

LIMITS = Limits(1.0, 6.0, 10.0)
LEARNT = Limits(0.0, 1.0, 1.0, learnt=True)
SCALES = torch.tensor([0.02, 1.0, 50.0], dtype=torch.float64)


def ignored(*_):
    pass


def density(q):
    return -0.5 * torch.sum((q / SCALES) ** 2), -q / SCALES**2


def warmed_up(machine, q, draws, *, pooled, limits=LIMITS, report=ignored, save=ignored):
    warm_up = WarmUp(machine, target=0.8, limits=limits, pooled=pooled)
    warm_up.begin(q)
    return warm_up.run(draws, report=report, save=save)


def tuned(chains, draws, *, pooled, seed=0):
    machine, _ = machine_of(nuts.build(10), density, chain_keys(seed, chains), SCALES)
    q = torch.linspace(-2, 2, 24, dtype=torch.float64).reshape(8, 3)[:chains]
    reports = []
    result = warmed_up(machine, q, draws, pooled=pooled, report=lambda n, line: reports.append((n, line)))
    return machine, result, reports


@pytest.mark.parametrize("pooled", [True, False])
def test_step_size_and_metric_fit(pooled):
    machine, result, reports = tuned(8, 300, pooled=pooled)
    groups = 1 if pooled else 8
    assert result.inverse_mass.shape == (groups, 3)
    torch.testing.assert_close(result.inverse_mass, (SCALES**2).expand(groups, 3), rtol=0.15, atol=0)
    assert machine.whitening.stretch.shape == (0,)
    chains = result.chains.emptied(torch.full((8,), 100), 100)
    assert torch.equal(chains.state["step_size"], result.step_size.expand(8))
    while bool((chains.counts < 100).any()):
        machine.advance(chains, 64)
    assert 0.7 < float(chains.rows["acceptance_rate"].mean()) < 0.95
    assert float(chains.rows["n_steps"].double().mean()) < 10
    assert reports[-1][0] == 300
    assert result.gradients > 8 * 300


def test_apart_a_chain_is_its_own():
    """Chain 0 starts at the same place in both runs, and nothing that its neighbours do reaches it."""
    alone, company = (tuned(chains, 60, pooled=False)[1] for chains in (1, 3))
    torch.testing.assert_close(alone.step_size[0], company.step_size[0], rtol=1e-9, atol=0)
    torch.testing.assert_close(alone.inverse_mass[0], company.inverse_mass[0], rtol=1e-9, atol=0)
    assert int(alone.chains.steps[0]) == int(company.chains.steps[0])
    assert len(set(company.step_size.tolist())) == 3


def test_together_chains_learn_a_correlation():
    """Two coordinates with correlation 0.99, and a diagonal metric would need steps of a tenth of a deviation."""
    precision = torch.linalg.inv(torch.tensor([[1.0, 0.99], [0.99, 1.0]], dtype=torch.float64))

    def correlated(q):
        g = -(precision @ q)
        return 0.5 * torch.sum(q * g), g

    like = torch.zeros(2, dtype=torch.float64)
    machine, _ = machine_of(nuts.build(10), correlated, chain_keys(0, 16), like, 2)
    q = torch.linspace(-2, 2, 32, dtype=torch.float64).reshape(16, 2)
    result = warmed_up(machine, q, 200, pooled=True)
    assert float(result.step_size) > 0.6
    chains = result.chains.emptied(torch.full((16,), 200), 200)
    while bool((chains.counts < 200).any()):
        machine.advance(chains, 64)
    assert float(chains.rows["n_steps"].double().mean()) < 6
    draws = machine.whitening.positions(chains.rows["q"]).reshape(-1, 2)
    # 3,200 draws, nearly independent: 5 standard errors of a correlation of 0.99 and of a variance
    covariance = torch.cov(draws.T)
    assert abs(float(torch.corrcoef(draws.T)[0, 1]) - 0.99) < 5 * 0.02 / 3200**0.5 * 2
    assert float((covariance.diagonal() - 1).abs().max()) < 5 * (2 / 3200) ** 0.5 * 1.5


@pytest.mark.parametrize("pooled", [True, False])
def test_from_a_snapshot_warm_up_goes_on_to_the_same_numbers(pooled):
    """A snapshot is taken at every look, and each twentieth is taken up by a new machine."""
    snapshots = []

    def save(snapshot):
        tensors, numbers = snapshot()
        snapshots.append(({name: value.clone() for name, value in tensors.items()}, numbers))

    machine, q = chees_machine(), torch.linspace(-2, 2, 24, dtype=torch.float64).reshape(8, 3)
    whole = warmed_up(machine, q, 60, pooled=pooled, limits=LEARNT, save=save)
    for tensors, numbers in snapshots[5::20]:
        resumed = WarmUp(chees_machine(), target=0.8, limits=LEARNT, pooled=pooled)
        resumed.restore(tensors, numbers)
        result = resumed.run(60, report=ignored, save=ignored)
        assert torch.equal(result.step_size, whole.step_size)
        assert torch.equal(result.inverse_mass, whole.inverse_mass)
        assert all(torch.equal(result.chains.state[name], value) for name, value in whole.chains.state.items())
        assert torch.equal(result.chains.steps, whole.chains.steps)
        assert result.gradients == whole.gradients
    assert [numbers["window"] for _, numbers in snapshots[5::20]] != [0] * len(snapshots[5::20])


def test_chains_learn_how_long_a_trajectory_pays():
    """On a normal ChEES is greatest where sin(2 T) = 2 T cos(2 T), T = 2.25; whole leapfrogs add half of 0.8 to it."""
    machine, _ = machine_of(
        chees.build(), lambda q: (-0.5 * (q * q).sum(), -q), chain_keys(0, 64), torch.zeros(10).double()
    )
    q = torch.randn(64, 10, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    result = warmed_up(machine, q, 300, pooled=True, limits=LEARNT)
    longest = float(result.chains.state["limit"][0])
    assert torch.equal(result.chains.state["limit"], torch.full((64,), longest, dtype=torch.float64))
    assert 1.4 < longest < 2.4


def chees_machine():
    return machine_of(chees.build(), density, chain_keys(0, 8), SCALES)[0]
