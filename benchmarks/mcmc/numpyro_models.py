"""The posteriors in NumPyro; what each says is in ``pyro_models.py``, which has the same functions."""

from __future__ import annotations

import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist
from jax import Array
from numpyro.contrib.control_flow import scan

__all__ = ["MODELS"]


def eight_schools(y: Array, sigma: Array) -> None:
    """As in Pyro."""
    mu = numpyro.sample("mu", dist.Normal(0.0, 5.0))
    tau = numpyro.sample("tau", dist.HalfCauchy(5.0))
    with numpyro.plate("school", len(y)):
        z = numpyro.sample("z", dist.Normal(0.0, 1.0))
        numpyro.sample("y", dist.Normal(mu + tau * z, sigma), obs=y)


def german_credit(X: Array, bad: Array) -> None:
    """As in Pyro."""
    weights = numpyro.sample("weights", dist.Normal(0.0, 1.0).expand([X.shape[1]]).to_event(1))
    with numpyro.plate("row", len(bad)):
        numpyro.sample("bad", dist.Bernoulli(logits=X @ weights), obs=bad)


def radon(basement: Array, uranium: Array, county: Array, log_radon: Array) -> None:
    """As in Pyro."""
    mean = numpyro.sample("mean", dist.Normal(0.0, 2.0))
    slope = numpyro.sample("slope", dist.Normal(0.0, 1.0))
    floor = numpyro.sample("floor", dist.Normal(0.0, 1.0))
    spread = numpyro.sample("spread", dist.LogNormal(-1.5, 0.5))
    scale = numpyro.sample("scale", dist.HalfNormal(1.0))
    with numpyro.plate("county", len(uranium)):
        effect = numpyro.sample("effect", dist.Normal(mean + slope * uranium, spread))
    with numpyro.plate("house", len(log_radon)):
        numpyro.sample("log_radon", dist.Normal(effect[county] + floor * basement, scale), obs=log_radon)


def gaussian_process(x: Array, y: Array) -> None:
    """As in Pyro."""
    rho = numpyro.sample("rho", dist.LogNormal(-1.0, 0.5))
    alpha = numpyro.sample("alpha", dist.LogNormal(0.0, 0.5))
    scale = numpyro.sample("scale", dist.LogNormal(-1.0, 0.5))
    covariance = alpha**2 * jnp.exp(-((x[:, None] - x) ** 2) / (2 * rho**2)) + scale**2 * jnp.eye(len(x))
    factor = jnp.linalg.cholesky(covariance)
    numpyro.sample("y", dist.MultivariateNormal(jnp.zeros_like(x), scale_tril=factor), obs=y)


def state_space(y: Array) -> None:
    """As in Pyro, with ``scan`` for the loop."""
    phi = numpyro.sample("phi", dist.Beta(8.0, 2.0))
    tau = numpyro.sample("tau", dist.LogNormal(-1.0, 0.5))
    sigma = numpyro.sample("sigma", dist.LogNormal(-0.5, 0.5))

    def step(x: Array, y_t: Array) -> tuple[Array, None]:
        x = numpyro.sample("x", dist.Normal(phi * x, tau))
        numpyro.sample("y", dist.Normal(x, sigma), obs=y_t)
        return x, None

    scan(step, jnp.zeros(()), y)


def mixture(y: Array) -> None:
    """As in Pyro."""
    weights = numpyro.sample("weights", dist.Dirichlet(jnp.full(3, 2.0)))
    first = numpyro.sample("first", dist.Normal(-3.0, 2.0))
    gaps = numpyro.sample("gaps", dist.LogNormal(1.0, 0.5).expand([2]).to_event(1))
    scales = numpyro.sample("scales", dist.LogNormal(-0.5, 0.5).expand([3]).to_event(1))
    means = jnp.stack((first, first + gaps[0], first + gaps[0] + gaps[1]))
    with numpyro.plate("row", len(y)):
        parts = dist.Normal(means, scales)
        numpyro.sample("y", dist.MixtureSameFamily(dist.Categorical(weights), parts), obs=y)


MODELS = {f.__name__: f for f in (eight_schools, german_credit, radon, gaussian_process, state_space, mixture)}
