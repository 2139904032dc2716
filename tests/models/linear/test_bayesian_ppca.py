"""Bayesian PPCA: the joint density is scipy's, and the triangular prior is that of freely drawn loadings."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from pyro import poutine
from scipy import special, stats
from torch import Tensor

from ppzoo.contracts import Density, Guided, Program
from ppzoo.errors import DataError, OptionError
from ppzoo.models.linear.bayesian_ppca import BayesianPPCA

SHAPES = [(2, 1), (5, 2), (4, 3)]


def _data(columns: int, device: str = "cpu") -> Tensor:
    return torch.tensor(np.random.default_rng(0).normal(size=(20, columns)) + 1).to(device)


def _draw(features: int, latents: int, seed: int, device: str = "cpu") -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    below = features * latents - latents * (latents + 1) // 2
    sizes = {"W_diagonal": latents, "W_below": below, "mu": features}
    draw = {name: torch.randn(n, generator=generator, dtype=torch.float64) for name, n in sizes.items()}
    draw["W_diagonal"] = draw["W_diagonal"].exp()
    draw["sigma"] = torch.rand((), generator=generator, dtype=torch.float64) + 0.5
    return {name: value.to(device) for name, value in draw.items()}


def _trace(model: BayesianPPCA, draw: dict[str, Tensor], x: Tensor) -> poutine.Trace:
    trace = poutine.trace(poutine.condition(model.model, data=draw)).get_trace(x)
    trace.compute_log_prob()
    return trace


def _triangular(draw: dict[str, Tensor], features: int, latents: int) -> np.ndarray:
    W = np.zeros((features, latents))
    W[np.arange(latents), np.arange(latents)] = draw["W_diagonal"].cpu().numpy()
    W[np.tril_indices(features, -1, latents)] = draw["W_below"].cpu().numpy()
    return W


@pytest.mark.parametrize(("features", "latents"), SHAPES)
@pytest.mark.parametrize("seed", range(3))
def test_log_joint_is_the_formula(features: int, latents: int, seed: int, device: str) -> None:
    """Every site against scipy, with chi densities on the diagonal of W; 1e-10 relative."""
    model, s = BayesianPPCA(features=features, latents=latents, prior_scale=1.7).to(device), 1.7
    draw, x = _draw(features, latents, seed, device), _data(features, device)
    trace = _trace(model, draw, x)
    W, mu, sigma = (torch.as_tensor(trace.nodes[name]["value"]).cpu().numpy() for name in ("W", "mu", "sigma"))
    np.testing.assert_array_equal(W, _triangular(draw, features, latents))
    degrees = np.arange(latents, 0, -1)
    expected = (
        stats.chi(degrees, scale=s).logpdf(np.diag(W)).sum()
        + stats.norm(0, s).logpdf(W[np.tril_indices(features, -1, latents)]).sum()
        + stats.norm(0, s).logpdf(mu).sum()
        + stats.halfnorm(scale=s).logpdf(sigma)
        + stats.multivariate_normal(mu, W @ W.T + sigma**2 * np.eye(features)).logpdf(x.cpu().numpy()).sum()
    )
    assert float(trace.log_prob_sum()) == pytest.approx(float(expected), rel=1e-10)


@pytest.mark.parametrize(("features", "latents"), SHAPES)
@pytest.mark.parametrize("seed", range(3))
def test_prior_is_that_of_free_loadings(features: int, latents: int, seed: int) -> None:
    """p(L) is the density of a free W at L, times the volume of its orbit under rotations.

    With W = L Q the volume element is prod_k L_kk^(K-k) dL dQ, and O(K) has volume 2^K pi^(K^2/2) / Gamma_K(K/2).
    """
    model, K = BayesianPPCA(features=features, latents=latents, prior_scale=1.7), latents
    draw = _draw(features, latents, seed)
    nodes = _trace(model, draw, _data(features)).nodes
    prior = sum(float(torch.as_tensor(nodes[name]["log_prob_sum"])) for name in ("W_diagonal", "W_below"))
    W = _triangular(draw, features, latents)
    volume = K * np.log(2) + K**2 / 2 * np.log(np.pi) - special.multigammaln(K / 2, K)
    jacobian = (K - np.arange(1, K + 1)) @ np.log(np.diag(W))
    assert prior == pytest.approx(stats.norm(0, 1.7).logpdf(W).sum() + jacobian + volume, rel=1e-10)


def test_draws_on_the_left_and_the_datas_dtype(seeded: int) -> None:
    """Latents with one more dimension on the left, as Pyro's vectorised particles draw them."""
    model, x = BayesianPPCA(features=5, latents=2), _data(5)
    draws = [_draw(5, 2, seed) for seed in range(3)]
    batch = {name: torch.stack([draw[name] for draw in draws]) for name in draws[0]}
    batch |= {name: batch[name].unsqueeze(1) for name in ("W_diagonal", "W_below", "sigma")}
    together = torch.as_tensor(_trace(model, batch, x).nodes["x"]["log_prob"])
    for i, draw in enumerate(draws):
        torch.testing.assert_close(together[i], torch.as_tensor(_trace(model, draw, x).nodes["x"]["log_prob"]))
    prior = poutine.trace(model.model).get_trace(x)
    for name in ("W", "mu", "sigma", "x"):
        assert torch.as_tensor(prior.nodes[name]["value"]).dtype == torch.float64


def test_it_is_a_program_without_a_guide_or_a_density() -> None:
    model = BayesianPPCA(features=3)
    assert isinstance(model, Program)
    assert not isinstance(model, Guided | Density)


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (_data(4), "x: has 4 columns, but the model is made for 3"),
        (_data(3)[:1], "x: has too few rows; got 1 rows; expected at least 2 rows"),
        (torch.ones(9, 3), "x: all rows are identical"),
        (_data(3) * 1000, r"x: lies far from the prior; .*create the model with prior_scale=1"),
    ],
)
def test_check_names_what_is_wrong(x: Tensor, message: str) -> None:
    with pytest.raises(DataError, match=message):
        BayesianPPCA(features=3).check(x)


def test_check_accepts_the_data() -> None:
    BayesianPPCA(features=3).check(_data(3))


@pytest.mark.parametrize("options", [{"latents": 3}, {"latents": 0}, {"prior_scale": 0.0}, {"prior_scale": "1"}])
def test_options_are_checked(options: dict[str, Any]) -> None:
    with pytest.raises(OptionError, match=next(iter(options))):
        BayesianPPCA(features=3, **options)
