"""Progress of a long run: a bar with speed and time left on a terminal, plain lines elsewhere; and figures to a log."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

__all__ = ["Log", "Progress"]

_SECONDS_BETWEEN_LINES = 5.0


class Log(Protocol):
    """Keeps figures by the step that they are of."""

    def add(self, step: int, figures: Mapping[str, float]) -> None:
        """Keep the figures of a step, or of those since the last that was kept."""


class Progress:
    """Reports steps done, their speed, time left and a few figures, on standard error.

    Args:
        total: Number of steps.
        label: What is running.
        show: ``True`` shows a bar on a terminal and plain lines elsewhere, ``None`` shows a bar on a terminal only,
            ``False`` shows nothing.
        log: Who keeps the figures beside.
        done: Steps that were done before.
    """

    def __init__(self, total: int, label: str, show: bool | None, log: Log | None = None, done: int = 0) -> None:
        terminal = sys.stderr.isatty()
        self._total = total
        self._label = label
        self._lines = bool(show) and not terminal
        self._bar = self._make_bar() if terminal and show is not False else None
        self._log = log
        self._done = self._before = done
        self._began = self._last_line = time.monotonic()

    def _make_bar(self) -> Bar:
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        return Bar(*columns, TextColumn("{task.fields[figures]}"), console=Console(stderr=True), transient=True)

    def __enter__(self) -> Progress:
        if self._bar is not None:
            self._bar.start()
            self._task = self._bar.add_task(self._label, total=self._total, completed=self._done, figures="")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def step(self, figures: Mapping[str, float] | None = None) -> None:
        """One more step is done; the figures say how it goes."""
        self.reach(self._done + 1, figures)

    def reach(self, done: int, figures: Mapping[str, float] | None = None, phase: str = "") -> None:
        """``done`` steps are done, never fewer than before; figures of a phase are not those of the run."""
        if done <= self._done:
            return
        self._done = done
        figures = figures or {}
        if self._log is not None and figures:
            start = f"{self._label}/{phase} " if phase else f"{self._label}/"
            self._log.add(done, {f"{start}{name}": value for name, value in figures.items()})
        if self._bar is None and not self._lines:
            return
        parts = [phase, *(f"{name} {value:.5g}" for name, value in figures.items())]
        if self._bar is not None:
            speed = (done - self._before) / max(time.monotonic() - self._began, 1e-9)
            self._bar.update(self._task, completed=done, figures=", ".join(filter(None, [_speed(speed), *parts])))
        else:
            self._line(list(filter(None, parts)))

    def _line(self, parts: list[str]) -> None:
        now = time.monotonic()
        if now - self._last_line < _SECONDS_BETWEEN_LINES and self._done < self._total:
            return
        self._last_line = now
        speed = (self._done - self._before) / max(now - self._began, 1e-9)
        left = f"{(self._total - self._done) / speed:.0f} s left"
        print(", ".join([f"{self._label}: {self._done}/{self._total}", _speed(speed), left, *parts]), file=sys.stderr)


def _speed(steps: float) -> str:
    """Steps a second, to three digits.

    Example:
        >>> _speed(0.1234), _speed(45_678.9)
        ('0.123/s', '45,700/s')
    """
    return f"{float(f'{steps:.3g}'):,.10g}/s"
