"""Gaussian mixture: one density three ways (enumeration, log-sum-exp, scikit-learn), and an EM that only climbs."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pyro.infer import TraceEnum_ELBO
from sklearn.datasets import load_iris
from sklearn.mixture import GaussianMixture as SklearnMixture
from torch import Tensor

from ppzoo.errors import DataError, OptionError
from ppzoo.models.mixture.gmm import _FLOOR, GaussianMixture, _bounded_cholesky

COVARIANCES = ["full", "diag"]


def _data(rows: int = 90, columns: int = 3, seed: int = 0) -> Tensor:
    rng = np.random.default_rng(seed)
    means = 3 * rng.normal(size=(3, columns))
    return torch.tensor(means[rng.integers(3, size=rows)] + rng.normal(size=(rows, columns)))


def _gmm(covariance: str, seed: int = 0, components: int = 3) -> GaussianMixture:
    """A mixture with random parameters."""
    generator = torch.Generator().manual_seed(seed)
    model = GaussianMixture(features=3, components=components, covariance=covariance).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
    return model


def _precisions(model: GaussianMixture) -> np.ndarray:
    if model.covariance == "diag":
        return model.scale.detach().numpy() ** -2.0
    L = model.scale_tril.detach()
    return torch.cholesky_inverse(L).numpy()


def _sklearn(model: GaussianMixture, x: Tensor, *, steps: int, floor: float = 0.0) -> SklearnMixture:
    """scikit-learn's mixture, started at the model's parameters; one step is an E step and an M step."""
    return SklearnMixture(
        model.components,
        covariance_type=model.covariance,
        reg_covar=floor,
        tol=0 if steps == 1 else 1e-13,
        max_iter=steps,
        weights_init=model.weights.detach().numpy(),
        means_init=model.loc.detach().numpy(),
        precisions_init=_precisions(model),
    ).fit(x.numpy())


def _climb(model: GaussianMixture, x: Tensor, steps: int) -> list[float]:
    path = []
    for _ in range(steps):
        r, log_likelihood = model.e_step(x)
        path.append(float(log_likelihood))
        model.m_step(r, x)
    return path


def _old_faithful(shared_data: Path) -> Tensor:
    with (shared_data / "classics" / "old_faithful.csv").open() as file:
        rows = list(csv.DictReader(file))
    return torch.tensor([[float(row["eruptions"]), float(row["waiting"])] for row in rows], dtype=torch.float64)


@pytest.mark.parametrize("covariance", COVARIANCES)
@pytest.mark.parametrize("seed", range(5))
def test_enumerated_elbo_is_the_log_likelihood(covariance: str, seed: int, device: str, seeded: int) -> None:
    """Pyro's TraceEnum_ELBO with the empty guide, 1e-10 relative."""
    model, x = _gmm(covariance, seed).to(device), _data().to(device)
    loss = TraceEnum_ELBO(max_plate_nesting=1).loss(model.model, model.guide, x)
    assert -loss == pytest.approx(model.log_prob(x).sum().item(), rel=1e-10)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")  # one step converges to nothing
@pytest.mark.parametrize("covariance", COVARIANCES)
@pytest.mark.parametrize("seed", range(5))
def test_log_prob_and_responsibilities_are_sklearns(covariance: str, seed: int, seeded: int) -> None:
    """At the same parameters: log density to 1e-8, responsibilities to 1e-8."""
    model, x = _gmm(covariance, seed), _data()
    sklearn = _sklearn(model, x, steps=1)
    sklearn.weights_, sklearn.means_ = model.weights.detach().numpy(), model.loc.detach().numpy()
    root = 1 / model.scale.detach() if covariance == "diag" else torch.linalg.inv(model.scale_tril.detach()).mT
    sklearn.precisions_cholesky_ = root.numpy()
    np.testing.assert_allclose(model.log_prob(x).detach().numpy(), sklearn.score_samples(x.numpy()), rtol=1e-8)
    np.testing.assert_allclose(model.encode(x).detach().numpy(), sklearn.predict_proba(x.numpy()), atol=1e-8)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")  # one step converges to nothing
@pytest.mark.parametrize("covariance", COVARIANCES)
def test_one_step_is_sklearns(covariance: str, seeded: int) -> None:
    """One E and one M step from the same start, 1e-8 relative."""
    model, x = GaussianMixture(features=3, components=3, covariance=covariance).double(), _data()
    model.initialise(x)
    sklearn = _sklearn(model, x, steps=1)
    _climb(model, x, steps=1)
    np.testing.assert_allclose(model.weights.detach().numpy(), sklearn.weights_, rtol=1e-8)
    np.testing.assert_allclose(model.loc.detach().numpy(), sklearn.means_, rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(_precisions(model), sklearn.precisions_, rtol=1e-7, atol=1e-10)


@pytest.mark.parametrize("covariance", COVARIANCES)
@pytest.mark.parametrize("name", ["old_faithful", "iris"])
def test_em_reaches_sklearns_optimum(covariance: str, name: str, shared_data: Path, seeded: int) -> None:
    """From the same start, on real data: parameters and log likelihood per row to 1e-6."""
    x = _old_faithful(shared_data) if name == "old_faithful" else torch.tensor(load_iris().data)
    model = GaussianMixture(features=x.shape[1], components=2, covariance=covariance).double()
    model.initialise(x)
    sklearn = _sklearn(model, x, steps=1000)
    _climb(model, x, steps=sklearn.n_iter_)
    assert model.log_prob(x).mean().item() == pytest.approx(sklearn.score(x.numpy()), abs=1e-6)
    np.testing.assert_allclose(model.loc.detach().numpy(), sklearn.means_, rtol=1e-6)
    np.testing.assert_allclose(model.weights.detach().numpy(), sklearn.weights_, rtol=1e-6)


@pytest.mark.parametrize("covariance", COVARIANCES)
@pytest.mark.parametrize("seed", range(5))
def test_log_likelihood_never_falls(covariance: str, seed: int, seeded: int) -> None:
    """50 steps from k-means++ starts, also with six components for 12 rows, where the floor binds; 1e-9 relative."""
    for x, components in ((_data(seed=seed), 3), (_data(rows=12, seed=seed), 6)):
        model = GaussianMixture(features=3, components=components, covariance=covariance).double()
        model.initialise(x)
        path = np.array(_climb(model, x, steps=50))
        assert np.isfinite(path).all()
        assert (np.diff(path) > -1e-9 * np.abs(path[1:])).all()


def test_bounded_cholesky_leaves_large_eigenvalues_alone(seeded: int) -> None:
    root = torch.randn(4, 3, 3, dtype=torch.float64)
    torch.testing.assert_close(_bounded_cholesky(root @ root.mT), torch.linalg.cholesky(root @ root.mT))
    flat = torch.diag(torch.tensor([2.0, 0.0], dtype=torch.float64))
    expected = torch.diag(torch.tensor([2.0, _FLOOR], dtype=torch.float64))
    L = _bounded_cholesky(flat[None])[0]
    torch.testing.assert_close(L @ L.T, expected)


@pytest.mark.parametrize("covariance", COVARIANCES)
def test_m_step_is_a_maximum(covariance: str, seeded: int) -> None:
    """The expected complete log likelihood has no gradient at the M step (1e-10 of its size)."""
    x = _data()
    model = GaussianMixture(features=3, components=3, covariance=covariance).double()
    model.initialise(x)
    r, _ = model.e_step(x)
    model.m_step(r, x)
    expected = (r * model._log_joint(x)).sum()
    gradients = torch.autograd.grad(expected, list(model.parameters()))
    assert max(gradient.abs().max().item() for gradient in gradients) < 1e-10 * abs(expected.item())


@pytest.mark.parametrize("covariance", COVARIANCES)
def test_samples_have_the_models_moments(covariance: str, seeded: int) -> None:
    """20,000 draws: |z| < 5 for 3 means and 3 second moments, false alarm below 1 in 250,000."""
    model = _gmm(covariance)
    x = model.sample(20_000)
    assert x.shape == (20_000, 3)
    assert x.dtype == torch.float64
    with torch.no_grad():
        variance = model.scale**2 if covariance == "diag" else model.scale_tril.square().sum(-1)
        moments = torch.cat([model.weights @ model.loc, model.weights @ (model.loc.square() + variance)])
    statistics = torch.cat([x, x.square()], dim=1)
    z = (statistics.mean(0) - moments) / (statistics.std(0) / len(x) ** 0.5)
    assert z.abs().max().item() < 5


def test_start_depends_on_torchs_stream_alone(seeded: int) -> None:
    x, model = _data(), GaussianMixture(features=3, components=3).double()
    starts = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        model.initialise(x)
        starts.append(model.loc.detach().clone())
    assert torch.equal(starts[0], starts[1])
    assert not torch.equal(starts[0], starts[2])


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (_data(columns=2), "x: has 2 columns, but the model is made for 3"),
        (_data(rows=3), "x: has too few rows; got 3 rows; expected at least 4 rows, for components=4"),
        (torch.ones(9, 3), "x: all rows are identical"),
        (torch.cat([_data()[:, :2], torch.ones(90, 1)], dim=1), "x: has a constant column; got column 2"),
        (_data(rows=3).repeat(3, 1), "x: has fewer different rows than the model has components; got 3 different rows"),
    ],
)
def test_check_names_what_is_wrong(x: Tensor, message: str, seeded: int) -> None:
    with pytest.raises(DataError, match=message):
        GaussianMixture(features=3, components=4).check(x)


def test_check_accepts_the_data(seeded: int) -> None:
    GaussianMixture(features=3, components=4).check(_data())


@pytest.mark.parametrize(
    "options", [{"components": 0}, {"components": 2.5}, {"components": "3"}, {"covariance": "ful"}]
)
def test_options_are_checked(options: dict[str, Any]) -> None:
    with pytest.raises(OptionError, match=next(iter(options))):
        GaussianMixture(features=3, **options)
