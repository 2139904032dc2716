"""Pyro's NUTS with its just-in-time compiler, its fastest form: chain after chain, or one process each."""

from __future__ import annotations

import time
import warnings
from typing import Any

import pyro
import torch
from pyro.infer import MCMC
from pyro.infer.mcmc import NUTS

from mcmc.posteriors import Posterior
from mcmc.pyro_models import MODELS
from mcmc.run import Drawn, Settings, gathered

__all__ = ["sample"]


class _Watch:
    """Adds up the seconds of kept draws; it sees nothing of chains that run in processes of their own."""

    def __init__(self) -> None:
        self.last = time.perf_counter()
        self.sampling = 0.0

    def __call__(self, kernel: Any, values: Any, stage: str, i: int) -> None:
        now = time.perf_counter()
        if stage.startswith("Sample"):
            self.sampling += now - self.last
        self.last = now


def sample(name: str, posterior: Posterior, settings: Settings) -> Drawn:
    """All chains, in double precision as everywhere."""
    warnings.filterwarnings("ignore")  # of the tracer, by the hundred
    data, watch = posterior.data(), _Watch()
    torch.set_default_dtype(torch.float64)
    pyro.set_rng_seed(settings.seed)
    began = time.perf_counter()
    kernel = NUTS(MODELS[name], jit_compile=True, ignore_jit_warnings=True)
    mcmc = MCMC(
        kernel,
        num_samples=settings.draws,
        warmup_steps=settings.warmup,
        num_chains=settings.chains,
        disable_progbar=True,
        hook_fn=watch,
    )
    mcmc.run(**{key: torch.from_numpy(value) for key, value in data.items()})
    draws = {site: value.numpy() for site, value in mcmc.get_samples(group_by_chain=True).items()}
    seconds = time.perf_counter() - began
    divergences = mcmc.diagnostics()["divergences"]
    return Drawn(
        gathered(draws, posterior.sites),
        seconds,
        watch.sampling or None,
        sum(map(len, divergences.values())),
        notes=["jit_compile=True"],
    )
