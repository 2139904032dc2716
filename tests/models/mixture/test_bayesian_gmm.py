"""Bayesian mixture: the enumerated joint is scipy's, and the names of components change nothing that is reported."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from pyro import poutine
from pyro.infer.mcmc.util import initialize_model
from pyro.ops.integrator import potential_grad
from scipy import special, stats
from torch import Tensor

from ppzoo.contracts import Guided, Program
from ppzoo.errors import DataError, OptionError
from ppzoo.models.mixture.bayesian_gmm import BayesianGaussianMixture


def _data(columns: int, device: str = "cpu") -> Tensor:
    return torch.tensor(np.random.default_rng(0).normal(size=(15, columns)) + 1).to(device)


def _draw(components: int, columns: int, seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {
        "weights": rng.dirichlet(np.ones(components)),
        "loc": rng.normal(size=(components, columns)),
        "scale": rng.lognormal(size=(components, columns)),
    }


def _log_joint(model: BayesianGaussianMixture, draw: dict[str, np.ndarray], x: Tensor) -> float:
    """What NUTS sees, with assignments summed out by Pyro, less the log-determinants of its change of variables."""
    values = {f"{name}_free": torch.tensor(value).to(x.device) for name, value in draw.items()}
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
        + stats.lognorm(1, scale=s / 10).logpdf(draw["scale"]).sum()
        + _log_likelihood(draw, x.cpu().numpy())
    )
    assert _log_joint(model, draw, x) == pytest.approx(float(expected), rel=1e-10)


def test_names_of_components_change_neither_density_nor_report(seeded: int) -> None:
    model, draw, x = BayesianGaussianMixture(features=2, components=3), _draw(3, 2, seed=0), _data(2)
    expected = _log_joint(model, draw, x)
    for order in itertools.permutations(range(3)):
        permuted = {name: value[list(order)] for name, value in draw.items()}
        assert _log_joint(model, permuted, x) == pytest.approx(expected, rel=1e-12)
        given = {f"{name}_free": torch.tensor(value) for name, value in permuted.items()}
        trace = poutine.trace(poutine.condition(model.model, data=given)).get_trace(x)
        for name, value in draw.items():
            np.testing.assert_array_equal(trace.nodes[name]["value"], value[draw["loc"][:, 0].argsort()])
            assert trace.nodes[f"{name}_free"]["infer"] == {"is_auxiliary": True}


@pytest.mark.parametrize("columns", [1, 2])
def test_potential_and_gradient_are_finite(columns: int, seeded: int) -> None:
    """As NUTS sees it: assignments summed out by Pyro, everything else unconstrained."""
    model = BayesianGaussianMixture(features=columns, components=3)
    initial, potential, _, _ = initialize_model(model.model, (_data(columns),), max_plate_nesting=2)
    assert set(initial) == {"weights_free", "loc_free", "scale_free"}
    gradient, value = potential_grad(potential, initial)
    assert bool(torch.isfinite(value))
    assert all(bool(torch.isfinite(part).all()) and part.dtype == torch.float64 for part in gradient.values())


def test_prior_draws_are_named_and_shaped(seeded: int) -> None:
    x = _data(2)
    trace = poutine.trace(BayesianGaussianMixture(features=2, components=3).model).get_trace(x)
    loc = torch.as_tensor(trace.nodes["loc"]["value"])
    assert loc.shape == (3, 2)
    assert torch.equal(loc, loc[loc[:, 0].argsort()])
    for name in ("loc", "scale", "loc_free", "scale_free"):
        assert {plate.name for plate in trace.nodes[name]["cond_indep_stack"]} == {"component", "feature"}
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
        (_data(3) * 1e4, r"x: lies far from the prior; .* expected at most 50, for prior_scale=10"),
    ],
)
def test_check_names_what_is_wrong(x: Tensor, message: str) -> None:
    with pytest.raises(DataError, match=message):
        BayesianGaussianMixture(features=3, components=4).check(x)


@pytest.mark.parametrize("options", [{"components": 0}, {"components": 2.5}, {"prior_scale": 0.0}])
def test_options_are_checked(options: dict[str, Any]) -> None:
    with pytest.raises(OptionError, match=next(iter(options))):
        BayesianGaussianMixture(features=3, **options)
