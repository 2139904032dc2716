"""ppzoo's own samplers, all chains as one batch."""

from __future__ import annotations

import time

import torch

from mcmc.posteriors import Posterior
from mcmc.pyro_models import MODELS
from mcmc.run import Drawn, Settings, gathered
from ppzoo import fit  # with all that it imports when it is first asked for

__all__ = ["sample"]


def sample(name: str, posterior: Posterior, settings: Settings) -> Drawn:
    """One fit."""
    data = posterior.data()
    began = time.perf_counter()
    tensors = {key: torch.from_numpy(value) for key, value in data.items()}
    fitted = fit(
        MODELS[name],
        tensors,
        method=settings.method,
        seed=settings.seed,
        device=settings.device,
        progress=False,
        chains=settings.chains,
        warmup=settings.warmup,
        draws=settings.draws,
    )
    outcome = fitted.outcome
    numbers = outcome.numbers
    draws = {site: value.numpy(force=True) for site, value in (outcome.draws or {}).items()}
    seconds = time.perf_counter() - began
    return Drawn(
        gathered(draws, posterior.sites),
        seconds,
        numbers["seconds_draws"],
        int(outcome.statistics["diverging"].sum()),
        gradients=int(numbers["gradients"] - numbers["gradients_warmup"] + numbers["gradients_idle"]),
        needed=outcome.statistics["n_steps"].sum(1).tolist(),
        total=int(numbers["gradients"]),
        notes=list(fitted.notes),
    )
