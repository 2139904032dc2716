"""Where chains start: points with finite density and gradient, each chain's own by the seed and its number."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ppzoo.errors import ModelError
from ppzoo.inference.approximate.map_estimate import map_estimate
from ppzoo.inference.approximate.pathfinder import pathfinder
from ppzoo.inference.density import TRIES, no_start
from ppzoo.inference.flat import FlatDensity
from ppzoo.inference.mcmc.streams import chain_keys, uniforms
from ppzoo.inference.program import Pair
from ppzoo.inference.start import RADIUS, prior_draw, prior_median
from ppzoo.isolation import random_state
from ppzoo.rng import stream_seed

__all__ = ["starting_points"]

_PURPOSE = 2  # of the noise that starting points are made of
_PATHS = 8  # uphill, from uniform points of their own, however many chains there are
_PATH_DRAWS = 100  # at least as many as chains, of each path's normal

Propose = Callable[[Tensor, int], Tensor]  # numbers of chains (n,) and of the try -> points (n, D)


def starting_points(init: Any, flat: FlatDensity, pair: Pair, keys: Tensor, seed: int, batch: int) -> Tensor:
    """A point per chain, ``(C, D)``.

    Args:
        init: As in :class:`~ppzoo.inference.mcmc.options.BatchOptions`.
        flat: The density.
        pair: The program that it is the density of.
        keys: Of the chains, ``(C, 2)``.
        seed: Of the run.
        batch: How many chains are computed at once.

    Raises:
        FitError: If 100 tries of some chain found no finite density; the message holds the table of sites.
        ModelError: If ``init`` is a fit of another model.
    """
    propose = _proposals(init, flat, pair, keys, seed)
    q = flat.like.expand(len(keys), -1).clone()
    waiting = torch.arange(len(keys), device=keys.device)
    for attempt in range(TRIES):
        q[waiting] = propose(waiting, attempt)
        lp, g = torch.func.vmap(flat.function, chunk_size=batch)(q[waiting])
        waiting = waiting[~(torch.isfinite(lp) & torch.isfinite(g).all(1))]
        if len(waiting) == 0:
            return q
    raise no_start(pair)


def _proposals(init: Any, flat: FlatDensity, pair: Pair, keys: Tensor, seed: int) -> Propose:
    if init == "uniform":
        return lambda chains, attempt: (2 * _uniforms(keys[chains], attempt, len(flat.like)) - 1).to(flat.like) * RADIUS
    if init in ("prior", "median"):
        strategy = prior_draw if init == "prior" else prior_median
        return lambda chains, attempt: torch.stack(
            [_of_program(flat, pair, strategy, stream_seed(seed, "start", chain, attempt)) for chain in chains.tolist()]
        )
    if init in ("map", "pathfinder"):
        points = _uphill(init, flat, pair, len(keys), seed)
        return lambda chains, _: points[chains % len(points)]
    return _from_fit(init, flat, pair, keys)


def _uphill(init: str, flat: FlatDensity, pair: Pair, chains: int, seed: int) -> Tensor:
    """The highest mode that paths from uniform points find ``(1, D)``, or draws of normals along these ``(n, D)``."""
    keys = chain_keys(seed, _PATHS, "start", init).to(flat.like.device)
    starts = starting_points("uniform", flat, pair, keys, seed, min(_PATHS, flat.at_once))
    if init == "map":
        return map_estimate(flat, starts).position[None]
    noise = stream_seed(seed, "start", init)
    return pathfinder(flat, starts, seed=noise, draws=chains, draws_per_path=max(_PATH_DRAWS, chains)).draws


def _uniforms(keys: Tensor, attempt: int, n: int) -> Tensor:
    number = torch.full((len(keys),), attempt, device=keys.device)
    return torch.func.vmap(lambda key, t: uniforms(key, t, n, purpose=_PURPOSE))(keys, number)


def _of_program(flat: FlatDensity, pair: Pair, strategy: Callable[[dict[str, Any]], Tensor], seed: int) -> Tensor:
    """The unconstrained vector of one run of the program whose latent sites take their values from ``strategy``."""
    with random_state(seed):
        u = flat.density.unconstrain(pair.trace_model(strategy))
    return torch.cat([value.detach().reshape(-1) for value in u.values()]).to(flat.like)


def _from_fit(fit: Any, flat: FlatDensity, pair: Pair, keys: Tensor) -> Propose:
    draws: dict[str, Tensor] = fit.flat_draws(None, "start")
    shapes = {site.name: site.shape for site in flat.density.sites if site.name in flat.density.shapes}
    found = {name: tuple(value.shape[1:]) for name, value in draws.items()}
    if any(found.get(name) != shape for name, shape in shapes.items()):
        raise ModelError(
            "is a fit of another model",
            argument="init",
            got=f"draws of {found}",
            expected=f"draws of {shapes}",
            remedy="Fit the same model on the same data, and start from that.",
        )
    n = len(next(iter(draws.values())))

    def value(site: dict[str, Any], row: int) -> Tensor:
        """Of a discrete site, which is summed out, a fit may have no draws; any value will do."""
        return draws[site["name"]][row].to(flat.like) if site["name"] in draws else prior_draw(site)

    def point(row: int) -> Tensor:
        return _of_program(flat, pair, lambda site: value(site, row), 0)

    def propose(chains: Tensor, attempt: int) -> Tensor:
        rows = (_uniforms(keys[chains], attempt, 1)[:, 0] * n).long()
        return torch.stack([point(row) for row in rows.tolist()])

    return propose
