"""The posteriors in PyMC, for nutpie; what each says is in ``pyro_models.py``, which has the same functions.

Each builds a model inside the open ``pymc.Model``.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pymc as pm
import pytensor.tensor as pt
from numpy.typing import NDArray

__all__ = ["MODELS"]

Array = NDArray[Any]


def eight_schools(y: Array, sigma: Array) -> None:
    """As in Pyro."""
    mu = pm.Normal("mu", 0.0, 5.0)
    tau = pm.HalfCauchy("tau", 5.0)
    z = pm.Normal("z", 0.0, 1.0, shape=len(y))
    pm.Normal("y", mu + tau * z, sigma, observed=y)


def german_credit(X: Array, bad: Array) -> None:
    """As in Pyro."""
    weights = pm.Normal("weights", 0.0, 1.0, shape=X.shape[1])
    pm.Bernoulli("bad", logit_p=pt.dot(X, weights), observed=bad)


def radon(basement: Array, uranium: Array, county: Array, log_radon: Array) -> None:
    """As in Pyro."""
    mean = pm.Normal("mean", 0.0, 2.0)
    slope = pm.Normal("slope", 0.0, 1.0)
    floor = pm.Normal("floor", 0.0, 1.0)
    spread = pm.LogNormal("spread", -1.5, 0.5)
    scale = pm.HalfNormal("scale", 1.0)
    effect = pm.Normal("effect", mean + slope * uranium, spread, shape=len(uranium))
    pm.Normal("log_radon", effect[county] + floor * basement, scale, observed=log_radon)


def gaussian_process(x: Array, y: Array) -> None:
    """As in Pyro."""
    rho = pm.LogNormal("rho", -1.0, 0.5)
    alpha = pm.LogNormal("alpha", 0.0, 0.5)
    scale = pm.LogNormal("scale", -1.0, 0.5)
    squares = (x[:, None] - x) ** 2
    covariance = alpha**2 * pt.exp(-squares / (2 * rho**2)) + scale**2 * np.eye(len(x))
    pm.MvNormal("y", np.zeros(len(x)), chol=pt.linalg.cholesky(covariance), observed=y)


def state_space(y: Array) -> None:
    """As in Pyro; the loop is a difference of shifted vectors."""
    phi = pm.Beta("phi", 8.0, 2.0)
    tau = pm.LogNormal("tau", -1.0, 0.5)
    sigma = pm.LogNormal("sigma", -0.5, 0.5)
    x = pm.Flat("x", shape=len(y))
    before = pt.concatenate((pt.zeros(1), x[:-1]))
    pm.Potential("steps", pm.logp(pm.Normal.dist(phi * before, tau), x).sum())
    pm.Normal("y", x, sigma, observed=y)


def mixture(y: Array) -> None:
    """As in Pyro."""
    weights = pm.Dirichlet("weights", np.full(3, 2.0))
    first = pm.Normal("first", -3.0, 2.0)
    gaps = pm.LogNormal("gaps", 1.0, 0.5, shape=2)
    scales = pm.LogNormal("scales", -0.5, 0.5, shape=3)
    means = pt.stack([first, first + gaps[0], first + gaps[0] + gaps[1]])
    pm.NormalMixture("y", w=weights, mu=means, sigma=scales, observed=y)


MODELS = {f.__name__: f for f in (eight_schools, german_credit, radon, gaussian_process, state_space, mixture)}
