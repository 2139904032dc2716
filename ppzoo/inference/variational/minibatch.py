r"""Minibatches whose ELBO has the full data's expectation.

Rows are the first axis of every array argument with as many entries as the longest. A step runs the program on
:math:`B` of :math:`N` rows and weighs every site inside the plate over rows by :math:`N / B`; sites outside keep
weight one. The plate over rows is the one whose size follows the number of rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pyro
import torch
from pyro.infer.autoguide import AutoGuide
from pyro.poutine.messenger import Messenger
from torch import Tensor

from ppzoo.datasets.arguments import Arguments, Place, Source
from ppzoo.errors import DataError, ModelError, OptionError
from ppzoo.inference.door import check_support, is_real
from ppzoo.inference.program import Pair, Site, run_once, sites_of
from ppzoo.inference.rows import fewer_rows, plates_over_rows, some_rows, watched
from ppzoo.inference.variational.ahead import Ahead
from ppzoo.inference.variational.course import WINDOW
from ppzoo.inference.variational.guides import check_guide
from ppzoo.inference.variational.noise import at_once
from ppzoo.inference.variational.settling import TOLERANCE
from ppzoo.processes import ALONE, Processes
from ppzoo.rng import stream_seed

__all__ = ["Minibatches"]

_PER_ROW = 1e-3  # nats


class Minibatches:
    """The arguments of each step, rows shuffled anew each epoch: by the seed, and the step's and the replica's number.

    Args:
        pair: The pair, on the full data.
        batch_size: Rows a step; ``None`` for all.
        seed: The root seed of the run.
        processes: Those that a step's rows are divided among.

    Attributes:
        plates: Names of the plates over rows; empty where every step sees all rows.
        processes: Those that they are divided among; this one alone where they cannot be.
        undivided: Why not; else empty.
        local: Whether rows have latent sites of their own.

    Raises:
        OptionError: If there are no rows, or fewer than ``batch_size``, or fewer in a batch than processes.
        ModelError: If no plate follows the rows, or the guide cannot follow them.
    """

    def __init__(self, pair: Pair, batch_size: int | None, seed: int, processes: Processes = ALONE) -> None:
        self._data, self._seed = pair.data, seed
        self._own = pair.data  # of a step that sees all rows
        self.processes, self.undivided, self.local = processes, "", False
        self._rows, self._source = pair.data.total, pair.data.source
        self._ahead: Ahead[Arguments] | None = None
        if self._source is not None:
            batch_size = self._source.size
        streamed = self._source is not None
        self._batch = batch_size if batch_size is not None and (batch_size < self._rows or streamed) else None
        self.plates: frozenset[str] = frozenset()
        self._orders: dict[int, tuple[int, Tensor]] = {}  # by replica, the epoch and its order
        if batch_size is not None and batch_size > self._rows:
            raise OptionError(
                "is larger than the data", argument="batch_size", got=batch_size, expected=f"at most {self._rows} rows"
            )
        if self._batch is not None and batch_size is not None:
            _check_for_each(processes, batch_size, "batch_size")
            self.plates = self._find_plates(pair, batch_size)
        elif processes.size > 1:
            self._divide(pair)
        self._seen = self._size  # rows of the present step, those of all processes
        self._watched: dict[Place, Site] = {}
        if self._source is not None:
            with pyro.validation_enabled():
                found, _ = watched(pair.rebind(self.some))
            self._watched = {place: site for place, site in found.items() if not is_real(site.distribution.support)}

    @property
    def per_epoch(self) -> int:
        """Steps in one pass over the data; a ragged last batch is left to the next shuffle."""
        if self._source is not None:
            return self._source.per_epoch
        return 1 if self._batch is None else max(1, self._rows // self._batch)

    @property
    def fixed(self) -> bool:
        """Whether every step sees all rows."""
        return self._batch is None

    @property
    def tolerance(self) -> float:
        """What the loss of a settled fit may still fall by, in nats: more where it is known from a few rows a step."""
        return TOLERANCE if self._batch is None else max(TOLERANCE, _PER_ROW * self._rows)

    def weighed(self, program: Callable[..., Any]) -> Callable[..., Any]:
        """A program in which the rows of a step stand for all."""
        if not self.plates:
            return program
        weighed: Callable[..., Any] = _Weigh(self.plates, self._weight)(program)
        return weighed

    def _weight(self, size: int) -> float:
        """What each of so many rows weighs; those of a share stand for the share's part of the mean over processes."""
        share = self.processes.share(self._seen)
        if size == share.stop - share.start:
            return self.processes.size * self._rows / self._seen
        return self._rows / size

    @property
    def some(self) -> Arguments:
        """Data that stand for all where a guide is chosen and a loss set up."""
        return some_rows(self._data, self._batch)

    @property
    def example(self) -> Arguments:
        """Data such as every step sees in this process."""
        return self._shared(self.whole_example)

    @property
    def whole_example(self) -> Arguments:
        """Data such as every step sees in all processes."""
        return self._data if self._batch is None else self._data.take(torch.arange(self._batch, device="cpu"))

    @property
    def streamed(self) -> bool:
        """Whether rows are read while the fit goes on."""
        return self._source is not None

    @property
    def regular(self) -> bool:
        """Whether every step sees as many rows."""
        return self._source is None or self._source.regular

    @property
    def portion(self) -> int:
        """How many steps' rows are in memory at once."""
        return at_once(sum(value.nbytes for value in self.example.tensors()) if self._source is not None else 0)

    @contextmanager
    def reading(self, first: int, steps: int, replicas: int) -> Iterator[None]:
        """Inside, :meth:`batch` can be asked for rows that are read while the fit goes on, step by step.

        The replicas may take their steps one after the other, so many of them at a time as the loss is averaged over.
        A loader, whose order is its own, begins with step 0 in any case: a run that goes on reads past what it has had.

        Args:
            first: The first step that will be asked for.
            steps: How many there are in all.
            replicas: Who ask for them.
        """
        if self._source is None:
            yield
            return
        threaded, each = self._source.threaded, self.portion if replicas == 1 else WINDOW
        own, start = (range(replicas), first) if threaded else (range(1), 0)
        sequences = [self._held_against_supports(self._source, k, start) for k in own]
        with Ahead(sequences, each=each, start=start, end=steps, seed=self._seed, threaded=threaded) as self._ahead:
            yield

    def _held_against_supports(self, source: Source, replica: int, first: int) -> Iterator[Arguments]:
        for number, batch in enumerate(source.batches(self._data, self._seed, replica, first), first):
            for place, site in self._watched.items():
                try:
                    check_support(replace(site, value=batch.at(place)))
                except DataError as error:
                    got = f"{error.got} of batch {number}"
                    raise DataError(
                        error.problem,
                        argument=error.argument,
                        got=got,
                        expected=error.expected,
                        remedy=error.remedy,
                    ) from None
            yield batch

    def batch(self, step: int, replica: int = 0) -> Arguments:
        """The data of a step in this process."""
        if self._batch is None:
            return self._own
        if self._ahead is None:
            return self._data.take(self.rows(step, replica)[self.processes.share(self._batch)])
        batch = self.whole_batch(step, replica)
        self._seen = batch.rows
        return self._shared(batch)

    def whole_batch(self, step: int, replica: int = 0) -> Arguments:
        """The data of a step in all processes."""
        if self._ahead is not None:
            return self._ahead.at(step, replica if self._source is not None and self._source.threaded else 0)
        return self._data if self._batch is None else self._data.take(self.rows(step, replica))

    def _shared(self, whole: Arguments) -> Arguments:
        """This process's rows."""
        if self.processes.size == 1:
            return whole
        _check_for_each(self.processes, whole.rows, "data")
        return whole.take(torch.arange(whole.rows, device="cpu")[self.processes.share(whole.rows)])

    def rows(self, step: int, replica: int = 0) -> Tensor:
        """Which rows a step sees, ``(B,)``."""
        epoch, place = divmod(step, self.per_epoch)
        size = self._size
        known, order = self._orders.get(replica, (-1, torch.empty(0)))
        if known != epoch:
            generator = torch.Generator("cpu").manual_seed(stream_seed(self._seed, "rows", replica, epoch))
            order = torch.randperm(self._rows, device="cpu", generator=generator)
            self._orders[replica] = epoch, order
        return order[place * size : (place + 1) * size]

    @property
    def tensors(self) -> list[tuple[Tensor, bool]]:
        """The tensors among all data, in order, and whether a step sees some rows of them only."""
        return [(value, self._batch is not None and self._data.by_rows(value)) for value in self._data.tensors()]

    @property
    def _size(self) -> int:
        """Rows of a step."""
        return self._rows if self._batch is None else self._batch

    def _divide(self, pair: Pair) -> None:
        """Give each process a share of all rows, where the program can follow it."""
        size = self.processes.size
        try:
            _check_for_each(self.processes, self._rows, "data")
            self.plates = self._find_plates(pair, self._rows // size)
        except (ModelError, OptionError) as error:
            self.processes, self.undivided = ALONE, error.problem
            return
        self._own = self._shared(self._data)

    def _find_plates(self, pair: Pair, batch_size: int) -> frozenset[str]:
        plates = plates_over_rows(pair, batch_size)
        local = [
            s.name
            for s in sites_of(pair.rebind(self.some).trace_model())
            if s.kind == "latent" and _inside(s.plates, plates)
        ]
        self.local = bool(local)
        if local and isinstance(pair.guide, AutoGuide):
            raise ModelError(
                "an automatic guide cannot follow minibatches through latent sites of each row",
                argument="guide",
                got=f"{type(pair.guide).__name__} with local sites {', '.join(map(repr, local))}",
                expected="a guide that computes them from the batch",
                remedy='Use guide="amortised" or a guide function of your own, or leave batch_size out.',
            )
        _check_follows(pair.rebind(fewer_rows(pair.data, batch_size)))
        return plates


def _check_for_each(processes: Processes, rows: int, argument: str) -> None:
    """Raise :class:`OptionError` where some process would have no row of a step."""
    if rows < processes.size:
        raise OptionError(
            "has fewer rows than there are processes to divide them among",
            argument=argument,
            got=f"{rows} rows for {processes.size} processes",
            expected="one or more for each",
            remedy="Start fewer processes, or give larger batches (of a loader: drop_last=True).",
        )


def _check_follows(few: Pair) -> None:
    """The guide, its parameters made on other rows, runs on these and gives sites the model's shapes."""
    try:
        if few.guide is not None:
            run_once(few.guide, few.data, "guide")
        check_guide(few)
    except ModelError as error:
        raise ModelError(
            "cannot follow minibatches: on one row less than it first saw it fails",
            argument="guide",
            got=str(error),
            expected="a guide that computes the sites of a row from the batch",
            remedy='Keep parameters of each row out of it, as guide="amortised" does, or leave batch_size out.',
        ) from error


class _Weigh(Messenger):
    """Multiplies the log probability of every site inside one of the plates, whose entries stand for all rows."""

    def __init__(self, plates: frozenset[str], weight: Callable[[int], float]) -> None:
        super().__init__()
        self._plates, self._weight = plates, weight

    def _pyro_sample(self, msg: dict[str, Any]) -> None:
        size = next((frame.size for frame in msg["cond_indep_stack"] if frame.name in self._plates), None)
        if size is not None:
            msg["scale"] = msg["scale"] * self._weight(size)


def _inside(plates: tuple[tuple[str, int, int], ...], wanted: frozenset[str]) -> bool:
    return any(name in wanted for name, _, _ in plates)
