"""Probabilistic principal component analysis.

    z_n ~ N(0, I),  x_n | z_n ~ N(W z_n + mu, sigma^2 I)

M. E. Tipping and C. M. Bishop (1999), "Probabilistic principal component analysis", https://doi.org/10.1111/1467-9868.00196.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pyro
import pyro.distributions as dist
import torch
from pyro.nn import PyroModule, PyroParam
from torch import nn

from ppzoo.checks import check_integer, check_matrix, check_rows, check_varies
from ppzoo.errors import DataError

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["PPCA", "principal_axes"]


def principal_axes(W: Tensor) -> Tensor:
    """``W R``, with the rotation ``R`` for which columns are orthogonal, longest first, their largest entry positive.

    Of all loadings that explain the data equally well, these are the ones to show and to compare.

    Args:
        W: Loadings, ``(..., D, K)``.

    Example:
        >>> import torch
        >>> principal_axes(torch.tensor([[-3.0], [2.0]])).T.round()
        tensor([[ 3., -2.]])
    """
    U, lengths, _ = torch.linalg.svd(W, full_matrices=False)
    axes: Tensor = U * lengths.unsqueeze(-2)
    largest = axes.gather(-2, axes.abs().argmax(-2, keepdim=True))
    return axes * torch.where(largest < 0, -1, 1)


class PPCA(PyroModule):
    """Probabilistic PCA with parameters ``W``, ``mu`` and ``sigma``.

    ``guide`` is the exact posterior of the codes, so the ELBO is the log likelihood for every draw and at any value of
    the parameters, and stochastic variational inference is maximum likelihood. ``solve`` has it in closed form.

    Only ``W W^T`` is determined: two fits may differ by a rotation of ``W`` and of the codes. ``solve`` returns the
    principal axes; for other fits :func:`principal_axes` turns ``W`` there.

    Sites, in the plate ``"row"``: ``z``, ``(N, K)``; the observed ``x``, ``(N, D)``.

    Args:
        features: ``D``, columns of ``x``, at least 2.
        latents: ``K``, dimensions of the code, less than ``features``.

    Raises:
        OptionError: If a size is not a whole number in its range.

    Example:
        >>> import torch
        >>> x = torch.tensor([[0.0, 0.0], [2.0, 2.0], [0.0, 2.0], [2.0, 0.0], [4.0, 4.0]], dtype=torch.float64)
        >>> ppca = PPCA(features=2, latents=1).double()
        >>> ppca.solve(x)
        tensor(-16.8888, dtype=torch.float64)
        >>> ppca.encode(x).shape
        torch.Size([5, 1])
    """

    W: Tensor
    mu: Tensor
    sigma: Tensor

    def __init__(self, *, features: int, latents: int = 2) -> None:
        super().__init__()
        self.features = check_integer("features", features, minimum=2)
        why = f"fewer than the {self.features} columns"
        self.latents = check_integer("latents", latents, maximum=self.features - 1, why=why)
        self.W = nn.Parameter(torch.randn(self.features, self.latents))
        self.mu = nn.Parameter(torch.zeros(self.features))
        sigma = PyroParam(torch.tensor(1.0), constraint=dist.constraints.positive)
        self.sigma = sigma  # type: ignore[assignment]  # PyroModule gives it back as a tensor

    def model(self, x: Tensor) -> None:
        """Draw the code of each row, then the row.

        Args:
            x: Observations, ``(N, D)``.
        """
        with pyro.plate("row", len(x)):
            z = pyro.sample("z", dist.Normal(self.W.new_zeros(self.latents), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z @ self.W.T + self.mu, self.sigma).to_event(1), obs=x)

    def guide(self, x: Tensor) -> None:
        """Draw the codes from their exact posterior.

        Equation:
            z_n | x_n ~ N(M^-1 W^T (x_n - mu), sigma^2 M^-1)
        """
        precision = self._M() / self.sigma.square()
        with pyro.plate("row", len(x)):
            pyro.sample("z", dist.MultivariateNormal(self.encode(x), precision_matrix=precision))

    def encode(self, x: Tensor) -> Tensor:
        """Posterior mean of the codes, ``M^-1 W^T (x - mu)``, shape ``(N, K)``."""
        return torch.cholesky_solve(self.W.T @ (x - self.mu).T, torch.linalg.cholesky(self._M())).T

    def log_prob(self, x: Tensor) -> Tensor:
        """Log density ``log N(x_n; mu, C)`` of each row, in nats, shape ``(N,)``.

        Equation:
            d^T C^-1 d = |d - W m|^2 / sigma^2 + |m|^2,  log |C| = log |M| + (D - K) log sigma^2

        with ``d = x - mu`` and ``m`` the code. This form of Woodbury's identity adds positive terms only, where the
        usual one subtracts two large ones when ``sigma`` is small.
        """
        m = self.encode(x)
        misfit = (x - self.mu - m @ self.W.T) / self.sigma
        distance = misfit.square().sum(-1) + m.square().sum(-1)
        log_det = torch.logdet(self._M()) + 2 * (self.features - self.latents) * self.sigma.log()
        return -(distance + log_det + self.features * math.log(2 * math.pi)) / 2

    def sample(self, n: int) -> Tensor:
        """Draw ``n`` new rows, shape ``(n, D)``."""
        with torch.no_grad():
            z = self.W.new_empty(n, self.latents).normal_()
            mean = z @ self.W.T + self.mu
            return mean + self.sigma * torch.randn_like(mean)

    @torch.no_grad()
    def solve(self, x: Tensor) -> Tensor:
        """Set the parameters to the maximum-likelihood answer; return the total log likelihood, in nats, a scalar.

        Equation:
            sigma^2 = (lambda_(K+1) + ... + lambda_D) / (D - K),  W = U_K (Lambda_K - sigma^2 I)^(1/2)

        with ``lambda`` and ``U`` the eigenvalues (largest first) and eigenvectors of ``S``, the covariance divided by
        ``N``. scikit-learn's ``PCA`` divides by ``N - 1``, so its ``noise_variance_`` is ``N / (N - 1)`` times ours.

        Raises:
            DataError: If the rows lie in ``K`` dimensions, where the likelihood has no maximum.
        """
        N, D, K = len(x), self.features, self.latents
        mu = x.mean(0)
        _, singular, Ut = torch.linalg.svd(x - mu, full_matrices=False)
        eigenvalues = singular.square() / N
        sigma2 = eigenvalues[K:].sum() / (D - K)
        if not sigma2.sqrt() > eigenvalues[0].sqrt() * torch.finfo(x.dtype).eps * max(N, D):
            raise DataError(
                "leaves no variance for the noise",
                argument="x",
                got=f"rows that lie in {K} dimensions",
                expected=f"rows that span more than latents={K} dimensions",
                remedy="Ask for fewer latents.",
            )
        self.W.copy_(principal_axes(Ut[:K].T * (eigenvalues[:K] - sigma2).sqrt()))
        self.mu.copy_(mu)
        self.sigma = sigma2.sqrt()
        return self.log_prob(x).sum()

    def check(self, x: Tensor) -> None:
        """``features`` columns, rows that differ, and enough of them to leave variance for the noise.

        Raises:
            DataError: If a shape is wrong, all rows are identical, or there are fewer than ``latents + 2`` rows.
        """
        check_matrix("x", x, columns=self.features)
        check_rows("x", x, minimum=self.latents + 2, why=f"for latents={self.latents} and some noise")
        check_varies("x", x, each=False)

    def _M(self) -> Tensor:  # noqa: N802  # the paper's letter
        """``W^T W + sigma^2 I``, shape ``(K, K)``."""
        return self.W.T @ self.W + self.sigma.square() * torch.eye(self.latents).to(self.W)
