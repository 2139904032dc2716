"""What weights say, and do not say, of fits whose rows are read while they are used."""

from __future__ import annotations

import pyro
import pyro.distributions as dist
import pytest
import torch

import ppzoo


def conjugate(y):
    mu = pyro.sample("mu", dist.Normal(0.0, 1.0))
    with pyro.plate("row", len(y)):
        pyro.sample("y", dist.Normal(mu, 1.0), obs=y)


class Rows:
    """What can be gone through again and again."""

    def __init__(self, *batches):
        self.batches = batches

    def __iter__(self):
        return iter(self.batches)


def words(fit, level):
    return " | ".join(str(finding) for finding in fit.diagnose().findings if finding.level == level)


def test_weights_of_streamed_data_are_of_all_rows():
    """The exact posterior as the guide, so that all weights are the evidence; of some rows only they would differ."""
    y = torch.linspace(-1.0, 2.0, 40, dtype=torch.float64)

    def exact(rows):
        pyro.sample("mu", dist.Normal(y.sum() / 41, 41**-0.5))

    streamed = ppzoo.fit(conjugate, Rows(*y.split(8)), rows=40, guide=exact, steps=60)
    memory = ppzoo.fit(conjugate, y, guide=exact, steps=60)
    for fit in (streamed, memory):
        assert fit.diagnose().numbers["k_hat"] < 0
    assert words(streamed, "caution") == ""
    assert "k-hat" not in words(streamed, "note")


def local(y):
    with pyro.plate("row", len(y)):
        z = pyro.sample("z", dist.Normal(0.0, 1.0))
        pyro.sample("y", dist.Normal(z, 1.0), obs=y)


def both(y):
    mu = pyro.sample("mu", dist.Normal(0.0, 1.0))
    with pyro.plate("row", len(y)):
        z = pyro.sample("z", dist.Normal(mu, 1.0))
        pyro.sample("y", dist.Normal(z, 1.0), obs=y)


def test_weights_of_each_row_are_of_the_rows_that_stand_for_all():
    """The guide is wider than the posterior: its weights are bounded."""
    y = torch.linspace(-1.0, 2.0, 40)

    def wide(rows):
        with pyro.plate("row", len(rows)):
            pyro.sample("z", dist.Normal(rows / 2, 0.8))

    fit = ppzoo.fit(local, Rows(*y.split(8)), rows=40, guide=wide, steps=60)
    assert "k-hat is of 8 of 40 rows, for data are streamed" in words(fit, "note")
    assert fit.diagnose().numbers["k_hat"] < 0.5


@pytest.mark.parametrize("why", ["each row has its own", "too many to be read", "draws have no weights"])
def test_weights_that_cannot_be_had_are_told(why, monkeypatch, tmp_path):
    y = torch.linspace(-1.0, 2.0, 40)
    model, guide = (both, "amortised") if "own" in why else (conjugate, "normal")
    fit = ppzoo.fit(model, Rows(*y.split(8)), rows=40, guide=guide, steps=60)
    if "many" in why:
        monkeypatch.setattr("ppzoo.weighing_streamed._MOST", 40 * 399)
    if "draws" in why:
        fit = ppzoo.load(fit.save(tmp_path / "fit"), model=model)
    assert "k-hat was not checked, because data are streamed" in words(fit, "caution")
    assert why in words(fit, "caution")
    assert "k_hat" not in fit.diagnose().numbers
