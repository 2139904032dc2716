"""Known answers of probabilistic PCA: how far the means of its codes spread is a formula."""

from __future__ import annotations

import numpy as np
import pytest

from ppzoo.diagnostics.codes import diagnose_codes
from ppzoo.errors import DataError


def ppca_means(spread: np.ndarray, rows: int = 4000) -> np.ndarray:
    """Posterior means of codes z ~ N(0, I) of x = W z + noise, orthogonal columns: Var_x(mean) = d / (d + s²)."""
    rng = np.random.default_rng(0)
    d, K = spread / (1 - spread), len(spread)  # squared lengths of the columns, with s = 1
    W = np.linalg.qr(rng.normal(size=(10, K)))[0] * np.sqrt(d)
    x = rng.normal(size=(rows, K)) @ W.T + rng.normal(size=(rows, 10))
    return x @ W / (d + 1)


@pytest.mark.parametrize(("spread", "used"), [([0.9, 0.5, 0.02, 0.005], 3), ([0.012, 0.001], 1), ([0.5], 1)])
def test_codes_in_use_are_counted(spread, used):
    """The estimate of 0.012 has a relative sd of √(2 / 4000): 7.5 sd above 0.01, false alarm rate 1e-13."""
    found = diagnose_codes(ppca_means(np.array(spread)))
    assert found.numbers == {"codes": len(spread), "codes_in_use": used}
    assert found.verdict == "trust", "an unused code is no harm"
    assert found.findings[0].what == f"{used} of {len(spread)} codes {'is' if used == 1 else 'are'} in use"


@pytest.mark.parametrize("means", [np.zeros((50, 3)), ppca_means(np.array([0.005, 0.0001])), np.ones((2, 1))])
def test_no_code_in_use_is_rejected(means):
    found = diagnose_codes(means)
    assert found.verdict == "reject"
    assert found.numbers["codes_in_use"] == 0
    assert "every row has the same" in found.findings[0].what
    assert "0.01" in found.findings[0].evidence
    assert "learning rate" in found.findings[0].remedy


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_the_unit_of_a_code_is_its_prior(scale):
    means = ppca_means(np.array([0.9, 0.005]))
    assert diagnose_codes(means * scale, scale).numbers["codes_in_use"] == 1
    assert diagnose_codes(means * [scale, 1], [scale, 1]).numbers["codes_in_use"] == 1


def test_codes_that_are_not_finite_are_rejected():
    means = ppca_means(np.array([0.9, 0.5]))
    means[7, 0] = np.nan
    found = diagnose_codes(means)
    assert found.verdict == "reject"
    assert "not finite" in found.findings[0].what


@pytest.mark.parametrize("means", [np.zeros(5), np.zeros((1, 2)), np.zeros((5, 0))])
def test_what_is_no_table_of_codes(means):
    with pytest.raises(DataError, match=r"means: must be a table of codes.*got shape"):
        diagnose_codes(means)
