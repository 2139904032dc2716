"""The verdict on fits by SVI, good and bad, of every posterior with a known answer: ``pytest -m reference``, minutes.

A fit is *off* where a mean is more than 0.3 reference sd away or an sd more than 30 % out, by more than 4 combined
Monte Carlo standard errors. No such fit may be trusted. A fit that is not off and is rejected all the same is a *false
alarm*: it is counted, for k-hat judges all parameters together, and these comparisons one by one. What the last run
gave is in ``verdicts.json``.
"""

from __future__ import annotations

import numpy as np
import pytest

import ppzoo
from tests.targets.table import TARGETS

pytestmark = [pytest.mark.reference, pytest.mark.slow]  # both, since -m "not slow" replaces the default selection

SEED = 20_260_101
DRAWS = 20_000
MEAN, SD, ERRORS = 0.30, 0.30, 4.0
FALSE_ALARMS = 0.05  # of the fits that are not off, and one more
SETTINGS = {
    "usual": {},
    "500 steps": {"steps": 500},
    "500 steps from the prior": {"steps": 500, "init": "data"},  # bad ones, for the most part
}


@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("guide", ["normal", "mvn"])
@pytest.mark.parametrize("name", TARGETS)
def test_no_fit_that_is_off_is_trusted(name, guide, settings, shared_data, record):
    target = TARGETS[name](shared_data)
    fit = ppzoo.fit(
        target.model, target.data, method="svi", guide=guide, seed=SEED, progress=False, **SETTINGS[settings]
    )
    shift, spread = gaps(target.read(fit.draws(DRAWS)), target.reference)
    off = bool(shift.max() > MEAN or spread.max() > SD)
    diagnosis = fit.diagnose()
    record[f"{name}, {guide}, {settings}"] = {
        "off": off,
        "verdict": diagnosis.verdict,
        "mean, sd off": round(float(shift.max()), 2),
        "sd, share off": round(float(spread.max()), 2),
        **{key: round(diagnosis.numbers[key], 2) for key in KEYS if np.isfinite(diagnosis.numbers.get(key, np.nan))},
        "findings": [finding.what for finding in diagnosis.findings if finding.level == diagnosis.verdict],
    }
    assert not (off and diagnosis.verdict == "trust"), str(diagnosis)


KEYS = ("k_hat", "k_hat_error", "draws_weighed", "shift", "sd_error")


def gaps(draws, reference):
    """How far means are off, in sd, and sds, as a share, ``(P,)`` each; 0 where Monte Carlo error explains it."""
    spread = draws.std(0, ddof=1)
    error = np.hypot(spread / np.sqrt(len(draws)), reference.mean_error)
    shift = np.abs(draws.mean(0) - reference.mean)
    ratio = np.abs(spread / reference.sd - 1)
    few = ERRORS * np.hypot(1 / np.sqrt(2 * len(draws)), np.sqrt(0.5) * reference.mean_error / reference.sd)
    return np.where(shift > ERRORS * error, shift / reference.sd, 0.0), np.where(ratio > few, ratio, 0.0)


def test_false_alarms_are_few(record):
    """After the others, over what they found."""
    right = {name: row for name, row in record.items() if not row["off"]}
    if not right:
        pytest.skip("no fit of this run was right")
    alarms = [name for name, row in right.items() if row["verdict"] == "reject"]
    assert len(alarms) <= 1 + FALSE_ALARMS * len(right), alarms
