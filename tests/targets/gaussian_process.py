"""A Gaussian process under Poisson counts, of posteriordb. N points.

Rasmussen and Williams, *Gaussian Processes for Machine Learning*, 2006, http://gaussianprocess.org/gpml.
"""

from __future__ import annotations

from pathlib import Path

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor

from tests.targets import posteriordb
from tests.targets.target import Target, Values

_JITTER = 1e-10  # Stan's program has it: part of the posterior


def counts(x: Tensor, k: Tensor) -> None:
    """k_n ~ Poisson(exp f_n), f = chol(K + 1e-10 I) z, z_n ~ N(0, 1), K_nm = alpha^2 exp(-(x_n - x_m)^2 / (2 rho^2)).

    rho ~ Gamma(25, 4), alpha ~ HalfNormal(2).
    """
    rho = pyro.sample("rho", dist.Gamma(25.0, 4.0))
    alpha = pyro.sample("alpha", dist.HalfNormal(2.0))
    z = pyro.sample("z", dist.Normal(0.0, 1.0).expand([len(x)]).to_event(1))
    f = _factor(x, rho, alpha) @ z
    with pyro.plate("point", len(x)):
        pyro.sample("k", dist.Poisson(f.exp()), obs=k)


def _factor(x: Tensor, rho: Tensor, alpha: Tensor) -> Tensor:
    """Cholesky factor of the covariance, ``(..., N, N)``, of hyperparameters ``(...)``."""
    squares = (x[:, None] - x) ** 2 / (2 * rho[..., None, None] ** 2)
    covariance = alpha[..., None, None] ** 2 * torch.exp(-squares)
    factor: Tensor = torch.linalg.cholesky(covariance + _JITTER * torch.eye(len(x)).to(x))
    return factor


def gp_pois_regr(folder: Path, name: str) -> Target:
    """Eleven counts; the reference has f, not z."""
    c = posteriordb.columns(folder, name)
    x = c["x"]

    def latent_function(sites: Values) -> Values:
        rho, alpha, z = sites["rho"], sites["alpha"], sites["z"]
        return {"rho": rho, "alpha": alpha, "f": (_factor(x, rho, alpha) @ z[..., None])[..., 0]}

    def standardised(parameters: Values) -> Values:
        rho, alpha, f = parameters["rho"], parameters["alpha"], parameters["f"]
        z = torch.linalg.solve_triangular(_factor(x, rho, alpha), f[..., None], upper=False)[..., 0]
        return {"rho": rho, "alpha": alpha, "z": z}

    reference = posteriordb.reference(folder, name)
    return Target(name, counts, {"x": x, "k": c["k"]}, reference, latent_function, standardised)
