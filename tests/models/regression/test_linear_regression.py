"""Linear regression: evidence and posterior against formulas that share no code with the model."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from pyro import poutine
from scipy import stats
from torch import Tensor

from ppzoo.errors import DataError, OptionError
from ppzoo.models.regression.linear_regression import LinearRegression

OPTIONS: list[dict[str, Any]] = [
    {},
    {"intercept": False},
    {"prior_scale": 0.7, "prior_shape": 3.0, "prior_rate": 0.2},
]


def _data(rows: int, columns: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, columns)) @ rng.normal(size=(columns, columns))
    y = 2 + x @ rng.normal(size=columns) + 0.3 * rng.normal(size=rows)
    return torch.tensor(x), torch.tensor(y)


def _design(model: LinearRegression, x: Tensor) -> np.ndarray:
    return np.column_stack([np.ones(len(x)), x.numpy()]) if model.intercept else x.numpy()


def _elbo(model: LinearRegression, x: Tensor, y: Tensor) -> float:
    guide = poutine.trace(model.guide).get_trace(x, y)
    program = poutine.trace(poutine.replay(model.model, trace=guide)).get_trace(x, y)
    return float(program.log_prob_sum() - guide.log_prob_sum())


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize(("rows", "columns"), [(40, 3), (1, 1), (4, 9)])
def test_evidence_is_a_multivariate_t(options: dict[str, Any], rows: int, columns: int) -> None:
    """y ~ t with 2a degrees of freedom, location 0, shape (b/a) (I + s^2 X X^T); 1e-10 relative."""
    model, (x, y) = LinearRegression(**options), _data(rows, columns)
    X = _design(model, x)
    shape = model.prior_rate / model.prior_shape * (np.eye(rows) + model.prior_scale**2 * X @ X.T)
    expected = stats.multivariate_t(np.zeros(rows), shape, df=2 * model.prior_shape).logpdf(y.numpy())
    assert float(model.solve(x, y)) == pytest.approx(float(expected), rel=1e-10)


@pytest.mark.parametrize("options", OPTIONS)
def test_elbo_is_the_evidence_at_every_draw(options: dict[str, Any], device: str, seeded: None) -> None:
    """The guide is the posterior: 20 draws, 1e-10 relative."""
    model = LinearRegression(**options)
    x, y = (part.to(device) for part in _data(50, 4))
    evidence = float(model.solve(x, y))
    for _ in range(20):
        assert _elbo(model, x, y) == pytest.approx(evidence, rel=1e-10)


@pytest.mark.parametrize("options", OPTIONS)
def test_posterior_moments_are_the_textbooks(options: dict[str, Any]) -> None:
    """Precision, mean, shape and rate of the normal-inverse-gamma posterior, 1e-9 relative."""
    model, (x, y) = LinearRegression(**options), _data(30, 3)
    X = _design(model, x)
    precision = X.T @ X + np.eye(X.shape[1]) / model.prior_scale**2
    mean = np.linalg.solve(precision, X.T @ y.numpy())
    m_N, L, a_N, b_N = (part.numpy() for part in model._posterior(x, y))
    np.testing.assert_allclose(m_N, mean, rtol=1e-9)
    np.testing.assert_allclose(L @ L.T, np.linalg.inv(precision), rtol=1e-9, atol=1e-12)
    assert float(a_N) == model.prior_shape + 15
    rest = (y.numpy() @ y.numpy() - mean @ precision @ mean) / 2
    assert float(b_N) == pytest.approx(model.prior_rate + rest, rel=1e-9)


def test_draws_have_the_posterior_mean_and_variance(seeded: None) -> None:
    """1,000 draws of (sigma2, beta): |z| < 5 for 5 means and 4 variances, false alarm below 1 in 100,000."""
    model, (x, y) = LinearRegression(), _data(30, 3)
    m_N, L, a_N, b_N = model._posterior(x, y)
    traces = [poutine.trace(model.guide).get_trace(x, y) for _ in range(1000)]
    sigma2, beta = (
        torch.stack([torch.as_tensor(t.nodes[name]["value"]) for t in traces]) for name in ("sigma2", "beta")
    )
    variance = b_N / (a_N - 1)
    statistics = torch.cat([sigma2[:, None], beta, (beta - m_N).square()], dim=1)
    expected = torch.cat([variance[None], m_N, variance * (L @ L.T).diagonal()])
    z = (statistics.mean(0) - expected) / (statistics.std(0) / len(traces) ** 0.5)
    assert float(z.abs().max()) < 5


def test_collinear_columns_are_held_by_the_prior(seeded: None) -> None:
    x, y = _data(20, 2)
    x = torch.cat([x, x[:, :1]], dim=1)
    model = LinearRegression()
    assert _elbo(model, x, y) == pytest.approx(float(model.solve(x, y)), rel=1e-9)


def test_float32_and_particles_keep_dtype_and_shape(seeded: None) -> None:
    """Latents with one more dimension on the left, as Pyro's vectorised particles draw them."""
    x, y = (part.float() for part in _data(6, 2))
    model = LinearRegression()
    sigma2, beta = torch.ones(5, 1), torch.randn(5, 1, 3)
    mean = poutine.condition(model.model, data={"sigma2": sigma2, "beta": beta})(x, y)
    torch.testing.assert_close(mean[2], model._design(x) @ beta[2, 0])
    assert mean.shape == (5, 6)
    assert model.model(x, y).dtype == torch.float32
    assert model.solve(x, y).dtype == torch.float32


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        (torch.ones(5), torch.ones(5), r"x: must have two dimensions; got shape \(5,\)"),
        (torch.ones(5, 2), torch.ones(4), r"y: has the wrong length; got shape \(4,\); expected shape \(5,\), as x"),
        (torch.ones(5, 2), torch.ones(5, 1), r"y: must have one dimension.*Use y.reshape\(-1\)"),
        (torch.ones(5, 2), torch.ones(5), "x and y: all rows are identical; got 5 equal rows"),
        (torch.ones(0, 2), torch.ones(0), "x: is empty"),
    ],
)
def test_check_names_what_is_wrong(x: Tensor, y: Tensor, message: str) -> None:
    with pytest.raises(DataError, match=message):
        LinearRegression().check(x, y)


def test_check_accepts_a_single_row() -> None:
    LinearRegression().check(*_data(1, 3))


@pytest.mark.parametrize(
    "options", [{"prior_scale": 0}, {"prior_shape": -1.0}, {"prior_rate": float("nan")}, {"intercept": 1}]
)
def test_options_are_checked(options: dict[str, Any]) -> None:
    with pytest.raises(OptionError, match=next(iter(options))):
        LinearRegression(**options)
