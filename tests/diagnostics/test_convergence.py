"""Healthy chains pass; each way to fail is named, the stuck chain among them though its R-hat is NaN."""

from __future__ import annotations

import math

import arviz_stats
import numpy as np
import pytest
from scipy.signal import lfilter

from ppzoo.diagnostics import ranks
from ppzoo.diagnostics.arviz import build_datatree
from ppzoo.diagnostics.convergence import diagnose_chains
from ppzoo.errors import OptionError


def tree_of(posterior, *, discrete=None, **statistics):
    groups = {"posterior": posterior, "sample_stats": statistics}
    return build_datatree(groups, dims={}, coords={}, attrs={}, discrete=discrete)


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


@pytest.mark.parametrize("what", ["number", "label", "function"])
def test_what_is_discrete_is_no_part_of_the_verdict_beside_what_is_not(what):
    """Certain, certain but for one chain, different in every chain: all are drawn after the chains have run."""
    k = np.zeros((4, 500, 3))
    k[2, 7:, 1] = 1
    k[..., 2] = np.arange(4.0)[:, None]
    found = diagnose_chains(tree_of({"mu": healthy(), "k": k}, discrete={"k": what}))
    alone = diagnose_chains(tree_of({"mu": healthy()}))
    assert str(found) == str(alone)
    assert found.verdict == "trust"
    assert diagnose_chains(tree_of({"mu": healthy(), "k": k})).verdict == "reject"


def test_chains_among_discrete_values_alone_are_judged_by_them():
    k = np.random.default_rng(0).integers(0, 3, size=(4, 500))
    k[3] = np.minimum(k[3], 1)
    assert levels(diagnose_chains(tree_of({"k": k})))["the chains disagree"] == "reject"


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


def autoregressive(rho, shape, seed=0):
    rng = np.random.default_rng(seed)
    start, noise = rng.normal(size=(*shape[:-1], 1)), rng.normal(size=shape) * np.sqrt(1 - rho**2)
    return lfilter([1], [1, -rho], noise, axis=-1, zi=rho * start)[0]


def evidence_of(diagnosis, what):
    (found,) = (finding.evidence for finding in diagnosis.findings if finding.what == what)
    return found


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        pytest.param(lambda row: row + 3, "1 of 1024: chain 700 (b 2.8 sd too high)", id="another mode"),
        pytest.param(lambda row: 3 * row, "1 of 1024: chain 700 (b too wide)", id="three times as wide"),
    ],
)
def test_one_chain_of_a_thousand_is_not_averaged_away(wrong, said):
    """R-hat is below 1.01 and the ESS is plentiful: only by itself is the chain seen. False alarm rate 1e-4."""
    chains = autoregressive(0, (2, 1024, 100))
    chains[1, 700] = wrong(chains[1, 700])
    diagnosis = diagnose_chains(tree_of({"a": chains[0], "b": chains[1]}))
    assert levels(diagnosis) == {"a chain stays away from the others": "reject"}
    assert evidence_of(diagnosis, "a chain stays away from the others") == said
    assert diagnosis.numbers["r_hat"] < 1.01


def test_the_worst_of_many_outliers_are_named_first():
    chains = autoregressive(0, (1024, 100))
    chains[100:108] += np.arange(1, 9)[:, None]
    evidence = evidence_of(diagnose_chains(tree_of({"mu": chains})), "some chains stay away from the others")
    assert evidence.startswith("8 of 1024: chain 107 (mu 3.3 sd too high), chain 106 (mu 3.0 sd")
    assert evidence.endswith("and 3 more")


def test_the_parameter_of_an_outlier_is_named_in_every_block(monkeypatch):
    chains = autoregressive(0, (6, 8, 100))
    chains[4, 3] += 3
    whole = diagnose_chains(tree_of({f"x{k}": values for k, values in enumerate(chains)}))
    monkeypatch.setattr(ranks, "_BLOCK", 1600)  # two parameters
    blocked = diagnose_chains(tree_of({f"x{k}": values for k, values in enumerate(chains)}))
    assert str(blocked) == str(whole)
    assert "chain 3 (x4" in evidence_of(blocked, "a chain stays away from the others")


def test_a_chain_that_is_stuck_in_one_parameter_only():
    chains = np.stack([STUCK, healthy(1), healthy(2)])
    tree = tree_of({"a": chains[0], "b": chains[1], "c": chains[2]})
    few = "fewer than 10% of the draws are distinct in 1 of 4 chains: chain 2"
    assert evidence_of(diagnose_chains(tree), "a chain is stuck") == f"{few} (a)"
    chains[:, 2] = chains[:, 2, :1]
    tree = tree_of({"a": chains[0], "b": chains[1], "c": chains[2]})
    assert evidence_of(diagnose_chains(tree), "a chain is stuck") == few


def test_a_stuck_chain_is_said_once():
    assert "a chain stays away from the others" not in levels(diagnose_chains(tree_of({"mu": STUCK})))


@pytest.mark.parametrize("chains", [4, 1024])
def test_chains_that_all_stand_at_their_common_start_do_not_pass(chains):
    """R-hat and ESS are NaN; a discrete site that moves makes them no better."""
    still = tree_of({"mu": np.full((chains, 100), 0.1), "k": np.random.default_rng(0).integers(0, 2, (chains, 100))})
    assert levels(diagnose_chains(still))["a chain is stuck"] == "reject"
    apart = tree_of({"mu": np.repeat(np.random.default_rng(0).normal(size=(chains, 1)), 100, axis=1)})
    diagnosis = diagnose_chains(apart)
    assert {"a chain is stuck", "the chains disagree"} <= set(levels(diagnosis))
    assert math.isinf(diagnosis.numbers["r_hat"])


@pytest.mark.parametrize(("rejected", "verdict"), [(30, "trust"), (60, "reject")])
def test_a_chain_that_stood_still_for_long(rejected, verdict):
    """A tenth of 500 draws is too long, far beyond what rejections explain; 30 are neither."""
    chains = autoregressive(0, (2, 32, 500))
    chains[:, 5, 100 : 100 + rejected] = chains[:, 5, 100:101]
    diagnosis = diagnose_chains(tree_of({"a": chains[0], "b": chains[1]}))
    assert diagnosis.verdict == verdict
    if verdict == "reject":
        assert evidence_of(diagnosis, "a chain stood still for long") == "one state in chain 5 (60 of 500 draws)"


def test_a_sampler_that_rejects_is_not_stuck():
    """Each step is rejected with probability 0.5: the longest stay of 64,000 steps is some 16, less than a tenth."""
    accepted = np.random.default_rng(1).uniform(size=(64, 1000)) < 0.5
    accepted[:, 0] = True
    at = np.maximum.accumulate(np.where(accepted, np.arange(1000), 0), axis=1)
    x = np.take_along_axis(autoregressive(0, (64, 1000)), at, axis=1)
    assert diagnose_chains(tree_of({"mu": x})).verdict == "trust"


@pytest.mark.parametrize(("chains", "draws", "rho"), [(512, 100, 0.6), (4096, 50, 0.6)])
def test_many_short_chains_are_excused(chains, draws, rho):
    """Right chains with an R-hat of 1.03 and 1.06, which is all noise; 20,000 and more effective draws."""
    diagnosis = diagnose_chains(tree_of({"mu": autoregressive(rho, (chains, draws))}))
    assert diagnosis.verdict == "trust"
    assert diagnosis.numbers["r_hat"] > 1.01
    assert "but lasting R-hat 1.00" in evidence_of(diagnosis, "the chains are short, not at odds")


def test_many_short_chains_in_two_modes_are_not_excused():
    x = autoregressive(0.6, (512, 100)) + np.where(np.arange(512) % 2, 1.0, -1.0)[:, None]
    diagnosis = diagnose_chains(tree_of({"mu": x, "other": autoregressive(0.6, (512, 100), seed=1)}))
    assert "1 of 2 parameters, worst mu" in evidence_of(diagnosis, "the chains disagree")
    assert "1 of 2 parameters, worst other" in evidence_of(diagnosis, "the chains are short, not at odds")


def test_chains_that_share_their_starts_are_judged_by_nested_rhat():
    """16 starts of 64 chains, 12 draws worth 4: too short for anything else.

    Chance exceeds the threshold with 2e-6, place and spread.
    """
    x = autoregressive(0.5, (1024, 12))
    tree = tree_of({"mu": x})
    assert levels(diagnose_chains(tree)) == {"the chains disagree": "reject"}
    diagnosis = diagnose_chains(tree, chains_per_start=64)
    assert diagnosis.verdict == "trust"
    assert "<= 1.0078" in evidence_of(diagnosis, "the chains are short, not at odds")
    remembered = tree_of({"mu": x + 0.3 * np.repeat(np.random.default_rng(1).normal(size=(16, 1)), 64, axis=0)})
    assert levels(diagnose_chains(remembered, chains_per_start=64))["the chains disagree"] == "reject"


@pytest.mark.parametrize("chains_per_start", [32, 512])
def test_few_starts_or_few_chains_of_each_excuse_nothing(chains_per_start):
    """At 32 chains the threshold would be 1.016; two starts are too few to differ."""
    tree = tree_of({"mu": autoregressive(0.5, (1024, 12))})
    assert "the chains disagree" in levels(diagnose_chains(tree, chains_per_start=chains_per_start))


@pytest.mark.parametrize("chains_per_start", [3, 8, 0, 1.5])
def test_starts_that_do_not_divide_the_chains(chains_per_start):
    with pytest.raises(OptionError, match=r"chains_per_start: .*got "):
        diagnose_chains(tree_of({"mu": healthy()}), chains_per_start=chains_per_start)


def test_chains_with_draws_that_are_not_finite_are_named():
    bad = healthy()
    bad[1, 7] = bad[3, 9] = np.nan
    evidence = evidence_of(diagnose_chains(tree_of({"good": healthy(1), "bad": bad})), "some draws are NaN or infinite")
    assert evidence == "bad (2 draws), in 2 chains: 1, 3"


def test_a_variable_that_never_moves_is_mentioned():
    """It may be a constant of the model, or stuck in the steps of its type: nothing else can tell."""
    diagnosis = diagnose_chains(tree_of({"mu": healthy(), "total": np.full((4, 500, 2), 1e9)}))
    assert levels(diagnosis) == {"taken for constants of the model, and not judged": "note"}
    assert "total: one value" in str(diagnosis)


def test_few_draws_of_few_chains_are_not_worth_more_than_they_are():
    """Below 10 draws ArviZ says S log10 S: 8 draws of each of 32 chains that never meet would pass as 616."""
    x = 100 * np.arange(32.0)[:, None] + autoregressive(0, (32, 8))
    diagnosis = diagnose_chains(tree_of({"mu": x}))
    assert levels(diagnosis)["too few effective draws"] == "reject"
    assert diagnosis.numbers["ess_bulk"] < 64


def test_what_is_discrete_may_have_no_tail():
    """More than 95 % of the draws equal the greatest: neither quantile tells anything, and nothing breaks."""
    k = (np.random.default_rng(0).uniform(size=(4, 500)) < 0.98).astype(int)
    diagnosis = diagnose_chains(tree_of({"k": k}))
    assert math.isnan(diagnosis.numbers["ess_tail"])
    assert diagnosis.numbers["ess_bulk"] > 400
