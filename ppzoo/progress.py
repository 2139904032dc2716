"""Progress of a long run: a bar with time left on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

__all__ = ["Progress"]

_SECONDS_BETWEEN_LINES = 5.0


class Progress:
    """Reports steps done, time left and a few figures, on standard error.

    Args:
        total: Number of steps.
        label: What is running.
        show: ``True`` shows a bar on a terminal and plain lines elsewhere, ``None`` shows a bar on a terminal only,
            ``False`` shows nothing.
    """

    def __init__(self, total: int, label: str, show: bool | None) -> None:
        terminal = sys.stderr.isatty()
        self._total = total
        self._label = label
        self._lines = bool(show) and not terminal
        self._bar = self._make_bar() if terminal and show is not False else None
        self._done = 0
        self._began = self._last_line = time.monotonic()

    def _make_bar(self) -> Bar:
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        return Bar(*columns, TextColumn("{task.fields[figures]}"), console=Console(stderr=True), transient=True)

    def __enter__(self) -> Progress:
        if self._bar is not None:
            self._bar.start()
            self._task = self._bar.add_task(self._label, total=self._total, figures="")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def step(self, figures: str = "") -> None:
        """One more step is done; ``figures`` says how it goes."""
        self.reach(self._done + 1, figures)

    def reach(self, done: int, figures: str = "") -> None:
        """``done`` steps are done, never fewer than before."""
        if done <= self._done:
            return
        self._done = done
        if self._bar is not None:
            self._bar.update(self._task, completed=done, figures=figures)
        elif self._lines:
            self._line(figures)

    def _line(self, figures: str) -> None:
        now = time.monotonic()
        if now - self._last_line < _SECONDS_BETWEEN_LINES and self._done < self._total:
            return
        self._last_line = now
        left = (now - self._began) / self._done * (self._total - self._done)
        print(f"{self._label}: {self._done}/{self._total}, {left:.0f} s left {figures}".rstrip(), file=sys.stderr)
