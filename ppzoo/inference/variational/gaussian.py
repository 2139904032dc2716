r"""The multivariate normal over the joint unconstrained vector, in coordinates of its own.

.. math:: z = c + F (\mu + \mathrm{diag}(\sigma) L \varepsilon), \qquad \varepsilon \sim \mathcal{N}(0, I_D)

:math:`L` is unit lower triangular; :math:`c` and the lower triangular :math:`F` are constants, no matter of training:
whatever they are, the family is the same. Where they are the mean and the Cholesky factor of a normal near the
posterior, what is to be trained is of the order of one and hardly correlated, however long and thin the posterior is.

Shapes: ``D`` unconstrained numbers in all continuous latent sites.
"""

from __future__ import annotations

from typing import Any

import torch
from pyro import distributions as dist
from pyro.distributions import constraints
from pyro.distributions.transforms import ComposeTransform, LowerCholeskyAffine
from pyro.infer.autoguide.guides import AutoContinuous
from pyro.nn.module import PyroParam
from torch import Tensor, nn
from torch.distributions import Transform

__all__ = ["Multivariate"]

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
