"""The DataTree of a fit: groups, dims, labels."""

from __future__ import annotations

import arviz_stats
import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
import xarray as xr

import ppzoo
from ppzoo import tree as trees


@pytest.fixture(scope="module")
def fits():
    data = ppzoo.load_dataset("eight_schools")
    model = ppzoo.create_model("eight_schools")
    return {
        "svi": ppzoo.fit(model, data, method="svi", steps=30),
        "nuts": ppzoo.fit(model, data, method="nuts", chains=2, warmup=20, draws=10),
    }


@pytest.mark.parametrize(("name", "shape"), [("svi", (1, 1000)), ("nuts", (2, 10))])
def test_groups_and_dims(fits, name, shape):
    tree = fits[name].to_arviz()
    groups = {"posterior", "log_likelihood", "log_prior", "posterior_predictive", "observed_data"}
    assert set(tree.children) == groups | ({"sample_stats"} if name == "nuts" else set())
    assert tree["posterior"]["theta"].dims == ("chain", "draw", "school")
    assert tree["posterior"]["mu"].shape == shape
    assert list(tree["posterior"]["school"].values) == list("ABCDEFGH")
    assert tree["posterior_predictive"]["y"].shape == (*shape, 8)
    assert tree["observed_data"]["y"].dims == ("school",)


def test_likelihood_and_prior_are_the_densities(fits):
    tree = fits["nuts"].to_arviz()
    post, data = tree["posterior"], ppzoo.load_dataset("eight_schools").data
    expected = -0.5 * ((data["y"] - post["theta"].values) / data["sigma"]) ** 2 - np.log(
        data["sigma"] * np.sqrt(2 * np.pi)
    )
    assert np.allclose(tree["log_likelihood"]["y"].values, expected)
    assert np.allclose(
        tree["log_prior"]["mu"].values, -0.5 * (post["mu"].values / 5) ** 2 - np.log(5 * np.sqrt(2 * np.pi))
    )
    assert np.allclose(
        post["theta"].values, post["mu"].values[..., None] + post["tau"].values[..., None] * post["z"].values
    )


def test_a_fit_of_parameters_has_no_posterior():
    fit = ppzoo.fit(ppzoo.create_model("gmm", features=2), "old_faithful", method="em", restarts=1)
    tree = fit.to_arviz()
    assert len(tree["posterior"].data_vars) == 0
    assert set(tree["parameters_data"].data_vars) == {"weights", "loc", "scale_tril"}
    assert set(fit.summary().columns) == {"value"}
    assert fit.summary().loc["weights[0]", "value"] == pytest.approx(float(fit.parameters()["weights"][0]))


def test_auxiliary_sites_are_not_reported():
    def model(y):
        raw = pyro.sample("raw", dist.Normal(0.0, 1.0), infer={"is_auxiliary": True})
        size = pyro.deterministic("size", raw.abs())
        with pyro.plate("row", len(y)):
            pyro.sample("y", dist.Normal(0.0, 1 + size), obs=y)

    fit = ppzoo.fit(model, torch.tensor([1.0, -2.0]), steps=20)
    assert set(fit.to_arviz()["posterior"].data_vars) == {"size"}
    assert set(fit.draws(3)) == {"size"}
    assert fit.predict(draws=3)["y"].shape == (3, 2)


def test_a_loop_over_draws_is_said():
    def model(y):
        mu = pyro.sample("mu", dist.Normal(0.0, 1.0))
        pyro.sample("y", dist.Normal(mu if mu.item() < 9 else -mu, 1.0).expand([2]).to_event(1), obs=y)

    fit = ppzoo.fit(model, torch.tensor([1.0, -2.0]), method="nuts", chains=1, warmup=20, draws=5)
    assert "one draw at a time" in fit.to_arviz().attrs["notes"]


X = torch.tensor([-30.0, -1.9, 0.3, 2.4, -0.2, 1.1], dtype=torch.float64)


def mixture(x):
    low = pyro.sample("low", dist.Normal(-1.0, 0.5))
    high = pyro.deterministic("high", low + 2.5)
    with pyro.plate("row", len(x)):
        z = pyro.sample("z", dist.Bernoulli(0.4))
        kind = pyro.sample("kind", dist.Categorical(torch.tensor([0.2, 0.3, 0.5], dtype=torch.float64)))
        loc = pyro.deterministic("loc", torch.where(z == 1, high, low))
        pyro.sample("x", dist.Normal(loc + 0.0 * kind, 1.0), obs=x)


@pytest.fixture(scope="module")
def mixed():
    return ppzoo.fit(mixture, X, method="nuts", chains=2, warmup=50, draws=50)


def test_discrete_draws_are_in_the_tree_after_all_else(mixed):
    posterior = mixed.to_arviz()["posterior"]
    assert list(posterior.data_vars) == ["low", "high", "z", "kind", "loc"]
    assert posterior["z"].dims == ("chain", "draw", "row")
    assert {name: v.attrs.get("discrete") for name, v in posterior.data_vars.items()} == {
        "low": None, "high": None, "loc": "function", "z": "number", "kind": "label",
    }  # fmt: skip
    np.testing.assert_array_equal(posterior["z"].values, mixed.outcome.draws["z"].numpy())
    expected = posterior["low"].values[..., None] + 2.5 * posterior["z"].values
    np.testing.assert_allclose(posterior["loc"].values, expected, rtol=1e-12)
    np.testing.assert_allclose(posterior["high"].values, posterior["low"].values + 2.5, rtol=1e-12)
    np.testing.assert_allclose(mixed.draws()["loc"].numpy(), expected.reshape(100, 6), rtol=1e-12)
    assert "one draw at a time" not in mixed.to_arviz().attrs["notes"]


def test_likelihoods_of_a_mixture_are_those_of_its_sum(mixed):
    """Whatever was drawn for the discrete sites: what LOO needs; and their own probabilities are no prior."""
    tree = mixed.to_arviz()
    low = tree["posterior"]["low"].values[..., None]
    parts = [np.log(w) - 0.5 * (X.numpy() - low - s) ** 2 for w, s in ((0.6, 0.0), (0.4, 2.5))]
    expected = np.logaddexp(*parts) - 0.5 * np.log(2 * np.pi)
    np.testing.assert_allclose(tree["log_likelihood"]["x"].values, expected, rtol=1e-10)
    assert list(tree["log_prior"].data_vars) == ["low"]


def test_pointwise_quantities_of_many_rows_are_of_some_draws(monkeypatch):
    fit = ppzoo.fit(ppzoo.create_model("eight_schools"), "eight_schools", method="nuts", draws=1001)
    whole = fit.to_arviz()
    monkeypatch.setattr(trees, "_POINTWISE", 4 * 600 * 2 * 8)  # six hundred draws of four chains, eight schools, twice
    thinned = trees.build_tree(fit)
    for group in ("log_likelihood", "log_prior", "posterior_predictive"):
        assert thinned[group]["draw"].values.tolist() == list(range(0, 1001, 2))
        assert set(thinned[group].data_vars) == set(whole[group].data_vars)
    assert thinned["posterior"].sizes["draw"] == 1001
    xr.testing.assert_allclose(
        thinned["log_likelihood"].to_dataset(), whole["log_likelihood"].to_dataset().isel(draw=slice(None, None, 2))
    )
    assert "of one draw in 2: 2,004 of 4,004" in thinned.attrs["notes"]
    assert np.isfinite(arviz_stats.loo(thinned, var_name="y").elpd)


def test_a_diagnosis_computes_no_likelihoods(fits, monkeypatch):
    """Of all draws and rows they may not fit into memory."""
    fit = ppzoo.fit(ppzoo.create_model("eight_schools"), "eight_schools", method="nuts", warmup=20, draws=10)
    monkeypatch.setattr(trees, "_pointwise", None)
    fit.summary()
    fit.diagnose()
    posterior = fit.posterior_tree["posterior"].to_dataset()
    monkeypatch.undo()
    xr.testing.assert_identical(posterior, fit.to_arviz()["posterior"].to_dataset())


def test_a_tree_shows_the_draws_themselves_and_nobody_writes_into_them():
    fit = ppzoo.fit(ppzoo.create_model("eight_schools"), ppzoo.load_dataset("eight_schools"), method="hmc", draws=20)
    shown = fit.to_arviz()["posterior"]["mu"].values
    assert np.shares_memory(shown, fit.outcome.draws["mu"].numpy())
    with pytest.raises(ValueError, match="read-only"):
        shown[:] = 0.0


def test_streamed_rows_have_no_likelihoods_and_no_observations(tmp_path):
    def model(y):
        mu = pyro.sample("mu", dist.Normal(0.0, 1.0))
        with pyro.plate("row", len(y)):
            pyro.sample("y", dist.Normal(mu, 1.0), obs=y)

    np.save(tmp_path / "y.npy", np.zeros(3000))
    fit = ppzoo.fit(model, np.load(tmp_path / "y.npy", mmap_mode="r"), guide="normal", batch_size=10, steps=20)
    tree = fit.to_arviz()
    assert set(tree.children) == {"posterior"}
    assert "likelihoods and predictions are left out" in tree.attrs["notes"]
    assert "1,000 of 3,000 rows" in tree.attrs["notes"]
