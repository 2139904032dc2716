"""One table, every kernel: its parts, and that it leaves the target alone.

The exact test: chains start from independent draws of the target and take a few draws each. If the kernel leaves the
target invariant, the ends are again independent draws of it, whatever the step size, and are held against the exact
distribution function. The target is skewed and correlated: a symmetric one cannot see a reversed sign.
"""

from __future__ import annotations

import math

import pytest
import torch

from ppzoo.inference.mcmc import chees, hmc, mams, nuts
from ppzoo.inference.mcmc.kernel import Settings
from ppzoo.inference.mcmc.machines import machine_of
from ppzoo.inference.mcmc.streams import chain_keys

KERNELS = {  # with a limit
    "nuts": (nuts.build(6), 6.0),
    "nuts, shallow": (nuts.build(2), 2.0),
    "hmc": (hmc.build(), 3.0),
    "chees": (chees.build(), 2.0),
    "mams": (mams.build(), 3.0),
}
CHAINS = 20_000
DRAWS = 3
LIKE = torch.zeros(2, dtype=torch.float64)
# Kolmogorov's statistic times the root of n passes this once in 10,000 seeds, and the seed is fixed
KOLMOGOROV = 2.23


def density(q):
    """x = exp(q0) ~ Exponential(1), seen through its logarithm; q1 given q0 ~ Normal(q0, 0.5)."""
    gap = (q[1] - q[0]) / 0.5
    value = q[0] - q[0].exp() - 0.5 * gap**2
    return value, torch.stack([1 - q[0].exp() + gap / 0.5, -gap / 0.5])


def exact_draws(n, seed):
    generator = torch.Generator().manual_seed(seed)
    u = torch.rand(n, generator=generator, dtype=torch.float64)
    q0 = torch.log(-torch.log1p(-u))
    return torch.stack([q0, q0 + 0.5 * torch.randn(n, generator=generator, dtype=torch.float64)], 1)


def distance(sample, cumulative):
    p = cumulative(sample.sort().values)
    n = len(p)
    above = torch.arange(1, n + 1, dtype=p.dtype) / n
    return float(torch.maximum((above - p).abs(), (above - 1 / n - p).abs()).max()) * math.sqrt(n)


def distances(q):
    """How far from the target: the exponential, and the two normals along and across."""
    normal = torch.distributions.Normal(0.0, 0.5)
    return [distance(q[:, 0], lambda x: 1 - torch.exp(-x.exp())), distance(q[:, 1] - q[:, 0], normal.cdf)]


def advanced(kernel, limit, step_size, start, draws, seed=0):
    machine, _ = machine_of(kernel, density, chain_keys(seed, len(start)), LIKE)
    settings = Settings(
        torch.full((len(start),), step_size, dtype=torch.float64),
        torch.tensor([0.6, 1.3], dtype=torch.float64).expand(len(start), 2),
        torch.full((len(start),), limit, dtype=torch.float64),
    )
    chains = machine.start(start, settings)
    chains = chains.emptied(torch.full_like(chains.counts, draws), draws)
    while bool((chains.counts < draws).any()):
        machine.advance(chains, 16)
    return chains


@pytest.mark.parametrize("name", KERNELS)
@pytest.mark.parametrize("step_size", [0.15, 0.9])
def test_the_target_is_left_alone(name, step_size):
    kernel, limit = KERNELS[name]
    start = exact_draws(CHAINS, 1)
    assert max(distances(start)) < KOLMOGOROV
    chains = advanced(kernel, limit, step_size, start, DRAWS)
    end = chains.rows["q"][:, -1]
    assert not torch.equal(end, start)
    assert max(distances(end)) < KOLMOGOROV


def test_the_exact_test_sees_a_small_bias():
    q = exact_draws(CHAINS, 1)
    assert max(distances(q + torch.tensor([0.05, 0.05]))) > KOLMOGOROV
    assert max(distances(q * 1.06)) > KOLMOGOROV


@pytest.mark.parametrize("name", KERNELS)
def test_parts_have_their_names_and_order(name):
    kernel, _ = KERNELS[name]
    assert kernel.State._fields[-1] == "limit"
    assert {"q", "p", "lp", "g", "step_size", "inverse_mass", "next_step_size", "next_inverse_mass"} <= set(
        kernel.State._fields
    )
    assert kernel.Info._fields[:3] == ("q", "g", "lp")
    assert kernel.Noise._fields[-1] == "momentum"


@pytest.mark.parametrize("name", KERNELS)
def test_statistics_say_what_happened(name):
    kernel, limit = KERNELS[name]
    rows = advanced(kernel, limit, 0.5, exact_draws(50, 2), 20).rows
    for c in range(5):
        for i in range(20):
            value, gradient = density(rows["q"][c, i])
            assert float(rows["lp"][c, i]) == pytest.approx(float(value), rel=1e-12)
            assert torch.allclose(rows["g"][c, i], gradient, rtol=1e-12)
    assert bool(((rows["acceptance_rate"] >= 0) & (rows["acceptance_rate"] <= 1)).all())
    assert bool((rows["max_energy_error"] >= rows["energy_error"].abs()).all())
    assert bool((rows["step_size"] == 0.5).all())
    assert not bool(rows["diverging"].any())


@pytest.mark.parametrize("name", KERNELS)
def test_a_step_size_that_is_far_too_large_diverges_and_stays(name):
    kernel, limit = KERNELS[name]
    start = exact_draws(50, 3)
    rows = advanced(kernel, limit, 200.0, start, 5).rows
    assert float(rows["diverging"].double().mean()) > 0.9
    still = rows["diverging"].all(1)
    assert torch.equal(rows["q"][still, -1], start[still])
