"""Programs with long Python loops, and one run of one of them: ``python -m mcmc.long_loops NAME SAMPLER FILE``.

A hidden Markov model's forward pass of 400 steps, written out, and a Runge-Kutta solver of 400 steps of four stages.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from statistics import median
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from pyro.infer.mcmc.util import initialize_model
from pyro.ops.integrator import potential_grad
from torch import Tensor

import ppzoo

__all__ = ["PROGRAMS", "main"]

STEPS, SEEN, WIDTH = 400, 20, 0.02
CHAINS, GRADIENTS = 4, 5


def hidden_markov(y: Tensor) -> None:
    """Three states with normal emissions, summed out step by step."""
    moves = pyro.sample("moves", dist.Dirichlet(torch.ones(3, 3)).to_event(1)).log()
    mean = pyro.sample("mean", dist.Normal(torch.tensor([-2.0, 0.0, 2.0]), 1.0).to_event(1))
    forward = torch.full((3,), 1 / 3).log()
    for value in y:
        forward = (forward[:, None] + moves).logsumexp(0) + dist.Normal(mean, 1.0).log_prob(value)
    pyro.factor("y", forward.logsumexp(0))


def predator_prey(y: Tensor) -> None:
    """Lotka and Volterra's equations, solved by Runge and Kutta's method with four stages."""
    rate = pyro.sample("rate", dist.LogNormal(torch.zeros(4), 0.3).to_event(1))
    noise = pyro.sample("noise", dist.HalfNormal(1.0))

    def slope(z: Tensor) -> Tensor:
        return torch.stack([rate[0] * z[0] - rate[1] * z[0] * z[1], rate[3] * z[0] * z[1] - rate[2] * z[1]])

    z, seen = torch.ones(2), []
    for step in range(1, STEPS + 1):
        first = slope(z)
        second = slope(z + WIDTH / 2 * first)
        third = slope(z + WIDTH / 2 * second)
        fourth = slope(z + WIDTH * third)
        z = z + WIDTH / 6 * (first + 2 * second + 2 * third + fourth)
        if step % (STEPS // SEEN) == 0:
            seen.append(z)
    with pyro.plate("time", SEEN):
        pyro.sample("y", dist.Normal(torch.stack(seen), noise).to_event(1), obs=y)


def _data() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    states = torch.randn(STEPS, generator=generator) * 1.5
    return {"hidden_markov": states, "predator_prey": torch.rand(SEEN, 2, generator=generator) + 0.5}


PROGRAMS = {"hidden_markov": hidden_markov, "predator_prey": predator_prey}


def _by_ppzoo(name: str, y: Tensor) -> dict[str, Any]:
    """A short fit: how long until the first step, and a gradient of one chain of four."""
    began = time.perf_counter()
    fit = ppzoo.fit(PROGRAMS[name], y, method="nuts", chains=CHAINS, warmup=100, draws=100, progress=False)
    numbers, total = fit.outcome.numbers, time.perf_counter() - began
    sampling, drawn = numbers["seconds_draws"], numbers["gradients"] - numbers["gradients_warmup"]
    start = total - sampling - numbers["seconds_warmup"]
    return {"start": start, "fit": total, "gradient": sampling / drawn, "notes": list(fit.notes)}


def _by_pyro(name: str, y: Tensor) -> dict[str, Any]:
    """What its NUTS does before the first step, and a gradient of one chain."""
    began = time.perf_counter()
    start, potential, _, _ = initialize_model(PROGRAMS[name], (y,))
    until = time.perf_counter() - began
    seconds = []
    for _ in range(GRADIENTS):
        before = time.perf_counter()
        potential_grad(potential, start)
        seconds.append(time.perf_counter() - before)
    return {"start": until, "gradient": median(seconds)}


def main(name: str, sampler: str, path: Path) -> None:
    """Run one program by one sampler; leave the seconds in a file."""
    torch.set_default_dtype(torch.float64)
    pyro.set_rng_seed(0)
    found = (_by_ppzoo if sampler == "ppzoo" else _by_pyro)(name, _data()[name])
    path.write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
