"""Calibration of a conjugate program by guides that are right, shifted and too narrow by known amounts."""

from __future__ import annotations

import json

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.nn import PyroModule, PyroParam
from scipy import stats

import ppzoo
from ppzoo.calibrating import LIKELIHOOD
from ppzoo.diagnostics.coverage import LEVELS
from ppzoo.errors import FitError, ModelError, OptionError

Y = torch.zeros(4, dtype=torch.float64)
R = 100


def conjugate(y):
    """The posterior is N(sum(y) / 5, 1 / 5)."""
    mu = pyro.sample("mu", dist.Normal(y.new_zeros(()), 1.0))
    with pyro.plate("row", len(y)):
        pyro.sample("y", dist.Normal(mu, 1.0), obs=y)


def guide_of(shift, scale):
    def guide(y):
        pyro.sample("mu", dist.Normal(y.sum() / 5 + shift * 5**-0.5, scale * 5**-0.5))

    return guide


@pytest.mark.parametrize(
    ("shift", "scale", "what"),
    [(0.0, 1.0, None), (0.7, 1.0, "too high"), (-0.7, 1.0, "too low"), (0.0, 0.5, "too narrow")],
)
def test_a_guide_that_is_off_by_a_known_amount(shift, scale, what):
    """Bias and coverage have closed forms; 5 standard errors each. No finding on a right guide: 99 seeds of 100."""
    found = ppzoo.calibrate(conjugate, Y, method="svi", guide=guide_of(shift, scale), steps=1, replicates=R, seed=2)
    row = found.table.loc["mu"]
    bias = 2 * stats.norm.cdf(shift / np.sqrt(1 + scale**2)) - 1
    assert row["bias"] == pytest.approx(bias, abs=2 * 5 * 0.29 / np.sqrt(R))
    for level in LEVELS:
        z = scale * stats.norm.ppf((1 + level) / 2)
        expected = stats.norm.cdf(shift + z) - stats.norm.cdf(shift - z)
        error = np.sqrt(expected * (1 - expected) / R)
        assert row[f"cover{level * 100:.0f}"] == pytest.approx(expected, abs=5 * error + 0.02)
    assert list(found.table.index) == ["mu", LIKELIHOOD]
    accused = [finding.what for finding in found.diagnosis.findings if "'mu'" in finding.what]
    assert found.verdict == ("reject" if what else "trust"), str(found)
    assert len(accused) == (what is not None)
    assert all(what in text for text in accused)


def test_what_the_log_likelihood_sees():
    """A posterior of two parameters that is right in each and wrong in both: y sees their sum only."""

    def model(y):
        a = pyro.sample("a", dist.Normal(y.new_zeros(()), 1.0))
        b = pyro.sample("b", dist.Normal(y.new_zeros(()), 1.0))
        with pyro.plate("row", len(y)):
            pyro.sample("y", dist.Normal(a + b, 0.3), obs=y)

    def marginals(y):
        """sum(y) / 0.09 = t; precision I + 4 / 0.09 11': the mean is equal in both, the sd that of the margin."""
        n = len(y) / 0.09
        mean, sd = y.sum() / 0.09 / (1 + 2 * n), ((1 + n) / (1 + 2 * n)) ** 0.5
        pyro.sample("a", dist.Normal(mean, sd))
        pyro.sample("b", dist.Normal(mean, sd))

    found = ppzoo.calibrate(model, Y, method="svi", guide=marginals, steps=1, replicates=60)
    assert found.table.loc[["a", "b"], "p_ranks"].min() > 1e-3
    assert found.table.loc[LIKELIHOOD, "p_ranks"] < 1e-10
    assert "'log likelihood'" in found.diagnosis.findings[0].what


def test_a_sampler_is_calibrated_too():
    """A right sampler is accused in one seed of 100."""
    found = ppzoo.calibrate(conjugate, Y, method="nuts", replicates=20, chains=8, warmup=100, draws=100)
    assert found.verdict == "trust", str(found)
    assert (found.method, found.replicates, found.name) == ("nuts", 20, "conjugate")


def test_plates_name_the_quantities_and_predictors_stay():
    data = ppzoo.load_dataset("eight_schools")
    model = ppzoo.create_model("eight_schools")
    found = ppzoo.calibrate(model, data, method="svi", steps=5, init="data", replicates=20)
    assert {"mu", "tau", "theta[A]", "theta[H]", LIKELIHOOD} <= set(found.table.index)
    assert found.ranks["theta[A]"].shape == (20,)


def test_the_same_seed_gives_the_same_ranks():
    again = [
        ppzoo.calibrate(conjugate, Y, method="svi", guide=guide_of(0, 1), steps=1, replicates=20, seed=seed)
        for seed in (5, 5, 6)
    ]
    ranks = [found.ranks["mu"].tolist() for found in again]
    assert ranks[0] == ranks[1] != ranks[2]


def test_it_shows_itself_and_is_strict_json():
    found = ppzoo.calibrate(conjugate, Y, method="svi", guide=guide_of(0, 1), steps=1, replicates=20)
    assert "conjugate by svi: 20 truths" in str(found)
    assert "80%: 55% to 100%" in str(found)
    assert "<pre>" in found._repr_html_()
    document = json.loads(json.dumps(found.as_dict(), allow_nan=False))
    assert document["quantities"]["mu"]["cover95"] == found.table.loc["mu", "cover95"]
    assert document["diagnosis"]["verdict"] == found.verdict


class Trained(PyroModule):
    def __init__(self):
        super().__init__()
        self.scale = PyroParam(torch.tensor(1.0, dtype=torch.float64), constraint=dist.constraints.positive)

    def forward(self, y):
        mu = pyro.sample("mu", dist.Normal(0.0, 1.0))
        with pyro.plate("row", len(y)):
            pyro.sample("y", dist.Normal(mu, self.scale), obs=y)


def weighed(y):
    mu = pyro.sample("mu", dist.Normal(0.0, 1.0))
    pyro.sample("y", dist.Normal(mu, 1.0).expand([4]).to_event(1), obs=y)
    pyro.factor("more", -mu.abs())


def transformed(y):
    mu = pyro.sample("mu", dist.Normal(0.0, 1.0))
    with pyro.plate("row", len(y)):
        pyro.sample("y", dist.Normal(mu, 1.0), obs=y + 1)


def series(y):
    a = pyro.sample("a", dist.Normal(0.0, 1.0))
    before = torch.cat([y.new_zeros(1), y[:-1]])
    with pyro.plate("row", len(y)):
        pyro.sample("y", dist.Normal(a * before, 1.0), obs=y)


def blind(y):
    pyro.sample("mu", dist.Normal(0.0, 1.0))


@pytest.mark.parametrize(
    ("model", "problem"),
    [
        (Trained(), "has parameters without a prior"),
        (weighed, "has a factor"),
        (transformed, "observes something else than an argument"),
        (series, "draws an observation from others that are observed"),
        (blind, "has no observed site"),
    ],
)
def test_programs_that_cannot_be_simulated(model, problem):
    with pytest.raises(ModelError, match=problem):
        ppzoo.calibrate(model, torch.tensor([0.3, -0.2, 1.0, 2.0], dtype=torch.float64), replicates=20)


def test_options_are_checked_at_the_door():
    with pytest.raises(OptionError, match="replicates: must be a whole number in range; got 5; expected an int >= 20"):
        ppzoo.calibrate(conjugate, Y, replicates=5)
    with pytest.raises(OptionError, match="is not an option of method 'svi'"):
        ppzoo.calibrate(conjugate, Y, chains=3)
    with pytest.raises(OptionError, match="draws: are too few to rank a truth among; got 40 in all; expected 199"):
        ppzoo.calibrate(conjugate, Y, method="nuts", chains=2, warmup=20, draws=20)


def test_fits_that_fail_are_counted(monkeypatch):
    """Those that are left out may be what is wrong, so a finding tells; if most fail, there is nothing to tell."""

    def failing(model, data, **settings):
        if float(data[0].sum()) > limit:
            raise FitError("found no finite start")
        return ppzoo.fit(model, data, **settings)

    monkeypatch.setattr("ppzoo.calibrating.fit", failing)
    limit = 4.0
    found = ppzoo.calibrate(conjugate, Y, guide=guide_of(0, 1), steps=1, replicates=60)
    (left_out,) = [finding for finding in found.diagnosis.findings if "left out" in finding.what]
    assert 30 < found.replicates < 60
    assert f"{60 - found.replicates} of 60; FitError: found no finite start" in left_out.evidence
    limit = -100.0
    with pytest.raises(FitError, match="fails on data that the program simulates; got 20 of 20 fits"):
        ppzoo.calibrate(conjugate, Y, guide=guide_of(0, 1), steps=1, replicates=20)
