"""Known shifts and spreads are found, Monte Carlo error is not called a gap."""

from __future__ import annotations

import numpy as np
import pytest

from ppzoo.diagnostics.reweighting import diagnose_moments


def weights(x, mean, sd):
    """log N(x; 0, 1) - log N(x; mean, sd), up to a constant."""
    return -(x**2) / 2 + ((x - mean) / sd) ** 2 / 2


@pytest.mark.parametrize(
    ("mean", "sd", "verdict", "what"),
    [
        (0.0, 1.0, "trust", ""),
        (0.05, 1.0, "trust", ""),
        (0.22, 1.0, "caution", "mean"),
        (0.5, 1.0, "reject", "mean"),
        (0.0, 1.5, "reject", "spread"),
        (0.0, 1.22, "caution", "spread"),
    ],
)
def test_a_guide_that_is_off_by_a_known_amount(mean, sd, verdict, what):
    x = np.random.default_rng(1).normal(mean, sd, 8000)
    found = diagnose_moments(
        weights(x, mean, sd), {"other": x * 0 + np.random.default_rng(2).normal(size=8000), "mu": x}
    )
    assert found.verdict == verdict
    if what:
        advice = {"caution": "its intervals are rough", "reject": "do not use its intervals"}
        assert found.findings[0].what == f"the {what} is off: {advice[verdict]}"
        assert "mu" in found.findings[0].evidence
        gap = found.numbers["shift" if what == "mean" else "sd_error"]
        assert gap == pytest.approx(mean if what == "mean" else sd - 1, abs=0.06)  # 4 standard errors at S = 8000


def test_an_exact_guide_is_never_accused():
    """1,000 draws, 50 parameters, 20 seeds: constant weights, so no gap but rounding."""
    for seed in range(20):
        x = np.random.default_rng(seed).normal(size=(50, 1000))
        found = diagnose_moments(np.zeros(1000), {str(i): row for i, row in enumerate(x)})
        assert found.findings == ()


def test_a_constant_parameter_has_no_gap():
    assert diagnose_moments(np.zeros(100), {"c": np.full(100, 3.0)}).numbers == {"shift": 0.0, "sd_error": 0.0}
