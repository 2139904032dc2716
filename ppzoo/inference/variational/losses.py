"""The loss that a pair is fitted by: an objective by its name, held against what model and guide draw."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from pyro.infer import TraceEnum_ELBO

from ppzoo.datasets.arguments import Arguments
from ppzoo.errors import ModelError
from ppzoo.inference.program import Guide, Pair, Site, sites_of, trace_of
from ppzoo.inference.variational.bounds import (
    dreg,
    importance,
    plates_of_units,
    wake_sleep,
    weighed,
    weighed_held,
)
from ppzoo.inference.variational.guides import check_draws
from ppzoo.inference.variational.minibatch import Minibatches
from ppzoo.inference.variational.objectives import Loss, elbo, terms
from ppzoo.inference.variational.particles import Particles
from ppzoo.inference.variational.runs import drawn, held, traces
from ppzoo.inference.variational.summing import summing_traces

__all__ = ["OBJECTIVES", "Objective", "loss_of"]

OBJECTIVES = ("elbo", "iwae", "renyi", "dreg", "wake-sleep")
_OF_HELD = {"dreg", "wake-sleep"}  # those that ask for the probability of draws a second time

Losses = Callable[..., Loss]


@dataclass(frozen=True)
class Objective:
    """What is maximised.

    Attributes:
        name: One of :data:`OBJECTIVES`.
        particles: Runs per step.
        alpha: Order of ``"renyi"``.
        beta: Weight of the terms of latent sites in ``"elbo"``.
        annealed: Whether each step brings a weight of its own on the way there.
    """

    name: str
    particles: int
    alpha: float | None
    beta: float
    annealed: bool


def loss_of(pair: Pair, guide: Guide, batches: Minibatches, objective: Objective) -> tuple[Losses, list[str]]:
    """A loss of a step's data, of its weight too if it is annealed, and what a user should know of it.

    Args:
        pair: Model and data, with every parameter made.
        guide: What is trained.
        batches: The rows of each step.
        objective: What is maximised.

    Raises:
        ModelError: If the objective is not for this pair.
    """
    sites = list(sites_of(pair.trace_model()))
    with torch.no_grad():
        draws = drawn(trace_of(guide, pair.data))
    left = [site for site in sites if site.kind == "discrete" and site.name not in draws]
    _check_finite(left)
    given = batches.weighed(guide)
    if objective.name != "elbo":
        _check_weights(pair, guide, batches, objective.name, left)
        weights = f"the weights of {objective.particles} draws (objective={objective.name!r})"
        note = f"Losses are minus a bound by {weights}: they lie below those of the ELBO for the same guide."
        return _weighed(batches.weighed(pair.model), given, objective), [note]
    why = _beyond(draws, left)
    if left or why:
        _check_plain(objective, left)
    count, beta = objective.particles, objective.beta
    notes = [] if beta == 1 else [f"The optimum is not the posterior: the terms of latent sites weigh {beta:g} (beta)."]
    if why:
        model = batches.weighed(pair.enumerated())
        return _pyros(model, given, sites, objective.particles), [f"The ELBO is Pyro's, for {why}."]
    if left:
        model = batches.weighed(pair.enumerated())
        return Particles(lambda data: terms(summing_traces(model, given, data, sites)), elbo, count), []
    model = batches.weighed(pair.model)
    return Particles(lambda data, *w: terms(traces(model, given, data), *w, beta=beta), elbo, count), notes


def _weighed(model: Guide, guide: Guide, objective: Objective) -> Losses:
    if objective.name == "dreg":
        return Particles(lambda data: weighed_held(held(model, guide, data)), dreg, objective.particles)
    if objective.name == "wake-sleep":
        return Particles(lambda data: weighed(held(model, guide, data).traces), wake_sleep, objective.particles)
    together = partial(importance, alpha=objective.alpha or 0.0)
    return Particles(lambda data: weighed(traces(model, guide, data)), together, objective.particles)


def _pyros(model: Guide, guide: Guide, sites: Sequence[Site], particles: int) -> Losses:
    depth = max((-dim for site in sites for _, dim, _ in site.plates), default=0)
    pyros = TraceEnum_ELBO(num_particles=particles, max_plate_nesting=depth)

    def loss(data: Arguments) -> Loss:
        value = pyros.differentiable_loss(model, guide, *data.args, **data.kwargs)
        return Loss(value.detach(), value)

    return loss


def _beyond(draws: dict[str, Any], left: Sequence[Site]) -> str:
    """Why sums over discrete sites are left to Pyro; empty where they are not."""
    if any(node["infer"].get("enumerate") for node in draws.values()):
        return "the guide enumerates sites itself"
    if left and not all(node["fn"].has_rsample for node in draws.values()):
        return "the guide draws what cannot be differentiated, beside discrete sites that are summed out"
    return ""


def _check_finite(left: Sequence[Site]) -> None:
    endless = [site.name for site in left if not site.distribution.has_enumerate_support]
    if endless:
        raise ModelError(
            "does not draw discrete sites that cannot be summed out",
            argument="guide",
            got=f"misses sites {', '.join(map(repr, endless))}",
            expected="a guide that draws every latent site without a finite support",
            remedy="Draw them in the guide, or sum them out by hand.",
        )


def _check_plain(objective: Objective, left: Sequence[Site]) -> None:
    if objective.beta != 1 or objective.annealed:
        sites = ", ".join(repr(site.name) for site in left) or "that the guide enumerates"
        raise ModelError(
            "has discrete sites to sum out, whose terms have no weight of their own",
            argument="model",
            got=f"sites {sites} with beta={objective.beta:g}{' and anneal' * objective.annealed}",
            expected="beta=1 and no anneal, or a guide that draws them",
            remedy="Draw them in the guide, or leave beta and anneal out.",
        )


def _check_weights(pair: Pair, guide: Guide, batches: Minibatches, objective: str, left: Sequence[Site]) -> None:
    """Each draw has a weight, and that of some rows can stand for all.

    Raises:
        ModelError: If not.
    """
    if left:
        raise ModelError(
            "has discrete sites to sum out, which weights of draws do not",
            argument="model",
            got=f"sites {', '.join(repr(site.name) for site in left)} with objective={objective!r}",
            expected="a guide that draws them",
            remedy='Draw them in the guide, or use objective="elbo".',
        )
    if objective in _OF_HELD:
        check_draws(pair, guide, objective, reparametrised=objective == "dreg")
    with torch.no_grad():
        run = traces(pair.model, guide, pair.data)
    units = {name for name, _ in plates_of_units(run)}
    if batches.plates and drawn(run.guide) and batches.plates.isdisjoint(units):
        raise ModelError(
            "has latent sites that rows share: the weight of some rows cannot stand for that of all",
            argument="model",
            got=f"objective={objective!r} with batch_size",
            expected="latent sites, and what comes after them, inside the plate over rows",
            remedy='Leave batch_size out, or use objective="elbo".',
        )
