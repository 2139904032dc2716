"""NumPyro's SVI, its steps in one compiled loop."""

from __future__ import annotations

import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
from jax import Array, random
from jax.example_libraries import stax
from mcmc.numpyro_models import MODELS
from numpyro.infer import SVI, Trace_ELBO
from numpyro.infer.autoguide import AutoIAFNormal, AutoNormal

from svi.problems import PIXELS, Problem, Settings, Trained

__all__ = ["train"]


def layer(name: str, x: Array, width: int) -> Array:
    """Affine, started as torch's layers are."""
    bound = 1 / np.sqrt(x.shape[-1])

    def start(shape: tuple[int, ...]) -> Any:
        return lambda key: random.uniform(key, shape, minval=-bound, maxval=bound)

    weight = numpyro.param(f"{name}.weight", start((x.shape[-1], width)))
    return x @ weight + numpyro.param(f"{name}.bias", start((width,)))


def vae(hidden: int, latents: int) -> tuple[Any, Any]:
    """As in Pyro."""

    def model(x: Array, rows: int) -> None:
        with numpyro.plate("row", rows, subsample_size=len(x)):
            z = numpyro.sample("z", dist.Normal(jnp.zeros((len(x), latents)), 1.0).to_event(1))
            logits = layer("decoder.1", jax.nn.relu(layer("decoder.0", z, hidden)), PIXELS)
            numpyro.sample("x", dist.Bernoulli(logits=logits).to_event(1), obs=x)

    def guide(x: Array, rows: int) -> None:
        out = layer("encoder.1", jax.nn.relu(layer("encoder.0", x, hidden)), 2 * latents)
        with numpyro.plate("row", rows, subsample_size=len(x)):
            numpyro.sample("z", dist.Normal(out[:, :latents], jnp.exp(out[:, latents:])).to_event(1))

    return model, guide


def posterior(problem: Problem) -> tuple[Any, Any]:
    """A model of the MCMC benchmark and its guide."""
    model = MODELS[problem.model]
    if problem.flow:
        return model, AutoIAFNormal(model, num_flows=1, hidden_dims=[problem.flow], nonlinearity=stax.Relu)
    return model, AutoNormal(model)


def train(_: str, problem: Problem, settings: Settings, __: str) -> Trained:
    """All steps by ``lax.scan``; compiled before they are timed, for what it takes is told beside."""
    with jax.default_device(jax.devices(settings.device)[0]):
        return _train(problem, settings)


def _train(problem: Problem, settings: Settings) -> Trained:
    arrays = problem.data()
    rows = max(len(x) for x in arrays.values())
    rng = np.random.default_rng(settings.seed)
    began = time.perf_counter()
    data = {key: jnp.asarray(x) for key, x in arrays.items()}
    model, guide = vae(problem.hidden, problem.latents) if problem.hidden else posterior(problem)
    svi = SVI(model, guide, numpyro.optim.Adam(problem.rate), Trace_ELBO())
    order = None
    if problem.batch is not None:
        per_epoch = rows // problem.batch
        epochs = -(-settings.steps // per_epoch)
        index = np.concatenate([rng.permutation(rows)[: per_epoch * problem.batch] for _ in range(epochs)])
        order = jnp.asarray(index.reshape(-1, problem.batch)[: settings.steps])

    def body(state: Any, index: Any) -> Any:
        return svi.update(state, **data) if index is None else svi.update(state, data["x"][index], rows)

    first = {**data} if order is None else {"x": data["x"][order[0]], "rows": rows}
    state = svi.init(random.PRNGKey(settings.seed), **first)
    loop = jax.jit(lambda state, order: jax.lax.scan(body, state, order, length=settings.steps))
    compiled = loop.lower(state, order).compile()
    setup = time.perf_counter() - began
    began = time.perf_counter()
    _, losses = jax.block_until_ready(compiled(state, order))
    seconds = time.perf_counter() - began
    return Trained(setup, seconds, (np.asarray(losses, dtype=np.float64) / rows).tolist(), [])
