"""What a fit says: named streams, contracts, estimates against exact answers, and ArviZ's own functions on it."""

from __future__ import annotations

import math

import arviz_stats
import numpy as np
import pandas as pd
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.nn import PyroModule, PyroParam
from torch import nn
from torch.distributions import constraints

import ppzoo
from ppzoo.errors import DataError, ModelError, OptionError

Y = torch.tensor([0.9, 1.1, 1.6, 0.4])
X = torch.tensor([[0.1, 1.0], [0.4, -1.0], [-0.3, 0.5], [1.2, 0.2]])


def conjugate(y):
    mu = pyro.sample("mu", dist.Normal(0.0, 1.0))
    pyro.deterministic("double", 2 * mu)
    with pyro.plate("row", len(y)):
        pyro.sample("y", dist.Normal(mu, 1.0), obs=y)


@pytest.fixture(scope="module")
def svi():
    return ppzoo.fit(conjugate, Y, steps=50, seed=1)


@pytest.fixture(scope="module")
def nuts():
    return ppzoo.fit(conjugate, Y, method="nuts", chains=2, warmup=50, draws=50, seed=1)


@pytest.fixture(scope="module")
def exact():
    return ppzoo.fit(ppzoo.create_model("linear_regression"), (X, Y), method="exact")


@pytest.fixture(scope="module")
def mixture():
    model = ppzoo.create_model("gmm", features=2)
    return ppzoo.fit(model, "old_faithful", method="em", restarts=1, steps=30)


# parameters


def test_what_is_trained_and_has_no_prior(svi, nuts, exact, mixture):
    """By name; empty where every parameter has a prior: the guide's own are not the program's."""
    assert svi.trained() == nuts.trained() == exact.trained() == {}
    assert sorted(mixture.trained()) == ["loc", "scale_tril", "weights"]
    vae = ppzoo.fit(ppzoo.create_model("vae", features=2, hidden=(3,)), X.sigmoid(), steps=1)
    assert vae.trained()
    assert all(name.startswith("decoder_network") for name in vae.trained())


# draws


def test_what_is_asked_first_changes_no_answer():
    def answers(order):
        fit = ppzoo.fit(conjugate, Y, steps=10)
        verbs = {
            "draws": lambda: fit.draws(4)["mu"].numpy().tobytes(),
            "more": lambda: fit.draws(9)["mu"].numpy().tobytes(),
            "predict": lambda: fit.predict(draws=4)["y"].numpy().tobytes(),
            "tree": lambda: np.sort(fit.to_arviz()["posterior"]["mu"].values).tobytes(),
            "verdict": lambda: str(fit.diagnose()),
        }
        return {verb: verbs[verb]() for verb in order}

    order = ["draws", "predict", "tree", "verdict", "more", "draws"]
    assert answers(order) == answers(order[::-1])


def test_streams_are_not_shared(svi):
    """Draws, predictions and the tree are independent of each other: no number comes twice."""
    seen = [svi.draws(50)["mu"].numpy(), svi.to_arviz()["posterior"]["mu"].values[0]]
    assert not np.isin(*seen).any()


def test_how_many_draws(svi, nuts):
    assert svi.draws()["mu"].shape == (1000,)
    assert svi.draws(3)["mu"].shape == (3,)
    assert nuts.draws()["mu"].shape == (100,)
    assert set(nuts.draws(7)) == {"mu", "double"}
    few = nuts.draws(7)["mu"]
    assert bool(torch.isin(few, nuts.draws()["mu"]).all())
    assert len(set(few.tolist())) > 1
    with pytest.raises(OptionError, match="n: more draws than were made; got 101; expected at most 100"):
        nuts.draws(101)
    for bad in (0, -1, 2.5, "3"):
        with pytest.raises(OptionError, match="n: must be a whole number"):
            svi.draws(bad)
        with pytest.raises(OptionError, match="draws: must be a whole number"):
            svi.predict(draws=bad)


def test_deterministic_sites_come_with_the_draws(svi, nuts):
    for fit in (svi, nuts):
        found = fit.draws(5)
        assert torch.allclose(found["double"], 2 * found["mu"])


def test_the_sampler_finds_the_conjugate_posterior(nuts):
    """Tolerance: five Monte Carlo standard errors of the mean, from the summary; a false alarm in 2 million."""
    row = nuts.summary().loc["mu"]
    assert abs(row["mean"] - float(Y.sum()) / 5) < 5 * row["mcse_mean"]
    assert abs(row["sd"] - 5**-0.5) < 5 * row["mcse_sd"]


# parameters


def test_parameters_in_their_own_supports_by_the_names_of_their_modules():
    class Inner(PyroModule):
        def __init__(self):
            super().__init__()
            self.scale = PyroParam(torch.tensor(3.0), constraint=constraints.positive)

    class Outer(PyroModule):
        def __init__(self):
            super().__init__()
            self.inner = Inner()
            self.loc = nn.Parameter(torch.tensor(0.5))

        def forward(self, y):
            with pyro.plate("row", len(y)):
                pyro.sample("y", dist.Normal(self.loc, self.inner.scale), obs=y)

    fit = ppzoo.fit(Outer(), Y, steps=1, lr=1e-9)
    found = fit.parameters()
    assert set(found) == {"inner.scale", "loc"}
    assert float(found["inner.scale"]) == pytest.approx(3.0, abs=1e-5)
    assert not any(value.requires_grad for value in found.values())
    assert set(fit.summary().index) == {"inner.scale", "loc"}


def test_maximum_likelihood_by_svi_is_the_closed_form():
    def model(y):
        loc = pyro.param("loc", torch.tensor(0.0))
        scale = pyro.param("scale", torch.tensor(1.0), constraint=constraints.positive)
        with pyro.plate("row", len(y)):
            pyro.sample("y", dist.Normal(loc, scale), obs=y)

    fit = ppzoo.fit(model, Y, steps=800, lr=0.05)
    assert fit.kind == "point"
    assert float(fit.parameters()["loc"]) == pytest.approx(float(Y.mean()), abs=1e-3)
    assert float(fit.parameters()["scale"]) == pytest.approx(float(Y.std(correction=0)), abs=1e-3)
    with pytest.raises(ModelError, match=r"no latent site to draw.*fit\.parameters\(\)"):
        fit.draws()


# contracts


def test_contracts_of_a_density(mixture):
    data = ppzoo.load_dataset("old_faithful").data["x"]
    log_prob = mixture.log_prob(data)
    assert log_prob.shape == (272,)
    assert float(log_prob.sum()) == pytest.approx(-mixture.losses[-1], rel=1e-6)
    assert mixture.encode(data).shape == (272, 2)
    assert torch.equal(mixture.log_prob(data[:1]), log_prob[:1])  # one row, too few to fit, is enough to score
    assert mixture.log_prob(np.repeat(data[:1], 3, axis=0)).shape == (3,)
    assert not log_prob.requires_grad
    assert mixture.sample(7).shape == (7, 2)
    assert torch.equal(mixture.sample(7), mixture.sample(7))


def test_new_rows_are_checked_at_the_door(mixture):
    with pytest.raises(DataError, match="3 columns"):
        mixture.log_prob(torch.zeros(2, 3))
    with pytest.raises(DataError, match="x"):
        mixture.log_prob(torch.tensor([[1.0, math.nan]]))
    with pytest.raises(DataError, match=r"unseen at fit: 'a'.*missing: 'eruptions'"):
        mixture.log_prob(pd.DataFrame({"a": [1.0], "waiting": [70.0]}))
    named = pd.DataFrame({"eruptions": [3.0], "waiting": [70.0]})
    assert torch.equal(mixture.log_prob(named), mixture.log_prob(named.to_numpy()))
    with pytest.raises(OptionError, match="n"):
        mixture.sample(0)


@pytest.mark.parametrize("verb", ["sample", "log_prob", "encode", "importance_weighted_bound"])
def test_what_a_model_cannot_do_is_said(svi, verb):
    with pytest.raises(ModelError, match=r"fit: cannot .*expected a model with .*fit\.predict\(\)"):
        getattr(svi, verb)(3)


def test_a_game_has_no_posterior():
    fit = ppzoo.fit(
        ppzoo.create_model("gan", features=2, hidden=(4,)), "ring_of_gaussians", method="adversarial", steps=3
    )
    assert fit.kind == "point"
    assert fit.sample(3).shape == (3, 2)
    for verb in ("draws", "predict", "log_prob", "encode"):
        with pytest.raises(ModelError):
            getattr(fit, verb)(*[X] * (verb in {"log_prob", "encode"}))
    assert isinstance(str(fit), str)
    assert "observed_data" in fit.to_arviz().children


# prediction


def test_predictions_have_the_posterior_predictive_moments(exact):
    """Against Monte Carlo from the exact posterior: five standard errors of 20,000 draws."""
    new = torch.tensor([[0.2, 0.3], [3.0, -2.0], [0.0, 0.0]])
    found = exact.predict(new, draws=20_000)["y"]
    draws = exact.draws(20_000)
    mean = draws["beta"][:, :1] + draws["beta"][:, 1:] @ new.double().T
    spread = (mean.var(0) + draws["sigma2"].mean()).sqrt()
    assert found.shape == (20_000, 3)
    assert bool(((found.mean(0) - mean.mean(0)).abs() < 5 * 2**0.5 * spread / 20_000**0.5).all())
    assert torch.allclose(found.std(0), spread, rtol=0.1)


def test_columns_of_new_data_are_held_against_those_of_the_fit():
    table = pd.DataFrame({"dose": X[:, 0].numpy(), "age": X[:, 1].numpy()})
    fit = ppzoo.fit(ppzoo.create_model("linear_regression"), {"x": table, "y": Y}, method="exact")
    assert fit.predict(table.iloc[:2])["y"].shape == (200, 2)
    with pytest.raises(DataError, match="another order"):
        fit.predict(table[["age", "dose"]])
    with pytest.raises(DataError, match="unseen at fit: 'height'; missing: 'age'"):
        fit.predict(table.rename(columns={"age": "height"}))


def test_a_module_predicts_new_rows():
    class Regression(PyroModule):
        def forward(self, x, y=None):
            b = pyro.sample("b", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            with pyro.plate("row", len(x)):
                return pyro.sample("response", dist.Normal(x @ b, 1.0), obs=y)

    fit = ppzoo.fit(Regression(), (X, Y), steps=10)
    for form in ((X[:3],), ({"x": X[:3]},), ((X[:3],),), (X[:3].numpy(),)):
        assert fit.predict(*form, draws=5)["response"].shape == (5, 3)
    assert fit.predict(x=X[:3], draws=5)["response"].shape == (5, 3)


def test_a_starred_program_predicts_new_rows():
    def starred(*data):
        conjugate(*data)

    fit = ppzoo.fit(starred, Y, steps=5)
    assert fit.predict(torch.zeros(7), draws=3)["y"].shape == (3, 7)


def test_deterministic_sites_follow_the_new_data():
    def model(x, y):
        slope = pyro.sample("slope", dist.Normal(0.0, 1.0))
        with pyro.plate("row", len(x)):
            mean = pyro.deterministic("mean", slope * x)
            pyro.sample("y", dist.Normal(mean, 1e-3), obs=y)

    fit = ppzoo.fit(model, (Y, 2 * Y), steps=300, lr=0.1)
    far = fit.predict(torch.full((6,), 100.0), draws=5)["y"]
    assert far.shape == (5, 6)
    assert torch.allclose(far, torch.full((5, 6), 200.0), rtol=0.05)


# the tree and ArviZ


@pytest.mark.filterwarnings("ignore:Estimated shape parameter")  # of LOO, on few steps and four rows
def test_arviz_reads_the_tree(svi, nuts):
    for fit in (svi, nuts):
        tree = fit.to_arviz()
        assert np.isfinite(arviz_stats.summary(tree, var_names=["mu"], round_to="none")["mean"]).all()
        assert np.isfinite(arviz_stats.loo(tree).elpd)
        groups = {"posterior", "log_likelihood", "log_prior", "posterior_predictive", "observed_data"}
        assert groups <= set(tree.children)
        assert tree["log_likelihood"]["y"].dims == ("chain", "draw", "row")
        assert tree["log_prior"]["mu"].dims == ("chain", "draw")
        assert tree["observed_data"]["y"].dims == ("row",)
        np.testing.assert_array_equal(tree["observed_data"]["y"].values, Y.to(fit.dtype).numpy())
    assert dict(svi.to_arviz()["posterior"].sizes) == {"chain": 1, "draw": 1000}
    assert "sample_stats" not in svi.to_arviz().children
    stats = nuts.to_arviz()["sample_stats"]
    assert set(stats.data_vars) == {
        "lp",
        "acceptance_rate",
        "step_size",
        "tree_depth",
        "n_steps",
        "diverging",
        "energy",
        "energy_error",
        "max_energy_error",
        "reached_max_treedepth",
    }
    assert dict(stats.sizes) == {"chain": 2, "draw": 50}


def test_pointwise_densities_are_those_written_by_hand(nuts):
    tree = nuts.to_arviz()
    mu = tree["posterior"]["mu"].values[..., None]
    by_hand = -0.5 * (Y.double().numpy() - mu) ** 2 - 0.5 * math.log(2 * math.pi)
    np.testing.assert_allclose(tree["log_likelihood"]["y"].values, by_hand, rtol=1e-12)
    prior = -0.5 * mu[..., 0] ** 2 - 0.5 * math.log(2 * math.pi)
    np.testing.assert_allclose(tree["log_prior"]["mu"].values, prior, rtol=1e-12)
    np.testing.assert_allclose(
        tree["sample_stats"]["lp"].values, by_hand.sum(-1) + prior, rtol=1e-9
    )  # mu is unconstrained already


def test_an_item_inside_the_program_gives_the_same_numbers():
    def mapped(y):
        mu = pyro.sample("mu", dist.Normal(0.0, 1.0))
        with pyro.plate("row", len(y)):
            pyro.sample("y", dist.Normal(mu, 1.0), obs=y)

    def looped(y):
        mu = pyro.sample("mu", dist.Normal(0.0, 1.0))
        assert math.isfinite(mu.item())
        with pyro.plate("row", len(y)):
            pyro.sample("y", dist.Normal(mu, 1.0), obs=y)

    options = {"method": "nuts", "chains": 1, "warmup": 20, "draws": 20}
    trees = [ppzoo.fit(model, Y, **options).to_arviz() for model in (mapped, looped)]
    for group in ("posterior", "log_likelihood", "log_prior"):
        for name, value in trees[0][group].data_vars.items():
            np.testing.assert_allclose(trees[1][group][name].values, value.values, rtol=1e-12)
    assert "one draw at a time" not in trees[0].attrs["notes"]
    assert "one draw at a time" in trees[1].attrs["notes"]


def test_estimates_say_only_what_they_are_worth(svi, nuts, mixture):
    assert "r_hat" not in svi.summary().columns
    assert "ess_bulk" not in svi.summary().columns
    assert {"r_hat", "ess_bulk", "mcse_mean"} <= set(nuts.summary().columns)
    assert set(mixture.summary().columns) == {"value"}
    assert float(mixture.summary().loc["weights[0]", "value"]) == pytest.approx(
        float(mixture.parameters()["weights"][0])
    )


def test_a_fit_shows_itself(svi, nuts, mixture, exact):
    for fit in (svi, nuts, mixture, exact):
        assert repr(fit).startswith(f"<Fit of {fit.source['name']} by {fit.method.name}")
        text = str(fit)
        assert "verdict: " in text
        assert text.count("\n") >= 2
        assert "<table" in fit._repr_html_()


def test_a_thousand_labels_are_not_printed_and_come_back_from_a_folder(tmp_path):
    def model(y):
        level = pyro.sample("level", dist.Normal(0.0, 1.0))
        with pyro.plate("row", len(y)):
            z = pyro.sample("z", dist.Categorical(torch.ones(3) / 3))
            pyro.sample("y", dist.Normal(level + z, 1.0), obs=y)

    fit = ppzoo.fit(model, torch.linspace(-2, 4, 1000), method="nuts", chains=2, warmup=20, draws=10)
    table = str(fit).partition("verdict")[0].splitlines()
    assert len(table) == 1 + 1 + 40 + 1
    assert table[2].startswith("level")
    assert table[-1] == "(961 more in fit.summary())"
    assert "(961 more in fit.summary())" in fit._repr_html_()
    assert "nan" not in fit._repr_html_().lower()
    assert len(fit.summary()) == 1001
    again = ppzoo.load(fit.save(tmp_path / "fit"), model=model)
    for name, value in fit.draws().items():
        assert torch.equal(again.draws()[name], value)
    assert str(again) == str(fit)


def test_names_with_markup_stay_text():
    name = "<img src=x onerror=alert(1)>"

    def model(y):
        mu = pyro.sample(name, dist.Normal(0.0, 1.0))
        pyro.sample("y", dist.Normal(mu, 1.0).expand([len(y)]).to_event(1), obs=y)

    model.__qualname__ = name
    fit = ppzoo.fit(model, Y, steps=3)
    assert name in fit.draws(2)
    assert "<img" not in fit._repr_html_()


def test_a_fit_is_frozen(svi):
    with pytest.raises(AttributeError):
        svi.seed = 3
