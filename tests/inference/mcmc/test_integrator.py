"""Leapfrog is reversible, keeps volume, and its energy error is of second order."""

from __future__ import annotations

import torch

from ppzoo.inference.mcmc.integrator import Point, energy_of, leapfrog

MASS = torch.tensor([0.5, 2.0], dtype=torch.float64)


def density(q):
    """Skewed: log pi = q0 - exp(q0) - q1**4 / 4 - q0 q1 / 3."""
    value = q[0] - q[0].exp() - q[1] ** 4 / 4 - q[0] * q[1] / 3
    return value, torch.stack([1 - q[0].exp() - q[1] / 3, -(q[1] ** 3) - q[0] / 3])


def at(q, p):
    return Point(q, p, *density(q))


Z = at(torch.tensor([0.3, -0.4], dtype=torch.float64), torch.tensor([1.1, 0.6], dtype=torch.float64))


def test_reversible():
    step = torch.tensor(0.1, dtype=torch.float64)
    there = leapfrog(density, Z, step, MASS)
    back = leapfrog(density, there, -step, MASS)
    assert torch.allclose(back.q, Z.q, atol=1e-15)
    assert torch.allclose(back.p, Z.p, atol=1e-15)
    flipped = leapfrog(density, there._replace(p=-there.p), step, MASS)
    assert torch.allclose(flipped.p, -Z.p, atol=1e-15)


def test_volume_is_kept():
    def move(z):
        there = leapfrog(density, at(z[:2], z[2:]), torch.tensor(0.3, dtype=torch.float64), MASS)
        return torch.cat([there.q, there.p])

    jacobian = torch.func.jacrev(move)(torch.cat([Z.q, Z.p]))
    assert abs(float(torch.linalg.det(jacobian)) - 1) < 1e-13


def test_energy_error_is_of_second_order():
    def error(step):
        z = Z
        for _ in range(round(1 / step)):
            z = leapfrog(density, z, torch.tensor(step, dtype=torch.float64), MASS)
        return abs(float(energy_of(z.p, z.lp, MASS) - energy_of(Z.p, Z.lp, MASS)))

    assert 3.5 < error(0.02) / error(0.01) < 4.5


def test_energies_are_summed_in_float64_whatever_the_chain_moves_in():
    p = torch.full((100_000,), 0.1)
    energy = energy_of(p, torch.tensor(-1e6), torch.ones(100_000))
    assert energy.dtype == torch.float64
    exact = 0.5 * 100_000 * float(p[0].double()) ** 2 + 1e6  # float32 has steps of 0.06 there
    assert abs(float(energy) - exact) < 1e-6
