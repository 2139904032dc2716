"""EM: monotone, repeatable, and the same optimum as scikit-learn's from the same start."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.mixture import GaussianMixture as SklearnMixture

import ppzoo
from ppzoo.errors import ModelError, OptionError


def test_the_log_likelihood_never_falls_and_is_repeatable():
    one, two = (ppzoo.fit(ppzoo.create_model("gmm", features=2), "old_faithful", method="em", seed=3) for _ in range(2))
    rise = -np.diff(one.losses)
    assert (rise >= -1e-9 * abs(one.losses[0])).all()
    assert np.array_equal(one.losses, two.losses)
    assert one.outcome.numbers["converged"] == 1.0


def test_the_same_optimum_as_scikit_learn_from_the_same_start():
    x = ppzoo.load_dataset("old_faithful").data["x"]
    means = np.array([[2.0, 55.0], [4.3, 80.0]])
    model = ppzoo.create_model("gmm", features=2).double()
    model.weights = torch.tensor([0.5, 0.5], dtype=torch.float64)
    model.loc.data = torch.tensor(means)
    model.scale_tril = torch.eye(2, dtype=torch.float64).repeat(2, 1, 1)
    ours = ppzoo.fit(model, x, method="em", init="model", tolerance=1e-13, steps=2000)
    theirs = SklearnMixture(
        2, means_init=means, weights_init=[0.5, 0.5], precisions_init=np.stack([np.eye(2)] * 2), tol=1e-13,
        max_iter=2000, reg_covar=0,
    ).fit(x)  # fmt: skip
    parameters = ours.parameters()
    assert np.allclose(parameters["loc"], theirs.means_, rtol=1e-6)
    assert np.allclose(parameters["weights"], theirs.weights_, rtol=1e-6)
    assert ours.outcome.numbers["log_likelihood"] == pytest.approx(theirs.score(x) * len(x), rel=1e-9)


def test_restarts_keep_the_best():
    x = np.concatenate([np.random.default_rng(0).normal(m, 0.1, (30, 2)) for m in (0, 3, 6, 9)])
    many = ppzoo.fit(ppzoo.create_model("gmm", features=2, components=4), x, method="em", restarts=8, seed=1)
    one = ppzoo.fit(ppzoo.create_model("gmm", features=2, components=4), x, method="em", restarts=1, seed=1)
    assert many.outcome.numbers["log_likelihood"] >= one.outcome.numbers["log_likelihood"] - 1e-9


def test_steps_that_run_out_are_said():
    fit = ppzoo.fit(ppzoo.create_model("gmm", features=2), "old_faithful", method="em", steps=2, restarts=1)
    assert fit.diagnose().verdict == "caution"
    assert "EM had not converged" in str(fit.diagnose())


def test_only_models_with_both_steps():
    with pytest.raises(ModelError, match="has no E step and M step"):
        ppzoo.fit(ppzoo.create_model("eight_schools"), "eight_schools", method="em")


@pytest.mark.parametrize("options", [{"steps": 0}, {"tolerance": -1.0}, {"restarts": 0}, {"init": "random"}])
def test_options_outside_their_range(options):
    with pytest.raises(OptionError, match=next(iter(options))):
        ppzoo.EM(**options)
