"""Bayesian probabilistic PCA: priors on loadings, mean and noise; the codes are integrated out.

    W_dk ~ N(0, s),  mu_d ~ N(0, s),  sigma ~ HalfNormal(s),  x_n ~ N(mu, W W^T + sigma^2 I)

C. M. Bishop (1999), "Bayesian PCA", https://papers.nips.cc/paper/1549-bayesian-pca; on turning the draws afterwards
P. Papastamoulis and I. Ntzoufras (2022), "On the identifiability of Bayesian factor analytic models",
https://doi.org/10.1007/s11222-022-10084-4.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyro
import pyro.distributions as dist
from pyro.nn import PyroModule

from ppzoo.checks import check_integer, check_matrix, check_reach, check_real, check_rows, check_varies
from ppzoo.models.linear.ppca import principal_axes

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["BayesianPPCA"]


class BayesianPPCA(PyroModule):
    """Probabilistic PCA with a posterior over ``W``, ``mu`` and ``sigma``.

    The data see ``W`` only through ``W W^T``, and so does the prior: the posterior of the ``W`` that is drawn is a
    whole orbit of rotations, and two chains need not meet on it. So that one, ``W_free``, is an auxiliary site, and
    what is reported is its principal axes: the same for the whole orbit, whichever part a chain has seen. (Fixing the
    rotation before, by a triangular ``W`` with positive diagonal, traps chains that start with the wrong signs.)

    Sites: ``W_free``, ``(D, K)``, auxiliary; ``W``, ``(D, K)``, its principal axes (deterministic); ``sigma``; in the
    plate ``"feature"`` ``mu``, ``(D,)``; in the plate ``"row"`` the observed ``x``, ``(N, D)``.

    Args:
        features: ``D``, columns of ``x``, at least 2.
        latents: ``K``, dimensions of the code, less than ``features``.
        prior_scale: ``s``, prior scale of everything, in units of ``x``. The default is weak for standardised columns.

    Raises:
        OptionError: If a size is not a whole number in its range or ``prior_scale`` not positive.

    Example:
        >>> import torch
        >>> BayesianPPCA(features=2, latents=1).check(1000 + torch.arange(8.0).reshape(4, 2))
        Traceback (most recent call last):
        ppzoo.errors.DataError: x: lies far from the prior; got a column with root mean square 1004; ...
    """

    def __init__(self, *, features: int, latents: int = 2, prior_scale: float = 10.0) -> None:
        super().__init__()
        self.features = check_integer("features", features, minimum=2)
        why = f"fewer than the {self.features} columns"
        self.latents = check_integer("latents", latents, maximum=self.features - 1, why=why)
        self.prior_scale = check_real("prior_scale", prior_scale, above=0)

    def model(self, x: Tensor) -> None:
        """Draw loadings, mean and noise, then the rows.

        Args:
            x: Observations, ``(N, D)``.
        """
        D, K, s = self.features, self.latents, self.prior_scale
        normal = dist.Normal(x.new_zeros(()), s)
        W = pyro.sample("W_free", normal.expand([D, K]).to_event(2), infer={"is_auxiliary": True})
        # A diverging trajectory must not end in an error here: the axes of what is not finite are zero.
        pyro.deterministic("W", principal_axes(W.detach().nan_to_num(0.0, 0.0, 0.0)), event_dim=2)
        with pyro.plate("feature", D):
            mu = pyro.sample("mu", normal)
        sigma = pyro.sample("sigma", dist.HalfNormal(x.new_full((), s)))
        noise = sigma.square().unsqueeze(-1) * x.new_ones(D)
        with pyro.plate("row", len(x)):
            pyro.sample("x", dist.LowRankMultivariateNormal(mu.unsqueeze(-2), W, noise), obs=x)

    def check(self, x: Tensor) -> None:
        """``features`` columns on the scale of the prior, and rows that differ.

        Raises:
            DataError: If a shape is wrong, all rows are identical, or a column is out of the prior's reach.
        """
        check_matrix("x", x, columns=self.features)
        check_rows("x", x, minimum=2, why="for a covariance")
        check_varies("x", x, each=False)
        check_reach("x", x, option="prior_scale", scale=self.prior_scale)
