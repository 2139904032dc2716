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
    """The radon model over unconstrained numbers, those of positive ones on their logarithms."""

    def __init__(self, counties: int) -> None:
        super().__init__()
        self.size = 5 + counties

    def log_p(self, q: Tensor, basement: Tensor, uranium: Tensor, county: Tensor, log_radon: Tensor) -> Tensor:
        """The log density, with the Jacobian of the positive numbers."""
        mean, slope, floor, log_spread, log_noise, effect = *q[:5].unbind(), q[5:]
        noise = log_noise.exp()

        def normal(x: Tensor, loc: Tensor | float, log_scale: Tensor | float) -> Tensor:
            scale = torch.as_tensor(log_scale).exp()
            return (-0.5 * ((x - loc) / scale) ** 2 - log_scale - 0.5 * math.log(2 * math.pi)).sum()

        log_p = normal(mean, 0.0, math.log(2)) + normal(slope, 0.0, 0.0) + normal(floor, 0.0, 0.0)
        log_p = log_p + normal(log_spread, -1.5, math.log(0.5))
        log_p = log_p - 0.5 * noise**2 + 0.5 * math.log(2 / math.pi) + log_noise
        log_p = log_p + normal(effect, mean + slope * uranium, log_spread)
        return log_p + normal(log_radon, effect[county] + floor * basement, log_noise)


class MeanField(Radon):
    """Normals."""

    def __init__(self, counties: int) -> None:
        super().__init__(counties)
        self.loc = nn.Parameter(torch.zeros(self.size))
        self.log_scale = nn.Parameter(torch.full((self.size,), math.log(0.1)))

    def forward(self, *data: Tensor) -> Tensor:
        """The negative ELBO, per house."""
        q = self.loc + self.log_scale.exp() * torch.randn_like(self.loc)
        return (-self.log_p(q, *data) - (self.log_scale + 0.5 * math.log(2 * math.pi * math.e)).sum()) / len(data[-1])


class Flow(Radon):
    """An inverse autoregressive flow of one layer, whose network is masked (MADE)."""

    def __init__(self, counties: int, hidden: int) -> None:
        super().__init__(counties)
        size = self.size
        self.first, self.last = nn.Linear(size, hidden), nn.Linear(hidden, 2 * size)
        order, units = torch.arange(1, size + 1), torch.arange(hidden) * (size - 1) // hidden + 1
        self.register_buffer("first_mask", (units[:, None] >= order).float())
        self.register_buffer("last_mask", (order[:, None] > units).float().repeat(2, 1))

    def forward(self, *data: Tensor) -> Tensor:
        """The negative ELBO, per house."""
        noise = torch.randn(self.size)
        q, log_slope = self.bent(noise)
        log_q = -0.5 * (noise**2).sum() - 0.5 * self.size * math.log(2 * math.pi) - log_slope
        return (log_q - self.log_p(q, *data)) / len(data[-1])

    def bent(self, noise: Tensor) -> tuple[Tensor, Tensor]:
        """What the flow makes of the noise, and the logarithm of its Jacobian determinant."""
        hidden = F.relu(F.linear(noise, self.first.weight * self.first_mask, self.first.bias))
        mean, log_scale = F.linear(hidden, self.last.weight * self.last_mask, self.last.bias).chunk(2)
        log_scale = log_scale.clamp(-5, 3)
        return mean + log_scale.exp() * noise, log_scale.sum()


def of(problem: Problem, data: dict[str, Tensor]) -> nn.Module:
    """The module whose value is the loss."""
    if problem.hidden:
        return VAE(problem.hidden, problem.latents)
    counties = len(data["uranium"])
    return Flow(counties, problem.flow) if problem.flow else MeanField(counties)


def train(_: str, problem: Problem, settings: Settings, variant: str) -> Trained:
    """Fused Adam, with or without the compiler."""
    with torch.device(settings.device):
        return _train(problem, settings, variant)


def _train(problem: Problem, settings: Settings, variant: str) -> Trained:
    torch.manual_seed(settings.seed)
    data = {key: torch.from_numpy(x).to(settings.device) for key, x in problem.data().items()}
    rows = max(len(x) for x in data.values())
    began = time.perf_counter()
    model = of(problem, data)
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
