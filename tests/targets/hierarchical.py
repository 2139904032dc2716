"""Eight schools of posteriordb, not centred. J schools.

Rubin, *Estimation in parallel randomized experiments*, 1981, https://doi.org/10.3102/10769986006004377.
"""

from __future__ import annotations

from pathlib import Path

import pyro
import pyro.distributions as dist
from torch import Tensor

from tests.targets import posteriordb
from tests.targets.target import Target, Values


def schools(y: Tensor, sigma: Tensor) -> None:
    """y_j ~ N(theta_j, sigma_j), theta_j = mu + tau z_j, z_j ~ N(0, 1); mu ~ N(0, 5), tau ~ HalfCauchy(5)."""
    mu = pyro.sample("mu", dist.Normal(0.0, 5.0))
    tau = pyro.sample("tau", dist.HalfCauchy(5.0))
    with pyro.plate("school", len(y)):
        z = pyro.sample("z", dist.Normal(0.0, 1.0))
        pyro.sample("y", dist.Normal(mu + tau * z, sigma), obs=y)


def eight_schools(folder: Path, name: str) -> Target:
    """Effects of coaching; the reference has theta, not z."""
    c = posteriordb.columns(folder, name)
    data = {"y": c["y"], "sigma": c["sigma"]}
    return Target(name, schools, data, posteriordb.reference(folder, name), _effects, _standardised)


def _effects(sites: Values) -> Values:
    mu, tau = sites["mu"], sites["tau"]
    return {"theta": mu[..., None] + tau[..., None] * sites["z"], "mu": mu, "tau": tau}


def _standardised(parameters: Values) -> Values:
    mu, tau = parameters["mu"], parameters["tau"]
    return {"mu": mu, "tau": tau, "z": (parameters["theta"] - mu[..., None]) / tau[..., None]}
