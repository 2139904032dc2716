"""Bayesian mixture: the enumerated joint is numpy's, and ordering is a change of names, not of the model."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from pyro.infer.mcmc.util import initialize_model
from pyro.ops.integrator import potential_grad
from scipy import special, stats
from torch import Tensor
from torch.distributions import biject_to

from ppzoo.contracts import Guided, Program
from ppzoo.errors import DataError, OptionError
from ppzoo.models.mixture.bayesian_gmm import BayesianGaussianMixture, _Sorted


def _data(columns: int, device: str = "cpu") -> Tensor:
    return torch.tensor(np.random.default_rng(0).normal(size=(15, columns)) + 1).to(device)


def _draw(components: int, columns: int, seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    loc = rng.normal(size=(components, columns))
    return {
        "weights": rng.dirichlet(np.ones(components)),
        "loc": loc[loc[:, 0].argsort()],
        "scale": rng.lognormal(size=(components, columns)),
    }


def _log_joint(model: BayesianGaussianMixture, draw: dict[str, np.ndarray], x: Tensor) -> float:
    """What NUTS sees, with assignments summed out by Pyro, less the log-determinants of its change of variables."""
    given = {"weights": draw["weights"], "scale": draw["scale"], "loc_first": draw["loc"][:, 0]}
    if model.features > 1:
        given["loc_rest"] = draw["loc"][:, 1:]
    values = {name: torch.tensor(value).to(x.device) for name, value in given.items()}
    _, potential, transforms, _ = initialize_model(model.model, (x,), max_plate_nesting=2)
    u = {name: transforms[name](value) for name, value in values.items()}
    jacobians = [transforms[name].log_abs_det_jacobian(values[name], u[name]).sum() for name in u]
    return float(sum(jacobians) - potential(u))


def _log_likelihood(draw: dict[str, np.ndarray], x: np.ndarray) -> float:
    rows = stats.norm(draw["loc"], draw["scale"]).logpdf(x[:, None]).sum(-1) + np.log(draw["weights"])
    return float(special.logsumexp(rows, axis=1).sum())


@pytest.mark.parametrize(("components", "columns"), [(1, 2), (2, 1), (3, 2)])
@pytest.mark.parametrize("seed", range(3))
def test_log_joint_is_the_formula(components: int, columns: int, seed: int, device: str, seeded: int) -> None:
    """Priors and the enumerated likelihood against scipy, 1e-10 relative."""
    s, x, draw = 7.0, _data(columns, device), _draw(components, columns, seed)
    model = BayesianGaussianMixture(features=columns, components=components, prior_scale=s)
    expected = (
        stats.dirichlet(np.ones(components)).logpdf(draw["weights"])
        + stats.norm(0, s).logpdf(draw["loc"]).sum()
        + special.gammaln(components + 1)
        + stats.lognorm(2, scale=s / 100).logpdf(draw["scale"]).sum()
        + _log_likelihood(draw, x.cpu().numpy())
    )
    assert _log_joint(model, draw, x) == pytest.approx(float(expected), rel=1e-10)


def test_names_of_components_do_not_matter_to_the_data() -> None:
    draw, x = _draw(3, 2, seed=0), _data(2).numpy()
    for order in itertools.permutations(range(3)):
        permuted = {name: value[list(order)] for name, value in draw.items()}
        assert _log_likelihood(permuted, x) == pytest.approx(_log_likelihood(draw, x), rel=1e-12)


def test_sorted_density_integrates_to_one() -> None:
    """Through the bijection that NUTS uses, Jacobian included: a sum over a grid of its two unconstrained numbers."""
    grid = torch.linspace(-14, 14, 1201, dtype=torch.float64)
    u = torch.cartesian_prod(grid, grid)
    bijection = biject_to(_Sorted.support)
    values = bijection(u)
    log_p = _Sorted(dist.Normal(torch.zeros(2, dtype=torch.float64), 1.0)).log_prob(values)
    total = (log_p + bijection.log_abs_det_jacobian(u, values)).logsumexp(0).exp() * (grid[1] - grid[0]) ** 2
    assert float(total) == pytest.approx(1.0, abs=1e-4)


def test_sorted_draws_are_order_statistics(seeded: int) -> None:
    """The mean of the larger of two normals is 1/sqrt(pi); |z| < 5 over 20,000 draws, false alarm below 1 in 10^6."""
    distribution = _Sorted(dist.Normal(torch.zeros(2, dtype=torch.float64), 1.0)).expand(torch.Size([20_000]))
    draws = distribution.sample()
    assert draws.shape == (20_000, 2)
    assert bool((draws[:, 0] < draws[:, 1]).all())
    z = (draws.mean(0) - torch.tensor([-1, 1]) / np.pi**0.5) / (draws.std(0) / 20_000**0.5)
    assert float(z.abs().max()) < 5
    assert distribution.log_prob(draws).shape == (20_000,)


@pytest.mark.parametrize("columns", [1, 2])
def test_potential_and_gradient_are_finite(columns: int, seeded: int) -> None:
    """As NUTS sees it: assignments summed out by Pyro, everything else unconstrained."""
    model = BayesianGaussianMixture(features=columns, components=3)
    initial, potential, _, _ = initialize_model(model.model, (_data(columns),), max_plate_nesting=2)
    assert set(initial) == {"weights", "loc_first", "scale"} | ({"loc_rest"} if columns > 1 else set())
    gradient, value = potential_grad(potential, initial)
    assert bool(torch.isfinite(value))
    assert all(bool(torch.isfinite(part).all()) and part.dtype == torch.float64 for part in gradient.values())


def test_prior_draws_are_named_and_shaped(seeded: int) -> None:
    x = _data(2)
    trace = poutine.trace(BayesianGaussianMixture(features=2, components=3).model).get_trace(x)
    loc = torch.as_tensor(trace.nodes["loc"]["value"])
    assert loc.shape == (3, 2)
    assert torch.equal(loc, loc[loc[:, 0].argsort()])
    assert [plate.name for plate in trace.nodes["scale"]["cond_indep_stack"]] == ["component", "feature"]
    assert [plate.name for plate in trace.nodes["x"]["cond_indep_stack"]] == ["row"]


def test_it_is_a_program_without_a_guide() -> None:
    model = BayesianGaussianMixture(features=3)
    assert isinstance(model, Program)
    assert not isinstance(model, Guided)


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (_data(2), "x: has 2 columns, but the model is made for 3"),
        (_data(3)[:3], "x: has too few rows; got 3 rows; expected at least 4 rows, for components=4"),
        (torch.ones(9, 3), "x: all rows are identical"),
        (_data(3) * 1e4, r"x: lies far from the prior; .* expected at most 500, for prior_scale=100"),
    ],
)
def test_check_names_what_is_wrong(x: Tensor, message: str) -> None:
    with pytest.raises(DataError, match=message):
        BayesianGaussianMixture(features=3, components=4).check(x)


@pytest.mark.parametrize("options", [{"components": 0}, {"components": 2.5}, {"prior_scale": 0.0}])
def test_options_are_checked(options: dict[str, Any]) -> None:
    with pytest.raises(OptionError, match=next(iter(options))):
        BayesianGaussianMixture(features=3, **options)
