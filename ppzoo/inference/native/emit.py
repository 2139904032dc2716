"""C text of loop nests and blocks.

Every operand is loaded at the outermost depth at which its position is known; every reduction accumulates in a register
as far out as its target's position allows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor

from ppzoo.inference.native.layout import sizes, spread
from ppzoo.inference.native.names import BodyNames, Names, StripNames, c_type
from ppzoo.inference.native.repeats import Stretch
from ppzoo.inference.native.schedule import ROWS, Looped, Nest, Strip, Unit, leaves_of
from ppzoo.inference.native.values import (
    Block,
    Buffer,
    Entry,
    Literal,
    Load,
    Map,
    Operand,
    Product,
    Reduce,
    Splat,
    Whole,
    letter,
)

__all__ = ["Code", "unit_text"]

_PART = 300  # statements in one C function
_BLOCK = 20  # of them, that a block counts for


def _index(strides: Sequence[int]) -> str:
    return " + ".join([f"{s} * i{k}" if s != 1 else f"i{k}" for k, s in enumerate(strides) if s]) or "0"


def _depth(strides: Sequence[int]) -> int:
    """How many loops must be open to know the position."""
    return max((k + 1 for k, s in enumerate(strides) if s), default=0)


class _NestText:
    """Lines of one nest, by depth: before the inner loop and after it."""

    def __init__(self, nest: Nest, names: Names, mark: str = "") -> None:
        self.names = names
        self.mark = mark  # of what is loaded, where several nests stand side by side
        self.dims = sizes(nest.size, nest.cuts)
        self.before: list[list[str]] = [[] for _ in range(len(self.dims) + 1)]
        self.after: list[list[str]] = [[] for _ in range(len(self.dims) + 1)]
        self.fills: list[str] = []  # of rows, before each strip
        self.loaded: dict[tuple[object, ...], str] = {}
        self.current: set[Buffer] = set()
        for statement in nest.statements:
            self._state(statement)

    def _state(self, statement: Looped) -> None:
        if isinstance(statement, Map):
            self._map(statement)
        elif isinstance(statement, Reduce):
            self._reduce(statement)
        else:
            operands = (self._operand(operand, statement.shape) for operand in statement.operands)
            self.before[-1].append(statement.template.format(self.names.pointer(statement.target), *operands))

    def _operand(self, operand: Operand, shape: Sequence[int]) -> str:
        if isinstance(operand, Literal):
            return self.names.literal(operand.code)
        if isinstance(operand, Whole):
            return self.names.start(operand.source)
        strides = spread(shape, operand.strides, self.dims)
        if isinstance(operand, Load):
            if operand.buffer in self.current:
                return self.names.temporary(operand.buffer)
            return self._load(
                (operand.buffer, strides, operand.offset),
                f"{c_type(operand.buffer.dtype)} {{0}} = "
                f"{self.names.pointer(operand.buffer, operand.offset)}[{_index(strides)}];",
                _depth(strides),
            )
        text = f"{self.names.data(operand.slot, operand.offset)}[{_index(strides)}]"
        if isinstance(operand, Entry):
            return self._load(("entry", operand.slot, strides), f"int64_t {{0}} = {text};", _depth(strides))
        kind = letter(operand.slot.dtype)
        line = f"{kind.upper()} {{0}} = splat_{kind}({text});"
        return self._load((operand.slot, strides, operand.offset), line, _depth(strides))

    def _load(self, key: tuple[object, ...], line: str, depth: int) -> str:
        if key not in self.loaded:
            self.loaded[key] = f"x{self.mark}{len(self.loaded)}"
            self.before[depth].append(line.format(self.loaded[key]))
        return self.loaded[key]

    def _map(self, statement: Map) -> None:
        value = statement.template.format(*(self._operand(op, statement.shape) for op in statement.operands))
        body, target = self.before[-1], statement.target
        if statement.part is not None:
            strides, offset = statement.part
            index = _index(spread(statement.shape, strides, self.dims))
            body.append(f"{self.names.pointer(target, offset)}[{index}] = {value};")
            return
        name = self.names.temporary(target)
        body.append(f"{c_type(target.dtype)} {name} = {value};")
        self.current.add(target)
        if target not in self.names.placement.inner:
            strides = spread((prod(self.dims),), (1,), self.dims)
            body.append(f"{self.names.pointer(target)}[{_index(strides)}] = {name};")

    def _reduce(self, statement: Reduce) -> None:
        value = self._operand(statement.operands[0], statement.shape)
        strides = spread(statement.shape, statement.strides, self.dims)
        depth, target = _depth(strides), statement.target
        place = f"{self.names.pointer(target)}[{_index(strides)}]"
        name = f"r{self.names.numbers.setdefault(target, len(self.names.numbers))}"
        kind = statement.register or c_type(target.dtype)
        if all(strides[:depth]):  # every position is met once
            self.before[depth].append(f"{kind} {name} = {statement.start};")
        else:
            fill = f"for (long j = {{}}; j < {{}}; j++) {self.names.pointer(target)}[j] = {statement.start};"
            if self.mark and strides[0]:
                self.fills.append(fill.format(f"{strides[0]} * b", f"{strides[0]} * e"))
            else:
                self.before[0].append(fill.format(0, target.size))
            self.before[depth].append(f"{kind} {name} = {place};")
        self.before[-1].append(f"{name} = {statement.combine.format(name, value)};")
        self.after[depth].append(f"{place} = {statement.finish.format(name)};")

    def text(self) -> list[str]:
        """The nest as lines of C."""
        return ["{", *self.before[0], *self.loop("0", str(self.dims[0])), *self.after[0], "}"]

    def loop(self, begin: str, end: str) -> list[str]:
        """The outermost loop from here to there, with all that is inside."""
        lines = [*self.fills, f"for (long i0 = {begin}; i0 < {end}; i0++) {{"]
        for k, size in enumerate(self.dims[1:], 1):
            lines += [*self.before[k], f"for (long i{k} = 0; i{k} < {size}; i{k}++) {{"]
        lines += self.before[-1]
        for k in range(len(self.dims), 0, -1):
            lines += [*self.after[k], "}"]
        return lines


def unit_text(unit: Unit, names: Names) -> list[str]:
    """A unit of the schedule as lines of C."""
    if isinstance(unit, Nest):
        return _NestText(unit, names).text()
    return _strip_text(unit, names) if isinstance(unit, Strip) else [_block_text(unit, unit.text, names)]


def _block_text(block: Block, text: str, names: Names) -> str:
    arguments = [_argument(operand, names) for operand in block.operands]
    return text.format(*arguments, *(names.pointer(target) for target in block.targets)) + ";"


def _strip_text(strip: Strip, names: Names) -> list[str]:
    """One loop over strips; what the nests do before their loops and after them is done once."""
    names = StripNames(names.placement, names.slots, names.numbers, strip.inner)
    before: list[str] = []
    inside: list[str] = []
    after: list[str] = []
    for k, unit in enumerate(strip.units):
        if isinstance(unit, Nest):
            text = _NestText(unit, names, f"{k}_")
            before += text.before[0]
            inside += text.loop("b", "e")
            after += text.after[0]
        elif isinstance(unit, Product):
            inside.append(_block_text(unit, unit.call("b", unit.axis(strip.rows), "e - b"), names))
    head = f"for (long b = 0, e; b < {strip.rows}; b = e) {{"
    end = f"e = b + {ROWS} < {strip.rows} ? b + {ROWS} : {strip.rows};"
    return ["{", *before, head, end, *inside, "}", *after, "}"]


def _argument(operand: Operand, names: Names) -> str:
    if isinstance(operand, Whole):
        return names.start(operand.source)
    if isinstance(operand, Load):
        return names.pointer(operand.buffer, operand.offset)
    if isinstance(operand, Splat):
        return names.data(operand.slot, operand.offset)
    if isinstance(operand, Literal):
        return operand.code
    raise TypeError(operand)


class Code:
    """C functions that run through a schedule, and the tables that the bodies of loops read.

    Attributes:
        text: The functions.
    """

    def __init__(self, names: Names) -> None:
        self.text = ""
        self._names = names
        self._functions = 0
        self._bodies: dict[str, str] = {}
        self._places: list[int] = []
        self._values: list[float] = []

    @property
    def tables(self) -> list[Tensor]:
        """What belongs behind the slots: the rows of ``o`` and of ``v``, one after the other; nothing without loops."""
        tables = [torch.tensor(self._places, dtype=torch.int64), torch.tensor(self._values, dtype=torch.float64)]
        return tables if self._bodies else []

    def add(self, stretches: Sequence[Stretch]) -> str:
        """Functions for the next stretches of the schedule; their calls."""
        calls: list[_Call] = []
        for stretch in stretches:
            for call in [self._run_through(stretch.units)] if stretch.repeated else self._parts(stretch.units):
                if stretch.repeated and calls and calls[-1].function == call.function:
                    calls[-1].times += 1
                else:
                    calls.append(call)
        return "".join(call.text(len(self._names.slots)) for call in calls)

    def _parts(self, units: Sequence[Unit]) -> list[_Call]:
        """Functions of bounded length: compile time stays linear."""
        functions: list[list[str]] = []
        room = 0
        for unit in units:
            room -= sum(len(leaf.statements) if isinstance(leaf, Nest) else _BLOCK for leaf in leaves_of(unit))
            if room < 0:
                functions.append([])
                room = _PART
            functions[-1] += unit_text(unit, self._names)
        return [_Call(self._function("part", "\n".join(lines))) for lines in functions]

    def _run_through(self, units: Sequence[Unit]) -> _Call:
        """The body that these units are, and the rows of the tables that make it these."""
        names = BodyNames(self._names.placement, self._names.slots)
        body = "\n".join(line for unit in units for line in unit_text(unit, names))
        if body not in self._bodies:
            self._bodies[body] = self._function("body", body, ", const int64_t *restrict o, const double *restrict v")
        row, first = (len(names.places), len(names.values)), (len(self._places), len(self._values))
        self._places += names.places
        self._values += names.values
        return _Call(self._bodies[body], row, first)

    def _function(self, kind: str, body: str, more: str = "") -> str:
        name = f"{kind}{self._functions}"
        self._functions += 1
        self.text += f"static void {name}(const void *const *restrict d, D *restrict a{more}) {{\n{body}\n}}\n"
        return name


@dataclass
class _Call:
    """Calls of one function in a row, each with the next rows of the tables."""

    function: str
    row: tuple[int, int] | None = None
    first: tuple[int, int] = (0, 0)
    times: int = 1

    def text(self, tables: int) -> str:
        if self.row is None:
            return f"{self.function}(d, a);\n"
        rows = (
            f"(const {kind} *)d[{tables + k}] + {self.first[k]} + k * {self.row[k]}"
            for k, kind in enumerate(("int64_t", "double"))
        )
        return f"for (long k = 0; k < {self.times}; k++) {self.function}(d, a, {', '.join(rows)});\n"
