"""Scalars and sites are each other's inverse, and a reference says what its draws say."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from tests.targets.table import POSTERIORDB
from tests.targets.target import flatten, names_of, summarised, unflatten


def test_scalars_carry_stans_names():
    values = {"beta": torch.tensor([[1.0, 2.0], [3.0, 4.0]]), "sigma": torch.tensor([5.0, 6.0])}
    names = names_of({name: value[0] for name, value in values.items()})
    assert names == ("beta[1]", "beta[2]", "sigma")
    flat = flatten(values, names)
    assert flat.tolist() == [[1.0, 2.0, 5.0], [3.0, 4.0, 6.0]]
    back = unflatten(flat, names)
    assert all(torch.equal(back[name], value.double()) for name, value in values.items())


def test_a_summary_of_normal_draws():
    """Five z-tests of independent normal draws at 5 standard errors: false alarm rate 3e-6."""
    draws = 3 + 2 * np.random.default_rng(0).standard_normal((10, 1000, 1))
    found = summarised(draws, ["x"])
    assert found.quantiles is not None
    n = draws.size
    assert abs(found.mean[0] - 3) < 5 * 2 / n**0.5
    assert abs(np.log(found.sd[0] / 2)) < 5 / (2 * n) ** 0.5
    z = 1.6448536269514722
    error = 2 * (0.05 * 0.95 / n) ** 0.5 / (np.exp(-z * z / 2) / (2 * np.pi) ** 0.5)
    assert np.abs(found.quantiles.value[0] - (3 - 2 * z, 3 + 2 * z)).max() < 5 * error
    assert found.mean_error[0] == pytest.approx(2 / n**0.5, rel=0.1)
    assert found.quantiles.error[0] == pytest.approx((error, error), rel=0.4)  # from a few order statistics


@pytest.mark.parametrize("name", POSTERIORDB)
def test_sites_and_parameters_are_inverse(name, shared_data):
    """Up to float32, in which the draws are stored, and the conditioning of the Gaussian process's factor."""
    target = POSTERIORDB[name](shared_data)
    draws = target.reference.draws
    error = np.abs(target.read(target.write(draws)) - draws).max((0, 1))
    assert (error < 1e-9 * target.reference.sd).all()


@pytest.mark.parametrize("name", POSTERIORDB)
def test_the_reference_is_posteriordbs(name, shared_data):
    """Means and sds of the stored draws are those that were computed before they were rounded to float32."""
    reference = POSTERIORDB[name](shared_data).reference
    path = shared_data / "posteriordb" / name / "reference_mean_sd.json"
    stored = json.loads(path.read_text(encoding="utf-8"))["parameters"]
    for scalar, mean, sd in zip(reference.names, reference.mean, reference.sd, strict=True):
        if not scalar.startswith("log "):
            assert mean == pytest.approx(stored[scalar]["mean"], abs=1e-4 * sd)
            assert sd == pytest.approx(stored[scalar]["sd"], rel=1e-4)
