r"""A low-rank plus diagonal metric, as a linear change of coordinates in which the posterior looks round.

.. math:: q = B w, \qquad B = S \bigl(I + U (\Lambda^{1/2} - I) U^\top\bigr), \qquad M^{-1} = B B^\top

With scales :math:`S`, a few directions :math:`U` and stretches :math:`\Lambda^{1/2}`, sampling :math:`w` under a unit
mass is sampling :math:`q` under :math:`M`; momenta stay independent. Scales come from
:class:`~ppzoo.inference.mcmc.adaptation.FisherMetric`. In scaled coordinates the metric that minimises the Fisher
divergence to a standard normal is the geometric mean of the draws' covariance and the inverse of the gradients',

.. math:: G = C_q \mathbin{\#} C_g^{-1}, \qquad G \, C_g \, G = C_q

of which the directions are kept where its eigenvalues are farthest from one (Seyboldt, Carlson, Carpenter 2026,
https://arxiv.org/abs/2603.18845).

Shapes: ``D`` coordinates, ``R`` directions; vectors are ``(..., D)``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["Covariances", "Whitening", "rank_for"]

_MOST_DIRECTIONS = 16
_LARGEST = 200  # coordinates: beyond it a covariance costs more than it brings
_PRIOR_DRAWS = 5.0  # what a unit covariance counts for
_ROUND = 2.0  # an eigenvalue within this factor of one is left alone


class Whitening(NamedTuple):
    """``q = B w``: scales ``(D,)``, orthonormal directions ``(D, R)``, stretches along them ``(R,)``."""

    scale: Tensor
    directions: Tensor
    stretch: Tensor

    @classmethod
    def none(cls, like: Tensor, rank: int) -> Whitening:
        """Coordinates as they are, for vectors like ``like (D,)``."""
        ones = torch.ones_like(like)
        return cls(ones, like.new_zeros(len(like), rank), like.new_ones(rank))

    def positions(self, w: Tensor) -> Tensor:
        """``q = B w``."""
        return self.scale * self._along(w, self.stretch)

    def coordinates(self, q: Tensor) -> Tensor:
        """``w = B^-1 q``."""
        return self._along(q / self.scale, 1 / self.stretch)

    def pulled(self, gradient: Tensor) -> Tensor:
        """The gradient by ``w`` of a function whose gradient by ``q`` is given: ``B^T g``."""
        return self._along(self.scale * gradient, self.stretch)

    def pushed(self, gradient: Tensor) -> Tensor:
        """The gradient by ``q`` of a function whose gradient by ``w`` is given."""
        return self._along(gradient, 1 / self.stretch) / self.scale

    def _along(self, x: Tensor, stretch: Tensor) -> Tensor:
        if len(self.stretch) == 0:
            return x
        return x + ((x @ self.directions) * (stretch - 1)) @ self.directions.T


@dataclass
class Covariances:
    """Running covariances of draws and gradients, ``(2, D, D)``."""

    count: float
    means: Tensor  # (2, D)
    products: Tensor  # sums of products of deviations

    @classmethod
    def empty(cls, like: Tensor, rank: int) -> Covariances:
        """Of no draws, for vectors like ``like (D,)``; of no size either where no directions are wanted."""
        size = len(like) if rank > 0 else 0
        return cls(0.0, like.new_zeros(2, size), like.new_zeros(2, size, size))

    def add(self, draws: Tensor, gradients: Tensor) -> None:
        """Add draws ``(n, D)`` and the gradients of the log density there; rows that are not finite do not count."""
        values = torch.stack([draws, gradients])  # (2, n, D)
        values = values[:, torch.isfinite(values).all(2).all(0)]
        n = values.shape[1]
        if n == 0:
            return
        mean = values.mean(1)
        deviations = values - mean[:, None]
        gap, total = mean - self.means, self.count + n
        between = gap[:, :, None] * gap[:, None, :] * (self.count * n / total)
        self.products = self.products + deviations.mT @ deviations + between
        self.means = self.means + gap * (n / total)
        self.count = total

    def whitening(self, scale: Tensor, rank: int) -> Whitening:
        """The directions that need stretching beyond ``scale (D,)``, at most ``rank`` of them."""
        none = Whitening.none(scale, rank)._replace(scale=scale)
        if rank == 0:
            return none
        eye = torch.eye(len(scale), dtype=scale.dtype, device=scale.device)
        over = torch.outer(scale, scale)
        products = torch.stack([self.products[0] / over, self.products[1] * over])
        draws, gradients = (products + _PRIOR_DRAWS * eye) / (self.count + _PRIOR_DRAWS)
        values, vectors = torch.linalg.eigh(_geometric_mean(draws, gradients))
        order = torch.argsort(torch.abs(torch.log(values)), descending=True)[:rank]
        values, vectors = values[order], vectors[:, order]
        uneven = (values > _ROUND) | (values < 1 / _ROUND)
        stretch = torch.where(uneven, torch.sqrt(values), torch.ones_like(values))
        return Whitening(scale, vectors, stretch) if bool(torch.isfinite(values).all()) else none


def rank_for(size: int, *, pooled: bool) -> int:
    """How many directions the metric of so many coordinates may have; none where each chain learns alone."""
    return min(size, _MOST_DIRECTIONS) if pooled and 1 < size <= _LARGEST else 0


def _geometric_mean(a: Tensor, b: Tensor) -> Tensor:
    """The positive definite ``G`` with ``G b G = a``."""
    root, inverse = _powers(b)
    inner, _ = _powers(root @ a @ root)
    return inverse @ inner @ inverse


def _powers(a: Tensor) -> tuple[Tensor, Tensor]:
    """``a^(1/2)`` and ``a^(-1/2)``."""
    values, vectors = torch.linalg.eigh(a)
    root = torch.sqrt(torch.clamp(values, min=torch.finfo(a.dtype).tiny))
    return (vectors * root) @ vectors.T, (vectors / root) @ vectors.T
