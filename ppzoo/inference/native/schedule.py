"""Which statements share a loop, and where each buffer lies.

Statements come in an order that respects their dependencies. Each goes into the first loop nest that is late enough for
what it reads and whose shape it can share, else into a new one at the end. Within a nest, a buffer that is read at the
very element that was just computed needs no memory; the others share an arena by liveness.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from heapq import heappop, heappush
from math import inf, prod
from typing import TypeAlias

import torch

from ppzoo.inference.native.layout import collapse, cuts_of, join
from ppzoo.inference.native.values import (
    Block,
    Buffer,
    Load,
    Map,
    Operand,
    Reduce,
    Slot,
    Statement,
    Update,
    Whole,
)

__all__ = [
    "Leaf",
    "Nest",
    "Strip",
    "Unit",
    "leaves_of",
    "live",
    "place",
    "schedule",
    "slots_of",
    "split",
    "targets_of",
    "written",
]

RESERVED = 1  # the arena's first word: lanes in which a position was out of range
ROWS = 256  # of a strip
_CAPACITY = 160  # statements in one nest: beyond it, registers and compilers suffer


Looped: TypeAlias = Map | Update | Reduce


@dataclass(eq=False)
class Nest:
    """Statements in one loop nest over ``size`` elements."""

    size: int
    cuts: frozenset[int]
    statements: list[Looped] = field(default_factory=list)


Leaf: TypeAlias = Nest | Block


@dataclass(eq=False)
class Strip:
    """Units that run through the same rows, so many at a time.

    Attributes:
        units: In order.
        rows: How many there are.
        inner: Of buffers that only these units see, how many elements a row has; only one strip of them is kept.
    """

    units: list[Leaf]
    rows: int
    inner: dict[Buffer, int]


Unit: TypeAlias = Leaf | Strip


def leaves_of(unit: Unit) -> Sequence[Leaf]:
    """The units of a strip, or the unit itself."""
    return unit.units if isinstance(unit, Strip) else [unit]


def statements_of(unit: Unit) -> Sequence[Statement]:
    """A unit's statements, in order."""
    if isinstance(unit, Strip):
        return [statement for leaf in unit.units for statement in statements_of(leaf)]
    return [unit] if isinstance(unit, Block) else unit.statements


def targets_of(statement: Statement) -> tuple[Buffer, ...]:
    """The buffers that a statement writes."""
    return statement.targets if isinstance(statement, Block) else (statement.target,)


def _buffers(operand: Operand) -> Iterator[Buffer]:
    if isinstance(operand, Load):
        yield operand.buffer
    elif isinstance(operand, Whole) and isinstance(operand.source, Buffer):
        yield operand.source


def reads_of(statement: Statement) -> Iterator[Buffer]:
    """The buffers that a statement reads."""
    return (buffer for operand in statement.operands for buffer in _buffers(operand))


def written(units: Iterable[Unit]) -> list[Buffer]:
    """The buffers that the units write."""
    return [buffer for unit in units for statement in statements_of(unit) for buffer in targets_of(statement)]


def slots_of(units: Iterable[Unit]) -> dict[Slot, int]:
    """The slots that the units read, numbered."""
    operands = (operand for unit in units for statement in statements_of(unit) for operand in statement.operands)
    sources = (op.source if isinstance(op, Whole) else getattr(op, "slot", None) for op in operands)
    slots = dict.fromkeys(source for source in sources if isinstance(source, Slot))
    return {slot: k for k, slot in enumerate(slots)}


def live(statements: Sequence[Statement], results: Iterable[Buffer]) -> list[Statement]:
    """The statements on which the results depend, in order."""
    wanted = set(results)
    kept: list[Statement] = []
    for statement in reversed(statements):
        if not wanted.isdisjoint(targets_of(statement)):
            kept.append(statement)
            wanted.update(reads_of(statement))
    return kept[::-1]


def is_same_element(operand: Load, statement: Looped) -> bool:
    """Whether the operand is, at the n-th element of the statement's loop, the n-th of its buffer."""
    _, (strides,) = collapse(statement.shape, [operand.strides])
    return operand.offset == 0 and operand.buffer.size == prod(statement.shape) and strides in {(), (1,)}


class _Scheduler:
    def __init__(self) -> None:
        self.units: list[Leaf] = []
        self.open: dict[int, list[int]] = {}  # by size, the nests that have room, in order
        self.written: dict[Buffer, int] = {}  # the last unit that writes it
        self.filled: dict[Buffer, int] = {}  # the same, without parts that stand alone
        self.in_parts: set[Buffer] = set()  # not written element by element, in the order of one loop
        self.read: dict[Buffer, int] = {}  # the first unit that may overwrite it

    def add(self, statement: Statement) -> None:
        if isinstance(statement, Block):
            where = len(self.units)
            self.units.append(statement)
        else:
            where = self._nest_for(statement)
        alone = isinstance(statement, Map) and statement.alone
        for buffer in targets_of(statement):
            self.written[buffer] = max(where, self.written.get(buffer, 0))
            if not alone:
                self.filled[buffer] = self.written[buffer]
            if not isinstance(statement, Map) or statement.part is not None:
                self.in_parts.add(buffer)
        for operand in statement.operands:
            current = not isinstance(statement, Block) and self._is_current(operand, statement)
            for buffer in _buffers(operand):
                self.read[buffer] = max(where + (not current), self.read.get(buffer, 0))

    def _nest_for(self, statement: Looped) -> int:
        size, cuts = prod(statement.shape), cuts_of(statement.shape)
        nests = self.open.setdefault(size, [])
        for index in nests[bisect_left(nests, self._earliest(statement)) :]:
            nest = self.units[index]
            joined = join(size, nest.cuts, cuts) if isinstance(nest, Nest) else None
            if isinstance(nest, Nest) and joined is not None:
                nest.cuts = joined
                nest.statements.append(statement)
                if len(nest.statements) == _CAPACITY:
                    nests.remove(index)
                return index
        self.units.append(Nest(size, cuts, [statement]))
        nests.append(len(self.units) - 1)
        return nests[-1]

    def _earliest(self, statement: Looped) -> int:
        """The first unit late enough for what a statement reads and for what was written there before."""
        alone = isinstance(statement, Map) and statement.alone
        earliest = (self.filled if alone else self.written).get(statement.target, -1) + 1
        if isinstance(statement, Map) and statement.again:
            earliest = max(earliest, self.read.get(statement.target, 0))
        for operand in statement.operands:
            current = self._is_current(operand, statement)
            for buffer in _buffers(operand):
                earliest = max(earliest, self.written.get(buffer, -1) + (not current))
        return earliest

    def _is_current(self, operand: Operand, statement: Looped) -> bool:
        return isinstance(operand, Load) and operand.buffer not in self.in_parts and is_same_element(operand, statement)


def split(statements: Sequence[Statement], inputs: Iterable[Buffer]) -> tuple[list[Statement], list[Statement]]:
    """The statements that do not depend on the inputs, and those that do."""
    varying = set(inputs)
    for statement in statements:
        if not varying.isdisjoint(reads_of(statement)):
            varying.update(targets_of(statement))
    fixed = [statement for statement in statements if varying.isdisjoint(targets_of(statement))]
    return fixed, [statement for statement in statements if not varying.isdisjoint(targets_of(statement))]


def schedule(statements: Sequence[Statement]) -> list[Leaf]:
    """Loop nests and blocks in an order that respects every dependency."""
    scheduler = _Scheduler()
    for statement in statements:
        scheduler.add(statement)
    return scheduler.units


def words(buffer: Buffer) -> int:
    """Size in the arena, in units of one double per lane."""
    return (buffer.size + 1) // 2 if buffer.dtype is torch.float32 else buffer.size


@dataclass
class Placement:
    """Where buffers lie.

    Attributes:
        offsets: Position of each buffer in the arena, in units of one double per lane.
        inner: Buffers that live only within the body of one nest.
        size: Size of the arena.
    """

    offsets: dict[Buffer, int]
    inner: set[Buffer]
    size: int


def place(units: Sequence[Unit], before: Collection[Buffer], after: Collection[Buffer]) -> Placement:
    """Place the buffers of a schedule; ``before`` are there from the start, ``after`` stay to the end."""
    first: dict[Buffer, int] = dict.fromkeys(before, -1)
    last: dict[Buffer, int] = dict.fromkeys(before, -1)
    made: dict[Buffer, Leaf] = {}
    outer: set[Buffer] = set(before) | set(after)
    strips = [unit for unit in units if isinstance(unit, Strip)]
    for index, unit in enumerate(units):  # within a strip nothing takes another's place: the next strip begins anew
        for leaf in leaves_of(unit):
            for statement in statements_of(leaf):
                for buffer in targets_of(statement):
                    first.setdefault(buffer, index)
                    made.setdefault(buffer, leaf)
                    last[buffer] = index
                    if not isinstance(statement, Map) or statement.part is not None:
                        outer.add(buffer)
                for buffer in reads_of(statement):
                    if made.get(buffer) is not leaf:
                        outer.add(buffer)
                    last[buffer] = index
    last.update(dict.fromkeys(after, len(units)))
    need = {buffer: words(buffer) for buffer in first}
    need |= {b: words(Buffer(size * ROWS, b.dtype)) for strip in strips for b, size in strip.inner.items()}
    return _pack(first, last, outer, need)


def _pack(first: dict[Buffer, int], last: dict[Buffer, int], outer: set[Buffer], words: dict[Buffer, int]) -> Placement:
    """First fit over the arena's gaps, in order of birth."""
    offsets: dict[Buffer, int] = {}
    gaps: list[tuple[int, float]] = [(RESERVED, inf)]  # begin and end, in order
    alive: list[tuple[int, int, int]] = []  # a heap: last use, begin, end
    size = RESERVED
    for buffer in sorted((b for b in first if b in outer), key=lambda b: first[b]):
        while alive and alive[0][0] < first[buffer]:
            _free(gaps, *heappop(alive)[1:])
        need = words[buffer]
        i, (begin, end) = next((i, gap) for i, gap in enumerate(gaps) if gap[1] - gap[0] >= need)
        offsets[buffer] = begin
        if need > 0:
            gaps[i : i + 1] = [(begin + need, end)] if begin + need < end else []
            heappush(alive, (last[buffer], begin, begin + need))
        size = max(size, begin + need)
    return Placement(offsets, set(first) - outer, size)


def _free(gaps: list[tuple[int, float]], begin: int, end: float) -> None:
    """One more gap, joined to those that it touches."""
    i = bisect_left(gaps, (begin, end))
    if end == gaps[i][0]:  # there is always one behind it, without end
        end = gaps.pop(i)[1]
    if i > 0 and gaps[i - 1][1] == begin:
        i -= 1
        begin = gaps.pop(i)[0]
    gaps.insert(i, (begin, end))
