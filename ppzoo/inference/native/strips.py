"""Many rows, a strip at a time: units over the same rows become one loop over strips of them.

What one unit leaves for the next, row by row, then needs memory for a strip and not for all rows, and is still in the
cache when it is read. Sums over rows go on from strip to strip, so no number changes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from ppzoo.inference.native.layout import sizes, spread
from ppzoo.inference.native.repeats import Stretch
from ppzoo.inference.native.schedule import Leaf, Nest, Strip, Unit, leaves_of, reads_of, statements_of, targets_of
from ppzoo.inference.native.values import Buffer, Load, Map, Operand, Product, Reduce, Whole

__all__ = ["in_strips", "stripped"]

_FEWEST = 512  # rows that are worth it
_PASSED = 20  # units that may stand between two of one loop, and come before it or after


@dataclass
class _Access:
    """What units read and write: by buffer, whether only row by row."""

    reads: dict[Buffer, bool] = field(default_factory=dict)
    writes: dict[Buffer, bool] = field(default_factory=dict)

    def read(self, operand: Operand, stride: int, reach: int, rows: int) -> None:
        """An operand that moves by a stride from row to row, and within one up to ``reach``."""
        if isinstance(operand, Whole) and isinstance(operand.source, Buffer):
            self.add({operand.source: False}, {})
        elif isinstance(operand, Load):
            row = operand.buffer.size // rows
            self.add({operand.buffer: stride == row and operand.offset + reach < row}, {})

    def add(self, reads: dict[Buffer, bool], writes: dict[Buffer, bool]) -> None:
        """Reads and writes beside those so far."""
        for known, more in ((self.reads, reads), (self.writes, writes)):
            for buffer, by_row in more.items():
                known[buffer] = known.get(buffer, True) and by_row

    def before(self, other: _Access) -> bool:
        """Whether the other can follow in the same strip: it reads what is done by then, and overwrites nothing."""
        met = [by_row and self.writes[buffer] for buffer, by_row in other.reads.items() if buffer in self.writes]
        return all(met) and self.writes.keys().isdisjoint(other.writes) and self.reads.keys().isdisjoint(other.writes)


def stripped(stretches: Sequence[Stretch], after: Collection[Buffer]) -> list[Stretch]:
    """A schedule in which units over many rows are in strips, but for the bodies of loops.

    Args:
        stretches: The schedule, in order.
        after: Buffers that are read when all is done.
    """
    reads = [{b for unit in stretch.units for b in _read(unit)} for stretch in stretches]
    readers = Counter(buffer for each in reads for buffer in each)
    result = []
    for stretch, own in zip(stretches, reads, strict=True):
        kept = {buffer for buffer in own if readers[buffer] > 1}.union(after)
        elsewhere = kept.union(buffer for buffer in readers if buffer not in own)
        leaves = [leaf for unit in stretch.units for leaf in leaves_of(unit)]
        result.append(stretch if stretch.repeated else Stretch(in_strips(leaves, elsewhere), repeated=False))
    return result


def in_strips(units: Sequence[Leaf], read_elsewhere: Collection[Buffer]) -> list[Unit]:
    """A schedule in which units over many rows are in strips.

    Args:
        units: The schedule, in order.
        read_elsewhere: Buffers that are read when it is done, or by others.
    """
    left = list(units)
    result: list[Unit] = []
    while left:
        rows = _rows(left[0])
        run = _run(left, rows) if rows >= _FEWEST else _Run([], left[:1], left[1:], {})
        left = run.left
        result += run.ahead
        if len(run.units) == 1:
            result += run.units
            continue
        kept = {buffer for unit in left for buffer in _read(unit)}.union(read_elsewhere)
        inner = {b: b.size // rows for b, by_row in run.writes.items() if by_row and b not in kept}
        result.append(Strip(run.units, rows, inner))
    return result


def _rows(unit: Leaf) -> int:
    """How many rows a unit has: the size of its outermost loop; of a product, the largest of its sizes."""
    if isinstance(unit, Nest):
        return sizes(unit.size, unit.cuts)[0]
    return max(unit.sizes) if isinstance(unit, Product) else 0


class _Run(NamedTuple):
    """Units of one loop over strips; what comes before them, and after; what they write, and whether row by row."""

    ahead: list[Leaf]
    units: list[Leaf]
    left: list[Leaf]
    writes: dict[Buffer, bool]


def _run(units: list[Leaf], rows: int) -> _Run:
    """The first unit with those that can follow it in one loop."""
    ahead: list[Leaf] = []
    run: list[Leaf] = []
    passed: list[Leaf] = []
    done = _Access()
    for k, unit in enumerate(units):
        access = _access(unit, rows)
        if access is not None and done.before(access) and not _needs(unit, passed):
            run.append(unit)
            done.add(access.reads, access.writes)
        elif not run:
            return _Run([], units[:1], units[1:], {})
        elif access is not None or len(passed) + len(ahead) == _PASSED:
            return _Run(ahead, run, [*passed, *units[k:]], done.writes)
        else:
            (passed if _needs(unit, [*run, *passed]) else ahead).append(unit)
    return _Run(ahead, run, passed, done.writes)


def _needs(unit: Leaf, others: Sequence[Leaf]) -> bool:
    """Whether a unit has to come after one of the others."""
    reads, writes = set(_read(unit)), set(_written(unit))
    return any(not reads.isdisjoint(_written(o)) or not writes.isdisjoint((*_read(o), *_written(o))) for o in others)


def _read(unit: Unit) -> Iterator[Buffer]:
    return (buffer for statement in statements_of(unit) for buffer in reads_of(statement))


def _written(unit: Leaf) -> Iterator[Buffer]:
    return (buffer for statement in statements_of(unit) for buffer in targets_of(statement))


def _access(unit: Leaf, rows: int) -> _Access | None:
    """What a unit reads and writes in a loop over rows; None if it cannot be cut so."""
    if isinstance(unit, Nest):
        return _of_nest(unit, rows)
    return _of_product(unit, rows) if isinstance(unit, Product) and rows in unit.sizes else None


def _of_nest(nest: Nest, rows: int) -> _Access | None:
    dims, access = sizes(nest.size, nest.cuts), _Access()
    if dims[0] != rows:
        return None
    for statement in nest.statements:
        for operand in statement.operands:
            strides = spread(statement.shape, operand.strides, dims) if isinstance(operand, Load) else (0,)
            reach = sum((n - 1) * s for n, s in zip(dims[1:], strides[1:], strict=False))
            access.read(operand, strides[0], reach, rows)
        if isinstance(statement, Map) and statement.part is None:
            access.add({}, {statement.target: True})
        elif isinstance(statement, Reduce):
            stride = spread(statement.shape, statement.strides, dims)[0]
            if stride not in {0, statement.target.size // rows}:
                return None
            access.add({}, {statement.target: stride > 0})
        else:
            return None
    return access


def _of_product(product: Product, rows: int) -> _Access:
    access, axis = _Access(), product.axis(rows)
    (n, k, m), (_, _, an, ak, bk, bm) = product.sizes, product.strides
    left, right = product.operands
    steps = {"n": (an, (k - 1) * ak, 0, 0), "k": (ak, (n - 1) * an, bk, (m - 1) * bm), "m": (0, 0, bm, (k - 1) * bk)}
    a_step, a_reach, b_step, b_reach = steps[axis]
    access.read(left, a_step, a_reach, rows)
    access.read(right, b_step, b_reach, rows)
    access.add({}, {product.targets[0]: axis == "n" or (axis == "m" and n == 1)})
    return access
