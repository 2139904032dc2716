r"""Laplace's approximation: the normal with the place and the curvature of a mode.

.. math:: q(u) = N\!\left(u \mid \hat u,\, \Lambda^{-1}\right), \qquad \Lambda = -\nabla^2 \log \pi(\hat u), \qquad
          \log p(\mathrm{data}) \approx \log \pi(\hat u) + \frac D 2 \log 2\pi - \frac 1 2 \log \det \Lambda

over unconstrained values, where the density has its Jacobians; exact where the posterior is normal there. Tierney and
Kadane, *Accurate Approximations for Posterior Moments and Marginal Densities*, 1986,
https://doi.org/10.1080/01621459.1986.10478240.

Shapes: ``D`` coordinates, ``S`` draws.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ppzoo.errors import FitError, ModelError
from ppzoo.inference.density import Density

__all__ = ["LARGEST", "NormalAtMode", "normal_at"]

LARGEST = 4096  # coordinates: a matrix of 134 MB, and as many gradients


@dataclass(frozen=True)
class NormalAtMode:
    """The normal around a mode.

    Attributes:
        mode: ``(D,)``.
        factor: Lower Cholesky factor of the precision, ``(D, D)``.
    """

    mode: Tensor
    factor: Tensor

    @property
    def log_volume(self) -> float:
        """The logarithm of the integral of a normal density whose height at the mode is one, in nats."""
        return len(self.mode) * math.log(2 * math.pi) / 2 - float(torch.log(torch.diagonal(self.factor)).sum())

    def draw(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Draws ``(S, D)`` and their log densities ``(S,)`` from standard normal ``z (S, D)``."""
        away = torch.linalg.solve_triangular(self.factor.mT, z.mT, upper=True).mT
        return self.mode + away, -(z * z).sum(1) / 2 - self.log_volume


def normal_at(density: Density, mode: Tensor) -> NormalAtMode:
    """The normal with the density's curvature at a mode ``(D,)``; ``D`` gradients of its gradient.

    Raises:
        ModelError: If the program cannot be differentiated twice.
        FitError: If the density does not curve downwards in every direction.

    Example:
        >>> import pyro, pyro.distributions as dist, torch
        >>> from ppzoo.datasets.arguments import Arguments
        >>> from ppzoo.inference.density import density_of
        >>> from ppzoo.inference.program import Pair
        >>> def model():
        ...     pyro.sample("x", dist.Normal(torch.tensor([3.0, -1.0]), 0.5).to_event(1))
        >>> density = density_of(Pair(model, model, Arguments((), {}, {}, {}, ())))
        >>> normal_at(density, torch.tensor([3.0, -1.0])).factor.diagonal()
        tensor([2., 2.])
    """
    precision = -_hessian(density, mode)
    factor, failed = torch.linalg.cholesky_ex(precision)
    if bool(failed) or not bool(torch.isfinite(factor).all()):
        raise _not_curved(density, precision)
    return NormalAtMode(mode, factor)


def _hessian(density: Density, q: Tensor) -> Tensor:
    """Second derivatives ``(D, D)``, row by row."""
    try:
        with torch.enable_grad():
            leaf = q.detach().requires_grad_(True)
            (gradient,) = torch.autograd.grad(density.log_density(density.named(leaf)), leaf, create_graph=True)
            rows = [_row(g, leaf) for g in gradient]
    except (RuntimeError, NotImplementedError) as error:
        raise ModelError(
            "cannot be differentiated twice",
            argument="model",
            got=f"{type(error).__name__}: {' '.join(str(error).split())[:200]}",
            expected="a log density with second derivatives",
            remedy='Use method="pathfinder", which needs first ones only.',
        ) from error
    hessian = torch.stack(rows)
    return (hessian + hessian.mT) / 2


def _row(slope: Tensor, leaf: Tensor) -> Tensor:
    """Of one entry of the gradient; zeros where it hangs on nothing."""
    if not slope.requires_grad:
        return torch.zeros_like(leaf)
    (row,) = torch.autograd.grad(slope, leaf, retain_graph=True, allow_unused=True, materialize_grads=True)
    return row


def _not_curved(density: Density, precision: Tensor) -> FitError:
    if bool(torch.isfinite(precision).all()):
        curvature, directions = torch.linalg.eigh(precision)
        strongest = int(directions[:, 0].abs().argmax())
        got = f"a curvature of {float(curvature[0]) + 0.0:.3g}, mostly along {_site_at(density, strongest)!r}"
    else:
        got = "second derivatives that are not finite"
    return FitError(
        "the density does not curve downwards in every direction where the paths ended, so it has no normal there",
        argument="model",
        got=got,
        expected="a mode inside, with curvatures > 0",
        remedy='Look for parameters that the data and priors leave free; or use method="pathfinder" or "nuts".',
    )


def _site_at(density: Density, coordinate: int) -> str:
    """The site that a coordinate belongs to."""
    ends = torch.tensor([shape.numel() for shape in density.shapes.values()], device="cpu").cumsum(0)
    return list(density.shapes)[int((ends <= coordinate).sum())]
