"""Pyro's own SVI: its usual loop, with its own Adam."""

from __future__ import annotations

import time
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from mcmc.pyro_models import MODELS
from pyro.infer import SVI, Trace_ELBO
from pyro.infer.autoguide import AutoIAFNormal, AutoNormal
from torch import Tensor, nn

from svi.problems import PIXELS, Problem, Settings, Trained

__all__ = ["train"]


class VAE(nn.Module):
    """Kingma and Welling (2014) with one hidden layer on each side."""

    def __init__(self, hidden: int, latents: int) -> None:
        super().__init__()
        self.latents = latents
        self.encoder = nn.Sequential(nn.Linear(PIXELS, hidden), nn.ReLU(), nn.Linear(hidden, 2 * latents))
        self.decoder = nn.Sequential(nn.Linear(latents, hidden), nn.ReLU(), nn.Linear(hidden, PIXELS))

    def model(self, x: Tensor, rows: int) -> None:
        """Z ~ N(0, I), x ~ Bernoulli(decoder(z))."""
        pyro.module("decoder", self.decoder)
        with pyro.plate("row", rows, subsample=torch.arange(len(x))):
            z = pyro.sample("z", dist.Normal(torch.zeros(len(x), self.latents), 1.0).to_event(1))
            pyro.sample("x", dist.Bernoulli(logits=self.decoder(z)).to_event(1), obs=x)

    def guide(self, x: Tensor, rows: int) -> None:
        """Z ~ N(encoder(x))."""
        pyro.module("encoder", self.encoder)
        with pyro.plate("row", rows, subsample=torch.arange(len(x))):
            loc, log_scale = self.encoder(x).chunk(2, -1)
            pyro.sample("z", dist.Normal(loc, log_scale.exp()).to_event(1))


def train(_: str, problem: Problem, settings: Settings, __: str) -> Trained:
    """The loop of its tutorials."""
    with torch.device(settings.device):
        return _train(problem, settings)


def _train(problem: Problem, settings: Settings) -> Trained:
    pyro.set_rng_seed(settings.seed)
    data = {key: torch.from_numpy(x).to(settings.device) for key, x in problem.data().items()}
    rows = max(len(x) for x in data.values())
    began = time.perf_counter()
    model: Any
    guide: Any
    if problem.hidden:
        vae = VAE(problem.hidden, problem.latents)
        model, guide = vae.model, vae.guide
    else:
        model = MODELS[problem.model]
        guide = AutoIAFNormal(model, hidden_dim=[problem.flow]) if problem.flow else AutoNormal(model)
    svi = SVI(model, guide, pyro.optim.Adam({"lr": problem.rate}), Trace_ELBO())
    losses, order = [], torch.empty(0, dtype=torch.int64)
    setup = 0.0
    for step in range(settings.steps + 1):
        if problem.batch is None:
            losses.append(svi.step(**data))
        else:
            order = torch.randperm(rows) if len(order) < problem.batch else order
            index, order = order[: problem.batch], order[problem.batch :]
            losses.append(svi.step(data["x"][index], rows))
        if step == 0:
            setup = time.perf_counter() - began
    seconds = time.perf_counter() - began - setup
    return Trained(setup, seconds, [loss / rows for loss in losses[1:]], [])
