"""Probabilistic PCA: exact posterior, exact density and closed form agree with each other, scipy and scikit-learn."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from pyro import poutine
from scipy import stats
from sklearn.decomposition import PCA
from torch import Tensor

from ppzoo.errors import DataError, OptionError
from ppzoo.models.linear.ppca import PPCA, principal_axes


def _data(rows: int = 60, columns: int = 6, seed: int = 0) -> Tensor:
    rng = np.random.default_rng(seed)
    return torch.tensor(
        rng.normal(size=(rows, 2)) @ rng.normal(size=(2, columns)) + rng.normal(size=(rows, columns)) + 3
    )


def _ppca(seed: int, device: str = "cpu") -> PPCA:
    """A model with random parameters, one of several shapes and noise levels."""
    generator = torch.Generator().manual_seed(seed)
    model = PPCA(features=6, latents=1 + seed % 5).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
    return model.to(device)


def _total(model: PPCA, x: Tensor) -> float:
    return float(model.log_prob(x).sum().detach())


def _elbo(model: PPCA, x: Tensor) -> float:
    guide = poutine.trace(model.guide).get_trace(x)
    program = poutine.trace(poutine.replay(model.model, trace=guide)).get_trace(x)
    return float(torch.as_tensor(program.log_prob_sum() - guide.log_prob_sum()).detach())


@pytest.mark.parametrize("seed", range(20))
def test_elbo_is_the_evidence(seed: int, device: str, seeded: int) -> None:
    """Every draw of the guide, 20 random settings of the parameters: 1e-10 relative."""
    model, x = _ppca(seed, device), _data().to(device)
    evidence = _total(model, x)
    for _ in range(3):
        assert _elbo(model, x) == pytest.approx(evidence, rel=1e-10)


@pytest.mark.parametrize("seed", range(5))
def test_log_prob_is_the_normal_density(seed: int, seeded: int) -> None:
    """Against scipy's multivariate normal, 1e-10 relative."""
    model, x = _ppca(seed), _data()
    W, mu, sigma = (part.detach().numpy() for part in (model.W, model.mu, model.sigma))
    expected = stats.multivariate_normal(mu, W @ W.T + sigma**2 * np.eye(6)).logpdf(x.numpy())
    np.testing.assert_allclose(model.log_prob(x).detach().numpy(), expected, rtol=1e-10)


@pytest.mark.parametrize("latents", [1, 2, 5])
@pytest.mark.parametrize(("rows", "columns"), [(60, 6), (9, 12)])
def test_solve_is_sklearns_pca(rows: int, columns: int, latents: int, seeded: int) -> None:
    """Subspace, noise and codes' span to 1e-6, after sklearn's N / (N - 1); here also with fewer rows than columns."""
    x = _data(rows, columns)
    model = PPCA(features=columns, latents=latents).double()
    model.solve(x)
    pca = PCA(latents, svd_solver="full").fit(x.numpy())
    W = model.W.detach().numpy()
    ours = W @ np.linalg.solve(W.T @ W, W.T)
    np.testing.assert_allclose(ours, pca.components_.T @ pca.components_, atol=1e-6)
    covariance = (W @ W.T + model.sigma.item() ** 2 * np.eye(columns)) * rows / (rows - 1)
    if rows > columns:  # sklearn spreads the noise over min(N, D) - K directions, the paper over D - K
        assert model.sigma.item() ** 2 * rows / (rows - 1) == pytest.approx(pca.noise_variance_, rel=1e-6)
        np.testing.assert_allclose(covariance, pca.get_covariance(), rtol=1e-6, atol=1e-8)
    assert np.trace(covariance) == pytest.approx(x.numpy().var(0, ddof=1).sum(), rel=1e-10)


def test_solve_returns_sklearns_score(seeded: int) -> None:
    """sklearn scores with its N - 1 covariance: the same density after the factor, and never a higher one."""
    x, model = _data(), PPCA(features=6, latents=2).double()
    total = float(model.solve(x))
    pca = PCA(2, svd_solver="full").fit(x.numpy())
    assert total > pca.score_samples(x.numpy()).sum()
    with torch.no_grad():
        factor = (len(x) / (len(x) - 1)) ** 0.5
        model.W.mul_(factor)
        model.sigma = model.sigma * factor
    np.testing.assert_allclose(model.log_prob(x).detach().numpy(), pca.score_samples(x.numpy()), rtol=1e-6)


def test_solve_is_a_maximum(device: str, seeded: int) -> None:
    """The gradient vanishes (1e-8 of the log likelihood), and 20 random steps away all go down."""
    x, model = _data().to(device), PPCA(features=6, latents=2).double().to(device)
    best = model.solve(x)
    assert float(best) == pytest.approx(_total(model, x), rel=1e-12)
    gradients = torch.autograd.grad(model.log_prob(x).sum(), list(model.parameters()))
    assert max(float(gradient.abs().max()) for gradient in gradients) < 1e-8 * abs(float(best))
    state = {name: value.clone() for name, value in model.state_dict().items()}
    for _ in range(20):
        model.load_state_dict({name: value + 0.01 * torch.randn_like(value) for name, value in state.items()})
        assert _total(model, x) < float(best)


def test_rotation_changes_nothing(seeded: int) -> None:
    model, x = _ppca(2), _data()
    before, codes = model.log_prob(x), model.encode(x)
    R = torch.linalg.qr(torch.randn(3, 3, dtype=torch.float64)).Q
    with torch.no_grad():
        model.W.copy_(model.W @ R)
    torch.testing.assert_close(model.log_prob(x), before)
    torch.testing.assert_close(model.encode(x), codes @ R)


def test_principal_axes_are_a_rotation(seeded: int) -> None:
    """W W^T is kept; any rotation of W has the same axes; they are orthogonal, the longest first."""
    W = torch.randn(4, 6, 3, dtype=torch.float64)
    axes = principal_axes(W)
    torch.testing.assert_close(axes @ axes.mT, W @ W.mT)
    torch.testing.assert_close(principal_axes(W @ torch.linalg.qr(torch.randn(3, 3, dtype=torch.float64)).Q), axes)
    gram = axes.mT @ axes
    lengths = gram.diagonal(dim1=1, dim2=2)
    torch.testing.assert_close(gram, torch.diag_embed(lengths))
    assert bool((lengths.diff(dim=1) < 0).all())


def test_samples_have_the_models_covariance(seeded: int) -> None:
    """20,000 draws: |z| < 5 for 27 moments, false alarm below 1 in 50,000."""
    model = _ppca(1)
    x = model.sample(20_000)
    assert x.shape == (20_000, 6)
    assert x.dtype == torch.float64
    d = (x - model.mu).detach()
    C = (model.W @ model.W.T + model.sigma**2 * torch.eye(6)).detach()
    moments = torch.cat([d, (d.unsqueeze(2) * d.unsqueeze(1) - C).flatten(1)], dim=1)
    z = moments.mean(0) / (moments.std(0) / len(x) ** 0.5)
    assert float(z.abs().max()) < 5


def test_rows_that_span_too_little_have_no_answer(seeded: int) -> None:
    x = torch.randn(30, 2, dtype=torch.float64) @ torch.randn(2, 6, dtype=torch.float64)
    with pytest.raises(DataError, match="x: leaves no variance for the noise; got rows that lie in 2 dimensions"):
        PPCA(features=6, latents=2).double().solve(x)


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (_data(columns=5), "x: has 5 columns, but the model is made for 6"),
        (_data(rows=3), "x: has too few rows; got 3 rows; expected at least 4 rows"),
        (torch.ones(1, 6), "x: has too few rows; got 1 row;"),
        (torch.ones(9, 6), "x: all rows are identical"),
        (torch.ones(9), "x: must have two dimensions"),
    ],
)
def test_check_names_what_is_wrong(x: Tensor, message: str, seeded: int) -> None:
    with pytest.raises(DataError, match=message):
        PPCA(features=6).check(x)


def test_check_accepts_the_data(seeded: int) -> None:
    PPCA(features=6).check(_data())


@pytest.mark.parametrize("options", [{"latents": 6}, {"latents": 0}, {"latents": 2.5}, {"latents": "2"}])
def test_options_are_checked(options: dict[str, Any]) -> None:
    with pytest.raises(OptionError, match=r"latents: must be a whole number in range.* expected an int >= 1 and <= 5"):
        PPCA(features=6, **options)
