"""Brownian motion of Inference Gym, seen with noise at the first and last 10 of 30 steps. T steps, N observations.

x_1 ~ N(0, s),  x_t ~ N(x_(t-1), s),  y_t ~ N(x_t, r)
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyro
import pyro.distributions as dist
import torch
from torch import Tensor

from tests.targets import inference_gym
from tests.targets.target import Array, Reference, Target

_STEPS = 30
_DATA = "brownian_motion_missing_middle_observations"


def known_scales(y: Tensor, step: Tensor, s: Tensor, r: Tensor) -> None:
    """The path alone: a normal posterior."""
    _walk(y, step, s, r)


def unknown_scales(y: Tensor, step: Tensor) -> None:
    """ln s, ln r ~ N(0, 2)."""
    s = pyro.sample("innovation_noise_scale", dist.LogNormal(0.0, 2.0))
    r = pyro.sample("observation_noise_scale", dist.LogNormal(0.0, 2.0))
    _walk(y, step, s, r)


def _walk(y: Tensor, step: Tensor, s: Tensor, r: Tensor) -> None:
    sums = torch.ones(_STEPS, _STEPS).to(y).tril()  # x = s sums e, with e_t ~ N(0, 1)
    x = pyro.sample("locs", dist.MultivariateNormal(torch.zeros(_STEPS).to(y), scale_tril=s * sums))
    with pyro.plate("observation", len(y)):
        pyro.sample("y", dist.Normal(x[step], r), obs=y)


def brownian_motion(folder: Path, name: str) -> Target:
    """s = 0.1, r = 0.15."""
    literals = inference_gym.observations(folder, _DATA)
    scales = {"s": literals["innovation_noise"], "r": literals["observation_noise"]}
    data = _observed(folder) | {key: torch.tensor(value, dtype=torch.float64) for key, value in scales.items()}
    return Target(name, known_scales, data, inference_gym.moments(folder, name, only="locs"))


def brownian_motion_unknown_scales(folder: Path, name: str) -> Target:
    """Both scales to be found."""
    data = _observed(folder)
    published = inference_gym.moments(folder, name)
    mean, sd = integrated(data["y"].numpy(), data["step"].numpy())
    return Target(name, unknown_scales, data, Reference(published.names, mean, np.zeros_like(mean), sd))


def integrated(y: Array, step: Array) -> tuple[Array, Array]:
    """Means and sds of (s, x_1 ... x_T, r): normal given the scales, which are summed over a grid of logarithms."""
    log_s, log_r = np.meshgrid(np.linspace(-5, 1, 97), np.linspace(-14, 1, 161), indexing="ij")
    s, r = np.exp(log_s.ravel()), np.exp(log_r.ravel())
    walk = np.minimum.outer(np.arange(1, _STEPS + 1), np.arange(1, _STEPS + 1))  # covariance of x / s
    seen = s[:, None, None] ** 2 * walk[np.ix_(step, step)] + r[:, None, None] ** 2 * np.eye(len(y))
    across = s[:, None, None] ** 2 * walk[:, step]
    gain = np.linalg.solve(seen, across.transpose(0, 2, 1)).transpose(0, 2, 1)  # (G, T, N)
    fit = np.linalg.solve(seen, np.broadcast_to(y[:, None], (len(s), len(y), 1)))[..., 0]
    log_weight = -(fit @ y) / 2 - np.linalg.slogdet(seen)[1] / 2 - (log_s.ravel() ** 2 + log_r.ravel() ** 2) / 8
    weight = np.exp(log_weight - log_weight.max())
    weight /= weight.sum()
    means = np.column_stack((s, gain @ y, r))
    within = s[:, None] ** 2 * walk.diagonal() - (gain * across).sum(-1)
    mean = weight @ means
    variance = weight @ (means - mean) ** 2
    variance[1:-1] += weight @ within
    return mean, np.sqrt(variance)


def _observed(folder: Path) -> dict[str, Tensor]:
    y = torch.tensor(inference_gym.observations(folder, _DATA)["observed_loc"], dtype=torch.float64)
    step = (~y.isnan()).nonzero()[:, 0]
    return {"y": y[step], "step": step}
