r"""One step of Hamiltonian dynamics, reversible and volume preserving.

.. math:: H(q, p) = -\log \pi(q) + \tfrac12 p^\top M^{-1} p

Leapfrog, the composition of two half steps of the momentum around a full step of the position (Verlet, 1967; for
sampling: Neal, *MCMC using Hamiltonian dynamics*, 2011, https://arxiv.org/abs/1206.1901). Written for one chain.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["LARGEST_ENERGY_ERROR", "LogDensity", "Point", "energy_of", "leapfrog"]

LARGEST_ENERGY_ERROR = 1000.0  # Stan's: beyond it a trajectory has diverged

LogDensity = Callable[[Tensor], tuple[Tensor, Tensor]]  # q (D,) -> log pi(q), its gradient (D,)


class Point(NamedTuple):
    """A place in phase space: position ``q``, momentum ``p``, log density ``lp`` and its gradient ``g`` at ``q``."""

    q: Tensor
    p: Tensor
    lp: Tensor
    g: Tensor


def leapfrog(density: LogDensity, z: Point, step: Tensor, inverse_mass: Tensor) -> Point:
    """One step of size ``step`` (negative: backwards in time) under a diagonal metric ``inverse_mass (D,)``."""
    p = z.p + 0.5 * step * z.g
    q = z.q + step * (inverse_mass * p)
    lp, g = density(q)
    return Point(q, p + 0.5 * step * g, lp, g)


def energy_of(p: Tensor, lp: Tensor, inverse_mass: Tensor) -> Tensor:
    """``p M^-1 p / 2 - lp``, summed in float64 whatever type the chain moves in: trajectories are judged by it."""
    p = p.to(torch.float64)
    return 0.5 * torch.sum(p * (inverse_mass.to(torch.float64) * p)) - lp.to(torch.float64)
