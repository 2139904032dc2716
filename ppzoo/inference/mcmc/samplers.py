"""The samplers as methods of a fit: the run from a program to draws and statistics."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from ppzoo.checks import check_choice
from ppzoo.inference.density import TRIES, density_of, no_start
from ppzoo.inference.flat import FlatDensity, flatten
from ppzoo.inference.mcmc import nuts
from ppzoo.inference.mcmc.machine import Chains, Machine, machine_of
from ppzoo.inference.mcmc.metric import rank_for
from ppzoo.inference.mcmc.options import SamplerOptions, held_parameters
from ppzoo.inference.mcmc.streams import chain_keys, uniforms
from ppzoo.inference.mcmc.warmup import warm_up
from ppzoo.inference.outcome import Outcome, Run
from ppzoo.inference.program import Pair
from ppzoo.progress import Progress

__all__ = ["NUTS"]

_RADIUS = 2.0  # unconstrained values between -2 and 2, as Stan
_STEPS = 64  # in the first call
_SECONDS = 0.1  # a call should last at least, so that looking on costs nothing
_STARTING = 2  # the purpose of the noise that starting points are made of
_POSITIONS = ("q", "g")


@dataclass(frozen=True, kw_only=True)
class NUTS(SamplerOptions):
    """Options of a fit by the No-U-Turn sampler, all chains as one batch: those of :class:`SamplerOptions`, and one.

    Attributes:
        adapt: ``"pooled"``: the chains learn one step size and one metric together; ``"per_chain"``: each chain learns
            its own, and its draws depend on the seed and its own number only.
    """

    name: ClassVar[str] = "nuts"

    adapt: Literal["pooled", "per_chain"] = "pooled"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("adapt", self.adapt, ("pooled", "per_chain"))

    def run(self, pair: Pair, run: Run) -> Outcome:
        """Sample the posterior; the parameters of the pair stay as they are."""
        pair.first_run()
        flat = flatten(density_of(pair), torch.zeros((), dtype=run.dtype, device=run.device))
        keys = chain_keys(run.seed, self.chains, self.name).to(run.device)
        q = _starting_points(flat, keys, pair)
        kernel, rank = nuts.build(self.max_tree_depth), rank_for(len(flat.like), pooled=self.adapt == "pooled")
        machine, reason = machine_of(kernel, flat.function, keys, flat.like, rank)
        with Progress(self.warmup + self.draws, self.name, run.progress) as progress:
            tuned = warm_up(
                machine,
                q,
                draws=self.warmup,
                target=self.target_accept,
                limit=self.max_tree_depth,
                pooled=self.adapt == "pooled",
                report=lambda done, line: progress.reach(done, f"warm-up, {line}"),
            )
            chains, gradients = self._draw(machine, tuned.chains, progress)
        draws = flat.constrain(machine.whitening.positions(chains.rows["q"].flatten(0, 1)))
        return Outcome(
            draws={name: value.unflatten(0, (self.chains, self.draws)) for name, value in draws.items()},
            statistics={name: row for name, row in chains.rows.items() if name not in _POSITIONS},
            numbers={"gradients": float(tuned.gradients + gradients)},
            notes=tuple(self._notes(flat, machine, reason)),
            findings=tuple(held_parameters(pair)),
        )

    def _draw(self, machine: Machine, chains: Chains, progress: Progress) -> tuple[Chains, int]:
        chains = chains.emptied(torch.full_like(chains.counts, self.draws), self.draws)
        gradients, steps = 0, _STEPS
        while bool((chains.counts < self.draws).any()):
            began = time.monotonic()
            gradients += machine.advance(chains, steps)
            if time.monotonic() - began < _SECONDS:  # how the steps are cut into calls changes no number
                steps *= 2
            divergences = int(chains.rows["diverging"].sum())
            step = float(chains.state["step_size"].median())
            done = self.warmup + int(chains.counts.double().mean())
            progress.reach(done, f"divergences {divergences}, step {step:.3g}")
        return chains, gradients

    def _notes(self, flat: FlatDensity, machine: Machine, reason: str) -> Iterator[str]:
        because = f", for want of a faster road: {flat.reason}" if flat.reason else ""
        yield f"Density: {flat.road}{because}."
        yield f"Steps: {machine.road}{f', for want of a faster road: {reason}' if reason else ''}."
        if self.adapt == "pooled" and self.chains > 1:
            yield "The chains learnt step size and metric together; adapt='per_chain' keeps them apart."


def _starting_points(flat: FlatDensity, keys: Tensor, pair: Pair) -> Tensor:
    """A point per chain ``(C, D)`` with finite density and gradient, uniform in (-2, 2) per coordinate.

    Raises:
        FitError: If 100 tries of some chain found none; the message holds the table of sites.
    """
    size = len(flat.like)

    def propose(key: Tensor, attempt: Tensor) -> Tensor:
        u = uniforms(key, attempt, size, purpose=_STARTING)
        return ((2 * u - 1) * _RADIUS).to(flat.like.dtype)

    q = flat.like.expand(len(keys), size).clone()
    waiting = torch.arange(len(keys), device=keys.device)
    for attempt in range(TRIES):
        number = torch.full((len(waiting),), attempt, device=keys.device)
        q[waiting] = torch.func.vmap(propose)(keys[waiting], number)
        lp, g = torch.func.vmap(flat.function)(q[waiting])
        waiting = waiting[~(torch.isfinite(lp) & torch.isfinite(g).all(1))]
        if len(waiting) == 0:
            return q
    raise no_start(pair)
