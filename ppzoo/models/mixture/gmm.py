"""Gaussian mixture, by expectation maximisation or gradient steps.

    z_n ~ Categorical(weights),  x_n | z_n = k ~ N(loc_k, scale_tril_k scale_tril_k^T)

A. P. Dempster, N. M. Laird and D. B. Rubin (1977), "Maximum likelihood from incomplete data via the EM algorithm",
https://doi.org/10.1111/j.2517-6161.1977.tb01600.x; C. M. Bishop (2006), "Pattern Recognition and Machine Learning",
section 9.2. Starting point: D. Arthur and S. Vassilvitskii (2007), "k-means++: the advantages of careful seeding",
https://dl.acm.org/doi/10.5555/1283383.1283494.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyro
import pyro.distributions as dist
import torch
from pyro.nn import PyroModule, PyroParam
from torch import nn

from ppzoo.checks import check_choice, check_integer, check_matrix, check_rows, check_varies
from ppzoo.errors import DataError

if TYPE_CHECKING:
    from types import EllipsisType

    from pyro.distributions.torch_distribution import TorchDistribution
    from torch import Tensor

__all__ = ["GaussianMixture"]

_FLOOR = 1e-6  # smallest eigenvalue of a component's covariance, in squared units of x


class GaussianMixture(PyroModule):
    """Mixture of ``K`` multivariate normals with parameters ``weights``, ``loc`` and ``scale_tril`` or ``scale``.

    The assignment ``z`` is enumerated and the guide is empty, so the ELBO is the log likelihood. EM keeps every
    eigenvalue of every covariance at 1e-6 or above. It does so by the exact maximum under that bound, which leaves
    larger eigenvalues alone and never lets the log likelihood fall (scikit-learn adds 1e-6 to each variance instead).

    Sites, in the plate ``"row"``: ``z``, ``(N,)``; the observed ``x``, ``(N, D)``.

    Args:
        features: ``D``, columns of ``x``.
        components: ``K``, components of the mixture.
        covariance: ``"full"`` with ``scale_tril`` ``(K, D, D)``, or ``"diag"``, columns independent within a
            component, with ``scale`` ``(K, D)``.

    Raises:
        OptionError: If a size is not a whole number in its range, or ``covariance`` is unknown.

    Example:
        >>> import torch
        >>> x = torch.tensor([[0.0], [0.2], [4.0], [4.2]], dtype=torch.float64)
        >>> gmm = GaussianMixture(features=1, components=2).double()
        >>> gmm.initialise(x)
        >>> for _ in range(20):
        ...     r, log_likelihood = gmm.e_step(x)
        ...     gmm.m_step(r, x)
        >>> gmm.loc.sort(0).values.round(decimals=3).flatten().tolist()
        [0.1, 4.1]
    """

    weights: Tensor
    loc: Tensor
    scale: Tensor
    scale_tril: Tensor

    def __init__(self, *, features: int, components: int = 2, covariance: str = "full") -> None:
        super().__init__()
        self.features = D = check_integer("features", features)
        self.components = K = check_integer("components", components)
        self.covariance = check_choice("covariance", covariance, ("full", "diag"))
        # PyroModule gives a PyroParam back as a tensor, hence the exceptions below.
        weights = PyroParam(torch.full((K,), 1 / K), constraint=dist.constraints.simplex)
        self.weights = weights  # type: ignore[assignment]  # see above
        self.loc = nn.Parameter(torch.randn(K, D))
        if self.covariance == "full":
            eye = torch.eye(D).repeat(K, 1, 1)
            scale_tril = PyroParam(eye, constraint=dist.constraints.lower_cholesky)
            self.scale_tril = scale_tril  # type: ignore[assignment]  # see above
        else:
            scale = PyroParam(torch.ones(K, D), constraint=dist.constraints.positive)
            self.scale = scale  # type: ignore[assignment]  # see above

    def model(self, x: Tensor) -> None:
        """Draw the component of each row, then the row.

        Args:
            x: Observations, ``(N, D)``.
        """
        with pyro.plate("row", len(x)):
            z = pyro.sample("z", dist.Categorical(self.weights), infer={"enumerate": "parallel"})
            pyro.sample("x", self._component(z), obs=x)

    def guide(self, x: Tensor) -> None:
        """Nothing to guess: the assignments are enumerated and the parameters are not random."""

    def log_prob(self, x: Tensor) -> Tensor:
        """Log density ``log sum_k weights_k N(x_n; loc_k, covariance_k)``, in nats, shape ``(N,)``."""
        return self._log_joint(x).logsumexp(-1)

    def sample(self, n: int) -> Tensor:
        """Draw ``n`` new rows, shape ``(n, D)``."""
        with torch.no_grad():
            z = dist.Categorical(self.weights).sample((n,))
            return self._component(z).sample()

    def encode(self, x: Tensor) -> Tensor:
        """Responsibilities ``p(z_n = k | x_n)``, shape ``(N, K)``."""
        return self._log_joint(x).softmax(-1)

    @torch.no_grad()
    def initialise(self, x: Tensor) -> None:
        """Means at rows drawn by k-means++, far from each other; equal weights; every covariance that of all rows.

        Distances are in standard deviations of each column. Broad equal covariances let every component see all of
        the data, where a hard assignment can start with a component of one row.
        """
        standardised = x / x.std(0)
        rows = [int(torch.randint(len(x), ()))]
        for _ in range(1, self.components):
            squared = torch.cdist(standardised, standardised[rows]).min(1).values.square()
            rows.append(int(squared.multinomial(1)))
        self.m_step(torch.full_like(x[:, :1], 1 / self.components).expand(-1, self.components), x)
        self.loc.copy_(x[rows])

    @torch.no_grad()
    def e_step(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Responsibilities ``(N, K)``, and the total log likelihood of the current parameters, in nats."""
        return self.encode(x), self.log_prob(x).sum()

    @torch.no_grad()
    def m_step(self, statistics: Tensor, x: Tensor) -> None:
        """Set the parameters to the weighted moments of the rows.

        Equation:
            N_k = sum_n r_nk,  weights_k = N_k / N,  loc_k = sum_n r_nk x_n / N_k,
            covariance_k = sum_n r_nk (x_n - loc_k) (x_n - loc_k)^T / N_k, its eigenvalues raised to 1e-6

        Args:
            statistics: Responsibilities ``r``, ``(N, K)``.
            x: Observations, ``(N, D)``.
        """
        r = statistics
        N_k = r.sum(0) + 10 * torch.finfo(r.dtype).eps  # a component that lost all its rows must not divide by zero
        loc = r.T @ x / N_k[:, None]
        d = x[:, None] - loc
        self.weights = N_k / N_k.sum()
        self.loc.copy_(loc)
        if self.covariance == "full":
            covariance = torch.einsum("nk,nkd,nke->kde", r, d, d) / N_k[:, None, None]
            self.scale_tril = _bounded_cholesky(covariance)
        else:
            variance = torch.einsum("nk,nkd->kd", r, d.square()) / N_k[:, None]
            self.scale = variance.clamp_min(_FLOOR).sqrt()

    def check(self, x: Tensor) -> None:
        """``features`` columns that all vary, and at least as many different rows as components.

        Raises:
            DataError: If a shape is wrong, a column is constant, or there are too few rows.
        """
        check_matrix("x", x, columns=self.features)
        check_rows("x", x, minimum=max(2, self.components), why=f"for components={self.components}")
        check_varies("x", x)
        different = len(torch.unique(x, dim=0))
        if different < self.components:
            raise DataError(
                "has fewer different rows than the model has components",
                argument="x",
                got=f"{different} different rows",
                expected=f"at least {self.components}, for components={self.components}",
                remedy="Ask for fewer components.",
            )

    def _component(self, z: Tensor | EllipsisType) -> TorchDistribution:
        """The distribution of a row of component ``z``, an index of any shape; ``...`` for all ``K`` of them."""
        if self.covariance == "full":
            return dist.MultivariateNormal(self.loc[z], scale_tril=self.scale_tril[z])
        diagonal: TorchDistribution = dist.Normal(self.loc[z], self.scale[z]).to_event(1)
        return diagonal

    def _log_joint(self, x: Tensor) -> Tensor:
        """``log p(z_n = k, x_n)``, shape ``(N, K)``."""
        return self.weights.log() + self._component(...).log_prob(x[:, None])


def _bounded_cholesky(covariance: Tensor) -> Tensor:
    """Lower Cholesky factors ``(K, D, D)`` of covariances whose eigenvalues are raised to the floor.

    Through QR of the matrix square root, which cannot fail as the Cholesky factorisation of a nearly singular matrix.
    """
    eigenvalues, U = torch.linalg.eigh(covariance)
    root = eigenvalues.clamp_min(_FLOOR).sqrt().unsqueeze(-1) * U.mT
    L: Tensor = torch.linalg.qr(root, mode="r").R.mT
    return L * L.diagonal(dim1=-2, dim2=-1).sign().unsqueeze(-2)
