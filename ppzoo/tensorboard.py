"""Figures of a run as events for TensorBoard, by torch's writer; an extra: ``pip install "ppzoo[tensorboard]"``."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from importlib.util import find_spec
from types import TracebackType
from typing import TYPE_CHECKING, Self

from ppzoo.errors import OptionError, StorageError

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

__all__ = ["Events"]

_SECONDS = 0.1  # between two events of a figure: a small model takes thousands of steps meanwhile


class Events:
    """A :class:`~ppzoo.progress.Log` in a folder.

    What earlier runs wrote there from the first step on that this one writes is hidden: a run that goes on where it was
    stopped continues its curves, one that begins anew replaces them.

    Args:
        folder: Where event files go; it is made with the first of them.

    Raises:
        OptionError: If TensorBoard is not installed.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        if find_spec("tensorboard") is None:
            raise OptionError(
                "needs TensorBoard, which is not installed",
                argument="log_dir",
                got=repr(os.fspath(folder)),
                remedy='pip install "ppzoo[tensorboard]", or leave it out.',
            )
        self._folder = os.fspath(folder)
        self._writer: SummaryWriter | None = None
        self._written = -_SECONDS
        self._waiting: tuple[int, Mapping[str, float]] | None = None  # the last figures, if they are not written

    def add(self, step: int, figures: Mapping[str, float]) -> None:
        """As :meth:`ppzoo.progress.Log.add`.

        Raises:
            StorageError: If the folder cannot be written.
        """
        now = time.monotonic()
        self._waiting = (step, figures)
        if now - self._written >= _SECONDS:
            self._write()
            self._written = now

    def _write(self) -> None:
        if self._waiting is None:
            return
        step, figures = self._waiting
        try:
            if self._writer is None:
                from torch.utils.tensorboard import SummaryWriter

                self._writer = SummaryWriter(self._folder, purge_step=step)
            for name, value in figures.items():
                self._writer.add_scalar(name, value, step)
        except OSError as error:
            raise StorageError(
                "cannot write events for TensorBoard",
                argument="log_dir",
                got=f"{error.strerror or error} ({self._folder!r})",
                remedy="Free space or choose another folder.",
            ) from error
        self._waiting = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None or self._writer is not None:
            self._write()
        if self._writer is not None:
            self._writer.close()
