"""A fit that cannot go on says which batch, site and value it was."""

from __future__ import annotations

import math
import re

import pyro
import pyro.distributions as dist
import pytest
import torch

import ppzoo
from ppzoo.errors import FitError

Y = torch.tensor([0.9, 1.1, 1.6, 0.4, -0.3, 2.2])


def own(y):
    pyro.sample("mu", dist.Normal(pyro.param("m", torch.tensor(0.5)), 0.4))


def test_a_log_probability():
    def model(y):
        mu = pyro.sample("mu", dist.Normal(0.0, 1.0))
        with pyro.plate("row", len(y)):
            pyro.sample("y", dist.LogNormal(mu, 1.0, validate_args=False), obs=y)  # one of them is negative

    with pytest.raises(FitError, match=r"step \d+: site 'y' of the model has log probability nan at the value -0.3"):
        ppzoo.fit(model, Y, guide=own, steps=100)


def test_a_batch():
    calls = []

    def model(y):
        calls.append(None)
        mu = pyro.sample("mu", dist.Normal(0.0, 1.0))
        with pyro.plate("row", len(y)):
            late = math.nan if len(calls) > 150 else 0.0
            pyro.sample("y", dist.Normal(mu + late, 1.0, validate_args=False), obs=y)

    (finding,) = ppzoo.fit(model, Y, guide=own, steps=1000, batch_size=2).outcome.findings
    assert re.search(r"step \d+, on rows \d, \d: site 'y' of the model has log probability nan", finding.evidence)


def test_a_value_of_the_guide():
    def wild(y):
        pyro.sample("mu", dist.Normal(pyro.param("m", torch.tensor(0.5)) / 0, 0.4, validate_args=False))

    def model(y):
        mu = pyro.sample("mu", dist.Normal(0.0, 1.0, validate_args=False))
        with pyro.plate("row", len(y)):
            pyro.sample("y", dist.Normal(mu, 1.0, validate_args=False), obs=y)

    with pytest.raises(FitError, match="site 'mu' of the guide has the value inf"):
        ppzoo.fit(model, Y, guide=wild, steps=100)


def test_a_gradient():
    def model(y):
        mu = pyro.sample("mu", dist.Normal(0.0, 1.0))
        with pyro.plate("row", len(y)):
            pyro.sample("y", dist.Normal(mu + torch.sqrt(0 * mu), 1.0), obs=y)

    with pytest.raises(FitError, match="the gradient alone, every log probability is finite"):
        ppzoo.fit(model, Y, guide=own, steps=100)


def test_a_fit_that_fails_later_stands_where_it_was_best():
    """The level runs to 2, beyond which there is no likelihood."""
    calls = []

    def model(y):
        calls.append(None)
        mu = pyro.sample("mu", dist.Normal(0.0, 1.0))
        with pyro.plate("row", len(y)):
            pyro.sample("y", dist.Normal(mu, 1.0), obs=y)
        pyro.factor("wall", torch.tensor(math.nan if len(calls) > 150 else 0.0))

    fit = ppzoo.fit(model, Y, guide=own, steps=1000)
    (finding,) = fit.outcome.findings
    assert finding.level == "reject"
    assert finding.what.startswith("loss or gradient stayed non-finite")
    assert "step" in finding.evidence
    assert "site 'wall' of the model has log probability nan" in finding.evidence
    assert fit.outcome.numbers["steps"] < 400
    assert math.isfinite(float(fit.draws(3)["mu"].sum()))
