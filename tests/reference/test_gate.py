"""The gate on synthetic draws: the right posterior passes, and each kind of wrong one is named.

The chance that another seed would pass where a failure is expected, or fail where none is, is 1e-3 or less each.
"""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest

from tests.reference.gate import gate
from tests.targets.target import summarised

NAMES = ("a", "b", "c")
SCALE, CENTRE = (1.0, 0.1, 30.0), (0.0, 5.0, -2.0)
REFERENCE = summarised(np.random.default_rng(0).standard_normal((10, 1000, 3)) * SCALE + CENTRE, NAMES)

MEAN = {"mean # standard errors off, more than #", "mean # sd off, more than #"}
SPREAD = {"log sd # off, more than #"}
TAILS = {"#% quantile # standard errors off, more than #"}
CHAINS = {"R-hat # > #"}
ESS = {"bulk ESS # < #", "tail ESS # < #"}


def standard(chains=16, length=1000):
    return np.random.default_rng(1).standard_normal((chains, length, 3))


def failures_of(z, reference=REFERENCE):
    """What the gate says of standardised draws, by scalar, its numbers blotted out."""
    found: dict[str, set[str]] = {}
    for line in gate(z * SCALE + CENTRE, reference):
        name, _, text = line.partition(": ")
        found.setdefault(name, set()).add(re.sub(r"nan|\d+(\.\d+)?", "#", text))
    return found


def test_the_right_posterior_passes():
    assert failures_of(standard()) == {}


def test_moments_alone_are_enough():
    assert failures_of(standard(), replace(REFERENCE, quantiles=None, draws=None)) == {}


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda x: x + 0.1, MEAN | TAILS),
        (lambda x: x * 1.1, SPREAD | TAILS),
        (lambda x: x / 1.1, SPREAD | TAILS),
        (lambda x: x * np.nan, MEAN | SPREAD | TAILS | CHAINS | ESS),
    ],
    ids=["shifted by 0.1 sd", "10 % too wide", "10 % too narrow", "not numbers"],
)
def test_a_wrong_scalar_is_named(change, expected):
    z = standard()
    z[..., 1] = change(z[..., 1])
    assert failures_of(z) == {"b": expected}


def test_a_tail_of_another_shape_is_seen_where_moments_agree():
    """A two-point mixture with mean 0 and variance 1: its 95 % quantile is 2.1, not 1.6."""
    z = standard()
    far = np.random.default_rng(2).uniform(size=z.shape[:2]) < 0.1
    z[..., 1] = np.where(far, 2.1, -2.1 / 9) + (1 - 2.1**2 / 9) ** 0.5 * z[..., 1]
    assert failures_of(z) == {"b": TAILS}


def test_few_effective_draws_hide_no_bias():
    """A shift of half an sd is within the Monte Carlo error of 16 draws; the ceiling and the ESS still tell."""
    z = standard(chains=4, length=4)
    z[..., 1] += 0.5
    assert failures_of(z)["b"] >= ESS | {"mean # sd off, more than #"}


def test_chains_that_disagree_are_seen():
    z = standard()
    z[0, :, 0] += 2
    assert failures_of(z)["a"] >= CHAINS


def test_chains_that_crawl_are_seen():
    """A stationary autoregression of unit variance: 16,000 draws are worth 80."""
    z, memory = standard(), 0.99
    for t in range(1, z.shape[1]):
        z[:, t] = memory * z[:, t - 1] + (1 - memory**2) ** 0.5 * z[:, t]
    assert failures_of(z)["a"] >= ESS
