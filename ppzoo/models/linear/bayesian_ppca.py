"""Bayesian probabilistic PCA: priors on loadings, mean and noise; the codes are integrated out.

    W_dk ~ N(0, s),  mu_d ~ N(0, s),  sigma ~ HalfNormal(s),  x_n ~ N(mu, W W^T + sigma^2 I)

C. M. Bishop (1999), "Bayesian PCA", https://papers.nips.cc/paper/1549-bayesian-pca; the triangular form of ``W`` is
from D. Leung and M. Drton (2016), "Order-invariant prior specification in Bayesian factor analysis",
https://arxiv.org/abs/1409.7672.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyro
import pyro.distributions as dist
import torch
from pyro.nn import PyroModule

from ppzoo.checks import check_integer, check_matrix, check_reach, check_real, check_rows, check_varies

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["BayesianPPCA"]


class BayesianPPCA(PyroModule):
    """Probabilistic PCA with a posterior over ``W``, ``mu`` and ``sigma``.

    The data see ``W`` only through ``W W^T``, so the posterior of a free ``W`` is a whole orbit of rotations, on which
    chains never meet. Every orbit holds one lower triangular ``W`` with a positive diagonal. If the entries of a free
    ``W`` are ``N(0, s)``, those of its triangular form are independent, with

        W_kk ~ s Chi(K - k + 1),  k = 1 ... K;    W_dk ~ N(0, s),  d > k;    W_dk = 0,  d < k

    (Bartlett's decomposition). That is what the model draws: the same prior and posterior of ``W W^T``, whatever the
    order of the columns, and one ``W`` for each.

    Sites: ``W_diagonal``, ``(K,)``; ``W_below``, the entries under the diagonal, row by row; ``W``, ``(D, K)``, which
    they make up (deterministic); ``sigma``; in the plate ``"feature"`` ``mu``, ``(D,)``; in the plate ``"row"`` the
    observed ``x``, ``(N, D)``.

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

    index: Tensor

    def __init__(self, *, features: int, latents: int = 2, prior_scale: float = 10.0) -> None:
        super().__init__()
        self.features = check_integer("features", features, minimum=2)
        self.latents = check_integer("latents", latents, maximum=self.features - 1)
        self.prior_scale = check_real("prior_scale", prior_scale, above=0)
        self.below = self.features * self.latents - self.latents * (self.latents + 1) // 2
        # Where each entry of W stands in the list (0, diagonal, entries below it).
        index = torch.diag(torch.arange(1, self.latents + 1))
        index = torch.cat([index, index.new_zeros(self.features - self.latents, self.latents)])
        rows, columns = torch.tril_indices(self.features, self.latents, offset=-1)
        index[rows, columns] = self.latents + 1 + torch.arange(self.below)
        self.register_buffer("index", index, persistent=False)

    def model(self, x: Tensor) -> None:
        """Draw loadings, mean and noise, then the rows.

        Args:
            x: Observations, ``(N, D)``.
        """
        D, s = self.features, self.prior_scale
        W = self._loadings(x)
        with pyro.plate("feature", D):
            mu = pyro.sample("mu", dist.Normal(x.new_zeros(()), s))
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

    def _loadings(self, x: Tensor) -> Tensor:
        """``W``, lower triangular, shape ``(D, K)``."""
        K, s = self.latents, self.prior_scale
        freedom = torch.arange(K, 0, -1, dtype=x.dtype, device=x.device)
        square = dist.Gamma(freedom / 2, x.new_full((K,), 1 / (2 * s**2)))
        chi = dist.TransformedDistribution(square, dist.transforms.PowerTransform(x.new_full((), 0.5)))
        diagonal = pyro.sample("W_diagonal", chi.to_event(1))
        below = pyro.sample("W_below", dist.Normal(x.new_zeros(self.below), s).to_event(1))
        entries = torch.cat([torch.zeros_like(diagonal[..., :1]), diagonal, below], dim=-1)
        return pyro.deterministic("W", entries[..., self.index], event_dim=2)
