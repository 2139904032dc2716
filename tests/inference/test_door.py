"""Observations outside the support of their site."""

from __future__ import annotations

import pyro
import pyro.distributions as dist
import pytest
import torch

import ppzoo
from ppzoo.errors import DataError, ModelError


def observed(make):
    def model(y):
        scale = pyro.sample("scale", dist.Gamma(2.0, 2.0))
        with pyro.plate("row", len(y)):
            pyro.sample("y", make(scale), obs=y)

    return model


@pytest.mark.parametrize(
    ("make", "y", "message"),
    [
        (lambda s: dist.Bernoulli(0.5), [0.0, 1.0, 3.0], r"y: lies outside the support.*got 3 at index \(2,\)"),
        (dist.Poisson, [1.0, -2.0, -3.0], r"got -2 at index \(1,\) \(2 such\).*whole numbers >= 0"),
        (dist.Poisson, [1.0, 2.5], r"got 2.5"),
        (lambda s: dist.LogNormal(0.0, s), [1.0, -1.0], r"expected LogNormal data"),
        (lambda s: dist.Gamma(2.0, s), [1.0, -1.0], r"expected Gamma data"),
        (lambda s: dist.Categorical(torch.ones(3)), [0, 1, 3], r"from 0 up to the number of categories"),
        (lambda s: dist.Beta(2.0, 2.0), [0.5, 1.5], r"expected Beta data"),
    ],
)
def test_outside_the_support(make, y, message):
    with pytest.raises(DataError, match=message):
        ppzoo.check(observed(make), torch.tensor(y))


def test_a_support_that_moves_with_a_latent_site_is_no_error():
    assert ppzoo.check(observed(lambda s: dist.Uniform(0.0, s)), torch.tensor([100.0])).ok is False


def test_a_program_that_switches_validation_off_at_a_site_means_it():
    assert ppzoo.check(observed(lambda s: dist.Bernoulli(0.5, validate_args=False)), torch.tensor([0.3])).ok
    expanded = observed(lambda s: dist.LogNormal(0.0, s, validate_args=False).expand([2]))
    ppzoo.check(expanded, torch.tensor([1.0, -1.0]))  # not refused at the door


def test_integer_labels_for_a_bernoulli_say_what_to_write():
    def model(y):
        at = pyro.sample("at", dist.Normal(0.0, 1.0))
        with pyro.plate("row", len(y)):
            pyro.sample("y", dist.Bernoulli(logits=at), obs=y)

    with pytest.raises(
        ModelError, match=r"y: has a density that cannot be computed; got torch.int64 values.*obs=y\.float\(\)"
    ):
        ppzoo.fit(model, torch.tensor([0, 1, 1]), steps=3)
