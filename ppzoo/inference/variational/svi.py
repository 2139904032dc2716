r"""Stochastic variational inference: maximise the evidence lower bound by gradient steps.

.. math:: \mathrm{ELBO}(\phi) = \mathbb{E}_{q_\phi(z)}[\log p(x, z) - \log q_\phi(z)] \le \log p(x)

Hoffman, Blei, Wang and Paisley, *Stochastic Variational Inference*, 2013, https://jmlr.org/papers/v14/hoffman13a.html;
Kucukelbir et al., *Automatic Differentiation Variational Inference*, 2017, https://jmlr.org/papers/v18/16-107.html.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ppzoo.checks import check_choice, check_flag, check_integer, check_real
from ppzoo.diagnostics.diagnosis import Finding
from ppzoo.errors import FitError, OptionError
from ppzoo.inference.outcome import Outcome, Run
from ppzoo.inference.program import Guide, Pair, check_program_like
from ppzoo.inference.variational.course import Course
from ppzoo.inference.variational.descent import constant, cosine_decay
from ppzoo.inference.variational.failing import what_failed
from ppzoo.inference.variational.guides import check_guide_option
from ppzoo.inference.variational.losses import OBJECTIVES, Objective, loss_of
from ppzoo.inference.variational.minibatch import Minibatches
from ppzoo.inference.variational.optimisers import OPTIMISERS
from ppzoo.inference.variational.plan import Plan
from ppzoo.inference.variational.replicas import Replicas, begin
from ppzoo.inference.variational.settling import fall
from ppzoo.inference.variational.step import Step, draws_again, kept
from ppzoo.inference.variational.trainers import trainer_of
from ppzoo.inference.variational.training import Training
from ppzoo.processes import ALONE, Processes

__all__ = ["SVI"]

_STEPS, _MOST_STEPS = 5000, 20_000
_EXPECTED = 2500  # of a fit that ends when its loss has settled


@dataclass(frozen=True, kw_only=True)
class SVI:
    """Options of a fit by SVI.

    Attributes:
        steps: Gradient steps. ``"auto"`` takes them at one rate until the loss has settled, at most 20,000, and ends
            at the mean of the last iterates; a fit that has not settled says so. When neither steps nor epochs is
            given, ``"auto"`` for an ELBO that starts near the posterior, by Pathfinder, and 5,000 else.
        epochs: Passes over the data instead of steps; needs ``batch_size`` to mean more than a step each.
        lr: Learning rate at the start, > 0; in units of the posterior's scales where Pathfinder found them.
        optimiser: ``"adam"``, ``"adamw"`` or ``"sgd"``.
        schedule: ``"cosine"``, the default where the number of steps is known, lets the rate fall to a hundredth;
            ``"constant"`` keeps it.
        batch_size: Rows a step looks at; all of them when ``None``. Of a loader, which has its own, leave it out.
        rows: How many rows a loader gives in a pass, where ``len(loader.dataset)`` does not say it.
        objective: What is maximised: ``"elbo"``; a bound by importance weights of the particles, tighter and harder
            to train, ``"iwae"``, ``"renyi"`` or, with gradients that stay sharp, ``"dreg"``; or ``"wake-sleep"``, by
            which the guide covers the posterior instead of staying inside of it.
        alpha: Order of ``"renyi"``, >= 0: 0 is ``"iwae"``, and towards 1 it becomes ``"elbo"``.
        beta: Weight of the terms of latent sites in ``"elbo"``, > 0; other than 1, the optimum is not the posterior.
        anneal: Steps over which that weight rises from zero; from the start all of it when ``None``.
        particles: Draws of the guide per step: averaged by ``"elbo"``, weighed by the other objectives.
        replicas: Independent fits, trained side by side from different starts; the best one is kept.
        clip: Largest norm of the gradient, larger ones are scaled down; no limit when ``None``.
        autocast: Products of matrices in bfloat16, everything else in the fit's own type, float32. It pays where there
            are units for it, on a GPU or a processor with AMX, from some hundred rows a step.
        init: ``"pathfinder"`` starts near the posterior, each replica at the end of another path to a mode, and
            measures parameters in the posterior's scales; for guides by name of models without parameters of their
            own, on all rows. ``"data"`` starts at the median of the prior, and lets a model that can (a mixture) draw
            its starting parameters from the data; ``"model"`` starts from its parameters as they are. ``None`` is the
            first where that is possible, else the second.
        guide: A function, an AutoGuide class or instance, or ``"normal" | "mvn" | "lowrank" | "iaf" | "spline" |
            "structured" | "amortised" | "delta"``; the model's own when ``None``, and ``"normal"`` where it has none.
    """

    name: ClassVar[str] = "svi"
    prefers_float64: ClassVar[bool] = False
    needs_guide: ClassVar[bool] = True
    resumable: ClassVar[bool] = True
    streams: ClassVar[bool] = True

    steps: int | str | None = None
    epochs: int | None = None
    lr: float = 0.01
    optimiser: str = "adam"
    schedule: str | None = None
    batch_size: int | None = None
    rows: int | None = None
    objective: str = "elbo"
    alpha: float | None = None
    beta: float = 1.0
    anneal: int | None = None
    particles: int = 1
    replicas: int = 1
    clip: float | None = None
    autocast: bool = False
    init: str | None = None
    guide: Any = None

    def __post_init__(self) -> None:
        for name in ("steps", "epochs", "batch_size", "rows", "anneal"):
            value = getattr(self, name)
            if value is not None and (name, value) != ("steps", "auto"):
                check_integer(name, value)
        check_guide_option(self.guide)
        check_choice("objective", self.objective, OBJECTIVES)
        check_integer("particles", self.particles)
        self._check_objective()
        check_integer("replicas", self.replicas)
        check_real("lr", self.lr, above=0)
        if self.clip is not None:
            check_real("clip", self.clip, above=0)
        check_choice("optimiser", self.optimiser, OPTIMISERS)
        check_flag("autocast", self.autocast)
        if self.schedule is not None:
            check_choice("schedule", self.schedule, ("cosine", "constant"))
        if self.init is not None:
            check_choice("init", self.init, ("pathfinder", "data", "model"))
        if self.steps is not None and self.epochs is not None:
            raise OptionError("steps and epochs exclude each other", argument="epochs", got=f"{self.epochs} and steps")
        if self.schedule == "cosine" and self.steps == "auto":
            raise OptionError(
                "needs to know when it ends",
                argument="schedule",
                got='"cosine" and steps="auto"',
                remedy="Give a number of steps.",
            )

    def _check_objective(self) -> None:
        if self.objective != "elbo" and self.particles < 2:
            raise OptionError(
                f"weighs draws against each other with objective={self.objective!r}",
                argument="particles",
                got=self.particles,
                expected="an int >= 2",
                remedy="Give some, particles=8 say.",
            )
        if (self.alpha is not None) != (self.objective == "renyi"):
            raise OptionError(
                'belongs to objective="renyi", which needs it',
                argument="alpha",
                got=f"{self.alpha} and objective={self.objective!r}",
                remedy='Give objective="renyi", alpha=0.5, or neither.',
            )
        check_real("beta", self.beta, above=0)
        if self.objective != "elbo" and (self.beta != 1 or self.anneal is not None):
            raise OptionError(
                'belongs to objective="elbo"',
                argument="beta" if self.beta != 1 else "anneal",
                got=f"{self.beta if self.beta != 1 else self.anneal} and objective={self.objective!r}",
                remedy='Leave it out, or use objective="elbo".',
            )
        if self.alpha is not None and check_real("alpha", self.alpha, at_least=0) == 1:
            raise OptionError("is the limit that is the ELBO", argument="alpha", got=1, remedy='Use objective="elbo".')

    def check_model(self, model: object) -> None:
        """Any Pyro program can be fitted; a game cannot."""
        check_program_like(model, self.name)

    def run(self, pair: Pair, run: Run) -> Outcome:
        """Train the pair in place; the best state of the best replica is kept."""
        warnings.filterwarnings("ignore", message="Encountered NaN")  # counted instead; isolated() restores filters
        replicas = begin(pair, run, self.guide, self.init, self.replicas, self.batch_size)
        batches = Minibatches(pair, self.batch_size, run.seed, self._dividing(run.processes))
        for module in pair.modules().values():
            module.train()
        step, told = self._step(pair, replicas.guide, batches)
        settles = self.steps == "auto" or (replicas.placed and self._is_open())
        most = self._steps(batches, settles=settles)
        plan = self._plan(step, batches, replicas, run.seed, most, settles=settles)
        trainer, why = trainer_of(plan)
        training = Training(plan, trainer, most, run.keeper, batches.tolerance if settles else None)
        course, settling = training.course, training.settling
        with batches.reading(training.done, most, self.replicas):
            training.run(run.progress, run.log, 2 * (self.anneal or 0))
            lost = course.stuck or np.isnan(course.losses).all()
            findings = [*self._stuck(pair, replicas.guide, plan, course)] if lost else []
        course.restore_best()
        best = course.best()
        ends = settling.means() if settling is not None and settling.settled else plan.parameters
        step.stand_at([end[best] for end in ends], [b[best] for b in plan.buffers])
        for module in pair.modules().values():
            module.eval()
        losses = course.losses[best]
        finite = losses[~np.isnan(losses)]
        numbers = {
            "steps": float(len(losses)),
            "skipped": float(len(losses) - len(finite)),
            "seconds_steps": training.seconds,
        }
        notes = [f"Steps: {trainer.road}{f', for {why}' if why else ''}.", *replicas.notes, *told]
        notes += self._of_processes(run.processes, batches, step) if run.processes.size > 1 else ()
        if self.autocast:
            notes.append(_of_autocast(step))
        if self.replicas > 1:
            notes.append(f"The best of {self.replicas} replicas, whose last losses are {course.spread()} nats.")
        if run.processes.size > 1:
            numbers["processes"] = float(batches.processes.size)
        if settling is not None:
            numbers["settled"] = float(settling.settled)
            if self.replicas > 1:
                numbers["replica_r_hat"] = settling.r_hat()
        if training.interrupted:
            findings.append(Finding("caution", "the run was interrupted", training.stopped()))
        elif settling is not None and not settling.settled:
            findings.append(_unsettled(losses))
        return Outcome(
            losses=finite,
            numbers=numbers,
            notes=tuple(notes),
            findings=tuple(findings),
            interrupted=training.interrupted,
        )

    def _stuck(self, pair: Pair, guide: Guide, plan: Plan, course: Course) -> Iterator[Finding]:
        """That steps could no longer be taken, and why.

        Raises:
            FitError: If there is no state to keep.
        """
        best, last = course.best(), course.losses.shape[1] - 1
        plan.step.stand_at([p[best] for p in plan.parameters], [b[best] for b in plan.buffers])
        why = what_failed(pair, guide, plan.batches, last, best)
        remedy = "Lower lr, standardise the data, or look at ppzoo.check(model, data)."
        if not course.go_back():
            raise FitError("loss or gradient stayed non-finite", got=why, remedy=remedy)
        what = "loss or gradient stayed non-finite, and the fit stands where it was best before"
        yield Finding("reject", what, why, remedy)

    def _is_open(self) -> bool:
        """Whether the user left it to the loss when the fit ends."""
        return self.steps is None and self.epochs is None and self.schedule != "cosine" and self.objective == "elbo"

    def _plan(
        self, step: Step, batches: Minibatches, replicas: Replicas, seed: int, steps: int, *, settles: bool
    ) -> Plan:
        decay = constant if settles or self.schedule == "constant" else cosine_decay(steps)
        return Plan(
            step,
            batches,
            replicas.parameters,
            replicas.buffers,
            OPTIMISERS[self.optimiser],
            lambda t: self.lr * decay(t),
            math.inf if self.clip is None else self.clip,
            seed,
            _EXPECTED if settles else steps,
            self._weight(steps),
            replicas.units,
        )

    def _step(self, pair: Pair, guide: Guide, batches: Minibatches) -> tuple[Step, list[str]]:
        """Loss and gradients, on rows that stand for all, and notes on the loss."""
        annealed = self.anneal is not None
        objective = Objective(self.objective, self.particles, self.alpha, self.beta, annealed)
        learnt = pair.trainable(), pair.buffers()
        with kept(pair.buffers()), draws_again():  # what is run to choose a loss is no step
            loss, notes = loss_of(pair.rebind(batches.some), guide, batches, objective)
        programs = (pair.model, guide)
        share = batches.processes.share(batches.whole_example.rows)
        step = Step(
            loss,
            *learnt,
            batches.example,
            fixed=batches.fixed,
            weighed=annealed,
            programs=programs,
            whole=(batches.whole_example, share) if batches.processes.size > 1 else None,
        )
        if self.autocast:
            step.round_products()
        return step, notes

    def _dividing(self, processes: Processes) -> Processes:
        """Those that a step's rows may be divided among: a weight of draws is of all rows, or each row's own."""
        return processes if self.objective == "elbo" or self.batch_size is not None else ALONE

    def _of_processes(self, processes: Processes, batches: Minibatches, step: Step) -> Iterator[str]:
        """What a user of several processes should know."""
        if processes.size > batches.processes.size:
            why = batches.undivided or f"objective={self.objective!r} weighs all rows at once without batch_size"
            yield f"Each of the {processes.size} processes took every step with all rows: {why}."
            return
        if batches.local and (step.draws_itself or not batches.regular):
            yield "Each process drew numbers of its own: losses are one process's in the mean, not number by number."
        if step.changes_buffers:
            yield "What modules remember of batches is of each process's own rows, and their mean after every step."

    def _weight(self, steps: int) -> Callable[[int], float] | None:
        """What the terms of latent sites weigh in each step; None if always the same."""
        if self.anneal is None:
            return None
        if self.anneal >= steps:
            raise OptionError(
                "does not end before the last step", argument="anneal", got=self.anneal, expected=f"less than {steps}"
            )
        beta, anneal = self.beta, self.anneal
        return lambda t: beta * min(1.0, t / anneal)

    def _steps(self, batches: Minibatches, *, settles: bool) -> int:
        """How many there are, at most."""
        if settles:
            return _MOST_STEPS
        if self.epochs is not None:
            return self.epochs * batches.per_epoch
        return self.steps if isinstance(self.steps, int) else _STEPS


def _of_autocast(step: Step) -> str:
    if step.rounds_products:
        return "Products of matrices were rounded to bfloat16 (autocast)."
    why = step.reason or "there are none of float32 matrices, or the program writes in place"
    return f"No product of matrices was rounded to bfloat16 (autocast): {why}."


def _unsettled(losses: NDArray[np.float64]) -> Finding:
    return Finding(
        "caution",
        "the loss had not settled when the steps ended",
        f"after {len(losses):,} steps it may still fall by {fall(losses):.3g} nats in as many again",
        "Standardise the data, raise lr, or give more steps.",
    )
