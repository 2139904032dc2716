"""Programs whose reference has moments only, integrated without a sampler and held against those moments.

The reference's sds have errors too: with n = (sd / error of the mean)^2 effective draws, near sd / sqrt(2 n).
"""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.targets.integration import Moments, grid_moments, normal_moments, reweighted_moments
from tests.targets.table import TARGETS
from tests.targets.target import opened

BROWNIAN = "brownian_motion_missing_middle_observations"
UNKNOWN = "brownian_motion_unknown_scales_missing_middle_observations"
SPARSE = "german_credit_numeric_sparse_logistic_regression"
RADON = {
    "radon_contextual_effects_minnesota": {"county_effect_scale": (1e-4, 0.7, 36), "log_radon_scale": (0.68, 0.86, 9)},
    "radon_contextual_effects_indiana": {"county_effect_scale": (0.2, 0.75, 11), "log_radon_scale": (0.87, 1.02, 9)},
}
FAR = 6.0  # standard errors


def check(target, moments: Moments):
    """z-tests of P means and P sds; false alarm rate 2 P x 2 Phi(-6): 2e-6 for the 501 scalars of the largest."""
    reference = target.reference
    error = np.hypot(reference.mean_error, moments.mean_error)
    assert (np.abs(moments.mean - reference.mean) < FAR * error).all()
    assert (np.abs(np.log(moments.sd / reference.sd)) < FAR * error / reference.sd / 2**0.5).all()


def test_brownian_motion_is_normal(shared_data):
    target = TARGETS[BROWNIAN](shared_data)
    check(target, normal_moments(target))


def test_brownian_motion_of_unknown_scales_is_normal_given_them(shared_data):
    """The reference is exact here, from covariances where the program has densities."""
    target = TARGETS[UNKNOWN](shared_data)
    scales = {"innovation_noise_scale": (0.007, 2.7, 25), "observation_noise_scale": (6e-6, 2.7, 45)}
    moments = grid_moments(target, scales)
    assert np.allclose(moments.mean, target.reference.mean, rtol=0, atol=1e-3 * target.reference.sd)
    assert np.allclose(moments.sd, target.reference.sd, rtol=1e-3)


@pytest.mark.parametrize("name", [f"{state}{prior}" for state in RADON for prior in ("", "_halfnormal")])
def test_radon_is_normal_given_its_scales(name, shared_data):
    target = TARGETS[name](shared_data)
    check(target, grid_moments(target, RADON[name.removesuffix("_halfnormal")]))


def test_german_credit_is_nearly_normal(shared_data):
    target = TARGETS["german_credit_numeric_logistic_regression"](shared_data)
    check(target, reweighted_moments(target, 10_000))


@pytest.mark.slow
def test_item_response_is_nearly_normal(shared_data):
    target = TARGETS["synthetic_item_response_theory"](shared_data)
    check(target, reweighted_moments(target, 4000))


def test_priors_of_the_sparse_german_credit(shared_data):
    """A weight z_i l_i s is seen by the likelihood as a whole, so it cancels from z_i d/dz_i - d/d(log l_i).

    What is left of the program is z_i and l_i alone, pointwise; its expectation is -1 under every posterior, so the
    reference's own moments must give that: 25 z-tests at 6 standard errors, normal kurtosis taken for granted.
    """
    target = TARGETS[SPARSE](shared_data)
    reference = target.reference
    with opened(target) as density:
        u = {name: torch.randn(shape) for name, shape in density.shapes.items()}
        score = torch.func.grad(lambda u: -density.potential(u))(u)
        z, scale = u["unscaled_weights"], u["local_scales"].exp()
        left = z * score["unscaled_weights"] - score["local_scales"]
        assert torch.allclose(left, -(z**2) - (1 - scale) / 2, rtol=0, atol=1e-9)

    def entries(base, values):
        return values[[name.startswith(f"{base}[") for name in reference.names]]

    z_mean, z_sd, z_error = (
        entries("unscaled_weights", v) for v in (reference.mean, reference.sd, reference.mean_error)
    )
    l_mean, l_error = (entries("local_scales", v) for v in (reference.mean, reference.mean_error))
    expectation = -(z_mean**2 + z_sd**2) - (1 - l_mean) / 2
    error = np.sqrt((2 * z_mean * z_error) ** 2 + 2 * (z_sd * z_error) ** 2 + (l_error / 2) ** 2)
    assert (np.abs(expectation + 1) < FAR * error).all()
