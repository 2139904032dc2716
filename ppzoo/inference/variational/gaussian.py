r"""Multivariate normals over the joint unconstrained vector: all of one, in coordinates of its own, or one of low rank.

.. math:: z = c + F (\mu + \mathrm{diag}(\sigma) L \varepsilon), \qquad \varepsilon \sim \mathcal{N}(0, I_D)

:math:`L` is unit lower triangular; :math:`c` and the lower triangular :math:`F` are constants, no matter of training:
whatever they are, the family is the same. Where they are the mean and the Cholesky factor of a normal near the
posterior, what is to be trained is of the order of one and hardly correlated, however long and thin the posterior is.

The normal of low rank is :math:`z = \mu + \mathrm{diag}(\sigma)(\varepsilon + W \eta)`.

Shapes: ``D`` unconstrained numbers in all continuous latent sites, ``R`` directions.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar

import torch
from pyro import distributions as dist
from pyro.distributions import constraints
from pyro.distributions.torch_distribution import TorchDistribution
from pyro.distributions.transforms import ComposeTransform, LowerCholeskyAffine
from pyro.infer.autoguide import AutoLowRankMultivariateNormal
from pyro.infer.autoguide.guides import AutoContinuous
from pyro.nn.module import PyroParam
from torch import Tensor, nn
from torch.distributions import Transform

__all__ = ["LowRank", "LowRankNormal", "Multivariate"]

_SCALE = 0.1  # of every unconstrained number at the start, as Pyro's Gaussian guides have it


class Multivariate(AutoContinuous):
    """A multivariate normal; it begins at the start's location with scale 0.1 and no correlation.

    Attributes:
        centre: :math:`c`, ``(D,)``, zero unless it is placed.
        factor: :math:`F`, ``(D, D)``, the identity unless it is placed.
    """

    def _setup_prototype(self, *args: Any, **kwargs: Any) -> None:
        super()._setup_prototype(*args, **kwargs)  # type: ignore[no-untyped-call]  # Pyro's guides are untyped
        loc: Tensor = self._init_loc()  # type: ignore[no-untyped-call]  # likewise
        one = torch.eye(len(loc)).to(loc)
        self.register_buffer("centre", torch.zeros_like(loc))
        self.register_buffer("factor", one)
        self.loc = nn.Parameter(loc)
        self.scale: Any = PyroParam(torch.full_like(loc, _SCALE), constraints.softplus_positive)
        self.scale_tril: Any = PyroParam(one.clone(), constraints.unit_lower_cholesky)

    def get_base_dist(self) -> dist.Distribution:
        """The standard normal of ``D`` numbers."""
        base: dist.Distribution = dist.Normal(torch.zeros_like(self.loc), torch.ones_like(self.loc)).to_event(1)
        return base

    def get_transform(self, *args: Any, **kwargs: Any) -> Transform:
        """From the base to the unconstrained vector.

        Made anew in every run: it keeps its last values, to be inverted for free, and a guide must keep none.
        """
        inner = LowerCholeskyAffine(self.loc, self.scale[..., None] * self.scale_tril, cache_size=1)
        return ComposeTransform([*self._layers(), inner, LowerCholeskyAffine(self.centre, self.factor, cache_size=1)])

    def _layers(self) -> list[Transform]:
        """What bends the base first."""
        return []


class LowRank(AutoLowRankMultivariateNormal):
    """Pyro's normal of low rank, its density without writes in place, which machine code has not."""

    def get_posterior(self, *args: Any, **kwargs: Any) -> dist.Distribution:
        """Over the unconstrained vector."""
        scale: Any = self.scale  # Pyro's parameters are tensors when they are read
        return LowRankNormal(self.loc, scale, self.cov_factor)


class LowRankNormal(TorchDistribution):
    r"""The normal of :math:`\mu + \mathrm{diag}(\sigma)(\varepsilon + W \eta)` for standard normals of ``D`` and ``R``.

    With :math:`y = (z - \mu) / \sigma` and :math:`L L^\top = I + W^\top W`, by Woodbury's identity,

    .. math:: \log q(z) = -\tfrac12 \left(\|y\|^2 - \|L^{-1} W^\top y\|^2 + D \log 2 \pi\right)
        - \sum_d \log \sigma_d - \sum_r \log L_{rr}.

    Args:
        loc: :math:`\mu`, ``(D,)``.
        scale: :math:`\sigma`, ``(D,)``.
        directions: :math:`W`, ``(D, R)``.
    """

    arg_constraints: ClassVar[dict[str, Any]] = {}
    support = constraints.real_vector
    has_rsample = True

    def __init__(self, loc: Tensor, scale: Tensor, directions: Tensor) -> None:
        self.loc, self.scale, self.directions = loc, scale, directions
        super().__init__(torch.Size(), loc.shape, validate_args=False)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """Draws ``(..., D)``."""
        shape = tuple(sample_shape)
        wide = torch.randn((*shape, len(self.loc)), dtype=self.loc.dtype, device=self.loc.device)
        long = torch.randn((*shape, self.directions.shape[1]), dtype=self.loc.dtype, device=self.loc.device)
        return self.loc + self.scale * (wide + long @ self.directions.mT)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log densities ``(...)`` of ``(..., D)``."""
        y = (value - self.loc) / self.scale
        along = y @ self.directions
        factor = torch.linalg.cholesky(torch.eye(along.shape[-1]).to(y) + self.directions.mT @ self.directions)
        along = torch.linalg.solve_triangular(factor, along[..., None], upper=False)[..., 0]
        distance: Tensor = (y * y).sum(-1) - (along * along).sum(-1)
        log_det = torch.log(self.scale).sum() + torch.log(factor.diagonal()).sum()
        return -(distance + len(self.loc) * math.log(2 * math.pi)) / 2 - log_det
