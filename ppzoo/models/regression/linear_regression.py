"""Bayesian linear regression with its conjugate prior: every answer in closed form.

    sigma2 ~ InvGamma(a, b),  beta | sigma2 ~ N(0, sigma2 s^2 I),  y | beta, sigma2 ~ N(X beta, sigma2 I)

A. Gelman et al. (2013), "Bayesian Data Analysis", 3rd edition, section 14.8,
http://www.stat.columbia.edu/~gelman/book/; the formulas of the normal-inverse-gamma posterior are written out in
K. P. Murphy (2012), "Machine Learning: a Probabilistic Perspective", section 7.6.3, https://probml.github.io/pml-book/.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pyro
import pyro.distributions as dist
import torch
from pyro.nn import PyroModule

from ppzoo.checks import check_flag, check_matrix, check_real, check_varies, check_vector

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["LinearRegression"]


class LinearRegression(PyroModule):
    """Linear regression under a normal-inverse-gamma prior, whose posterior is normal-inverse-gamma again.

    The prior acts like ``P`` more rows with design ``I / s`` and response 0, so the posterior is one least-squares
    problem. ``guide`` is that posterior, so the ELBO is the log evidence for every single draw. The defaults are weak
    for data of order one: standardise ``x`` and ``y``, or set ``prior_rate`` in squared units of ``y``.

    Sites: ``sigma2``, the variance of the noise; ``beta``, shape ``(P,)``, the intercept first; in the plate ``"row"``
    the observed ``y``.

    Args:
        intercept: Put a column of ones before ``x``; its coefficient has the same prior as the others.
        prior_scale: ``s``, prior standard deviation of a coefficient, in standard deviations of the noise.
        prior_shape: ``a``, prior shape of ``sigma2``: as much as ``2a`` rows seen before.
        prior_rate: ``b``, prior rate of ``sigma2``, in squared units of ``y``: its prior mode is ``b / (a + 1)``.

    Raises:
        OptionError: If a number is not positive or ``intercept`` not a bool.

    Example:
        >>> import torch
        >>> x = torch.tensor([[0.0], [1.0], [2.0]])
        >>> LinearRegression().solve(x, y=2 * x[:, 0] + 1)
        tensor(-8.0414)
    """

    def __init__(
        self, *, intercept: bool = True, prior_scale: float = 10.0, prior_shape: float = 1.0, prior_rate: float = 1.0
    ) -> None:
        super().__init__()
        self.intercept = check_flag("intercept", intercept)
        self.prior_scale = check_real("prior_scale", prior_scale, above=0)
        self.prior_shape = check_real("prior_shape", prior_shape, above=0)
        self.prior_rate = check_real("prior_rate", prior_rate, above=0)

    def model(self, x: Tensor, y: Tensor) -> Tensor:
        """Draw the noise, the coefficients and the response.

        Args:
            x: Predictors, ``(N, D)``.
            y: Response, ``(N,)``.

        Returns:
            The expected response ``X beta``, ``(N,)``.
        """
        X = self._design(x)
        sigma2 = pyro.sample("sigma2", dist.InverseGamma(x.new_full((), self.prior_shape), self.prior_rate))
        sigma = sigma2.sqrt()
        prior = dist.Normal(x.new_zeros(X.shape[1]), self.prior_scale * sigma.unsqueeze(-1)).to_event(1)
        beta = pyro.sample("beta", prior)
        mean: Tensor = torch.linalg.vecdot(X, beta)
        with pyro.plate("row", len(x)):
            pyro.sample("y", dist.Normal(mean, sigma), obs=y)
        return mean

    def guide(self, x: Tensor, y: Tensor) -> None:
        """Draw ``sigma2`` and ``beta`` from their exact posterior.

        Equation:
            sigma2 ~ InvGamma(a_N, b_N),  beta | sigma2 ~ N(m_N, sigma2 L L^T)
        """
        m_N, L, a_N, b_N = self._posterior(x, y)
        sigma2 = pyro.sample("sigma2", dist.InverseGamma(a_N, b_N))
        scale_tril = sigma2.sqrt()[..., None, None] * L
        pyro.sample("beta", dist.MultivariateNormal(m_N, scale_tril=scale_tril))

    def solve(self, x: Tensor, y: Tensor) -> Tensor:
        """Log evidence ``log p(y | x)`` in closed form, in nats, a scalar; there is no parameter to set.

        Equation:
            log p(y) = log Gamma(a_N) - log Gamma(a) + a log b - a_N log b_N + log |L| - P log s - N/2 log 2 pi
        """
        _, L, a_N, b_N = self._posterior(x, y)
        a, b, (N, P) = self.prior_shape, self.prior_rate, (len(x), len(L))
        noise = a_N.lgamma() - math.lgamma(a) + a * math.log(b) - a_N * b_N.log()
        return noise + L.diagonal().log().sum() - P * math.log(self.prior_scale) - N / 2 * math.log(2 * math.pi)

    def check(self, x: Tensor, y: Tensor) -> None:
        """A table and one response for each of its rows; the prior is proper, so even a single row will do.

        Raises:
            DataError: If a shape is wrong, the lengths differ, or the same row and response come again and again.
        """
        check_matrix("x", x)
        check_vector("y", y, length=len(x), like="x")
        if len(x) > 1:
            check_varies("x and y", torch.cat([x, y.unsqueeze(1)], dim=1), each=False)

    def _design(self, x: Tensor) -> Tensor:
        """``X``, shape ``(N, P)``."""
        return torch.cat([torch.ones_like(x[:, :1]), x], dim=1) if self.intercept else x

    def _posterior(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """``m_N`` ``(P,)``; ``L`` ``(P, P)``, lower triangular, ``L L^T = (X^T X + 1/s^2)^-1``; ``a_N``; ``b_N``.

        By QR of the rows of data and prior together: normal equations would square the condition number.
        """
        X = self._design(x)
        eye = torch.eye(X.shape[1], dtype=x.dtype, device=x.device)
        rows, response = torch.cat([X, eye / self.prior_scale]), torch.cat([y, y.new_zeros(len(eye))])
        # The columns are reversed so that the inverse of R, reversed back, is lower and not upper triangular.
        Q, R = torch.linalg.qr(rows.flip(1))
        L = torch.linalg.solve_triangular(R, eye, upper=True).flip(0, 1)
        L = L * L.diagonal().sign()
        # not lstsq: its pivoting driver does not give the same bytes twice
        m_N = torch.linalg.solve_triangular(R, (Q.mT @ response).unsqueeze(1), upper=True).squeeze(1).flip(0)
        a_N = x.new_full((), self.prior_shape + len(x) / 2)
        b_N = self.prior_rate + (response - rows @ m_N).square().sum() / 2
        return m_N, L, a_N, b_N
