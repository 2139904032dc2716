"""Closed forms: constant weights, the evidence, and the models that have none."""

from __future__ import annotations

import math

import pytest

import ppzoo
from ppzoo.errors import ModelError, OptionError


@pytest.mark.parametrize(
    ("name", "data", "options"), [("linear_regression", "diabetes", {}), ("ppca", "iris", {"features": 4})]
)
def test_the_guide_is_the_posterior(name, data, options):
    fit = ppzoo.fit(ppzoo.create_model(name, **options), data, method="exact")
    numbers = fit.diagnose().numbers
    assert numbers["k_hat"] == -math.inf  # the weights are constant
    assert fit.diagnose().verdict == "trust"
    assert math.isfinite(numbers["log_evidence"])


def test_the_evidence_of_ppca_is_its_log_likelihood():
    fit = ppzoo.fit(ppzoo.create_model("ppca", features=4), "iris", method="exact")
    x = ppzoo.load_dataset("iris").data["x"]
    assert float(fit.log_prob(x).sum()) == pytest.approx(fit.outcome.numbers["log_evidence"], rel=1e-12)


def test_models_without_a_closed_form():
    with pytest.raises(ModelError, match=r"has no closed-form answer.*'ppca' or 'linear_regression'"):
        ppzoo.fit(ppzoo.create_model("eight_schools"), "eight_schools", method="exact")


def test_it_has_no_options():
    with pytest.raises(OptionError, match="steps: is not an option of method 'exact'"):
        ppzoo.fit(ppzoo.create_model("linear_regression"), "diabetes", method="exact", steps=3)
