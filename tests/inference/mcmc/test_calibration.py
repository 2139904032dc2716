"""Every kernel's draws have the rank that they must among known truths, and planted faults show.

The kernels are those of the table in ``test_kernel``: a row there is a test here. ``tests/reference`` has the same at
full strength.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch.distributions.transforms import ExpTransform

from ppzoo.inference.mcmc import nuts
from ppzoo.inference.mcmc.integrator import Point
from ppzoo.inference.mcmc.warmup import Limits
from tests.inference.mcmc.test_kernel import KERNELS
from tests.reference.programs import PROGRAMS
from tests.reference.replicates import replicated

FALSE_ALARM = 3e-8  # of each test, exact over seeds; the seeds are fixed

DEPTH = 6.0
KERNEL = nuts.build(6)


def whole_sampler(name):
    """Each replicate learns its step size and metric from a start that is not its own truth."""
    row = PROGRAMS[name]
    with replicated(row.program, row.size, 1000, seed=1) as replicates:
        draws = replicates.after_warm_up(KERNEL, Limits(1.0, DEPTH, DEPTH), draws=31, thin=4, warmup=100)
        return replicates.diagnosis(draws, FALSE_ALARM)


def kernel_alone(kernel, limit):
    """Exact for every reversible kernel, whatever its step size and however slowly it mixes."""
    row = PROGRAMS["regression"]
    with replicated(row.program, row.size, 40_000, seed=2) as replicates:
        return replicates.diagnosis(replicates.around_the_truth(kernel, limit, 0.3, draws=15), FALSE_ALARM)


@pytest.mark.parametrize("name", ["regression", "two groups, summed out"])
def test_warm_up_and_nuts_are_calibrated(name):
    diagnosis = whole_sampler(name)
    assert diagnosis.verdict == "trust", diagnosis


@pytest.mark.parametrize("name", KERNELS)
def test_a_truth_is_a_typical_state_of_its_chain(name):
    diagnosis = kernel_alone(*KERNELS[name])
    assert diagnosis.verdict == "trust", diagnosis


def flat_in_the_logarithm(self, x, y):
    return torch.zeros_like(x)


def without_the_last_half_step(density, z, step, inverse_mass):
    p = z.p + 0.5 * step * z.g
    q = z.q + step * (inverse_mass * p)
    return Point(q, p, *density(q))


def without_the_metric(p, lp, inverse_mass):
    return 0.5 * torch.sum(p * p) - lp


def with_noise(change):
    """NUTS whose noise is changed before it is used."""
    return replace(
        KERNEL,
        init=lambda q, lp, g, noise, settings: KERNEL.init(q, lp, g, change(noise), settings),
        step=lambda density, state, noise: KERNEL.step(density, state, change(noise)),
    )


@pytest.mark.parametrize(
    "change",
    [
        lambda noise: noise._replace(momentum=1.1 * noise.momentum),
        lambda noise: noise._replace(leaf=torch.zeros_like(noise.leaf), tree=torch.zeros_like(noise.tree)),
    ],
    ids=["momentum 10 % too large", "every new leaf and half is taken"],
)
def test_a_fault_in_what_is_drawn_is_seen(change):
    """Missed in one seed of 20,000: a p-value here is 1e-21 or less."""
    assert kernel_alone(with_noise(change), DEPTH).verdict == "reject"


@pytest.mark.parametrize(
    ("name", "fault"), [("leapfrog", without_the_last_half_step), ("energy_of", without_the_metric)]
)
def test_a_fault_in_the_dynamics_is_seen(name, fault, monkeypatch):
    """Missed in no seed that anybody will try: the p-values here are below 1e-50."""
    monkeypatch.setattr(nuts, name, fault)
    assert kernel_alone(KERNEL, DEPTH).verdict == "reject"


def test_a_missing_jacobian_is_seen(monkeypatch):
    monkeypatch.setattr(ExpTransform, "log_abs_det_jacobian", flat_in_the_logarithm)
    for diagnosis in (whole_sampler("regression"), kernel_alone(KERNEL, DEPTH)):
        assert [finding.what for finding in diagnosis.findings][:1] == ["the draws of 's' are too low"]


def test_a_chain_that_does_not_keep_its_data_is_seen():
    row = PROGRAMS["normal"]
    with replicated(row.program, row.size, 10) as replicates:
        draws = replicates.positions[:, None].roll(1, 0)
        with pytest.raises(ValueError, match="the data have moved"):
            replicates.diagnosis(draws, FALSE_ALARM)
