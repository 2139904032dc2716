"""The verdict: what kind of fit it is decides how it is judged, and notes and findings of the run come along."""

from __future__ import annotations

import pyro
import pyro.distributions as dist
import pytest
import torch

import ppzoo
from ppzoo.judging import judge

Y = torch.tensor([0.9, 1.1, 1.6, 0.4])


def conjugate(y):
    mu = pyro.sample("mu", dist.Normal(0.0, 1.0))
    with pyro.plate("row", len(y)):
        pyro.sample("y", dist.Normal(mu, 1.0), obs=y)


def correlated(y):
    """Two strongly correlated parameters, which a mean-field guide cannot follow."""
    a = pyro.sample("a", dist.Normal(0.0, 10.0))
    b = pyro.sample("b", dist.Normal(0.0, 10.0))
    with pyro.plate("row", len(y)):
        pyro.sample("y", dist.Normal(a + b, 0.05), obs=y)


def words(fit, level):
    return " | ".join(str(finding) for finding in fit.diagnose().findings if finding.level == level)


def test_an_exact_posterior_is_trusted():
    fit = ppzoo.fit(ppzoo.create_model("linear_regression"), "diabetes", method="exact")
    diagnosis = fit.diagnose()
    assert diagnosis.verdict == "trust"
    assert diagnosis.numbers["k_hat"] < 0.1  # weights of an exact posterior are constant
    assert "log_evidence" in diagnosis.numbers
    assert "r_hat" not in diagnosis.numbers


def test_a_good_guide_is_trusted_and_a_poor_one_is_not():
    good = ppzoo.fit(conjugate, Y, steps=1500, lr=0.03)
    assert good.diagnose().verdict == "trust", str(good.diagnose())
    poor = ppzoo.fit(correlated, Y, steps=1500, lr=0.03, seed=3)
    assert poor.diagnose().numbers["k_hat"] > 0.7  # other seeds give 0.6 to 1.1: never trust, not always reject
    assert poor.diagnose().verdict == "reject"
    assert "misses the posterior" in words(poor, "reject")


def test_a_point_guide_is_said_to_be_one():
    fit = ppzoo.fit(conjugate, Y, steps=300, lr=0.05, guide="delta")
    assert fit.diagnose().verdict == "caution"
    assert "point" in words(fit, "caution")


def test_chains_are_judged_as_chains():
    fit = ppzoo.fit(conjugate, Y, method="nuts", chains=4, warmup=200, draws=500)
    assert fit.diagnose().verdict == "trust", str(fit.diagnose())
    assert fit.diagnose().numbers["r_hat"] < 1.02
    assert "k_hat" not in fit.diagnose().numbers
    short = ppzoo.fit(conjugate, Y, method="nuts", chains=2, warmup=20, draws=4)
    assert short.diagnose().verdict == "reject"


def test_notes_of_the_run_come_along():
    fit = ppzoo.fit(conjugate, Y, steps=20, dtype=torch.float64)
    notes = {note.rstrip(".") for note in fit.notes}  # a finding adds its own full stop
    assert notes <= {finding.what for finding in fit.diagnose().findings if finding.level == "note"}


def test_skipped_steps_are_told():
    calls = []

    def model(y):
        conjugate(y)
        calls.append(None)
        if len(calls) > 20 and len(calls) % 3 == 0:
            pyro.factor("bad", torch.tensor(torch.nan))

    fit = ppzoo.fit(model, Y, steps=150, lr=0.05)
    assert fit.diagnose().numbers["skipped"] > 20
    assert fit.diagnose().verdict != "trust"
    assert "skipped" in str(fit.diagnose()) or "non-finite" in str(fit.diagnose())


def test_em_that_ran_out_of_steps_is_told():
    model = ppzoo.create_model("gmm", features=2)
    stopped = ppzoo.fit(model, "old_faithful", method="em", restarts=1, steps=2)
    assert "EM had not converged" in words(stopped, "caution")
    done = ppzoo.fit(model, "old_faithful", method="em", restarts=2)
    assert done.diagnose().numbers["converged"] == 1.0
    assert done.diagnose().verdict == "trust"


@pytest.mark.parametrize(("steps", "verdict"), [(1, {"reject"}), (1500, {"trust", "caution", "reject"})])
def test_modes_of_a_game_are_counted(steps, verdict):
    model = ppzoo.create_model("gan", features=2)
    fit = ppzoo.fit(model, "ring_of_gaussians", method="adversarial", steps=steps, seed=0)
    diagnosis = fit.diagnose()
    assert diagnosis.verdict in verdict
    assert diagnosis.numbers["modes"] == 8
    assert 0 <= diagnosis.numbers["modes_covered"] <= 8
    if steps > 1:
        assert diagnosis.numbers["modes_covered"] >= 2
    if diagnosis.numbers["modes_covered"] < 8:
        missing = 8 - int(diagnosis.numbers["modes_covered"])
        assert f"misses {missing} of 8 modes" in str(diagnosis)


def test_a_game_on_few_rows_can_still_be_read():
    x = torch.tensor([[0.0, 1.0], [1.0, 0.0], [0.0, -1.0]])
    fit = ppzoo.fit(ppzoo.create_model("gan", features=2), x, method="adversarial", steps=2, batch_size=2)
    assert "verdict" in str(fit)


def test_the_verdict_is_the_same_however_often_it_is_asked():
    fit = ppzoo.fit(conjugate, Y, steps=50)
    assert fit.diagnose() is fit.diagnose()
    assert str(judge(fit)) == str(fit.diagnose())
