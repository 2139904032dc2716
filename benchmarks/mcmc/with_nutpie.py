"""nutpie on PyMC's models compiled by numba: chains one by one on each core."""

from __future__ import annotations

import time
import warnings
from typing import Any

import numpy as np
import nutpie
import pymc as pm

from mcmc.posteriors import Posterior
from mcmc.pymc_models import MODELS
from mcmc.run import Drawn, Settings, gathered

__all__ = ["sample"]


def sample(name: str, posterior: Posterior, settings: Settings) -> Drawn:
    """All chains; then the same warm-up again with one draw, whose time is taken off to find that of the draws."""
    warnings.filterwarnings("ignore")  # numba's, of its own compilation
    data = posterior.data()
    began = time.perf_counter()
    with pm.Model() as model:
        MODELS[name](**data)
    compiled = nutpie.compile_pymc_model(model, backend="numba")
    ready = time.perf_counter()
    trace = _run(compiled, settings, settings.draws)
    draws = {site: np.asarray(trace.posterior[site].values) for site in posterior.sites}
    ended = time.perf_counter()
    _run(compiled, settings, 1)
    sampling = ended - ready - (time.perf_counter() - ended)
    return Drawn(
        gathered(draws, posterior.sites),
        ended - began,
        sampling if sampling > 0 else None,
        int(trace.sample_stats["diverging"].values.sum()),
        int(trace.sample_stats["n_steps"].values.sum()),
        ["backend='numba'"],
    )


def _run(compiled: Any, settings: Settings, draws: int) -> Any:
    return nutpie.sample(
        compiled,
        draws=draws,
        tune=settings.warmup,
        chains=settings.chains,
        seed=settings.seed,
        progress_bar=False,
    )
