"""Calibration at full strength: ``pytest -m reference``, some minutes in all, not part of a plain run.

Chance fails less than one seed in a million: three tests of each of eight programs at 3e-8, by the exact chance of
leaving the bands, and two distances of each kernel at 1e-8. After warm-up, 4,000 replicates miss a posterior that is
shifted by 0.2 of its sd, or a spread that is wrong by a factor of 1.4, in one seed of 10,000. With the truth inside its
chain, 10,000 replicates show what a fault does in a few draws. A kernel that moves a known target by 0.02 sd is missed
by the last test in one seed of a million.
"""

from __future__ import annotations

import math

import pytest
import torch

from ppzoo.inference.mcmc import hmc, nuts
from ppzoo.inference.mcmc.warmup import Limits
from tests.inference.mcmc.test_kernel import KERNELS, advanced, distances, exact_draws
from tests.reference.programs import PROGRAMS
from tests.reference.replicates import replicated

pytestmark = [pytest.mark.reference, pytest.mark.slow]  # both, since -m "not slow" replaces the default selection

FALSE_ALARM, DEPTH = 3e-8, 8
SAMPLERS = {
    "nuts": (nuts.build(DEPTH), Limits(1.0, 6.0, float(DEPTH))),
    "hmc": (hmc.build(), Limits(0.0, math.pi, math.pi)),
}
CHAINS, BATCHES, KOLMOGOROV = 100_000, 5, 3.1  # 2 exp(-2 x^2) is 1e-8


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("name", PROGRAMS)
def test_a_sampler_is_calibrated(name, sampler):
    """From other truths through warm-up, each replicate on its own."""
    row = PROGRAMS[name]
    with replicated(row.program, row.size, 4000, seed=11) as replicates:
        draws = replicates.after_warm_up(*SAMPLERS[sampler], draws=63, thin=4)
        diagnosis = replicates.diagnosis(draws, FALSE_ALARM)
    assert diagnosis.verdict == "trust", diagnosis


@pytest.mark.parametrize("name", PROGRAMS)
def test_nuts_keeps_every_posterior(name):
    """The truth inside its chain, exact without convergence: program, density, and kernel."""
    row = PROGRAMS[name]
    with replicated(row.program, row.size, 10_000, seed=12) as replicates:
        draws = replicates.around_the_truth(nuts.build(DEPTH), DEPTH, 0.3, draws=15)
        diagnosis = replicates.diagnosis(draws, FALSE_ALARM)
    assert diagnosis.verdict == "trust", diagnosis


@pytest.mark.parametrize("name", KERNELS)
def test_the_target_is_left_alone_to_a_fiftieth_of_its_sd(name):
    """Half a million chains for three draws: a shift by 0.02 sd is a distance of 5.6, with an error of 0.5."""
    kernel, limit = KERNELS[name]
    ends = [
        advanced(kernel, limit, 0.5, exact_draws(CHAINS, seed), 3, seed=seed).rows["q"][:, -1]
        for seed in range(100, 100 + BATCHES)
    ]
    assert max(distances(torch.cat(ends))) < KOLMOGOROV


def test_a_fiftieth_of_an_sd_is_seen():
    q = torch.cat([exact_draws(CHAINS, seed) for seed in range(100, 100 + BATCHES)])
    assert max(distances(q)) < KOLMOGOROV
    across = q + torch.tensor([0.0, 0.02 * 0.5], dtype=q.dtype)
    assert max(distances(across)) > KOLMOGOROV
