r"""Posterior means and sds without a sampler, for programs whose reference has moments only.

* A potential that is quadratic: its minimum and its Hessian are the answer.
* One that is quadratic given a few scales: those are summed over a grid, the rest is closed form,
  :math:`\log p(s) = -U(s, 0) + \tfrac12 g^\top H^{-1} g - \tfrac12 \log |H|` with gradient :math:`g` and Hessian
  :math:`H` at zero. The trapezoidal rule is good to many digits where a smooth density vanishes at both ends.
* One that is nearly quadratic: draws from the normal at its minimum, reweighted.

Every site but the scales is real, so that its unconstrained value is its value.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.distributions import biject_to

from tests.targets.target import Array, Target, Values, opened

_AT_ONCE = 50  # points in one batch: a few hundred megabytes for 30,000 rows
_HESSIAN_ROWS_AT_ONCE = 1000
_NEWTON_STEPS = 5


@dataclass(frozen=True, eq=False)
class Moments:
    """Means and sds of the reference's scalars, ``(P,)``, and the standard error of each mean, zero where exact."""

    mean: Array
    sd: Array
    mean_error: Array


def normal_moments(target: Target) -> Moments:
    """For a quadratic potential."""
    with opened(target) as density:
        potential = _over_vectors(density.potential, density.shapes)
        zero = torch.zeros(_size(density.shapes))
        _, mean, covariance = _normal_at_zero(potential, zero)
        return _exact(target, _split(mean, density.shapes), _split(covariance.diagonal(), density.shapes))


def grid_moments(target: Target, grids: dict[str, tuple[float, float, int]]) -> Moments:
    """For a potential that is quadratic given the sites in ``grids``: lowest and highest value, number of points."""
    with opened(target) as density:
        supports = {s.name: s.distribution.support for s in density.sites if s.name in grids}
        shapes = {name: shape for name, shape in density.shapes.items() if name not in grids}
        axes = []
        for name, (low, high, points) in grids.items():
            ends = biject_to(supports[name]).inv(torch.tensor([low, high]))
            axes.append(torch.linspace(float(ends[0]), float(ends[1]), points))
        at = torch.cartesian_prod(*axes)  # (G, scales), unconstrained
        zero = torch.zeros(_size(shapes))

        def given(scales: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            fixed = dict(zip(grids, scales, strict=True))
            potential = _over_vectors(lambda u: density.potential(fixed | u), shapes)
            log_weight, mean, covariance = _normal_at_zero(potential, zero)
            return log_weight, mean, covariance.diagonal()

        at_once = max(1, _HESSIAN_ROWS_AT_ONCE // len(zero))
        log_weight, means, variances = torch.func.vmap(given, chunk_size=at_once)(at)
        weight = torch.softmax(log_weight, 0)
        mean, variance = _mixture(weight, means, variances)
        scales = {name: biject_to(supports[name])(column) for name, column in zip(grids, at.unbind(-1), strict=True)}
        own = {name: _mixture(weight, x, torch.zeros_like(x)) for name, x in scales.items()}
        return _exact(
            target,
            _split(mean, shapes) | {name: m for name, (m, _) in own.items()},
            _split(variance, shapes) | {name: v for name, (_, v) in own.items()},
        )


def reweighted_moments(target: Target, draws: int) -> Moments:
    """For a nearly quadratic potential, by ``draws`` antithetic draws."""
    with opened(target) as density:
        potential = _over_vectors(density.potential, density.shapes)
        mode, hessian = _minimum(potential, torch.zeros(_size(density.shapes)))
        half = torch.randn(draws // 2, len(mode))
        noise = torch.cat((half, -half))  # (S, D)
        u = mode + torch.linalg.solve_triangular(torch.linalg.cholesky(hessian).mT, noise.mT, upper=True).mT
        # with the gradient, though nobody needs it: Pyro's handlers read .data, which vmap alone refuses
        _, energy = torch.func.vmap(torch.func.grad_and_value(potential), chunk_size=_AT_ONCE)(u)
        log_weight = (noise**2).sum(-1) / 2 - energy
        weight = torch.softmax(log_weight, 0).numpy()
        x = target.read(_split(u, density.shapes))  # (S, P)
    mean = weight @ x
    return Moments(mean, np.sqrt(weight @ (x - mean) ** 2), np.sqrt(weight**2 @ (x - mean) ** 2))


def _normal_at_zero(potential: Callable[[Tensor], Tensor], zero: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Log integral of exp(-U) up to a constant, mean and covariance, of a quadratic U."""
    gradient, value = torch.func.grad_and_value(potential)(zero)
    factor = torch.linalg.cholesky(_hessian(potential, zero))
    covariance = torch.cholesky_inverse(factor)
    mean = -covariance @ gradient
    return -value - gradient @ mean / 2 - factor.diagonal().log().sum(), mean, covariance


def _hessian(potential: Callable[[Tensor], Tensor], u: Tensor) -> Tensor:
    # not torch.func.hessian: its forward mode loads rules that torch itself calls deprecated
    return torch.func.jacrev(torch.func.grad(potential), chunk_size=_AT_ONCE)(u)  # type: ignore[no-any-return]


def _minimum(potential: Callable[[Tensor], Tensor], start: Tensor) -> tuple[Tensor, Tensor]:
    """Where a convex potential is least, by Newton's steps, and its Hessian there."""
    u, hessian = start, torch.zeros(0)
    for _ in range(_NEWTON_STEPS):
        hessian = _hessian(potential, u)
        u = u - torch.linalg.solve(hessian, torch.func.grad(potential)(u))
    return u, hessian


def _mixture(weight: Tensor, means: Tensor, variances: Tensor) -> tuple[Tensor, Tensor]:
    mean = weight @ means
    return mean, weight @ (variances + (means - mean) ** 2)


def _exact(target: Target, mean: Values, variance: Values) -> Moments:
    found = target.read(mean)
    return Moments(found, np.sqrt(target.read(variance)), np.zeros_like(found))


def _over_vectors(potential: Callable[[Values], Tensor], shapes: dict[str, torch.Size]) -> Callable[[Tensor], Tensor]:
    return lambda u: potential(_split(u, shapes))


def _split(u: Tensor, shapes: dict[str, torch.Size]) -> Values:
    parts = u.split([shape.numel() for shape in shapes.values()], -1)
    return {
        name: part.reshape((*u.shape[:-1], *shape)) for (name, shape), part in zip(shapes.items(), parts, strict=True)
    }


def _size(shapes: dict[str, torch.Size]) -> int:
    return sum(shape.numel() for shape in shapes.values())
