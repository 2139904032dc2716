"""Healthy chains pass; each way to fail is named, the stuck chain among them though its R-hat is NaN."""

from __future__ import annotations

import math

import arviz_stats
import numpy as np
import pytest

from ppzoo.diagnostics.arviz import build_datatree
from ppzoo.diagnostics.convergence import diagnose_chains


def tree_of(posterior, **statistics):
    return build_datatree({"posterior": posterior, "sample_stats": statistics}, dims={}, coords={}, attrs={})


def healthy(seed=0, chains=4, draws=500):
    return np.random.default_rng(seed).normal(size=(chains, draws))


def levels(diagnosis):
    return {finding.what: finding.level for finding in diagnosis.findings}


@pytest.mark.parametrize("seed", range(5))
def test_healthy_chains_are_trusted(seed):
    """R-hat of 2,000 independent draws passes 1.01 in fewer than 1 of 1,000 cases."""
    diagnosis = diagnose_chains(
        tree_of(
            {"mu": healthy(seed), "k": np.ones((4, 500), dtype=int)},
            diverging=np.zeros((4, 500), dtype=bool),
            reached_max_treedepth=np.zeros((4, 500), dtype=bool),
            energy=healthy(seed + 100),
        )
    )
    assert diagnosis.verdict == "trust"
    assert diagnosis.numbers["r_hat"] < 1.01
    assert diagnosis.numbers["divergences"] == 0


def test_the_numbers_are_the_worst_of_arviz():
    tree = tree_of({"a": healthy(0), "b": np.cumsum(healthy(1), axis=1)}, energy=np.cumsum(healthy(2), axis=1))
    diagnosis = diagnose_chains(tree)
    posterior = tree["posterior"].to_dataset()
    assert diagnosis.numbers["r_hat"] == pytest.approx(float(arviz_stats.rhat(posterior)["b"]), rel=1e-10)
    assert diagnosis.numbers["ess_bulk"] == pytest.approx(float(arviz_stats.ess(posterior)["b"]), rel=1e-10)
    energy = tree["sample_stats"]["energy"].values
    bfmi = (np.diff(energy, axis=1) ** 2).mean(1) / energy.var(1, ddof=1)
    assert diagnosis.numbers["bfmi"] == pytest.approx(bfmi.min(), rel=1e-10)
    assert levels(diagnosis)["the energy moves too slowly"] == "caution"


@pytest.mark.parametrize(
    "chains",
    [
        pytest.param(healthy() + np.array([[0.0], [0.0], [0.0], [1.0]]), id="one shifted"),
        pytest.param(healthy() * np.array([[1.0], [1.0], [1.0], [3.0]]), id="one three times as wide"),
    ],
)
def test_chains_that_disagree_are_rejected(chains):
    diagnosis = diagnose_chains(tree_of({"mu": chains}))
    assert levels(diagnosis)["the chains disagree"] == "reject"
    assert "worst mu" in str(diagnosis)


def test_slow_chains_are_rejected():
    rng = np.random.default_rng(0)
    x = np.zeros((4, 500))
    for t in range(1, 500):
        x[:, t] = 0.98 * x[:, t - 1] + rng.normal(size=4)
    assert levels(diagnose_chains(tree_of({"mu": x})))["too few effective draws"] == "reject"


def test_many_short_chains_need_400_in_all():
    """64 chains of 25 independent draws: 1,600 effective draws are enough, though they are 25 per chain."""
    assert "too few effective draws" not in levels(diagnose_chains(tree_of({"mu": healthy(0, 64, 25)})))


STUCK = healthy()
STUCK[2] = STUCK[2, 0]
SLEEPY = healthy()
SLEEPY[1] = np.repeat(SLEEPY[1, :25], 20)


@pytest.mark.parametrize(
    ("chains", "named"),
    [
        pytest.param(STUCK, ["chain 2"], id="one stands still"),
        pytest.param(SLEEPY, ["chain 1"], id="one moves in 25 of 500 draws"),
        pytest.param(np.ones((4, 500)), ["chain 0", "chain 3"], id="all at one value: R-hat is NaN"),
        pytest.param(np.repeat([[1.0], [2.0], [3.0], [4.0]], 500, axis=1), ["chain 0"], id="each at its own value"),
        pytest.param(np.zeros((1, 100)), ["chain 0"], id="the only one"),
    ],
)
def test_stuck_chains_are_rejected_by_name(chains, named):
    diagnosis = diagnose_chains(tree_of({"mu": chains}))
    finding = next(found for found in diagnosis.findings if found.what == "a chain is stuck")
    assert finding.level == "reject"
    assert all(name in finding.evidence for name in named)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_constants_of_the_model_are_not_stuck(dtype):
    """The corners of a Cholesky factor of a correlation: 0 and 1, up to rounding."""
    corner = healthy()
    factor = np.stack([np.ones_like(corner), np.zeros_like(corner), np.tanh(corner)], axis=-1).astype(dtype)
    factor[..., 0] += np.finfo(dtype).eps * (healthy(3) > 0)
    assert diagnose_chains(tree_of({"factor": factor})).verdict == "trust"


def test_a_discrete_site_is_not_stuck():
    k = np.random.default_rng(0).integers(0, 2, size=(4, 500))
    assert diagnose_chains(tree_of({"mu": healthy(), "k": k})).verdict == "trust"


@pytest.mark.parametrize(("count", "level"), [(1, "caution"), (2, "caution"), (3, "reject"), (200, "reject")])
def test_divergences(count, level):
    """2 of 2,000 draws are 0.1 %."""
    diverging = np.zeros(2000, dtype=bool)
    diverging[:count] = True
    diagnosis = diagnose_chains(tree_of({"mu": healthy()}, diverging=diverging.reshape(4, 500)))
    assert diagnosis.verdict == level
    assert diagnosis.numbers["divergences"] == count


@pytest.mark.parametrize(("share", "verdict"), [(0.04, "trust"), (0.06, "caution")])
def test_tree_depth_counts_by_chain(share, verdict):
    deepest = np.zeros((4, 500), dtype=bool)
    deepest[3, : round(500 * share)] = True
    diagnosis = diagnose_chains(tree_of({"mu": healthy()}, reached_max_treedepth=deepest))
    assert diagnosis.verdict == verdict
    assert diagnosis.numbers["max_depth_share"] == pytest.approx(share)


def test_one_chain_is_a_caution_and_has_no_r_hat():
    diagnosis = diagnose_chains(tree_of({"mu": healthy(chains=1)}))
    assert diagnosis.verdict == "caution"
    assert math.isnan(diagnosis.numbers["r_hat"])
    assert "one chain" in str(diagnosis)


def test_too_few_draws_are_said():
    diagnosis = diagnose_chains(tree_of({"mu": healthy(draws=3)}))
    assert diagnosis.verdict == "reject"
    assert "3 draws < 4" in str(diagnosis)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_non_finite_draws_are_counted_by_name(value):
    bad = healthy()
    bad[1, 7] = value
    diagnosis = diagnose_chains(tree_of({"good": healthy(1), "bad": bad}, energy=bad))
    assert diagnosis.verdict == "reject"
    assert "bad (1 draws)" in str(diagnosis)
    assert diagnosis.numbers["r_hat"] < 1.01  # of what is finite


def test_nothing_to_judge():
    diagnosis = diagnose_chains(tree_of({}))
    assert diagnosis.verdict == "trust"
    assert "no parameter" in str(diagnosis)
