"""Time series of posteriordb: an autoregression and a GARCH model. T steps."""

from __future__ import annotations

from pathlib import Path

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor

from tests.targets import posteriordb
from tests.targets.target import Target, Values

_LAGS = 5


def autoregression(y: Tensor) -> None:
    """AR(5): y_t ~ N(alpha + sum_k beta_k y_(t-k), sigma) for t > 5.

    alpha, beta_k ~ N(0, 10), sigma ~ HalfCauchy(2.5).
    """
    alpha = pyro.sample("alpha", dist.Normal(0.0, 10.0))
    beta = pyro.sample("beta", dist.Normal(0.0, 10.0).expand([_LAGS]).to_event(1))
    sigma = pyro.sample("sigma", dist.HalfCauchy(2.5))
    past = torch.stack([y[_LAGS - k : -k] for k in range(1, _LAGS + 1)], -1)  # (T - 5, 5)
    with pyro.plate("step", len(past)):
        pyro.sample("y", dist.Normal(alpha + past @ beta, sigma), obs=y[_LAGS:])


def garch(y: Tensor, sigma1: Tensor) -> None:
    """y_t ~ N(mu, s_t), s_1 = sigma1, s_t^2 = alpha0 + alpha1 (y_(t-1) - mu)^2 + beta1 s_(t-1)^2.

    mu flat, alpha0 flat on the positive reals; flat on alpha1, beta1 > 0 with alpha1 + beta1 < 1, which is a uniform
    Dirichlet of (alpha1, beta1, 1 - alpha1 - beta1). (Bollerslev, 1986, https://doi.org/10.1016/0304-4076(86)90063-1)
    """
    mu = pyro.sample("mu", dist.ImproperUniform(dist.constraints.real, (), ()))
    alpha0 = pyro.sample("alpha0", dist.ImproperUniform(dist.constraints.positive, (), ()))
    alpha1, beta1, _ = pyro.sample("shares", dist.Dirichlet(torch.ones(3))).unbind(-1)
    inputs = torch.cat(((sigma1**2).reshape(1), alpha0 + alpha1 * (y[:-1] - mu) ** 2))
    with pyro.plate("step", len(y)):
        pyro.sample("y", dist.Normal(mu, _filtered(inputs, beta1).sqrt()), obs=y)


def _filtered(x: Tensor, decay: Tensor) -> Tensor:
    """s_t = x_t + decay s_(t-1), ``(T,)``, in log2(T) steps: sums over the last 1, 2, 4, ... inputs."""
    reach = 1
    while reach < len(x):
        x = x + decay**reach * torch.cat((torch.zeros_like(x[:reach]), x[:-reach]))
        reach *= 2
    return x


def arK(folder: Path, name: str) -> Target:  # noqa: N802  # posteriordb's name
    """A simulated series."""
    return posteriordb.target(folder, name, autoregression, {"y": posteriordb.columns(folder, name)["y"]})


def garch11(folder: Path, name: str) -> Target:
    """A simulated series."""
    c = posteriordb.columns(folder, name)
    data = {"y": c["y"], "sigma1": c["sigma1"]}
    return Target(name, garch, data, posteriordb.reference(folder, name), _from_shares, _to_shares)


def _from_shares(sites: Values) -> Values:
    alpha1, beta1, _ = sites["shares"].unbind(-1)
    return {"mu": sites["mu"], "alpha0": sites["alpha0"], "alpha1": alpha1, "beta1": beta1}


def _to_shares(parameters: Values) -> Values:
    a, b = parameters["alpha1"], parameters["beta1"]
    return {"mu": parameters["mu"], "alpha0": parameters["alpha0"], "shares": torch.stack((a, b, 1 - a - b), -1)}
