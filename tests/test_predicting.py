"""Prediction on new data: what is drawn anew, what is kept, and what is refused."""

from __future__ import annotations

from contextlib import nullcontext

import numpy as np
import pandas as pd
import pyro
import pyro.distributions as dist
import pytest
import torch

import ppzoo
from ppzoo.errors import DataError, ModelError

X = torch.linspace(-1, 1, 12, dtype=torch.float64)[:, None]
Y = 3 + 2 * X[:, 0]


@pytest.fixture(scope="module")
def regression():
    return ppzoo.fit(ppzoo.create_model("linear_regression"), (X, Y), method="exact")


@pytest.mark.parametrize("n", [1, 5, 12])
def test_a_regression_predicts_without_its_response(regression, n):
    new = torch.full((n, 1), 0.5, dtype=torch.float64)
    y = regression.predict(new, draws=400)["y"]
    assert y.shape == (400, n)
    # the line is 4 at 0.5; the noise is small but its prior is not, so allow 4 standard errors of the draws
    assert float((y.mean() - 4).abs()) < 4 * float(y.std()) / 20


def test_new_rows_of_whole_numbers_are_real_where_the_fit_was(regression):
    real, whole = torch.tensor([[1.0], [2.0]], dtype=torch.float64), np.array([[1], [2]])
    assert torch.equal(regression.predict(whole)["y"], regression.predict(real)["y"])
    assert torch.equal(regression.predict(x=whole)["y"], regression.predict(real)["y"])


def test_integers_of_a_program_stay_integers_and_what_was_real_stays_real():
    seen = []

    def model(x, group, y=None):
        seen.append((x.dtype, group.dtype))
        effect = pyro.sample("effect", dist.Normal(torch.zeros(2), 1.0).to_event(1))
        with pyro.plate("row", len(group)):
            pyro.sample("y", dist.Normal(effect[group] + x, 1.0), obs=y)

    fit = ppzoo.fit(model, ([0.5, 1.5], [0, 1], [1.0, 2.0]), steps=3)
    fit.predict([1, 2], [1, 1], draws=2)
    assert set(seen) == {(torch.float64, torch.int64)}


def test_prediction_on_the_data_of_the_fit_repeats(regression):
    assert torch.equal(regression.predict()["y"], regression.predict()["y"])


def test_sites_named_unlike_their_argument():
    def model(x, y=None):
        a = pyro.sample("a", dist.Normal(0.0, 5.0))
        with pyro.plate("row", len(x)):
            return pyro.sample("obs", dist.Normal(a * x[:, 0], 0.1), obs=y)

    fit = ppzoo.fit(model, (X, 2 * X[:, 0]), steps=300, lr=0.05)
    obs = fit.predict(torch.ones(3, 1, dtype=torch.float64))["obs"]
    assert obs.shape == (200, 3)
    assert float(obs.mean()) == pytest.approx(2.0, abs=0.2)


def local(x):
    with pyro.plate("row", len(x)):
        z = pyro.sample("z", dist.Normal(0.0, 1.0))
        pyro.sample("x", dist.Normal(z, 0.1), obs=x)


def test_a_guide_function_is_run_on_the_new_rows():
    def guide(x):
        slope = pyro.param("slope", torch.tensor(1.0, dtype=torch.float64))
        with pyro.plate("row", len(x)):
            pyro.sample("z", dist.Normal(slope * x, 0.1))

    fit = ppzoo.fit(local, X[:, 0], guide=guide, steps=200)
    new = torch.tensor([1.5, -1.5], dtype=torch.float64)
    assert np.allclose(fit.predict(new)["x"].mean(0), new, atol=0.1)


def test_latent_sites_of_new_rows_come_from_the_model():
    fit = ppzoo.fit(local, X[:, 0], guide="normal", steps=20)
    x = fit.predict(torch.zeros(50, dtype=torch.float64))["x"]
    assert x.shape == (200, 50)
    assert float(x.std()) == pytest.approx(np.hypot(1, 0.1), abs=4 / np.sqrt(2 * 10_000))  # 4 standard errors


def test_a_short_sampler_gives_all_its_draws():
    fit = ppzoo.fit(ppzoo.create_model("eight_schools"), "eight_schools", method="nuts", chains=1, warmup=20, draws=5)
    assert fit.predict()["y"].shape == (5, 8)


def test_columns_of_the_fit():
    frame = pd.DataFrame({"a": X[:, 0], "b": X[:, 0] ** 2, "y": Y})
    fit = ppzoo.fit(ppzoo.create_model("linear_regression"), frame, method="exact")
    with pytest.raises(DataError, match=r"unseen at fit: 'c'; missing: 'b'"):
        fit.predict(frame[["a"]].assign(c=1.0))
    with pytest.raises(DataError, match=r"x: has 3 columns, but the model was fitted on 2 columns"):
        fit.predict(np.ones((4, 3)))


def test_arguments_that_the_program_does_not_have(regression):
    with pytest.raises(DataError, match="predict"):
        regression.predict(X, Y, X)


def test_a_program_that_observes_nothing_predicts_nothing():
    def model():
        pyro.sample("z", dist.Normal(0.0, 1.0))

    fit = ppzoo.fit(model, (), steps=5)
    with pytest.raises(ModelError, match="observes nothing"):
        fit.predict()


def replicates(model, x, *, draws=400):
    fit = ppzoo.fit(model, x, method="nuts", chains=4, warmup=50, draws=100)
    return fit, fit.predict(draws=draws)["x"]


THREES = torch.full((20,), 3.0, dtype=torch.float64)


def test_a_replicate_of_a_row_is_from_any_component():
    """Every row is surely of the upper component, and 0.3 of its replicates are: 5 standard errors, 1e-6.

    The tree has the same predictions, which is what its likelihood is of.
    """

    def model(x):
        spread = pyro.sample("spread", dist.LogNormal(-1.0, 0.1))
        with pyro.plate("row", len(x)):
            z = pyro.sample("z", dist.Bernoulli(0.3))
            pyro.sample("x", dist.Normal(6 * z - 3, spread), obs=x)

    fit, x = replicates(model, THREES)
    assert bool((fit.draws()["z"] == 1).all())
    error = (0.3 * 0.7 / 8000) ** 0.5
    assert abs(float((x > 0).double().mean()) - 0.3) < 5 * error
    assert abs(float((fit.to_arviz()["posterior_predictive"]["x"].values > 0).mean()) - 0.3) < 5 * error


def test_a_discrete_site_of_all_rows_keeps_its_draws():
    def model(x):
        spread = pyro.sample("spread", dist.LogNormal(-1.0, 0.1))
        z = pyro.sample("z", dist.Bernoulli(0.3))
        with pyro.plate("row", len(x)):
            pyro.sample("x", dist.Normal(6 * z - 3, spread), obs=x)

    fit, x = replicates(model, THREES)
    assert bool((x > 0).all())
    assert bool((fit.predict(torch.zeros(5, dtype=torch.float64))["x"] > 0).all())  # and for new rows


def test_a_discrete_site_that_a_kept_one_depends_on_is_kept_with_it():
    """The row's own mean is near 4 where z is 1, and its value 10 above the mean: drawn anew, z would contradict it."""

    def model(x):
        spread = pyro.sample("spread", dist.LogNormal(-1.0, 0.1))
        with pyro.plate("row", len(x)):
            z = pyro.sample("z", dist.Bernoulli(0.3))
            mean = pyro.sample("mean", dist.Normal(4 * z, 0.5))
            pyro.sample("x", dist.Normal(mean + 10 * z, spread), obs=x)

    x = torch.tensor([14.0, 0.0, 14.2], dtype=torch.float64)
    assert float((replicates(model, x)[1] - x).abs().max()) < 5


def test_states_of_one_series_keep_their_draws_and_those_of_many_are_drawn_anew():
    def model(x):
        spread = pyro.sample("spread", dist.LogNormal(-1.0, 0.1))
        with pyro.plate("series", x.shape[1]) if x.dim() > 1 else nullcontext():
            z = torch.tensor(0)
            for t in pyro.markov(range(len(x))):
                z = pyro.sample(f"z_{t}", dist.Bernoulli(0.3 + 0.4 * z))
                pyro.sample("x" if t == 0 else f"x_{t}", dist.Normal(6 * z - 3, spread), obs=x[t])

    assert bool((replicates(model, THREES[:2])[1] > 0).all())
    anew = replicates(model, THREES[:20].reshape(2, 10))[1]
    assert abs(float((anew > 0).double().mean()) - 0.3) < 5 * (0.3 * 0.7 / 4000) ** 0.5


def test_rows_on_disk_are_too_many_to_predict(tmp_path):
    np.save(tmp_path / "x.npy", np.zeros(1000))
    x = np.load(tmp_path / "x.npy", mmap_mode="r")
    fit = ppzoo.fit(local, x, guide="amortised", batch_size=10, steps=20)
    with pytest.raises(DataError, match=r"data: are streamed.*1,000 rows.*fit\.predict\(x\)"):
        fit.predict()
    assert fit.predict(torch.zeros(7), draws=5)["x"].shape == (5, 7)
