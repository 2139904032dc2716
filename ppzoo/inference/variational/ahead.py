"""What comes in order, read a portion ahead in another thread while the present one is used."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from types import TracebackType
from typing import Generic, Self, TypeVar

from ppzoo.isolation import random_state
from ppzoo.rng import stream_seed

__all__ = ["Ahead"]

T = TypeVar("T")


class Ahead(Generic[T]):
    """The first entries of some endless sequences, side by side, in portions of so many.

    In another thread, the next portion is read while the present one is in use; in this thread, when it is asked for,
    random draws that reading takes being its own. What goes wrong while reading is raised where the portion is asked
    for. When the context ends, however it does, so has the thread.

    Args:
        sequences: What to read; nobody else reads them.
        each: Entries of a portion.
        start: The place of the first entry.
        end: The place after the last that will be asked for.
        seed: Of the draws that reading takes in this thread.
        threaded: Whether to read in another thread.
    """

    def __init__(
        self, sequences: Sequence[Iterator[T]], *, each: int, start: int, end: int, seed: int, threaded: bool
    ) -> None:
        self._sequences, self._each, self._seed = sequences, each, seed
        self._start, self._count = start, end - start
        self._pool = ThreadPoolExecutor(1, "ppzoo-rows") if threaded else None
        self._number = -1
        self._now: list[list[T]] = []
        self._next: Future[list[list[T]]] | None = None

    def at(self, place: int, sequence: int) -> T:
        """An entry of a sequence; places go up, but for those of one portion.

        Raises:
            IndexError: If the portion has gone by.
        """
        number, within = divmod(place - self._start, self._each)
        if number < self._number:
            raise IndexError(f"entry {place} has gone by: portion {self._number} is in use")
        while self._number < number:
            self._advance()
        return self._now[sequence][within]

    def _advance(self) -> None:
        number = self._number + 1
        if self._pool is None:
            with random_state(stream_seed(self._seed, "loader", number)):
                self._now = self._read(number)
        else:
            self._now = (self._next or self._pool.submit(self._read, number)).result()
            more = (number + 1) * self._each < self._count
            self._next = self._pool.submit(self._read, number + 1) if more else None
        self._number = number

    def _read(self, number: int) -> list[list[T]]:
        size = min(self._each, self._count - number * self._each)
        return [list(islice(sequence, size)) for sequence in self._sequences]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)
        self._sequences = []  # which ends what they have started
