"""nutpie on PyMC's models compiled by numba: chains one by one on each core."""

from __future__ import annotations

import time
import warnings

import numpy as np
import nutpie
import pymc as pm

from mcmc.posteriors import Posterior
from mcmc.pymc_models import MODELS
from mcmc.run import Drawn, Settings, gathered

__all__ = ["sample"]


def sample(name: str, posterior: Posterior, settings: Settings) -> Drawn:
    """All chains. Warm-up and draws are one call, whose time is shared between them by their gradients."""
    warnings.filterwarnings("ignore")  # numba's, of its own compilation
    data = posterior.data()
    began = time.perf_counter()
    with pm.Model() as model:
        MODELS[name](**data)
    compiled = nutpie.compile_pymc_model(model, backend="numba")
    ready = time.perf_counter()
    trace = nutpie.sample(
        compiled,
        draws=settings.draws,
        tune=settings.warmup,
        chains=settings.chains,
        seed=settings.seed,
        progress_bar=False,
    )
    called = time.perf_counter() - ready
    draws = {site: np.asarray(trace.posterior[site].values) for site in posterior.sites}
    seconds = time.perf_counter() - began
    gradients, before = (
        int(group["n_steps"].values.sum()) for group in (trace.sample_stats, trace.warmup_sample_stats)
    )
    return Drawn(
        gathered(draws, posterior.sites),
        seconds,
        called * gradients / (gradients + before),
        int(trace.sample_stats["diverging"].values.sum()),
        gradients=gradients,
        needed=trace.sample_stats["n_steps"].values.sum(1).tolist(),
        total=gradients + before,
        notes=["backend='numba'"],
    )
