"""Every program with reference draws satisfies the two score identities at them, and wrong programs do not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyro
import pyro.distributions as dist
import pytest

from tests.targets.scores import score_deviations, scores
from tests.targets.table import INFERENCE_GYM, POSTERIORDB

FAR = 6.0  # standard errors


@pytest.mark.parametrize("name", POSTERIORDB)
def test_the_program_has_the_posterior_of_its_reference(name, shared_data):
    """z-tests of D + D^2 averages; false alarm rate 2 Phi(-6) each: 4e-7 for D = 13, 4e-6 for all 34 programs."""
    deviations = score_deviations(POSTERIORDB[name](shared_data))
    assert np.abs(deviations).max() < FAR


def narrow_prior(y, sigma):
    """Eight schools with HalfCauchy(2.5) where the reference has HalfCauchy(5)."""
    mu = pyro.sample("mu", dist.Normal(0.0, 5.0))
    tau = pyro.sample("tau", dist.HalfCauchy(2.5))
    with pyro.plate("school", len(y)):
        z = pyro.sample("z", dist.Normal(0.0, 1.0))
        pyro.sample("y", dist.Normal(mu + tau * z, sigma), obs=y)


def test_a_wrong_prior_scale_is_seen(shared_data):
    target = POSTERIORDB["eight_schools-eight_schools_noncentered"](shared_data)
    assert np.abs(score_deviations(replace(target, model=narrow_prior))).max() > FAR


def flat_in_the_logarithm(X, y):
    """A regression with log sigma flat, as if the change of variables needed no Jacobian."""
    beta = pyro.sample("beta", dist.ImproperUniform(dist.constraints.real_vector, (), (X.shape[1],)))
    log_sigma = pyro.sample("log_sigma", dist.ImproperUniform(dist.constraints.real, (), ()))
    with pyro.plate("row", len(y)):
        pyro.sample("y", dist.Normal(X @ beta, log_sigma.exp()), obs=y)


def test_a_missing_jacobian_is_seen(shared_data):
    target = POSTERIORDB["mesquite-logmesquite"](shared_data)
    wrong = replace(
        target,
        model=flat_in_the_logarithm,
        sites=lambda values: {"beta": values["beta"], "log_sigma": values["sigma"].log()},
    )
    assert np.abs(score_deviations(wrong)).max() > FAR


def test_a_swapped_column_is_seen(shared_data):
    target = POSTERIORDB["nes2000-nes"](shared_data)
    X = target.data["X"][:, [0, 1, 2, 3, 4, 5, 6, 8, 7]]  # income for gender
    assert np.abs(score_deviations(replace(target, data=target.data | {"X": X}))).max() > FAR


def test_a_target_of_moments_has_no_draws_to_score(shared_data):
    target = INFERENCE_GYM["brownian_motion_missing_middle_observations"](shared_data)
    with pytest.raises(ValueError, match="moments only"):
        scores(target)
