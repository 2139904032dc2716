"""Where each replica of a pair begins: its parameters, its buffers, and what the parameters are measured in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from pyro.infer.autoguide import AutoGuide
from torch import Tensor, nn

from ppzoo.errors import FitError, ModelError, OptionError
from ppzoo.inference.outcome import Run
from ppzoo.inference.program import Guide, Pair, has_method, run_once, sites_of
from ppzoo.inference.rows import some_rows
from ppzoo.inference.start import prior_median, uniform
from ppzoo.inference.variational.amortised import Amortised
from ppzoo.inference.variational.guides import Start, check_guide, check_plates, choose_guide
from ppzoo.inference.variational.placing import Near, can_be_placed, near_posterior, place
from ppzoo.isolation import isolated
from ppzoo.rng import stream_seed

__all__ = ["Replicas", "begin"]


@dataclass(frozen=True)
class Replicas:
    """Where they begin.

    Attributes:
        guide: The pair's.
        parameters: Of all replicas, ``(K, ...)`` each; the first is the pair itself.
        buffers: What their modules remember beside, ``(K, ...)`` each.
        units: What each parameter is measured in, ``(...)`` each; empty for ones.
        placed: Whether they begin near the posterior.
        notes: What the user should know.
    """

    guide: Guide
    parameters: list[Tensor]
    buffers: list[Tensor]
    units: list[Tensor]
    placed: bool
    notes: list[str]


def begin(pair: Pair, run: Run, guide: Any, init: str | None, count: int, batch_size: int | None = None) -> Replicas:
    """Choose a guide, and let the pair and its twins begin.

    Args:
        pair: The pair; it gets the guide.
        run: Seed, type and device.
        guide: What the user gave.
        init: ``"pathfinder"``, ``"data"`` or ``"model"``; None for the first where that is possible, else the second.
        count: How many replicas there are.
        batch_size: How many rows a step looks at; all of them when ``None``.

    Raises:
        OptionError: If the fit is to start at Pathfinder's normals and cannot.
        ModelError: If model and guide do not match.
        FitError: If Pathfinder was asked for and found nothing.
    """
    twins = [pair.twin() for _ in range(count - 1)]
    chosen = _begin(pair, run, guide, init, prior_median, batch_size)
    near: list[Near] = []
    notes = []
    if init in (None, "pathfinder"):
        why = _no_place(pair, guide, batch_size)
        if not why:
            try:
                near = near_posterior(pair, torch.zeros((), dtype=run.dtype, device=run.device), run.seed, count)
                notes = ["Starts near the posterior, by Pathfinder."]
            except (ModelError, FitError) as error:
                if init is not None:
                    raise
                notes = [f"Starts at the median of the prior; Pathfinder could not start: {error}"]
        elif init is not None:
            raise OptionError(
                "cannot place this fit", argument="init", got=f"{init!r}, and {why}", remedy='Use "data".'
            )
    units = place(chosen, near[0], near[0]) if near else {}
    parameters, buffers = [pair.trainable()], [pair.buffers()]
    for k, twin in enumerate(twins):
        seed = stream_seed(run.seed, "svi", "start", k)
        with isolated(seed=seed, dtype=run.dtype, device=run.device, store=twin.store):
            other = _begin(twin, run, guide, init, uniform, batch_size)
            if near:
                place(other, near[(k + 1) % len(near)], near[0])
            parameters.append(twin.trainable())
            buffers.append(twin.buffers())
    measured = [units.get(p, torch.ones_like(p)).detach() for p in parameters[0]] if units else []
    return Replicas(chosen, _stacked(parameters), _stacked(buffers), measured, bool(near), notes)


def _begin(pair: Pair, run: Run, guide: Any, init: str | None, start: Start, batch_size: int | None) -> Guide:
    """Choose the guide, and make every parameter of the pair where training starts."""
    if init != "model" and has_method(pair.owner, "initialise"):
        pair.owner.initialise(*pair.data.args, **pair.data.kwargs)
    some = some_rows(pair.data, batch_size)
    trace = pair.rebind(some).trace_model()
    latent = [site.name for site in sites_of(trace) if site.kind == "latent"]
    chosen = pair.guide = choose_guide(guide, pair.owner, pair.model, latent, start)
    check_plates(chosen, trace)
    pair.to(dtype=run.dtype, device=run.device)
    if isinstance(chosen, Amortised):  # which measures the rows when it runs first
        run_once(chosen, pair.data, "guide")
    few = pair.rebind(some)
    few.first_run()
    pair.to(dtype=run.dtype, device=run.device)
    check_guide(few)
    return chosen


def _no_place(pair: Pair, guide: Any, batch_size: int | None) -> str:
    """Why Pathfinder cannot say where this fit starts; else empty."""
    if not can_be_placed(pair.guide) or isinstance(guide, AutoGuide):
        return "the guide has a start of its own"
    if batch_size is not None or pair.data.source is not None:
        return "rows come in batches: Pathfinder needs all at once"
    if isinstance(pair.guide, nn.Module) and len(list(pair.guide.parameters())) < len(pair.trainable()):
        return "the model has parameters that are no latent sites"
    return ""


def _stacked(replicas: list[list[Tensor]]) -> list[Tensor]:
    """Each tensor of every replica, ``(K, ...)``; of a single one in its own memory, if it has a plain one."""
    if len(replicas) == 1:
        return [value.detach()[None].contiguous() for value in replicas[0]]
    return [torch.stack([value.detach() for value in values]) for values in zip(*replicas, strict=True)]
