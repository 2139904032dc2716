"""When fits end by themselves: ``pytest -m reference``, some minutes, not part of a plain run.

The bound of a mean-field fit that ended by itself is held against that of one of 20,000 steps, by the same draws of
both guides; on ten posteriors an oracle tells the fewest steps after which a falling rate ends as near. From
Pathfinder's normal these are mostly the first 50. Nobody who has to look at losses can know that: with an sd of 4 nats
a step, the mean of two thousand is known to an eleventh of a nat. The ten are fitted from the prior's median, too,
where the way is long. What the last run gave is in ``settling.json``.
"""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch

import ppzoo
from ppzoo.inference.weights import log_weights
from tests.targets.table import TARGETS

pytestmark = [pytest.mark.reference, pytest.mark.slow]  # both, since -m "not slow" replaces the default selection

TIMED = (
    "kidiq_with_mom_work-kidscore_interaction_z",
    "earnings-logearn_interaction_z",
    "mesquite-logmesquite_logvas",
    "nes2000-nes",
    "eight_schools-eight_schools_noncentered",
    "arK-arK",
    "garch-garch11",
    "hmm_example-hmm_example",
    "german_credit_numeric_logistic_regression",
    "brownian_motion_missing_middle_observations",
)
LOST, MOST = 0.5, 3500  # nats, steps
GRID = [round(50 * 1.25**k) for k in range(28)]
DRAWS = 4000


def bound(fit):
    """log p - log q of draws of the guide, the same base noise for every fit."""
    with replace(fit, seed=0).world("weights"):
        return log_weights(fit.pair, DRAWS)[0].double().numpy()


@pytest.mark.parametrize("name", TARGETS)
def test_a_fit_ends_near_the_optimum_and_in_time(name, shared_data, record):
    target = TARGETS[name](shared_data)

    def fit(**options):
        settings = {"guide": "normal", "seed": 1, "dtype": torch.float64, "progress": False}
        return ppzoo.fit(target.model, target.data, **settings | options)

    best, found = bound(fit(steps=20_000)), fit()
    lost, steps = best - bound(found), int(found.outcome.numbers["steps"])
    row = record[name] = {
        "steps": steps,
        "settled": bool(found.outcome.numbers["settled"]),
        "lost": round(float(lost.mean()), 3),
        "error": round(float(lost.std() / math.sqrt(DRAWS)), 3),
    }
    assert lost.mean() <= LOST
    if name in TIMED:
        row["oracle"] = oracle(best, fit)
        assert steps <= MOST
        alone = fit(init="data", steps="auto")
        lost, steps = best - bound(alone), int(alone.outcome.numbers["steps"])
        row["by itself"] = {
            "steps": steps,
            "settled": bool(alone.outcome.numbers["settled"]),
            "lost": round(float(lost.mean()), 3),
            "oracle": oracle(best, partial(fit, init="data")),
        }
        if row["by itself"]["settled"]:
            assert lost.mean() <= LOST
            assert steps <= max(2 * row["by itself"]["oracle"], MOST)
        else:
            assert alone.diagnose().verdict != "trust"


def oracle(best, fit):
    """The fewest steps with a falling rate after which a fit ends as near; None if 20,000 are too few."""
    return next((n for n in GRID if np.mean(best - bound(fit(steps=n))) <= LOST), None)
