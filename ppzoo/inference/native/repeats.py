"""Loops of the user's program, found again among the statements: what repeats is compiled once.

A program that runs through a Python loop leaves the same statements again and again, on other buffers. Where as many
statements in a row look like those one period before, each period is the body of a loop in C.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ppzoo.inference.native.schedule import Unit, schedule
from ppzoo.inference.native.values import Entry, Literal, Load, Map, Operand, Reduce, Splat, Statement, Update, Whole

__all__ = ["Stretch", "bodies", "stretches"]

_LOOKED_AT = 8  # statements in a row that tell where a period may begin anew
_PERIODS = 8  # of the most frequent distances between such rows, as many are tried
_BODY = 100  # statements of a body at least: values that stay in registers are worth more than short code
_COPIES = 4  # of a body at least
_WORTH = 1000  # statements that need not be compiled, at least


@dataclass(frozen=True)
class Stretch:
    """A part of a schedule: one run through the body of a loop if ``repeated``."""

    units: Sequence[Unit]
    repeated: bool


def stretches(statements: Sequence[Statement]) -> list[Stretch]:
    """The schedule of statements, cut where loops begin and end, and between their runs."""
    result: list[Stretch] = []
    done = 0
    for begin, end in [*bodies(statements), (len(statements), len(statements))]:
        if done < begin:
            result.append(Stretch(schedule(statements[done:begin]), repeated=False))
        if begin < end:
            result.append(Stretch(schedule(statements[begin:end]), repeated=True))
        done = end
    return result


def bodies(statements: Sequence[Statement]) -> list[tuple[int, int]]:
    """Begin and end of every run through a loop, in order."""
    cuts: list[tuple[int, int]] = []
    if len(statements) >= _WORTH:
        kinds: dict[object, int] = {}
        looks = np.array([kinds.setdefault(_look(s), len(kinds)) for s in statements], dtype=np.int64)
        while (found := _best(looks)) is not None:
            cuts += found
            for begin, end in found:
                looks[begin:end] = -1 - np.arange(begin, end)  # like nothing else
    return sorted(cuts)


def _look(statement: Statement) -> object:
    """What a statement has in common with the same one of another run through the loop."""
    operands = tuple(_kind(operand) for operand in statement.operands)
    if isinstance(statement, Map):
        part = statement.part and statement.part[0]
        return statement.template, operands, statement.shape, statement.target.dtype, statement.target.size, part
    if isinstance(statement, Reduce):
        return statement.combine, operands, statement.shape, statement.target.dtype, statement.strides
    if isinstance(statement, Update):
        return statement.template, operands, statement.shape, statement.target.dtype
    return statement.text, operands


def _kind(operand: Operand) -> object:
    if isinstance(operand, Load):
        return operand.strides, operand.buffer.dtype
    if isinstance(operand, (Splat, Entry)):
        return type(operand), operand.strides, operand.slot.dtype
    return Whole if isinstance(operand, Whole) else Literal


def _best(looks: NDArray[np.int64]) -> list[tuple[int, int]] | None:
    """Begin and end of the bodies of the period with which most statements are saved; None if none is worth it."""
    best: list[tuple[int, int]] = []
    most = _WORTH
    for period in _candidates(looks):
        found, saved = _runs(looks, period)
        if saved >= most:
            best, most = found, saved
    return best or None


def _candidates(looks: NDArray[np.int64]) -> list[int]:
    """Distances at which rows of statements often come again."""
    rows = np.lib.stride_tricks.sliding_window_view(looks, _LOOKED_AT)
    last: dict[bytes, int] = {}
    distances: Counter[int] = Counter()
    for i, row in enumerate(map(bytes, np.ascontiguousarray(rows))):
        if row in last:
            distances[i - last[row]] += 1
        last[row] = i
    return [distance for distance, _ in distances.most_common(_PERIODS)]


def _runs(looks: NDArray[np.int64], period: int) -> tuple[list[tuple[int, int]], int]:
    """The bodies of loops with this period, and how many statements they save."""
    same = np.concatenate([[0], (looks[:-period] == looks[period:]).astype(np.int8), [0]])
    edges = np.flatnonzero(np.diff(same))
    size = period * max(1, round(_BODY / period))
    bodies: list[tuple[int, int]] = []
    saved = 0
    for begin, end in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True):
        copies = (end - begin + period) // size
        if copies >= _COPIES:
            bodies += [(begin + k * size, begin + (k + 1) * size) for k in range(copies)]
            saved += (copies - 1) * size
    return bodies, saved
