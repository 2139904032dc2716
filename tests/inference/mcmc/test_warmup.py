"""Warm-up on a normal with known scales: the metric, the acceptance, the number of draws; together and apart."""

from __future__ import annotations

import pytest
import torch

from ppzoo.inference.mcmc import nuts
from ppzoo.inference.mcmc.machine import machine_of
from ppzoo.inference.mcmc.streams import chain_keys
from ppzoo.inference.mcmc.warmup import warm_up

SCALES = torch.tensor([0.02, 1.0, 50.0], dtype=torch.float64)


def density(q):
    return -0.5 * torch.sum((q / SCALES) ** 2), -q / SCALES**2


def tuned(chains, draws, *, pooled, seed=0):
    machine, _ = machine_of(nuts.build(10), density, chain_keys(seed, chains), SCALES)
    q = torch.linspace(-2, 2, 24, dtype=torch.float64).reshape(8, 3)[:chains]
    reports = []
    result = warm_up(
        machine, q, draws=draws, target=0.8, limit=10, pooled=pooled, report=lambda n, line: reports.append((n, line))
    )
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
    result = warm_up(machine, q, draws=200, target=0.8, limit=10, pooled=True, report=lambda n, line: None)
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
