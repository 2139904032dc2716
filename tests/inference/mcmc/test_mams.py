"""Microcanonical trajectories: the velocity's own equation, and ends that are taken or not."""

from __future__ import annotations

import math

import pyro
import pyro.distributions as dist
import pytest
import torch

import ppzoo
from ppzoo.errors import ModelError
from ppzoo.inference.mcmc import mams
from ppzoo.inference.mcmc.hmc import MOST_LEAPFROGS
from ppzoo.inference.mcmc.kernel import Settings
from ppzoo.inference.mcmc.machines import machine_of
from ppzoo.inference.mcmc.streams import chain_keys

F = torch.float64


def normal(q):
    return -0.5 * torch.sum(q * q), -q


def run(chains, draws, size=3, step_size=0.4, limit=math.pi, density=normal):
    machine, _ = machine_of(mams.build(), density, chain_keys(0, chains), torch.zeros(size, dtype=F))
    settings = Settings(
        torch.full((chains,), step_size, dtype=F),
        torch.ones(chains, size, dtype=F),
        torch.full((chains,), limit, dtype=F),
    )
    start = torch.linspace(-1, 1, size * chains, dtype=F).reshape(chains, size)
    state = machine.start(start, settings)
    state = state.emptied(torch.full_like(state.counts, draws), draws)
    while bool((state.counts < draws).any()):
        machine.advance(state, 32)
    return state


def unit(size, seed):
    u = torch.randn(size, generator=torch.Generator().manual_seed(seed), dtype=F)
    return u / u.norm()


@pytest.mark.parametrize("steep", [0.1, 3.0, 40.0])
def test_a_turn_solves_its_equation(steep):
    """By Runge and Kutta's fourth order in 20,000 steps; the work of the force is the kinetic energy's growth."""
    u, force, time, n = unit(5, 1), steep * unit(5, 2), 0.7, 20_000

    def slope(u):
        return (force - u * (u @ force)) / 4

    v, work, h = u.clone(), 0.0, time / n
    for _ in range(n):
        a = slope(v)
        b = slope(v + h / 2 * a)
        c = slope(v + h / 2 * b)
        d = slope(v + h * c)
        new = v + h / 6 * (a + 2 * b + 2 * c + d)
        work += float(h / 6 * (force @ v + 4 * force @ (v + h / 4 * (a + b)) + force @ new))
        v = new
    found, grown = mams.turned(u, force, torch.tensor(time, dtype=F))
    torch.testing.assert_close(found, v, rtol=1e-10, atol=1e-10)
    assert float(grown) == pytest.approx(work, rel=1e-7)


@pytest.mark.parametrize("size", [2, 3, 100])
@pytest.mark.parametrize("time", [1e-6, 1.0, 1e3])
def test_turning_back_is_turning_the_velocity_round(size, time):
    u, force, time = unit(size, 3), 2 * unit(size, 4), torch.tensor(time, dtype=F)
    there, grown = mams.turned(u, force, time)
    assert float(there.norm()) == pytest.approx(1.0, rel=1e-12)
    assert float(grown) == pytest.approx(float(mams.turned(there, force, torch.zeros((), dtype=F))[1]) + float(grown))
    if float(time) <= 1:
        back, shrunk = mams.turned(-there, force, time)
        torch.testing.assert_close(-back, u, rtol=1e-9, atol=1e-9)
        assert float(grown + shrunk) == pytest.approx(0.0, abs=1e-9)


def test_without_a_force_nothing_turns():
    u = unit(4, 5)
    found, grown = mams.turned(u, torch.zeros(4, dtype=F), torch.tensor(3.0, dtype=F))
    torch.testing.assert_close(found, u)
    assert float(grown) == pytest.approx(0.0, abs=1e-12)


def test_the_energy_error_is_of_second_order_in_the_step():
    """Over the same way, half of it leaves a quarter of the error."""
    errors = []
    for step_size in (0.2, 0.1, 0.05):
        rows = run(400, 1, size=10, step_size=step_size, limit=2.0).rows
        errors.append(float(rows["max_energy_error"].median()))
    assert errors[0] / errors[1] == pytest.approx(4, rel=0.3)
    assert errors[1] / errors[2] == pytest.approx(4, rel=0.3)


def test_draws_of_a_normal_are_nearly_uncorrelated_with_the_limit_at_pi():
    """As those of Hamiltonian dynamics are, which it is in many dimensions."""
    q = run(100, 201, size=50, step_size=1.0).rows["q"]
    pairs = torch.stack([q[:, :-1].flatten(), q[:, 1:].flatten()])
    assert abs(float(torch.corrcoef(pairs)[0, 1])) < 0.05
    assert float(q.var()) == pytest.approx(1.0, abs=0.02)


def test_a_limit_of_nothing_is_one_leapfrog_and_a_huge_one_is_cut():
    assert run(5, 10, limit=0.0).rows["n_steps"].unique().tolist() == [1]
    assert int(run(2, 3, limit=1e9).rows["n_steps"].max()) == MOST_LEAPFROGS


def test_an_end_that_is_not_taken_leaves_the_chain_where_it_was():
    rows = run(40, 60, step_size=2.5).rows
    stayed = (rows["q"][:, 1:] == rows["q"][:, :-1]).all(-1)
    assert 0.05 < float(stayed.double().mean()) < 0.9
    assert bool((rows["energy_error"][:, 1:][stayed] == 0).all())
    share = 1 - float(stayed.double().mean())
    error = (0.25 / stayed.numel()) ** 0.5
    assert abs(share - float(rows["acceptance_rate"][:, 1:].mean())) < 5 * error


def test_where_there_is_no_density_a_trajectory_ends_at_once_and_is_not_taken():
    def walled(q):
        lp, g = normal(q)
        return torch.where((q < 1.2).all(), lp, -torch.inf), g

    rows = run(40, 60, density=walled).rows
    assert bool((rows["q"] < 1.2).all())
    hit = rows["diverging"]
    assert 0.05 < float(hit.double().mean()) < 0.95
    assert bool((rows["acceptance_rate"][hit] == 0).all())


def test_a_program_of_one_number_is_refused():
    def model():
        pyro.sample("x", dist.Normal(0.0, 1.0))

    with pytest.raises(ModelError, match=r"has one unknown number, .*turn among two at least.*Use method='nuts'"):
        ppzoo.fit(model, (), method="mams", warmup=20, draws=4)


@pytest.mark.parametrize("adapt", ["pooled", "per_chain"])
def test_moments_of_a_conjugate_posterior(adapt):
    """Two means, of which four and two normal observations are seen; and a diagnosis that has nothing against it."""

    def model(y, z):
        a = pyro.sample("a", dist.Normal(0.0, 2.0))
        b = pyro.sample("b", dist.Normal(0.0, 10.0))
        with pyro.plate("y_row", len(y)):
            pyro.sample("y", dist.Normal(a, 1.0), obs=y)
        with pyro.plate("z_row", len(z)):
            pyro.sample("z", dist.Normal(a + b, 1.0), obs=z)

    y, z = torch.tensor([0.3, 1.2, 0.8, 1.9]), torch.tensor([3.0, 3.2])
    fit = ppzoo.fit(model, (y, z), method="mams", chains=16, warmup=300, draws=500, adapt=adapt)
    assert fit.diagnose().verdict == "trust", fit.diagnose()
    precision = torch.tensor([[1 / 4 + 4 + 2, 2], [2, 1 / 100 + 2]], dtype=F)
    pull = torch.stack([y.sum() + z.sum(), z.sum()]).to(F)
    mean, covariance = torch.linalg.solve(precision, pull), torch.linalg.inv(precision)
    table = fit.summary()
    for k, name in enumerate("ab"):
        assert abs(table.loc[name, "mean"] - float(mean[k])) < 4.5 * table.loc[name, "mcse_mean"]
        assert abs(table.loc[name, "sd"] - float(covariance[k, k].sqrt())) < 4.5 * table.loc[name, "mcse_sd"]
