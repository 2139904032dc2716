"""Pictures are whatever the names and numbers; nothing global is touched; the same numbers give the same bytes."""

from __future__ import annotations

import struct
import sys

import matplotlib as mpl
import numpy as np
import pytest

from ppzoo.report.plots import density, elbo_curve, forest, marginals, trace_and_rank

NAMES = ["mu", "$\\frac{", "a_b^{2$", "[/x]", "<script>alert(1)</script>" * 3, "日本", "new\nline", "", "100%"]


def draws(seed=0, chains=4, size=100):
    rng = np.random.default_rng(seed)
    return {name: rng.normal(size=(chains, size)) for name in NAMES}


def size_of(png):
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    return struct.unpack(">II", png[16:24])


PLOTS = {
    "forest": lambda: forest({"nuts": draws(), "svi $_{": draws(1, 1)}),
    "marginals": lambda: marginals({"nuts": draws(), "svi $_{": draws(1, 1)}),
    "elbo": lambda: elbo_curve({"svi $_{": np.exp(-np.arange(300) / 30), "mvn": np.full(300, 0.5)}),
    "trace": lambda: trace_and_rank(draws()),
}


@pytest.mark.parametrize("name", PLOTS)
def test_awkward_names_make_a_picture_that_leaves_no_trace(name):
    settings = dict(mpl.rcParams)
    first = PLOTS[name]()
    width, height = size_of(first)
    assert 400 < width < 1500
    assert 200 < height < 4000
    assert PLOTS[name]() == first
    assert dict(mpl.rcParams) == settings
    pyplot = sys.modules.get("matplotlib.pyplot")
    assert pyplot is None or pyplot.get_fignums() == []


@pytest.mark.parametrize(
    "values",
    [
        pytest.param(np.ones((4, 50)), id="constant"),
        pytest.param(np.full((4, 50), np.nan), id="all NaN"),
        pytest.param(np.where(np.arange(200).reshape(4, 50) == 3, np.inf, 1.0), id="one inf"),
        pytest.param(np.random.default_rng(0).standard_cauchy(size=(4, 50)) * 1e200, id="huge"),
        pytest.param(np.zeros((1, 1)), id="one draw"),
        pytest.param(np.random.default_rng(0).normal(size=(64, 10)), id="many chains"),
    ],
)
def test_awkward_numbers_make_a_picture(values):
    size_of(forest({"nuts": {"mu": values}, "svi": {"mu": values}}))
    size_of(marginals({"nuts": {"mu": values}, "svi": {"mu": values}}))
    size_of(trace_and_rank({"mu": values}))


def test_a_method_may_lack_a_parameter():
    both = {"mu": np.zeros((1, 10)), "tau": np.ones((1, 10))}
    size_of(forest({"nuts": both, "svi": {"mu": np.zeros((1, 10))}}))
    size_of(marginals({"nuts": both, "svi": {"mu": np.random.default_rng(0).normal(size=(1, 10))}}))


@pytest.mark.parametrize(
    "losses",
    [np.full(20, np.nan), np.array([1.0]), np.append(np.nan, np.linspace(5, 1, 50)), np.full(30, 2.0)],
    ids=["all NaN", "one step", "NaN at first", "constant"],
)
def test_awkward_losses_make_a_picture(losses):
    size_of(elbo_curve({"svi": losses}))


def test_large_posteriors_are_cut():
    many = {f"theta[{i}]": np.random.default_rng(i).normal(size=(2, 20)) for i in range(200)}
    assert size_of(forest({"nuts": many}))[1] < 4000
    assert size_of(marginals({"nuts": many}))[1] < 2000
    assert size_of(trace_and_rank(many))[1] < 2000


def test_density_is_one_in_all_and_stays_within_bounds():
    draws = np.random.default_rng(0).exponential(size=4000)
    x, y = density(draws)
    assert x.min() >= 0
    assert np.trapezoid(y, x) == pytest.approx(1.0, abs=0.02)
    assert density(np.full(50, 2.0))[0].size == 0
    assert density(np.full(50, np.nan))[0].size == 0
