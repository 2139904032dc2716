"""Pathfinder beside mean-field SVI on posteriors with reference draws: ``pytest -m reference``, some minutes.

The distance is the first Wasserstein distance between the marginals of 1,000 draws and of the reference draws, in
posterior sds, the mean over the scalars. SVI is there as it is by default, which starts at a normal of Pathfinder's and
ends when its loss has settled, and as it is by itself: 5,000 steps from the prior's median, too few for a parameter
whose scale is hundreds of times that of a step. A path of Pathfinder takes 20 to 150 gradients, so a fiftieth of 5,000
buys one path; the default is eight, for posteriors where paths differ. Of SVI its steps are counted, without what its
start takes. What the last run gave is in ``approximations.json``.
"""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import wasserstein_distance

import ppzoo
from tests.targets.table import POSTERIORDB

pytestmark = [pytest.mark.reference, pytest.mark.slow]  # both, since -m "not slow" replaces the default selection

SEED = 20_260_101
STEPS = 5000  # of SVI by itself
BUDGET = STEPS / 50
SHARE = 0.95  # of the posteriors
METHODS = {
    "pathfinder": {"method": "pathfinder"},
    "pathfinder, one path": {"method": "pathfinder", "paths": 1},
    "svi": {"method": "svi", "guide": "normal"},
    "svi by itself": {"method": "svi", "guide": "normal", "init": "data", "steps": STEPS},
}


def distance(draws, reference):
    """Mean over the scalars of the first Wasserstein distance in sds of the reference."""
    exact = reference.draws.reshape(-1, len(reference.names))
    found = [wasserstein_distance(x, y) for x, y in zip(draws.T, exact.T, strict=True)]
    return float(np.mean(np.array(found) / reference.sd))


@pytest.fixture(scope="module")
def rows(shared_data, record):
    for name, factory in POSTERIORDB.items():
        target = factory(shared_data)
        record[name] = {}
        for label, settings in METHODS.items():
            fit = ppzoo.fit(target.model, target.data, seed=SEED, progress=False, **settings)
            diagnosis = fit.diagnose()
            record[name][label] = {
                "distance": round(distance(target.read(fit.draws(1000)), target.reference), 4),
                "gradients": int(fit.outcome.numbers["steps" if "svi" in label else "gradients"]),
                "k_hat": round(diagnosis.numbers["k_hat"], 2),
                "verdict": diagnosis.verdict,
            }
    return record


@pytest.mark.parametrize("label", ["pathfinder", "pathfinder, one path"])
@pytest.mark.parametrize("rival", ["svi", "svi by itself"])
def test_pathfinder_is_nearer_than_mean_field(label, rival, rows):
    nearer = [row[label]["distance"] <= row[rival]["distance"] for row in rows.values()]
    assert np.mean(nearer) >= SHARE, [name for name, near in zip(rows, nearer, strict=True) if not near]


def test_one_path_takes_a_fiftieth_of_the_gradients(rows):
    gradients = np.array([row["pathfinder, one path"]["gradients"] for row in rows.values()])
    assert np.mean(gradients <= BUDGET) >= SHARE
    assert gradients.mean() <= BUDGET


def test_where_pathfinder_is_farther_it_says_so(rows):
    farther = [row["pathfinder"] for row in rows.values() if row["pathfinder"]["distance"] > row["svi"]["distance"]]
    assert "trust" not in {row["verdict"] for row in farther}
