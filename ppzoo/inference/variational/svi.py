r"""Stochastic variational inference: maximise the evidence lower bound by gradient steps.

.. math:: \mathrm{ELBO}(\phi) = \mathbb{E}_{q_\phi(z)}[\log p(x, z) - \log q_\phi(z)] \le \log p(x)

Hoffman, Blei, Wang and Paisley, *Stochastic Variational Inference*, 2013, https://jmlr.org/papers/v14/hoffman13a.html;
Kucukelbir et al., *Automatic Differentiation Variational Inference*, 2017, https://jmlr.org/papers/v18/16-107.html.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from pyro.infer import TraceEnum_ELBO
from torch import Tensor

from ppzoo.checks import check_choice, check_integer, check_real
from ppzoo.datasets.arguments import Arguments
from ppzoo.errors import OptionError
from ppzoo.inference.outcome import Outcome, Run
from ppzoo.inference.program import Guide, Pair, Site, check_program_like, has_method, sites_of
from ppzoo.inference.start import prior_median, uniform
from ppzoo.inference.variational.course import WINDOW, Course
from ppzoo.inference.variational.descent import constant, cosine_decay
from ppzoo.inference.variational.guides import Start, check_guide, check_guide_option, check_plates, choose_guide
from ppzoo.inference.variational.minibatch import Minibatches
from ppzoo.inference.variational.objectives import Loss, elbo, traces
from ppzoo.inference.variational.optimisers import OPTIMISERS
from ppzoo.inference.variational.step import Step
from ppzoo.inference.variational.trainers import Plan, trainer_of
from ppzoo.isolation import isolated
from ppzoo.progress import Progress
from ppzoo.rng import stream_seed

__all__ = ["SVI"]

_STEPS = 5000


@dataclass(frozen=True, kw_only=True)
class SVI:
    """Options of a fit by SVI.

    Attributes:
        steps: Gradient steps; 5,000 when neither steps nor epochs is given.
        epochs: Passes over the data instead of steps; needs ``batch_size`` to mean more than a step each.
        lr: Learning rate at the start, > 0.
        optimiser: ``"adam"``, ``"adamw"`` or ``"sgd"``.
        schedule: ``"cosine"`` lets the rate fall to a hundredth, ``"constant"`` keeps it.
        batch_size: Rows a step looks at; all of them when ``None``.
        particles: Draws of the guide per step, averaged.
        replicas: Independent fits, trained side by side from different starts; the best one is kept.
        clip: Largest norm of the gradient, larger ones are scaled down; no limit when ``None``.
        init: ``"data"`` lets a model that can (a mixture) draw its starting parameters from the data, ``"model"``
            starts from its parameters as they are.
        guide: A function, an AutoGuide class or instance, or ``"normal" | "mvn" | "lowrank" | "iaf" | "spline" |
            "structured" | "amortised" | "delta"``; the model's own when ``None``, and ``"normal"`` where it has none.
    """

    name: ClassVar[str] = "svi"
    prefers_float64: ClassVar[bool] = False
    needs_guide: ClassVar[bool] = True
    resumable: ClassVar[bool] = False

    steps: int | None = None
    epochs: int | None = None
    lr: float = 0.01
    optimiser: str = "adam"
    schedule: str = "cosine"
    batch_size: int | None = None
    particles: int = 1
    replicas: int = 1
    clip: float | None = None
    init: str = "data"
    guide: Any = None

    def __post_init__(self) -> None:
        for name in ("steps", "epochs", "batch_size"):
            if getattr(self, name) is not None:
                check_integer(name, getattr(self, name))
        check_guide_option(self.guide)
        check_integer("particles", self.particles)
        check_integer("replicas", self.replicas)
        check_real("lr", self.lr, above=0)
        if self.clip is not None:
            check_real("clip", self.clip, above=0)
        check_choice("optimiser", self.optimiser, OPTIMISERS)
        check_choice("schedule", self.schedule, ("cosine", "constant"))
        check_choice("init", self.init, ("data", "model"))
        if self.steps is not None and self.epochs is not None:
            raise OptionError("steps and epochs exclude each other", argument="epochs", got=f"{self.epochs} and steps")

    def check_model(self, model: object) -> None:
        """Any Pyro program can be fitted; a game cannot."""
        check_program_like(model, self.name)

    def run(self, pair: Pair, run: Run) -> Outcome:
        """Train the pair in place; the best state of the best replica is kept."""
        warnings.filterwarnings("ignore", message="Encountered NaN")  # counted instead; isolated() restores filters
        twins = [pair.twin() for _ in range(self.replicas - 1)]
        guide = self._begin(pair, run, prior_median)
        starts = [(pair.trainable(), pair.buffers())]
        for k, twin in enumerate(twins):
            with isolated(
                seed=stream_seed(run.seed, "svi", "start", k), dtype=run.dtype, device=run.device, store=twin.store
            ):
                self._begin(twin, run, uniform)
                starts.append((twin.trainable(), twin.buffers()))
        batches = Minibatches(pair, self.batch_size, run.seed)
        steps = self._steps(batches)
        for module in pair.modules().values():
            module.train()
        decay = cosine_decay(steps) if self.schedule == "cosine" else constant
        parameters, buffers = (_stacked([start[i] for start in starts]) for i in range(2))
        plan = Plan(
            self._step(pair, guide, batches),
            batches,
            parameters,
            buffers,
            OPTIMISERS[self.optimiser],
            lambda t: self.lr * decay(t),
            math.inf if self.clip is None else self.clip,
            run.seed,
            steps,
        )
        trainer, why = trainer_of(plan)
        course = Course(parameters)
        with Progress(steps, "svi", run.progress) as progress:
            for done in range(0, steps, WINDOW):
                course.add(trainer.advance(min(WINDOW, steps - done)).numpy())
                progress.reach(min(done + WINDOW, steps), f"loss {min(mean for mean, _ in course.recent()):.4g}")
        course.restore_best()
        finals = [mean for mean, _ in course.recent()]
        best = finals.index(min(finals))
        plan.step.stand_at([p[best] for p in parameters], [b[best] for b in buffers])
        for module in pair.modules().values():
            module.eval()
        losses = course.losses[best]
        kept = losses[~np.isnan(losses)]
        notes = [f"Steps: {trainer.road}{f', for {why}' if why else ''}."]
        if self.replicas > 1:
            notes.append(f"The best of {self.replicas} replicas, whose last losses are {_spread(finals)} nats.")
        numbers = {"steps": float(len(losses)), "skipped": float(len(losses) - len(kept))}
        return Outcome(losses=kept, numbers=numbers, notes=tuple(notes))

    def _begin(self, pair: Pair, run: Run, start: Start) -> Guide:
        """Choose the guide, and make every parameter of the pair where training starts."""
        if self.init == "data" and has_method(pair.owner, "initialise"):
            pair.owner.initialise(*pair.data.args, **pair.data.kwargs)
        trace = pair.trace_model()
        latent = [site.name for site in sites_of(trace) if site.kind == "latent"]
        guide = pair.guide = choose_guide(self.guide, pair.owner, pair.model, latent, start)
        check_plates(guide, trace)
        pair.to(dtype=run.dtype, device=run.device)
        pair.first_run()
        pair.to(dtype=run.dtype, device=run.device)
        check_guide(pair)
        return guide

    def _step(self, pair: Pair, guide: Guide, batches: Minibatches) -> Step:
        """Loss and gradients, on rows that stand for all."""
        enumerated = _enumerated_elbo(list(sites_of(pair.trace_model())), self.particles)
        model = batches.weighed(pair.model if enumerated is None else pair.enumerated())
        programs = (pair.model, guide)
        guide = batches.weighed(guide)

        def loss(data: Arguments) -> Loss:
            if enumerated is not None:
                value = enumerated.differentiable_loss(model, guide, *data.args, **data.kwargs)
                return Loss(value.detach(), value)
            parts = [elbo(*traces(model, guide, data)) for _ in range(self.particles)]
            return Loss(*(torch.stack(numbers).mean() for numbers in zip(*parts, strict=True)))

        return Step(loss, pair.trainable(), pair.buffers(), batches.example, fixed=batches.fixed, programs=programs)

    def _steps(self, batches: Minibatches) -> int:
        if self.epochs is not None:
            return self.epochs * batches.per_epoch
        return self.steps if self.steps is not None else _STEPS


def _stacked(replicas: list[list[Tensor]]) -> list[Tensor]:
    """Each tensor of every replica, ``(K, ...)``; of a single one in its own memory."""
    if len(replicas) == 1:
        return [value.detach()[None] for value in replicas[0]]
    return [torch.stack([value.detach() for value in values]) for values in zip(*replicas, strict=True)]


def _spread(losses: list[float]) -> str:
    finite = sorted(loss for loss in losses if math.isfinite(loss))
    failed = len(losses) - len(finite)
    return f"{finite[0]:.6g} to {finite[-1]:.6g}{f', {failed} of them not finite' if failed else ''}"


def _enumerated_elbo(sites: list[Site], particles: int) -> Any:
    """Pyro's, which sums finite discrete sites out; None without any."""
    if not any(site.kind == "discrete" and site.distribution.has_enumerate_support for site in sites):
        return None
    depth = max((-dim for site in sites for _, dim, _ in site.plates), default=0)
    return TraceEnum_ELBO(num_particles=particles, max_plate_nesting=depth)
