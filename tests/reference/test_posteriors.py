"""NUTS against every posterior with a known answer: ``pytest -m reference``, minutes in all, not part of a plain run.

Chance fails one seed in ten: 216 scalars are compared by mean and two quantiles, 1,015 by mean, each at 4 standard
errors. The seed is fixed, so a failure stays; before blaming a sampler, try another seed.
"""

from __future__ import annotations

import pytest

import ppzoo
from tests.reference.gate import gate
from tests.targets.table import TARGETS

pytestmark = [pytest.mark.reference, pytest.mark.slow]  # both, since -m "not slow" replaces the default selection

CHAINS, WARMUP, DRAWS, SEED = 64, 500, 500, 20_260_101


@pytest.mark.parametrize("name", TARGETS)
def test_nuts_finds_the_posterior(name, shared_data):
    target = TARGETS[name](shared_data)
    fit = ppzoo.fit(
        target.model, target.data, method="nuts", chains=CHAINS, warmup=WARMUP, draws=DRAWS, seed=SEED, progress=False
    )
    assert gate(target.read(fit.outcome.draws), target.reference) == []
