"""Bayesian PPCA: the joint density is scipy's, and rotating the loadings changes nothing that is reported."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from pyro import poutine
from scipy import stats
from torch import Tensor

from ppzoo.contracts import Density, Guided, Program
from ppzoo.errors import DataError, OptionError
from ppzoo.models.linear.bayesian_ppca import BayesianPPCA

SHAPES = [(2, 1), (5, 2), (4, 3)]


def _data(columns: int, device: str = "cpu") -> Tensor:
    return torch.tensor(np.random.default_rng(0).normal(size=(20, columns)) + 1).to(device)


def _draw(features: int, latents: int, seed: int, device: str = "cpu") -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    draw = {
        "W_free": torch.randn(features, latents, generator=generator, dtype=torch.float64),
        "mu": torch.randn(features, generator=generator, dtype=torch.float64),
    }
    draw["sigma"] = torch.rand((), generator=generator, dtype=torch.float64) + 0.5
    return {name: value.to(device) for name, value in draw.items()}


def _trace(model: BayesianPPCA, draw: dict[str, Tensor], x: Tensor) -> poutine.Trace:
    trace = poutine.trace(poutine.condition(model.model, data=draw)).get_trace(x)
    trace.compute_log_prob()
    return trace


@pytest.mark.parametrize(("features", "latents"), SHAPES)
@pytest.mark.parametrize("seed", range(3))
def test_log_joint_is_the_formula(features: int, latents: int, seed: int, device: str) -> None:
    """Every site against scipy, 1e-10 relative."""
    model, s = BayesianPPCA(features=features, latents=latents, prior_scale=1.7), 1.7
    draw, x = _draw(features, latents, seed, device), _data(features, device)
    W, mu, sigma = (draw[name].cpu().numpy() for name in ("W_free", "mu", "sigma"))
    expected = (
        stats.norm(0, s).logpdf(W).sum()
        + stats.norm(0, s).logpdf(mu).sum()
        + stats.halfnorm(scale=s).logpdf(sigma)
        + stats.multivariate_normal(mu, W @ W.T + sigma**2 * np.eye(features)).logpdf(x.cpu().numpy()).sum()
    )
    assert float(_trace(model, draw, x).log_prob_sum()) == pytest.approx(float(expected), rel=1e-10)


@pytest.mark.parametrize("seed", range(3))
def test_rotation_changes_neither_density_nor_report(seed: int) -> None:
    model, draw, x = BayesianPPCA(features=5, latents=2), _draw(5, 2, seed), _data(5)
    before = _trace(model, draw, x)
    draw["W_free"] = draw["W_free"] @ torch.tensor([[0.6, -0.8], [0.8, 0.6]], dtype=torch.float64)
    after = _trace(model, draw, x)
    assert float(after.log_prob_sum()) == pytest.approx(float(before.log_prob_sum()), rel=1e-12)
    torch.testing.assert_close(after.nodes["W"]["value"], before.nodes["W"]["value"])
    assert after.nodes["W_free"]["infer"] == {"is_auxiliary": True}


def test_loadings_that_are_not_finite_give_no_error() -> None:
    """Pyro's NUTS evaluates such points when it diverges."""
    model, draw = BayesianPPCA(features=3, latents=1), _draw(3, 1, seed=0)
    draw["W_free"][0] = float("inf")
    W = poutine.trace(poutine.condition(model.model, data=draw)).get_trace(_data(3)).nodes["W"]["value"]
    assert bool(torch.isfinite(torch.as_tensor(W)).all())


def test_draws_on_the_left_and_the_datas_dtype(seeded: int) -> None:
    """Latents with one more dimension on the left, as Pyro's vectorised particles draw them."""
    model, x = BayesianPPCA(features=5, latents=2), _data(5)
    draws = [_draw(5, 2, seed) for seed in range(3)]
    batch = {name: torch.stack([draw[name] for draw in draws]) for name in draws[0]}
    batch |= {name: batch[name].unsqueeze(1) for name in ("W_free", "sigma")}
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
        (_data(3)[:1], "x: has too few rows; got 1 row; expected at least 2 rows"),
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
