"""The steps of a fit, window by window: watched, kept on disk where they are to last, and ended in time."""

from __future__ import annotations

import time
from collections.abc import Mapping

import torch
from torch import Tensor

from ppzoo.errors import StorageError
from ppzoo.inference.keeping import Keeper, Memory
from ppzoo.inference.variational.course import WINDOW, Course
from ppzoo.inference.variational.plan import Plan, Trainer
from ppzoo.inference.variational.settling import Settling
from ppzoo.progress import Log, Progress

__all__ = ["Training"]

_SECONDS = 5.0  # between two states on disk


class Training:
    """Trains all replicas of a plan.

    Attributes:
        course: Their losses, and the best state of each.
        settling: When they have settled; None if the number of steps is fixed.
        done: Steps taken.
        seconds: What they took, those of earlier processes included.
        interrupted: Whether the user stopped it; each replica then stands where it was best.
    """

    def __init__(
        self, plan: Plan, trainer: Trainer, steps: int, keeper: Keeper | None, tolerance: float | None
    ) -> None:
        """Stand at the beginning, or where a run that was stopped did.

        Args:
            plan: What is to be done.
            trainer: What takes its steps.
            steps: How many there are, at most.
            keeper: Who keeps losses and states; None to keep them in memory.
            tolerance: What the mean loss of a settled fit may fall by, in nats; None to take all steps.

        Raises:
            StorageError: If the run that was stopped took its steps another way.
        """
        self.course = Course(plan.parameters)
        self.settling = None if tolerance is None else Settling(plan.parameters, self.course, tolerance)
        self.done, self.seconds, self.interrupted = 0, 0.0, False
        self._trainer, self._steps, self._replicas, self._rate = trainer, steps, plan.replicas, plan.rate
        self._keeper = keeper or Memory()
        kept = self._keeper.begin({"loss": (torch.float64, ())}, chains=plan.replicas, draws=steps)
        self._saved, self._at = 0, time.monotonic()
        if int(kept.counts[0]):
            self._restore(int(kept.counts[0]), kept.state, kept.numbers)

    def run(self, progress: bool | None, log: Log | None, least: int) -> None:
        """Take the steps.

        Args:
            progress: As in :func:`ppzoo.fit`.
            log: Who keeps the mean loss of each window, and the rate.
            least: How many to take before it may settle.

        Raises:
            KeyboardInterrupt: If the user stopped it before there was a state to keep.
        """
        before, began = self.seconds, time.monotonic()
        with Progress(self._steps, "svi", progress, log, self.done) as bar:
            try:
                while self.done < self._steps and not self.course.stuck and not self._settled(least):
                    window = min(WINDOW, self._steps - self.done)
                    self.course.add(self._trainer.advance(window).numpy())
                    self.done += window
                    self.seconds = before + time.monotonic() - began
                    if self.settling is not None:
                        self.settling.look()
                    self._save()
                    loss = min(mean for mean, _ in self.course.recent())
                    bar.reach(self.done, {"loss": loss, "rate": self._rate(self.done - 1)})
            except KeyboardInterrupt:
                if not self.course.go_back():  # the last window may have been cut short anywhere
                    raise
                self.interrupted = True

    def stopped(self) -> str:
        """How far an interrupted run came, and how it goes on."""
        lost = "with run_dir it could go on"
        return f"after {self.done:,} steps; {'fit(..., resume=True) goes on' if self._keeper.lasting else lost}"

    def _settled(self, least: int) -> bool:
        return self.settling is not None and self.settling.settled and self.done > least

    def _save(self) -> None:
        """What is new, once in a while."""
        if not self._keeper.lasting or time.monotonic() - self._at < _SECONDS:
            return
        new = torch.from_numpy(self.course.since(self._saved))
        state = {f"trainer.{name}": value for name, value in self._trainer.snapshot().items()}
        state |= {f"course.{name}": value for name, value in self.course.snapshot().items()}
        if self.settling is not None:
            state |= {f"settling.{name}": value for name, value in self.settling.snapshot().items()}
        counts = torch.full((self._replicas,), new.shape[1], dtype=torch.int64, device="cpu")
        numbers = {"road": self._trainer.road, "seconds": self.seconds}
        self._keeper.append({"loss": new}, counts, {name: value.cpu() for name, value in state.items()}, numbers)
        self._saved, self._at = self.done, time.monotonic()

    def _restore(self, done: int, state: Mapping[str, Tensor], numbers: Mapping[str, object]) -> None:
        if numbers["road"] != self._trainer.road:
            raise StorageError(
                "holds a run that took its steps another way",
                argument="resume",
                got=f"{self._trainer.road} here, {numbers['road']} there",
                expected="the machine, compiler and versions of the run that was stopped",
                remedy="Go on where it ran, or begin anew without resume.",
            )

        def part(role: str) -> dict[str, Tensor]:
            prefix = f"{role}."
            return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}

        self._trainer.restore(part("trainer"))
        self.course.restore(self._keeper.take("loss")[:, :done].numpy(), part("course"))
        if self.settling is not None:
            self.settling.restore(part("settling"))
        self.done = self._saved = done
        self.seconds = float(str(numbers["seconds"]))
