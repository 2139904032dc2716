"""Every check: what passes, what is refused, and that the message names argument, got, expected, remedy."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest
import torch

from ppzoo import checks
from ppzoo.errors import DataError, OptionError

T = torch.tensor


@pytest.mark.parametrize(
    ("check", "arguments", "value"),
    [
        (checks.check_integer, {}, 3),
        (checks.check_integer, {}, np.int64(3)),
        (checks.check_integer, {"minimum": 0}, 0),
        (checks.check_integer, {"maximum": 3}, 3),
        (checks.check_real, {}, -1.5),
        (checks.check_real, {"above": 0}, 1),
        (checks.check_real, {"at_least": 0.0}, 0.0),
        (checks.check_real, {"below": 1}, np.float32(0.5)),
        (checks.check_flag, {}, True),
        (checks.check_choice, {"choices": ["a", "b"]}, "b"),
    ],
)
def test_good_options_come_back(check, arguments, value):
    assert check("option", value, **arguments) == value
    assert type(check("option", value, **arguments)) in {int, float, bool, str}


@pytest.mark.parametrize("value", [0, -1, 2.5, 3.0, "3", True, None, math.nan, [3], 10**30])
def test_what_is_no_number_of_things(value):
    with pytest.raises(OptionError, match=rf"chains: must be a whole number.*got {re.escape(repr(value))}.*int >= 1"):
        checks.check_integer("chains", value, maximum=10**9)


@pytest.mark.parametrize("value", [0, -1.0, math.inf, -math.inf, math.nan, "0.1", None, True, 1j])
def test_what_is_no_positive_number(value):
    with pytest.raises(OptionError, match=rf"lr: must be a number in range; got {re.escape(repr(value))}; .*0 < x"):
        checks.check_real("lr", value, above=0)


@pytest.mark.parametrize("value", [0, 1, 1.5, -0.1])
def test_what_is_no_probability(value):
    with pytest.raises(OptionError, match=r"expected a finite number, 0 < x < 1"):
        checks.check_real("target_accept", value, above=0, below=1)


@pytest.mark.parametrize("value", [-1, 2**64, 1.0, "a", None])
def test_what_is_no_seed(value):
    with pytest.raises(OptionError, match="seed"):
        checks.check_seed(value)


def test_seeds_reach_their_ends():
    assert checks.check_seed(0) == 0
    assert checks.check_seed(2**64 - 1) == 2**64 - 1


def test_the_nearest_name():
    assert checks.nearest("ppac", ["ppca", "gmm"]) == "Did you mean 'ppca'? Known: 'gmm', 'ppca'."
    assert checks.nearest("NUTS", ["nuts", "svi"]) == "Did you mean 'nuts'? Known: 'nuts', 'svi'."
    assert checks.nearest("xyz", ["ppca"]) == "Known: 'ppca'."
    assert checks.nearest("xyz", []) == "None is known."
    with pytest.raises(OptionError, match=r"guide: not one.*got 'mvm'; expected one of 'mvn', 'normal'.*mean 'mvn'"):
        checks.check_choice("guide", "mvm", ["normal", "mvn"])
    with pytest.raises(OptionError, match="Give a name"):
        checks.check_choice("guide", 3, ["normal", "mvn"])


@pytest.mark.parametrize("value", [1, 0, "yes", None])
def test_what_is_no_flag(value):
    with pytest.raises(OptionError, match="expected True or False"):
        checks.check_flag("centred", value)


def test_widths():
    assert checks.check_widths("hidden", []) == ()
    assert checks.check_widths("hidden", (3, np.int64(4))) == (3, 4)
    with pytest.raises(OptionError, match=r"Write \(64,\)"):
        checks.check_widths("hidden", 64)
    for bad in ([0], [2.5], ["3"], "64", None, {3}):
        with pytest.raises(OptionError, match="hidden"):
            checks.check_widths("hidden", bad)


MATRIX = T([[1.0, 2.0], [3.0, 4.0], [5.0, 7.0]])


@pytest.mark.parametrize(
    ("check", "arguments", "x", "message"),
    [
        ("check_matrix", {}, T(3.0), r"two dimensions; got shape \(\).*one row per observation"),
        ("check_matrix", {}, T([1.0, 2.0]), r"got shape \(2,\).*reshape\(-1, 1\)"),
        ("check_matrix", {}, torch.zeros(2, 3, 4), r"got shape \(2, 3, 4\).*Flatten"),
        ("check_matrix", {}, torch.zeros(0, 3), "is empty"),
        ("check_matrix", {}, torch.zeros(3, 0), "is empty"),
        ("check_matrix", {"columns": 3}, MATRIX, "2 columns, but the model is made for 3.*features=2"),
        ("check_matrix", {}, MATRIX * 1j, "is complex.*real and imaginary"),
        ("check_matrix", {}, [[1.0, 2.0]], "got list.*Pass an array"),
        ("check_vector", {}, MATRIX, r"one dimension; got shape \(3, 2\)"),
        ("check_vector", {}, MATRIX[:, :1], r"got shape \(3, 1\).*reshape\(-1\)"),
        ("check_vector", {}, torch.zeros(0), "is empty"),
        ("check_vector", {"length": 4, "like": "y"}, MATRIX[:, 0], r"wrong length.*expected shape \(4,\), as y"),
        ("check_rows", {"minimum": 4, "why": "for components=4"}, MATRIX, "3 rows; expected at least 4 rows, for comp"),
        ("check_varies", {}, torch.ones(3, 2), "all rows are identical"),
        ("check_varies", {"columns": ("a", "b")}, T([[1.0, 2.0], [1.0, 3.0]]), "constant column; got column 'a'"),
        ("check_positive", {}, T([1.0, 0.0, -2.0]), r"positive; got 0 at index \(1,\) \(2 such\)"),
        ("check_positive", {}, T([math.nan]), "positive; got nan"),
        ("check_unit_interval", {}, T([0.0, 200.0]), "Divide by 255"),
        ("check_unit_interval", {}, T([-0.1, 1.0]), r"got -0\.1 at index \(0,\).*Rescale"),
        ("check_binary", {}, T([0.0, 0.5]), r"0 or 1.*Binarise"),
        ("check_counts", {}, T([1.0, 2.5]), r"got 2\.5.*whole numbers >= 0"),
        ("check_counts", {}, T([-1.0]), "got -1"),
        ("check_reach", {"option": "prior_scale", "scale": 1.0}, MATRIX * 100, "far from the prior.*prior_scale=4"),
    ],
)
def test_bad_data(check, arguments, x, message):
    with pytest.raises(DataError, match=f"x: .*{message}"):
        getattr(checks, check)("x", x, **arguments)


@pytest.mark.parametrize(
    ("check", "arguments", "x"),
    [
        ("check_matrix", {"columns": 2}, MATRIX),
        ("check_matrix", {}, MATRIX.to(torch.int64)),
        ("check_vector", {"length": 3, "like": "y"}, MATRIX[:, 0]),
        ("check_rows", {"minimum": 3, "why": ""}, MATRIX),
        ("check_varies", {}, MATRIX),
        ("check_varies", {"each": False}, T([[1.0, 2.0], [1.0, 3.0]])),
        ("check_positive", {}, MATRIX),
        ("check_unit_interval", {}, T([0.0, 0.5, 1.0])),
        ("check_binary", {}, T([0, 1, 1])),
        ("check_counts", {}, T([0.0, 3.0])),
        ("check_reach", {"option": "prior_scale", "scale": 10.0}, MATRIX),
    ],
)
def test_good_data_pass_untouched(check, arguments, x):
    before = x.clone()
    getattr(checks, check)("x", x, **arguments)
    assert torch.equal(x, before)


def test_columns_are_those_of_the_fit():
    checks.check_columns("x", ("a", "b"), ("a", "b"))
    checks.check_columns("x", (), ("a", "b"))  # an array has no names to hold against them
    checks.check_columns("x", ("a", "b"), ())
    with pytest.raises(DataError, match=r"unseen at fit: 'c'; missing: 'b'; expected columns 'a', 'b'"):
        checks.check_columns("x", ("a", "c"), ("a", "b"))
    with pytest.raises(DataError, match="the same columns in another order"):
        checks.check_columns("x", ("b", "a"), ("a", "b"))
    with pytest.raises(DataError, match=r"expected columns 'c0'.* \.\.\."):
        checks.check_columns("x", ("a",), tuple(f"c{i}" for i in range(9)))
