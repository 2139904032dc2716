"""German credit of Inference Gym: logistic regressions of 1,000 borrowers on 24 standardised numbers and ones.

    bad_n ~ Bernoulli(logit = X_n weights)

Hofmann, Statlog (German Credit Data), 1994, https://doi.org/10.24432/C5NC77.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyro
import pyro.distributions as dist
import torch
from torch import Tensor

from tests.targets import inference_gym
from tests.targets.target import Target

_BAD = 2


def logistic(X: Tensor, bad: Tensor) -> None:
    """weights_i ~ N(0, 1)."""
    weights = pyro.sample("weights", dist.Normal(0.0, 1.0).expand([X.shape[1]]).to_event(1))
    with pyro.plate("row", len(bad)):
        pyro.sample("bad", dist.Bernoulli(logits=X @ weights), obs=bad)


def sparse_logistic(X: Tensor, bad: Tensor) -> None:
    """weights_i = unscaled_i local_i global; unscaled_i ~ N(0, 1), local_i and global ~ Gamma(1/2, 1/2)."""
    D = [X.shape[1]]
    unscaled = pyro.sample("unscaled_weights", dist.Normal(0.0, 1.0).expand(D).to_event(1))
    local = pyro.sample("local_scales", dist.Gamma(0.5, 0.5).expand(D).to_event(1))
    overall = pyro.sample("global_scale", dist.Gamma(0.5, 0.5))
    with pyro.plate("row", len(bad)):
        pyro.sample("bad", dist.Bernoulli(logits=X @ (unscaled * local * overall)), obs=bad)


def german_credit(folder: Path, name: str) -> Target:
    """The plain regression."""
    return Target(name, logistic, _data(folder), inference_gym.moments(folder, name, only="weights"))


def german_credit_sparse(folder: Path, name: str) -> Target:
    """The one with a scale for each weight."""
    return Target(name, sparse_logistic, _data(folder), inference_gym.moments(folder, name))


def _data(folder: Path) -> dict[str, Tensor]:
    with np.load(folder / "german_credit" / "german_credit_numeric.npz", allow_pickle=False) as file:
        X, y = torch.from_numpy(file["X"]).double(), torch.from_numpy(file["y"])
    X = (X - X.mean(0)) / X.std(0, correction=0)
    return {"X": torch.cat((X, torch.ones(len(X), 1).to(X)), 1), "bad": (y == _BAD).double()}
