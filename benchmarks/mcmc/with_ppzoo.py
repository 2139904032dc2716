"""ppzoo's own sampler, all chains as one batch."""

from __future__ import annotations

import time
from typing import Any

import torch

import ppzoo
from mcmc.posteriors import Posterior
from mcmc.pyro_models import MODELS
from mcmc.run import Drawn, Settings, gathered
from ppzoo.inference.mcmc.samplers import NUTS

__all__ = ["sample"]


def sample(name: str, posterior: Posterior, settings: Settings) -> Drawn:
    """One fit."""
    data = posterior.data()
    timed: list[float] = []

    class Timed(NUTS):
        def _draw(self, *arguments: Any) -> Any:
            began = time.perf_counter()
            drawn = super()._draw(*arguments)
            timed.append(time.perf_counter() - began)
            return drawn

    began = time.perf_counter()
    method = Timed(chains=settings.chains, warmup=settings.warmup, draws=settings.draws)
    tensors = {key: torch.from_numpy(value) for key, value in data.items()}
    fit = ppzoo.fit(MODELS[name], tensors, method=method, seed=settings.seed, progress=False)
    outcome = fit.outcome
    draws = {site: value.numpy() for site, value in (outcome.draws or {}).items()}
    seconds = time.perf_counter() - began
    return Drawn(
        gathered(draws, posterior.sites),
        seconds,
        sum(timed) if timed else None,
        int(outcome.statistics["diverging"].sum()),
        int(outcome.statistics["n_steps"].sum()),
        list(fit.notes),
    )
