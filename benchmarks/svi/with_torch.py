"""The same by hand, in plain torch: what somebody writes who knows the model and needs no library."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F  # noqa: N812  # its usual name
from torch import Tensor, nn

from svi.problems import PIXELS, Problem, Settings, Trained

__all__ = ["train"]


class VAE(nn.Module):
    """Its loss in closed form where there is one, in nats per row."""

    def __init__(self, hidden: int, latents: int) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(PIXELS, hidden), nn.ReLU(), nn.Linear(hidden, 2 * latents))
        self.decoder = nn.Sequential(nn.Linear(latents, hidden), nn.ReLU(), nn.Linear(hidden, PIXELS))

    def forward(self, x: Tensor) -> Tensor:
        """The negative ELBO."""
        loc, log_scale = self.encoder(x).chunk(2, -1)
        z = loc + log_scale.exp() * torch.randn_like(loc)
        missed = F.binary_cross_entropy_with_logits(self.decoder(z), x, reduction="sum")
        gap = 0.5 * (loc**2 + (2 * log_scale).exp() - 2 * log_scale - 1).sum()
        return (missed + gap) / len(x)


class Radon(nn.Module):
    """Mean field over the radon model: normals, those of positive numbers on their logarithms."""

    def __init__(self, counties: int) -> None:
        super().__init__()
        self.loc = nn.Parameter(torch.zeros(5 + counties))
        self.log_scale = nn.Parameter(torch.full((5 + counties,), math.log(0.1)))

    def forward(self, basement: Tensor, uranium: Tensor, county: Tensor, log_radon: Tensor) -> Tensor:
        """The negative ELBO."""
        q = self.loc + self.log_scale.exp() * torch.randn_like(self.loc)
        mean, slope, floor, log_spread, log_noise, effect = *q[:5].unbind(), q[5:]
        noise = log_noise.exp()

        def normal(x: Tensor, loc: Tensor | float, log_scale: Tensor | float) -> Tensor:
            scale = torch.as_tensor(log_scale).exp()
            return (-0.5 * ((x - loc) / scale) ** 2 - log_scale - 0.5 * math.log(2 * math.pi)).sum()

        log_p = normal(mean, 0.0, math.log(2)) + normal(slope, 0.0, 0.0) + normal(floor, 0.0, 0.0)
        log_p = log_p + normal(log_spread, -1.5, math.log(0.5))
        log_p = log_p - 0.5 * noise**2 + 0.5 * math.log(2 / math.pi) + log_noise
        log_p = log_p + normal(effect, mean + slope * uranium, log_spread)
        log_p = log_p + normal(log_radon, effect[county] + floor * basement, log_noise)
        return (-log_p - (self.log_scale + 0.5 * math.log(2 * math.pi * math.e)).sum()) / len(log_radon)


def train(_: str, problem: Problem, settings: Settings, variant: str) -> Trained:
    """Fused Adam, with or without the compiler."""
    torch.manual_seed(settings.seed)
    data = {key: torch.from_numpy(x) for key, x in problem.data().items()}
    rows = max(len(x) for x in data.values())
    began = time.perf_counter()
    model = VAE(problem.hidden, problem.latents) if problem.hidden else Radon(len(data["uranium"]))
    loss_of: Callable[..., Tensor] = torch.compile(model) if variant == "compiled" else model
    optimiser = torch.optim.Adam(model.parameters(), lr=problem.rate, fused=True)
    losses, order = [], torch.empty(0, dtype=torch.int64)
    setup = 0.0
    for step in range(settings.steps + 1):
        given = tuple(data.values())
        if problem.batch is not None:
            order = torch.randperm(rows) if len(order) < problem.batch else order
            index, order = order[: problem.batch], order[problem.batch :]
            given = (data["x"][index],)
        optimiser.zero_grad(set_to_none=True)
        loss = loss_of(*given)
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
        if step == 0:
            setup = time.perf_counter() - began
    return Trained(setup, time.perf_counter() - began - setup, losses[1:], [])
