"""NumPyro's NUTS, chains vectorised: all of them wait for the longest trajectory."""

from __future__ import annotations

import time
from typing import Any

import jax
import numpy as np
from numpyro.infer import MCMC, NUTS

from mcmc.numpyro_models import MODELS
from mcmc.posteriors import Posterior
from mcmc.run import Drawn, Settings, gathered

__all__ = ["sample"]

FIELDS = ("diverging", "num_steps")


def sample(name: str, posterior: Posterior, settings: Settings) -> Drawn:
    """All chains, in double precision; then as many draws again by the same kernel, compiled before, for their time.

    ``MCMC.run`` compiles anew whenever it is called, so the second time cannot be taken from it.
    """
    jax.config.update("jax_enable_x64", True)
    jax.config.update("jax_platforms", settings.device)
    data = posterior.data()
    began = time.perf_counter()
    mcmc = MCMC(
        NUTS(MODELS[name]),
        num_warmup=settings.warmup,
        num_samples=settings.draws,
        num_chains=settings.chains,
        chain_method="vectorized",
        progress_bar=False,
    )
    mcmc.run(jax.random.PRNGKey(settings.seed), extra_fields=FIELDS, **data)
    draws = {site: np.asarray(value) for site, value in mcmc.get_samples(group_by_chain=True).items()}
    seconds = time.perf_counter() - began
    found = {key: np.asarray(value) for key, value in mcmc.get_extra_fields(group_by_chain=True).items()}
    again = jax.jit(lambda state: _again(mcmc.sampler, state, settings.draws, data)).lower(mcmc.last_state).compile()
    began = time.perf_counter()
    jax.block_until_ready(again(mcmc.last_state))
    sampling = time.perf_counter() - began
    return Drawn(
        gathered(draws, posterior.sites),
        seconds,
        sampling,
        int(found["diverging"].sum()),
        gradients=int(found["num_steps"].max(0).sum()) * settings.chains,
        needed=found["num_steps"].sum(1).tolist(),
        notes=["chain_method='vectorized', 64 bits"],
    )


def _again(kernel: Any, state: Any, draws: int, data: dict[str, Any]) -> Any:
    def step(state: Any, _: None) -> tuple[Any, Any]:
        state = kernel.sample(state, (), data)
        return state, (state.z, state.diverging, state.num_steps)

    return jax.lax.scan(step, state, None, length=draws)
