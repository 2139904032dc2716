"""Weighed draws of a guide: how many, for what, and where there are none."""

from __future__ import annotations

import math

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from scipy import stats

import ppzoo
from ppzoo.errors import FitError, ModelError, OptionError
from ppzoo.inference.variational.svi import SVI
from ppzoo.weighing import weighed_scalars

Y = torch.tensor([0.9, 1.1, 1.6, 0.4], dtype=torch.float64)
MEAN, SD = 4.0 / 5, 5**-0.5  # y ~ N(mu, 1), mu ~ N(0, 1)


def conjugate(y):
    mu = pyro.sample("mu", dist.Normal(0.0, 1.0))
    pyro.deterministic("double", 2 * mu)
    with pyro.plate("row", len(y)):
        pyro.sample("y", dist.Normal(mu, 1.0), obs=y)


def off(shift, scale):
    """A guide without parameters that is off by this many sd, and this many times as wide."""

    def guide(y):
        pyro.sample("mu", dist.Normal(MEAN + shift * SD, scale * SD))

    return guide


def fitted(guide, **options):
    return ppzoo.fit(conjugate, Y, steps=1, guide=guide, **options)


def test_weights_are_the_densities_ratio():
    found = fitted(off(0.3, 1.2)).weighed
    mu = found.draws["mu"].numpy()
    ratio = stats.norm.logpdf(mu, MEAN, SD) - stats.norm.logpdf(mu, MEAN + 0.3 * SD, 1.2 * SD)
    rest = found.log_weights - ratio
    assert np.ptp(rest) < 1e-9  # the log evidence
    assert rest[0] == pytest.approx(
        stats.multivariate_normal.logpdf(Y.numpy(), np.zeros(4), np.eye(4) + np.ones((4, 4)))
    )


def test_factors_count():
    """The same posterior, its likelihood told by pyro.factor: the weights of the exact guide are constant."""

    def told(y):
        mu = pyro.sample("mu", dist.Normal(0.0, 1.0))
        pyro.factor("y", dist.Normal(mu, 1.0).log_prob(y).sum())

    fit = ppzoo.fit(told, Y, steps=1, guide=off(0.0, 1.0))
    assert np.ptp(fit.weighed.log_weights) < 1e-9
    assert fit.diagnose().numbers["k_hat"] == -math.inf
    wrong = ppzoo.fit(told, Y, steps=1, guide=off(0.5, 1.0))
    assert wrong.diagnose().verdict == "reject"


def test_a_factor_beside_rows_is_of_all_of_them():
    def tied(y):
        with pyro.plate("row", len(y)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("y", dist.Normal(z, 1.0), obs=y)
        pyro.factor("together", -(z.sum() ** 2))

    assert ppzoo.fit(rows, Y, steps=1).weighed.log_weights.ndim == 2
    assert ppzoo.fit(tied, Y, steps=1).weighed.log_weights.ndim == 1


@pytest.mark.parametrize(
    ("scale", "draws"),
    [pytest.param(1.2, 4000, id="far from a threshold"), pytest.param(0.57, 64_000, id="k-hat near 0.7")],
)
def test_more_is_drawn_where_k_hat_is_near_a_threshold(scale, draws):
    """Of a guide that is too narrow k is 1 - scale²."""
    fit = fitted(off(0.0, scale))
    assert len(fit.weighed.log_weights) == draws == len(fit.weighed.draws["mu"])
    assert fit.diagnose().numbers["draws_weighed"] == draws
    assert len(np.unique(fit.weighed.log_weights)) == draws  # none is drawn twice


def test_corrected_estimates_are_the_posteriors():
    """Two scalars, 5 standard errors each: 3e-6."""
    fit = fitted(off(0.5, 1.2))
    frame = fit.summary(corrected=True)
    assert list(frame.columns[: len(fit.summary().columns)]) == list(fit.summary().columns)
    for name, times in (("mu", 1), ("double", 2)):
        row = frame.loc[name]
        assert abs(row["psis_mean"] - times * MEAN) < 5 * row["psis_mcse_mean"]
        assert abs(row["psis_sd"] - times * SD) < 5 * row["psis_mcse_sd"]
        assert abs(row["mean"] - times * MEAN) > 0.4 * times * SD  # the guide's own are off
        assert 1000 < row["psis_ess"] < 4000
    assert "psis_mean" not in fit.summary()


def test_a_notebook_shows_both_and_a_fit_without_weights_its_own():
    assert "psis_mean" in fitted(off(0.2, 1.1))._repr_html_()
    for fit in (fitted("delta"), fitted(off(0.0, 0.2)), ppzoo.fit(conjugate, Y, method="nuts", draws=20, warmup=20)):
        assert "psis_mean" not in fit._repr_html_()


def rows(y):
    with pyro.plate("row", len(y)):
        z = pyro.sample("z", dist.Normal(0.0, 1.0))
        pyro.sample("y", dist.Normal(z, 1.0), obs=y)


@pytest.mark.parametrize(
    ("fit", "got"),
    [
        (lambda: fitted("delta"), "a guide that is a point"),
        (lambda: ppzoo.fit(conjugate, Y, method="nuts", draws=20, warmup=20), "a fit by nuts without weights"),
        (lambda: ppzoo.fit(rows, Y, steps=1), "weights of each row by itself"),
        (lambda: ppzoo.fit(ppzoo.create_model("gmm", features=1), Y[:, None], method="em"), "a fit by em"),
    ],
)
def test_where_there_are_no_weights(fit, got):
    with pytest.raises(ModelError, match="has no importance weights to correct estimates with") as raised:
        fit().summary(corrected=True)
    assert got in raised.value.got


def test_useless_weights_correct_nothing():
    with pytest.raises(FitError, match="is too far from the posterior for importance weights to correct") as raised:
        fitted(off(0.0, 0.2)).summary(corrected=True)
    assert "k-hat" in raised.value.got


def test_an_unusual_flag_is_told():
    with pytest.raises(OptionError, match="corrected"):
        fitted(off(0.0, 1.1)).summary(corrected="yes")


def test_draws_that_would_take_too_much_room_are_fewer(monkeypatch):
    fit = fitted(off(0.3, 1.2))
    every, _ = weighed_scalars(fit, fit.weighed)
    monkeypatch.setattr("ppzoo.weighing._NUMBERS", 1000)
    weights, drawn = weighed_scalars(fit, fit.weighed)
    assert len(every) == 4000
    assert len(weights) == 500  # two scalars
    assert drawn["double"].tolist() == (2 * drawn["mu"]).tolist()
    assert (weights == every[:500]).all()


def exact_loo():
    v = 1 / (1 + len(Y) - 1)
    y = Y.numpy()
    return stats.norm.logpdf(y, (y.sum() - y) * v, math.sqrt(1 + v))


def test_leave_one_out_is_the_closed_form_by_any_method():
    """Four observations each; over 30 seeds the worst is off by 0.05 nats."""
    fits = {
        "guide": fitted(off(0.4, 1.2)),
        "svi": ppzoo.fit(conjugate, Y, method=SVI(steps=1500, lr=0.03)),
        "nuts": ppzoo.fit(conjugate, Y, method="nuts", chains=8, warmup=200, draws=500),
    }
    for name, fit in fits.items():
        found = fit.loo()
        assert found.elpd_i.values == pytest.approx(exact_loo(), abs=0.1), name
        assert found.elpd == pytest.approx(exact_loo().sum(), abs=0.15), name
        assert found.n_data_points == 4


def test_leave_one_out_needs_weights_and_a_likelihood():
    with pytest.raises(ModelError, match="to leave observations out with"):
        fitted("delta").loo()
    with pytest.raises(OptionError, match="is not an observed site"):
        fitted(off(0.0, 1.1)).loo("x")
