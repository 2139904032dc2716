r"""Stochastic variational inference: maximise the evidence lower bound by gradient steps.

.. math:: \mathrm{ELBO}(\phi) = \mathbb{E}_{q_\phi(z)}[\log p(x, z) - \log q_\phi(z)] \le \log p(x)

Hoffman, Blei, Wang and Paisley, *Stochastic Variational Inference*, 2013, https://jmlr.org/papers/v14/hoffman13a.html;
Kucukelbir et al., *Automatic Differentiation Variational Inference*, 2017, https://jmlr.org/papers/v18/16-107.html.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
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
from ppzoo.inference.program import Pair, Site, check_program_like, has_method, sites_of
from ppzoo.inference.variational.descent import Descent, constant, cosine_decay
from ppzoo.inference.variational.guides import check_guide, check_guide_option, choose_guide
from ppzoo.inference.variational.minibatch import Minibatches
from ppzoo.inference.variational.objectives import Loss, elbo, traces
from ppzoo.inference.variational.step import Step
from ppzoo.progress import Progress

__all__ = ["SVI"]

_STEPS = 5000
_FUSED = {"cpu", "cuda"}  # devices on which torch updates all parameters in one pass

_OPTIMISERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
    "sgd": torch.optim.SGD,
}


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
        clip: Largest norm of the gradient, larger ones are scaled down; no limit when ``None``.
        init: ``"data"`` lets a model that can (a mixture) draw its starting parameters from the data, ``"model"``
            starts from its parameters as they are.
        guide: A function, an AutoGuide class or instance, or ``"normal" | "mvn" | "lowrank" | "delta"``; the
            model's own when ``None``, and ``"normal"`` where it has none.
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
    clip: float | None = None
    init: str = "data"
    guide: Any = None

    def __post_init__(self) -> None:
        for name in ("steps", "epochs", "batch_size"):
            if getattr(self, name) is not None:
                check_integer(name, getattr(self, name))
        check_guide_option(self.guide)
        check_integer("particles", self.particles)
        check_real("lr", self.lr, above=0)
        if self.clip is not None:
            check_real("clip", self.clip, above=0)
        check_choice("optimiser", self.optimiser, _OPTIMISERS)
        check_choice("schedule", self.schedule, ("cosine", "constant"))
        check_choice("init", self.init, ("data", "model"))
        if self.steps is not None and self.epochs is not None:
            raise OptionError("steps and epochs exclude each other", argument="epochs", got=f"{self.epochs} and steps")

    def check_model(self, model: object) -> None:
        """Any Pyro program can be fitted; a game cannot."""
        check_program_like(model, self.name)

    def run(self, pair: Pair, run: Run) -> Outcome:
        """Train the pair in place; the best state of the run is kept."""
        if self.init == "data" and has_method(pair.owner, "initialise"):
            pair.owner.initialise(*pair.data.args, **pair.data.kwargs)
        sites = list(sites_of(pair.trace_model()))
        latent = [site.name for site in sites if site.kind == "latent"]
        guide = pair.guide = choose_guide(self.guide, pair.owner, pair.model, latent)
        pair.to(dtype=run.dtype, device=run.device)
        pair.first_run()
        pair.to(dtype=run.dtype, device=run.device)
        check_guide(pair)
        batches = Minibatches(pair, self.batch_size)
        steps = self._steps(batches)
        decay = cosine_decay(steps) if self.schedule == "cosine" else constant
        descent = Descent(pair.trainable(), self._optimiser, decay=decay, clip=self.clip)
        warnings.filterwarnings("ignore", message="Encountered NaN")  # counted instead; isolated() restores filters
        for module in pair.modules().values():
            module.train()
        step = self._step(pair, guide, batches, sites)
        with Progress(steps, "svi", run.progress) as progress:
            for _ in range(steps):
                descent.step(*step(batches.draw()))
                progress.step(f"loss {descent.mean_loss:.4g}")
        descent.restore_best()
        for module in pair.modules().values():
            module.eval()
        why = f", for {step.reason}" if step.reason else ""
        notes = (f"Steps: {step.road}{why}.",)
        return Outcome(losses=np.asarray(descent.losses), numbers=descent.numbers(), notes=notes)

    def _step(self, pair: Pair, guide: Callable[..., Any], batches: Minibatches, sites: list[Site]) -> Step:
        """Loss and gradients, on rows that stand for all."""
        enumerated = _enumerated_elbo(sites, self.particles)
        model = batches.weighed(pair.model if enumerated is None else pair.enumerated())
        guide = batches.weighed(guide)

        def loss(data: Arguments) -> Loss:
            if enumerated is not None:
                value = enumerated.differentiable_loss(model, guide, *data.args, **data.kwargs)
                return Loss(value.detach(), value)
            parts = [elbo(*traces(model, guide, data)) for _ in range(self.particles)]
            return Loss(*(torch.stack(numbers).mean() for numbers in zip(*parts, strict=True)))

        programs = (pair.model, guide)
        return Step(loss, pair.trainable(), pair.buffers(), batches.example, fixed=batches.fixed, programs=programs)

    def _optimiser(self, parameters: list[Tensor]) -> torch.optim.Optimizer:
        fused = all(p.is_floating_point() and p.device.type in _FUSED for p in parameters)
        return _OPTIMISERS[self.optimiser](parameters, lr=self.lr, fused=fused)

    def _steps(self, batches: Minibatches) -> int:
        if self.epochs is not None:
            return self.epochs * batches.per_epoch
        return self.steps if self.steps is not None else _STEPS


def _enumerated_elbo(sites: list[Site], particles: int) -> Any:
    """Pyro's, which sums finite discrete sites out; None without any."""
    if not any(site.kind == "discrete" and site.distribution.has_enumerate_support for site in sites):
        return None
    depth = max((-dim for site in sites for _, dim, _ in site.plates), default=0)
    return TraceEnum_ELBO(num_particles=particles, max_plate_nesting=depth)
