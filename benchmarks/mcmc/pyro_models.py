"""The posteriors in Pyro, as a user would write them: for ppzoo and for Pyro's own sampler."""

from __future__ import annotations

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor

__all__ = ["MODELS"]


def eight_schools(y: Tensor, sigma: Tensor) -> None:
    """y_j ~ N(mu + tau z_j, sigma_j)."""
    mu = pyro.sample("mu", dist.Normal(0.0, 5.0))
    tau = pyro.sample("tau", dist.HalfCauchy(5.0))
    with pyro.plate("school", len(y)):
        z = pyro.sample("z", dist.Normal(0.0, 1.0))
        pyro.sample("y", dist.Normal(mu + tau * z, sigma), obs=y)


def german_credit(X: Tensor, bad: Tensor) -> None:
    """bad_n ~ Bernoulli(logit = X_n weights), weights_i ~ N(0, 1)."""
    weights = pyro.sample("weights", dist.Normal(0.0, 1.0).expand([X.shape[1]]).to_event(1))
    with pyro.plate("row", len(bad)):
        pyro.sample("bad", dist.Bernoulli(logits=X @ weights), obs=bad)


def radon(basement: Tensor, uranium: Tensor, county: Tensor, log_radon: Tensor) -> None:
    """log_radon_n ~ N(effect_(county_n) + floor basement_n, scale), effect_j ~ N(mean + slope uranium_j, spread)."""
    mean = pyro.sample("mean", dist.Normal(0.0, 2.0))
    slope = pyro.sample("slope", dist.Normal(0.0, 1.0))
    floor = pyro.sample("floor", dist.Normal(0.0, 1.0))
    spread = pyro.sample("spread", dist.LogNormal(-1.5, 0.5))
    scale = pyro.sample("scale", dist.HalfNormal(1.0))
    with pyro.plate("county", len(uranium)):
        effect = pyro.sample("effect", dist.Normal(mean + slope * uranium, spread))
    with pyro.plate("house", len(log_radon)):
        pyro.sample("log_radon", dist.Normal(effect[county] + floor * basement, scale), obs=log_radon)


def gaussian_process(x: Tensor, y: Tensor) -> None:
    """Of a smooth function: y ~ N(0, K + scale^2 I), K_nm = alpha^2 exp(-(x_n - x_m)^2 / (2 rho^2))."""
    rho = pyro.sample("rho", dist.LogNormal(-1.0, 0.5))
    alpha = pyro.sample("alpha", dist.LogNormal(0.0, 0.5))
    scale = pyro.sample("scale", dist.LogNormal(-1.0, 0.5))
    covariance = alpha**2 * torch.exp(-((x[:, None] - x) ** 2) / (2 * rho**2)) + scale**2 * torch.eye(len(x)).to(x)
    factor = torch.linalg.cholesky(covariance)
    pyro.sample("y", dist.MultivariateNormal(torch.zeros_like(x), scale_tril=factor), obs=y)


def state_space(y: Tensor) -> None:
    """y_t ~ N(x_t, sigma), x_t ~ N(phi x_(t-1), tau), x_(-1) = 0: a plain loop over time."""
    phi = pyro.sample("phi", dist.Beta(8.0, 2.0))
    tau = pyro.sample("tau", dist.LogNormal(-1.0, 0.5))
    sigma = pyro.sample("sigma", dist.LogNormal(-0.5, 0.5))
    x: Tensor = torch.zeros(()).to(y)
    for t in range(len(y)):
        x = pyro.sample(f"x_{t}", dist.Normal(phi * x, tau))
        pyro.sample(f"y_{t}", dist.Normal(x, sigma), obs=y[t])


def mixture(y: Tensor) -> None:
    """y_n ~ sum_k weights_k N(mean_k, scales_k); means are ``first`` and that plus cumulative gaps, so in order."""
    weights = pyro.sample("weights", dist.Dirichlet(torch.full((3,), 2.0).to(y)))
    first = pyro.sample("first", dist.Normal(-3.0, 2.0))
    gaps = pyro.sample("gaps", dist.LogNormal(1.0, 0.5).expand([2]).to_event(1))
    scales = pyro.sample("scales", dist.LogNormal(-0.5, 0.5).expand([3]).to_event(1))
    means = torch.stack((first, first + gaps[0], first + gaps[0] + gaps[1]))
    with pyro.plate("row", len(y)):
        parts = dist.Normal(means, scales)
        pyro.sample("y", dist.MixtureSameFamily(dist.Categorical(weights), parts), obs=y)


MODELS = {f.__name__: f for f in (eight_schools, german_credit, radon, gaussian_process, state_space, mixture)}
