"""Gaps are known shifts of known normals; none is called that Monte Carlo error explains."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from ppzoo.diagnostics.agreement import choose_reference, differing, gap_table, judge, worst_gap
from ppzoo.diagnostics.arviz import build_datatree, scalars, summarise
from ppzoo.diagnostics.diagnosis import Diagnosis, Finding

FINE = Diagnosis((), {"ess_bulk": 2000.0, "ess_tail": 2000.0})
DOUBTFUL = Diagnosis((Finding("caution", "trajectories diverged", "1 of 2000 draws"),), dict(FINE.numbers))
FAILED = Diagnosis((Finding("reject", "the chains disagree", "R-hat 1.080 > 1.01"),), dict(FINE.numbers))


def normal(size, *, shift=0.0, scale=1.0):
    """Quantiles of a normal in random order: its moments are right to 3 digits, without luck."""
    x = stats.norm.ppf((np.arange(size) + 0.5) / size, loc=shift, scale=scale)
    return np.random.default_rng(0).permutation(x)[None]


def table_of(draws, reference):
    trees = [build_datatree({"posterior": found}, dims={}, coords={}, attrs={}) for found in (draws, reference)]
    found = [scalars(tree) for tree in trees]
    summaries = [summarise(tree, kind="draws") for tree in trees]
    return gap_table(found[0], summaries[0], found[1], summaries[1])


def test_gaps_of_a_shifted_and_scaled_normal():
    row = table_of({"x": normal(4000, shift=5.0, scale=2.0)}, {"x": normal(1000, shift=4.0, scale=4.0)}).loc["x"]
    assert row["gap_sd"] == pytest.approx(0.25, abs=1e-3)
    assert row["sd_ratio"] == pytest.approx(0.5, abs=5e-3)
    assert row["gap_mcse"] == pytest.approx(1 / np.hypot(2 / np.sqrt(4000), 4 / np.sqrt(1000)), rel=0.01)
    assert row["q5"] == pytest.approx(5 - 2 * 1.645, abs=0.01)


def test_wasserstein_distance_of_a_shift_is_the_shift():
    table = table_of({"x": normal(1000, shift=0.8, scale=2.0)}, {"x": normal(1000, scale=2.0)})
    assert table.loc["x", "wasserstein"] == pytest.approx(0.4, abs=2e-3)


@pytest.mark.parametrize(
    ("shift", "scale", "level"),
    [
        (0.0, 1.0, "trust"),
        (0.12, 1.0, "trust"),
        (0.2, 1.0, "caution"),
        (-0.2, 1.0, "caution"),
        (0.5, 1.0, "reject"),
        (0.0, 0.9, "trust"),
        (0.0, 0.8, "caution"),
        (0.0, 1.2, "caution"),
        (0.0, 0.6, "reject"),
        (0.0, 1.4, "reject"),
        (0.0, 1e-9, "reject"),
    ],
)
def test_levels_of_known_gaps(shift, scale, level):
    gap = worst_gap(table_of({"x": normal(10_000, shift=shift, scale=scale)}, {"x": normal(10_000)}))
    assert gap.level == level
    assert gap.mean == pytest.approx(abs(shift), abs=1e-2)
    assert gap.sd == pytest.approx(scale - 1, abs=1e-2)


def test_a_gap_within_monte_carlo_error_is_not_called():
    """A gap of 0.5 sd seen with 50 draws each is 2.5 combined errors; with 2,000 it is 16."""
    few = worst_gap(table_of({"x": normal(50, shift=0.5)}, {"x": normal(50)}))
    assert (few.level, few.counted) == ("trust", False)
    assert worst_gap(table_of({"x": normal(2000, shift=0.5)}, {"x": normal(2000)})).level == "reject"


@pytest.mark.parametrize("seed", range(10))
def test_the_same_posterior_is_trusted(seed):
    """20 parameters: a gap above 0.15 sd and 4 errors has a probability below 1e-4 in each."""
    rng = np.random.default_rng(seed)
    draws, reference = rng.normal(size=(1, 1000, 20)), rng.normal(size=(1, 1000, 20))
    assert worst_gap(table_of({"x": draws}, {"x": reference})).level == "trust"


def test_the_worst_parameter_is_named():
    good = normal(2000)
    table = table_of(
        {"a": good, "b": normal(2000, shift=0.4), "c": normal(2000, scale=0.4)}, {"a": good, "b": good, "c": good}
    )
    assert worst_gap(table).parameter == "c"
    assert worst_gap(table.loc[["a", "b"]]).parameter == "b"


def test_draws_that_are_not_finite_are_no_agreement():
    bad = normal(100)
    bad[0, 0] = np.nan
    assert worst_gap(table_of({"x": bad}, {"x": normal(100)})).level == "reject"


def test_the_reference():
    many = Diagnosis((), {"ess_bulk": 9000.0, "ess_tail": 9000.0})
    guide, better = Diagnosis((), {"k_hat": 0.6}), Diagnosis((), {"k_hat": 0.2})
    assert choose_reference({"a": FINE, "b": guide}, {"a": "mcmc", "b": "draws"}) == "a"
    assert choose_reference({"a": FINE, "b": guide}, {"a": "mcmc", "b": "exact"}) == "b"
    assert choose_reference({"a": FINE, "b": FAILED}, {"a": "mcmc", "b": "exact"}) == "a"
    assert choose_reference({"a": FINE, "b": many}, {"a": "mcmc", "b": "mcmc"}) == "b"
    assert choose_reference({"a": FINE, "b": FAILED}, {"a": "mcmc", "b": "mcmc"}) == "a"
    assert choose_reference({"a": guide, "b": better}, {"a": "draws", "b": "draws"}) == "b"


def tables(shift=0.0, scale=1.0):
    reference = {"mu": normal(4000), "tau": normal(4000)}
    return {
        "svi": table_of({"mu": normal(4000), "tau": normal(4000, shift=shift, scale=scale)}, reference),
        "nuts": table_of(reference, reference),
    }


SOURCES = {"svi": "draws", "nuts": "mcmc"}


@pytest.mark.parametrize(
    ("shift", "scale", "verdict", "sentence"),
    [
        (
            0.12,
            0.92,
            "trust",
            "svi agrees with nuts: worst of 2 parameters is tau, 0.12 sd off in mean and -8 % in sd.",
        ),
        (0.2, 1.0, "caution", "svi is near nuts, not equal: worst of 2 parameters is tau, 0.20 sd off in mean and "),
        (0.5, 1.0, "reject", "Do not use svi's intervals: against nuts, the worst of 2 parameters is tau, 0.50 sd"),
    ],
)
def test_the_sentence(shift, scale, verdict, sentence):
    found = judge(tables(shift, scale), {"svi": Diagnosis(), "nuts": FINE}, SOURCES, reference="nuts")
    assert found[0] == verdict
    assert found[1].startswith(sentence)


def test_no_verdict_from_a_reference_that_did_not_converge():
    verdict, sentence = judge(tables(), {"svi": Diagnosis(), "nuts": FAILED}, SOURCES, reference="nuts")
    assert verdict == "reject"
    assert sentence == "No verdict: the reference nuts did not converge (R-hat 1.080 > 1.01)."


def test_the_doubts_of_the_reference_are_passed_on():
    verdict, sentence = judge(tables(), {"svi": Diagnosis(), "nuts": DOUBTFUL}, SOURCES, reference="nuts")
    assert verdict == "caution"
    assert sentence.endswith("; nuts itself calls for caution (1 of 2000 draws).")


def test_a_fit_that_rejects_itself_is_at_best_a_caution():
    heavy = Diagnosis((Finding("reject", "misses the posterior", "k-hat 0.91 > 0.67"),), {"k_hat": 0.91})
    verdict, sentence = judge(tables(), {"svi": heavy, "nuts": FINE}, SOURCES, reference="nuts")
    assert verdict == "caution"
    assert "yet its own diagnosis rejects it (k-hat 0.91 > 0.67)" in sentence


def test_chains_that_did_not_converge_are_rejected_beside_a_good_reference():
    diagnoses, sources = {"svi": FAILED, "nuts": FINE}, {"svi": "mcmc", "nuts": "mcmc"}
    verdict, sentence = judge(tables(), diagnoses, sources, reference="nuts")
    assert verdict == "reject"
    assert sentence == "Do not use svi: it did not converge (R-hat 1.080 > 1.01)."


def test_no_verdict_where_parameters_without_a_prior_are_apart():
    """However far apart the posteriors are, and beside a fit that is judged as ever."""
    fits = {"svi": Diagnosis(), "other": Diagnosis(), "nuts": FINE}
    sources = {"svi": "draws", "other": "draws", "nuts": "mcmc"}
    far = {"svi": tables(2.0)["svi"], "other": tables(0.0)["svi"]}
    names = ["W", "mu", "s", "b"]
    verdict, sentence = judge(far, fits, sources, reference="nuts", apart={"svi": names, "other": []})
    assert verdict == "caution"
    assert "No verdict: svi and nuts each have their own W, mu, s ..., so these are posteriors of two" in sentence
    assert "other agrees with nuts" in sentence


@pytest.mark.parametrize(
    ("left", "right", "names"),
    [
        ([1.0, 2.0], [1.0, 2.001], []),
        ([1.0, 2.0], [1.0, 2.01], ["W"]),
        ([1e-9, 2.0], [0.0, 2.0], []),
        ([1.0], [1.0, 1.0], ["W"]),
        ([np.nan], [np.nan], []),
        ([], [], []),
    ],
)
def test_parameters_that_differ(left, right, names):
    assert differing({"W": np.array(left), "left": np.ones(1)}, {"W": np.array(right), "right": np.ones(1)}) == names


def test_two_guides_may_be_wrong_together():
    sources = {"svi": "draws", "nuts": "draws"}
    verdict, sentence = judge(tables(), {"svi": Diagnosis(), "nuts": Diagnosis()}, sources, reference="nuts")
    assert verdict == "caution"
    assert "wrong together" in sentence
