"""What goes into a run and what comes out of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ppzoo.diagnostics.diagnosis import Finding
from ppzoo.inference.keeping import Keeper
from ppzoo.inference.program import Pair
from ppzoo.processes import ALONE, Processes
from ppzoo.progress import Log

if TYPE_CHECKING:
    from ppzoo.diagnostics.arviz import Kind

__all__ = ["Method", "Outcome", "Run"]


@dataclass(frozen=True)
class Run:
    """What methods share: seed, type, device, whether to show progress, who keeps draws and figures, who takes part."""

    seed: int
    dtype: torch.dtype
    device: torch.device
    progress: bool | None
    keeper: Keeper | None = None
    processes: Processes = ALONE
    log: Log | None = None


@dataclass(frozen=True)
class Outcome:
    """What a method learnt beside the parameters of the pair, which it trains in place.

    Attributes:
        draws: Posterior draws of each latent site, shape ``(C, S, ...)``; ``None`` where the guide carries the
            posterior.
        kind: What these draws are: ``"mcmc"``, Markov chains; ``"draws"``, independent, in one chain; ``"point"``, one
            value.
        statistics: Sampler statistics under ArviZ's names, each ``(C, S)``.
        losses: Loss after each step, in nats; ``None`` for methods without one.
        numbers: Figures for the diagnosis (steps skipped, log evidence, iterations).
        notes: What the user should know about the road that was taken.
        findings: What the method itself has to say about its answer.
        interrupted: Whether the user stopped the run before its end.
    """

    draws: dict[str, Tensor] | None = None
    kind: Kind = "mcmc"
    statistics: dict[str, Tensor] = field(default_factory=dict)
    losses: NDArray[np.float64] | None = None
    numbers: dict[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    findings: tuple[Finding, ...] = ()
    interrupted: bool = False


class Method(Protocol):
    """A way to fit: a frozen value with its options and one verb."""

    name: ClassVar[str]
    prefers_float64: ClassVar[bool]
    needs_guide: ClassVar[bool]
    resumable: ClassVar[bool]  # whether a run that was stopped can go on, by its keeper
    streams: ClassVar[bool]  # whether rows may be read while it goes on: it has batch_size and rows

    def check_model(self, model: object) -> None:
        """Raise :class:`~ppzoo.errors.ModelError` where the model lacks the contract."""

    def run(self, pair: Pair, run: Run) -> Outcome:
        """Fit the pair in place, inside an isolated world."""
