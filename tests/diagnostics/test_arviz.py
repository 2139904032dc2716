"""The tree is read by ArviZ, and the numbers are ArviZ's; names and digits are honest."""

from __future__ import annotations

import json
import math
from importlib import import_module
from importlib.util import find_spec

import arviz_base
import arviz_stats
import numpy as np
import pytest

from ppzoo.diagnostics.arviz import (
    build_datatree,
    format_estimate,
    format_summary,
    is_continuous,
    mcmc_numbers,
    scalars,
    summarise,
)
from ppzoo.errors import OptionError


def tree_of(posterior, **groups):
    return build_datatree({"posterior": posterior, **groups}, dims={}, coords={}, attrs={})


@pytest.fixture
def schools():
    rng = np.random.default_rng(0)
    theta = rng.normal(size=(4, 200, 3))
    return build_datatree(
        {
            "posterior": {"mu": rng.normal(size=(4, 200)), "theta": theta, "w": rng.normal(size=(4, 200, 3, 2))},
            "sample_stats": {"energy": rng.normal(size=(4, 200)), "diverging": np.zeros((4, 200), dtype=bool)},
            "log_likelihood": {"y": -0.005 * theta**2},
            "log_prior": {"mu": rng.normal(size=(4, 200))},
            "posterior_predictive": {"y": rng.normal(size=(4, 200, 3))},
            "observed_data": {"y": np.array([1.0, 2.0, 3.0])},
        },
        dims={"theta": ["school"], "y": ["school"], "w": ["school"]},
        coords={"school": ["A", "B", "C"]},
        attrs={"method": "nuts", "seed": 0},
    )


def test_dimensions_are_called_after_the_plates(schools):
    assert schools["posterior"]["theta"].dims == ("chain", "draw", "school")
    assert schools["posterior"]["w"].dims == ("chain", "draw", "school", "w_dim_0")
    assert schools["log_likelihood"]["y"].dims == ("chain", "draw", "school")
    assert schools["observed_data"]["y"].dims == ("school",)
    assert list(schools["posterior"]["school"].values) == ["A", "B", "C"]
    assert schools.attrs == {"method": "nuts", "seed": 0}


def test_the_same_arrays_give_the_same_tree():
    first, second = (tree_of({"mu": np.ones((2, 5))}) for _ in range(2))
    assert first.identical(second)  # no time stamp


def test_arviz_reads_the_tree(schools):
    summary = arviz_stats.summary(schools, round_to="none")
    assert list(summary.index)[:4] == ["mu", "theta[A]", "theta[B]", "theta[C]"]
    loo = arviz_stats.loo(schools)
    assert np.isfinite(loo.elpd)


@pytest.mark.skipif(find_spec("arviz") is None, reason="ArviZ 1.x needs Python 3.12")
def test_arviz_itself_reads_the_tree(schools):
    summary = import_module("arviz").summary(schools)
    assert "theta[A]" in summary.index


def test_numbers_are_those_of_arviz(schools):
    ours = summarise(schools, kind="mcmc")
    theirs = arviz_stats.summary(schools, round_to="none")
    assert list(ours.index) == list(theirs.index)
    for column in ("mean", "eti89_lb", "eti89_ub", "ess_bulk", "r_hat", "mcse_mean"):  # mcse_sd is wrong in ArviZ 0.8
        np.testing.assert_allclose(ours[column], theirs[column].astype(float), rtol=1e-10)
    tail = schools["posterior"].to_dataset().azstats.ess(method="tail", prob=(0.05, 0.95))
    np.testing.assert_allclose(ours.loc["mu", "ess_tail"], tail["mu"], rtol=1e-10)
    # ArviZ 0.8 divides by S, ArviZ 1.x by S - 1, as here
    np.testing.assert_allclose(ours["sd"], theirs["sd"].astype(float), rtol=1e-3)


def test_independent_draws_have_no_r_hat_and_no_ess():
    draws = np.random.default_rng(0).gamma(2.0, size=(1, 1000))
    frame = summarise(tree_of({"z": draws}), kind="draws")
    assert not [column for column in frame.columns if "hat" in column or "ess" in column]
    assert frame.loc["z", "mcse_mean"] == pytest.approx(draws.std(ddof=1) / math.sqrt(1000), rel=1e-12)


def test_mcse_of_the_sd_is_the_spread_of_the_sd():
    """Over 400 repetitions the mean of the error estimate is within 10 % of the true one (its own error: 4 %)."""
    draws = np.random.default_rng(1).normal(size=(400, 1, 500))
    frame = summarise(tree_of({"z": np.moveaxis(draws, 0, -1)}), kind="draws")
    assert frame["mcse_sd"].mean() == pytest.approx(frame["sd"].std(), rel=0.1)


@pytest.mark.parametrize("kind", ["mcmc", "draws", "point"])
def test_a_posterior_without_variables_gives_an_empty_table(kind):
    tree = tree_of({}, observed_data={"x": np.zeros((5, 2))})
    frame = summarise(tree, kind=kind)
    assert frame.empty
    assert len(frame.columns) > 0
    assert format_summary(frame) == "no parameter has a posterior"


def test_a_point_has_a_value_only():
    frame = summarise(tree_of({"w": np.array([[[1.0, 2.0]]])}), kind="point")
    assert frame.to_dict() == {"value": {"w[0]": 1.0, "w[1]": 2.0}}


def test_an_unknown_kind_is_refused():
    with pytest.raises(OptionError, match="kind"):
        summarise(tree_of({}), kind="svi")


def test_awkward_names_survive():
    names = ["a/b", "a.b", "chain", "layer.weight", "two words", "<script>", "[/x]", ".", ""]
    noise = np.random.default_rng(0).normal(scale=0.1, size=(1, 50))
    draws = {name: i + noise - noise[0, 0] for i, name in enumerate(names)}
    tree = build_datatree(
        {"posterior": draws, "observed_data": {"x": np.zeros(3)}},
        dims={"x": ["draw"]},
        coords={"draw": ["p", "q", "r"]},
        attrs={},
    )
    found = scalars(tree)
    assert [round(values[0, 0]) for values in found.values()] == list(range(len(names)))
    renamed = json.loads(tree.attrs["renamed"])
    assert {renamed.get(name, name) for name in found} == set(names)
    assert tree["observed_data"]["x"].dims == ("draw_",)
    assert arviz_stats.summary(tree, round_to="none").shape[0] == len(names)


def test_a_plate_called_like_a_site_is_renamed():
    tree = build_datatree(
        {"posterior": {"row": np.zeros((1, 4, 2))}}, dims={"row": ["row"]}, coords={"row": ["a", "b"]}, attrs={}
    )
    assert tree["posterior"]["row"].dims == ("chain", "draw", "row_")
    assert list(scalars(tree)) == ["row[a]", "row[b]"]


def test_a_dimension_of_another_size_than_its_plate_is_not_labelled():
    tree = build_datatree(
        {"posterior": {"a": np.zeros((1, 4, 2)), "b": np.zeros((1, 4, 1))}},
        dims={"a": ["row"], "b": ["row"]},
        coords={"row": ["x", "y"]},
        attrs={},
    )
    assert tree["posterior"]["a"].dims[2:] == ("row",)
    assert tree["posterior"]["b"].dims[2:] == ("b_dim_0",)


def test_many_short_chains_give_no_warning():
    assert tree_of({"mu": np.zeros((64, 5))})["posterior"].sizes["chain"] == 64


def test_draws_that_are_all_equal_have_no_ess():
    """ArviZ says ESS = 400 of 400 here."""
    numbers = mcmc_numbers(np.ones((1, 4, 100)))
    assert all(np.isnan(values).all() for values in numbers.values())


def test_fewer_than_four_draws_have_no_r_hat():
    frame = summarise(tree_of({"mu": np.random.default_rng(0).normal(size=(2, 3))}), kind="mcmc")
    assert frame[["r_hat", "ess_bulk", "ess_tail"]].isna().all(axis=None)


@pytest.mark.parametrize(
    ("value", "mcse", "shown"),
    [
        (4.41712, 0.031, "4.42"),
        (4.41712, 0.31, "4.4"),
        (1234.5, 20.0, "1230"),
        (3.0, 50.0, "0"),
        (-0.001, 0.1, "0.0"),
        (1e-20, 1e-22, "1.00e-20"),
        (1e20, 1e18, "1.00e+20"),
        (0.3, 1e-18, "0.3"),
        (0.12346, 0.0, "0.1235"),
        (math.nan, 1.0, "nan"),
    ],
)
def test_digits_follow_the_monte_carlo_error(value, mcse, shown):
    assert format_estimate(value, mcse) == shown


def test_the_printed_table_rounds_and_the_frame_does_not(schools):
    frame = summarise(schools, kind="mcmc")
    text = format_summary(frame)
    assert len(text.splitlines()) == len(frame) + 1
    mu = next(line for line in text.splitlines() if line.startswith("mu"))
    assert len(mu.split()[1]) <= len("-0.01")
    assert frame.loc["mu", "mean"] == schools["posterior"]["mu"].values.mean()


def test_labels_have_no_mean_but_a_mode():
    """Of 10 draws 5 are 2; of one that never changes nothing varies; numbers are averaged as ever. No warning."""
    z = np.array([[2, 0, 2, 1, 2], [2, 1, 0, 2, 1]])
    draws = {
        "z": np.stack([z, np.full_like(z, 3)], -1),
        "k": (z > 0) * 1.0,
        "mu": np.random.default_rng(0).normal(size=(2, 5)),
    }
    kinds = {"z": "label", "k": "number"}
    tree = build_datatree({"posterior": draws}, dims={"z": ["row"]}, coords={}, attrs={}, discrete=kinds)
    frame = summarise(tree, kind="mcmc")
    assert frame.loc[["z[0]", "z[1]"], ["mode", "p_mode"]].to_numpy().tolist() == [[2.0, 0.5], [3.0, 1.0]]
    assert (
        frame.loc[["z[0]", "z[1]"], ["mean", "sd", "median", "eti89_lb", "mcse_mean", "mcse_sd"]].isna().all(axis=None)
    )
    assert frame.loc[["k", "mu"], ["mode", "p_mode"]].isna().all(axis=None)
    assert frame.loc["k", "mean"] == pytest.approx(0.8)
    assert np.isfinite(frame.loc["z[0]", "r_hat"])
    assert np.isnan(frame.loc["z[1]", "r_hat"])
    rows = {line.split()[0]: line.split()[1:] for line in format_summary(frame).splitlines()[1:]}
    assert rows["z[1]"] == ["-"] * 10 + ["3", "1.000"]
    assert rows["mu"][-2:] == ["-", "-"]
    only = summarise(build_datatree({"posterior": {"mu": draws["mu"]}}, dims={}, coords={}, attrs={}), kind="mcmc")
    assert "mode" not in only.columns


def test_what_is_discrete_by_type_or_by_word():
    posterior = {"mu": np.zeros((2, 5)), "k": np.zeros((2, 5), dtype=int), "z/1": np.zeros((2, 5))}
    tree = build_datatree({"posterior": posterior}, dims={}, coords={}, attrs={}, discrete={"z/1": "number"})
    assert list(scalars(tree)) == ["mu", "k", "z.1"]
    assert list(scalars(tree, continuous=True)) == ["mu"]
    assert [name for name, v in tree["posterior"].data_vars.items() if is_continuous(v)] == ["mu"]


def test_arviz_settings_are_left_alone(schools):
    before = dict(arviz_base.rcParams)
    summarise(schools, kind="mcmc")
    assert dict(arviz_base.rcParams) == before
