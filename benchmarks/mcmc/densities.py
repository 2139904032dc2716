"""One posterior in every language? Its log density at the same points, which may differ by a constant at most.

Densities are of the sites' constrained values, without Jacobians: each language has unconstrained coordinates of its
own. Points are prior draws, ``(K, ...)`` by site.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pyro
import torch
from pyro import poutine
from torch.distributions import biject_to

from mcmc import pyro_models
from mcmc.posteriors import POSTERIORS
from mcmc.run import Floats, gathered
from ppzoo.fitting import prepare
from ppzoo.inference.density import density_of
from ppzoo.inference.flat import flatten
from ppzoo.isolation import isolated

__all__ = ["LANGUAGES", "gaps", "points"]

POINTS = 8
SEED = 20_261_121
Points = dict[str, Floats]


def gaps(model: str, language: str) -> Floats:
    """Log density in a language less that in Pyro at each point, ``(K,)`` in nats: all the same where they agree."""
    at = points(model)
    gap: Floats = LANGUAGES[language](model, at) - _in_pyro(model, at)
    return gap


def points(model: str) -> Points:
    """Prior draws of the sites, in the same order whatever the language."""
    draws: list[Points] = []
    with isolated(seed=SEED, dtype=torch.float64):
        for _ in range(POINTS):
            nodes = poutine.trace(pyro_models.MODELS[model]).get_trace(**_tensors(model)).nodes
            found = {name: node["value"].numpy() for name, node in nodes.items() if node["type"] == "sample"}
            draws.append(gathered(found, POSTERIORS[model].sites))
    return {site: np.stack([draw[site] for draw in draws]) for site in POSTERIORS[model].sites}


def _in_pyro(model: str, at: Points) -> Floats:
    """The program's own trace, each site's value given."""
    with isolated(seed=SEED, dtype=torch.float64):
        found = [
            poutine.trace(pyro.condition(pyro_models.MODELS[model], values)).get_trace(**_tensors(model)).log_prob_sum()
            for values in _step_by_step(model, at)
        ]
    return np.array([float(value) for value in found])


def _in_ppzoo(model: str, at: Points) -> Floats:
    """The graph that ppzoo's samplers run on, less the Jacobians of its coordinates."""
    pair, dtype, _ = prepare(pyro_models.MODELS[model], _tensors(model), prefer=torch.float64)
    found = []
    with isolated(seed=SEED, dtype=dtype):
        density = density_of(pair)
        flat = flatten(density, torch.zeros((), dtype=dtype))
        latent = [site for site in density.sites if site.name in density.shapes]
        transforms = {site.name: biject_to(site.distribution.support) for site in latent}
        for values in _step_by_step(model, at):
            u = {name: transforms[name].inv(values[name]) for name in density.shapes}
            jacobians = [transforms[name].log_abs_det_jacobian(u[name], values[name]).sum() for name in u]
            value, _ = flat.function(torch.cat([part.reshape(-1) for part in u.values()]))
            found.append(float(value - sum(jacobians)))
    return np.array(found)


def _in_numpyro(model: str, at: Points) -> Floats:
    import jax
    from numpyro.infer.util import log_density

    from mcmc import numpyro_models

    jax.config.update("jax_enable_x64", True)
    data = POSTERIORS[model].data()
    rows = [{site: jax.numpy.asarray(value[k]) for site, value in at.items()} for k in range(POINTS)]
    return np.array([float(log_density(numpyro_models.MODELS[model], (), data, row)[0]) for row in rows])


def _in_pymc(model: str, at: Points) -> Floats:
    import pymc as pm

    from mcmc import pymc_models

    with pm.Model() as built:
        pymc_models.MODELS[model](**POSTERIORS[model].data())
    density = built.compile_logp(jacobian=False)
    transforms = {v.name: (built.rvs_to_values[v].name, built.rvs_to_transforms[v], v) for v in built.free_RVs}
    found = []
    for k in range(POINTS):
        u: dict[str, Any] = {}
        for site, (name, transform, variable) in transforms.items():
            value = at[site][k]
            u[name] = value if transform is None else transform.forward(value, *variable.owner.inputs).eval()
        found.append(float(density(u)))
    return np.array(found)


def _step_by_step(model: str, at: Points) -> list[dict[str, torch.Tensor]]:
    """The points as Pyro's sites have them: ``x`` may be ``x_0``, ``x_1``, ... there."""
    nodes = poutine.trace(pyro_models.MODELS[model]).get_trace(**_tensors(model)).nodes
    rows = []
    for k in range(POINTS):
        row = {}
        for site, value in at.items():
            tensor = torch.from_numpy(np.array(value[k]))
            row |= {site: tensor} if site in nodes else {f"{site}_{t}": tensor[t] for t in range(len(tensor))}
        rows.append(row)
    return rows


def _tensors(model: str) -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(value) for name, value in POSTERIORS[model].data().items()}


LANGUAGES: dict[str, Callable[[str, Points], Floats]] = {
    "ppzoo": _in_ppzoo,
    "numpyro": _in_numpyro,
    "nutpie": _in_pymc,
}
