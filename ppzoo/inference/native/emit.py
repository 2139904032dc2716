"""C text of loop nests and blocks.

Every operand is loaded at the outermost depth at which its position is known; every reduction accumulates in a register
as far out as its target's position allows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import prod

import torch

from ppzoo.inference.native.layout import sizes, spread
from ppzoo.inference.native.schedule import Looped, Nest, Placement, Unit
from ppzoo.inference.native.values import (
    Buffer,
    Entry,
    Literal,
    Load,
    Map,
    Operand,
    Reduce,
    Slot,
    Splat,
    Whole,
    letter,
)

__all__ = ["Names", "parts", "unit_text"]

_PART = 300  # statements in one C function: compile time stays linear


def c_type(dtype: torch.dtype) -> str:
    """C type of one element in all lanes."""
    return letter(dtype).upper()


@dataclass
class Names:
    """How buffers and slots are called in C."""

    placement: Placement
    slots: dict[Slot, int]
    numbers: dict[Buffer, int] = field(default_factory=dict)

    def pointer(self, buffer: Buffer) -> str:
        """A C pointer to a buffer's first element."""
        return f"(({c_type(buffer.dtype)} *)(a + {self.placement.offsets[buffer]}))"

    def data(self, slot: Slot) -> str:
        """A C pointer to a slot's first element."""
        kind = {"d": "double", "f": "float", "i": "int64_t"}[letter(slot.dtype)]
        return f"((const {kind} *)d[{self.slots[slot]}])"

    def start(self, source: Buffer | Slot) -> str:
        """A C pointer to the first element of either."""
        return self.pointer(source) if isinstance(source, Buffer) else self.data(source)

    def temporary(self, buffer: Buffer) -> str:
        """The C variable that holds the current element of a buffer."""
        return f"t{self.numbers.setdefault(buffer, len(self.numbers))}"


def _index(strides: Sequence[int], offset: int) -> str:
    terms = [f"{s} * i{k}" if s != 1 else f"i{k}" for k, s in enumerate(strides) if s]
    return " + ".join(([str(offset)] if offset or not terms else []) + terms)


def _depth(strides: Sequence[int]) -> int:
    """How many loops must be open to know the position."""
    return max((k + 1 for k, s in enumerate(strides) if s), default=0)


class _NestText:
    """Lines of one nest, by depth: before the inner loop and after it."""

    def __init__(self, nest: Nest, names: Names) -> None:
        self.names = names
        self.dims = sizes(nest.size, nest.cuts)
        self.before: list[list[str]] = [[] for _ in range(len(self.dims) + 1)]
        self.after: list[list[str]] = [[] for _ in range(len(self.dims) + 1)]
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
            return operand.code
        if isinstance(operand, Whole):
            return self.names.start(operand.source)
        strides = spread(shape, operand.strides, self.dims)
        if isinstance(operand, Load):
            if operand.buffer in self.current:
                return self.names.temporary(operand.buffer)
            return self._load(
                (operand.buffer, strides, operand.offset),
                f"{c_type(operand.buffer.dtype)} {{0}} = "
                f"{self.names.pointer(operand.buffer)}[{_index(strides, operand.offset)}];",
                _depth(strides),
            )
        text = f"{self.names.data(operand.slot)}[{_index(strides, operand.offset)}]"
        if isinstance(operand, Entry):
            return self._load(("entry", operand.slot, strides), f"int64_t {{0}} = {text};", _depth(strides))
        kind = letter(operand.slot.dtype)
        line = f"{kind.upper()} {{0}} = splat_{kind}({text});"
        return self._load((operand.slot, strides, operand.offset), line, _depth(strides))

    def _load(self, key: tuple[object, ...], line: str, depth: int) -> str:
        if key not in self.loaded:
            self.loaded[key] = f"x{len(self.loaded)}"
            self.before[depth].append(line.format(self.loaded[key]))
        return self.loaded[key]

    def _map(self, statement: Map) -> None:
        value = statement.template.format(*(self._operand(op, statement.shape) for op in statement.operands))
        body, target = self.before[-1], statement.target
        if statement.part is not None:
            strides, offset = statement.part
            index = _index(spread(statement.shape, strides, self.dims), offset)
            body.append(f"{self.names.pointer(target)}[{index}] = {value};")
            return
        name = self.names.temporary(target)
        body.append(f"{c_type(target.dtype)} {name} = {value};")
        self.current.add(target)
        if target not in self.names.placement.inner:
            strides = spread((prod(self.dims),), (1,), self.dims)
            body.append(f"{self.names.pointer(target)}[{_index(strides, 0)}] = {name};")

    def _reduce(self, statement: Reduce) -> None:
        value = self._operand(statement.operands[0], statement.shape)
        strides = spread(statement.shape, statement.strides, self.dims)
        depth, target = _depth(strides), statement.target
        place = f"{self.names.pointer(target)}[{_index(strides, 0)}]"
        name = f"r{self.names.numbers.setdefault(target, len(self.names.numbers))}"
        kind = statement.register or c_type(target.dtype)
        if all(strides[:depth]):  # every position is met once
            self.before[depth].append(f"{kind} {name} = {statement.start};")
        else:
            fill = f"for (long j = 0; j < {target.size}; j++) {self.names.pointer(target)}[j] = {statement.start};"
            self.before[0].append(fill)
            self.before[depth].append(f"{kind} {name} = {place};")
        self.before[-1].append(f"{name} = {statement.combine.format(name, value)};")
        self.after[depth].append(f"{place} = {statement.finish.format(name)};")

    def text(self) -> list[str]:
        """The nest as lines of C."""
        lines = ["{"]
        for k, size in enumerate(self.dims):
            lines += self.before[k]
            lines.append(f"for (long i{k} = 0; i{k} < {size}; i{k}++) {{")
        lines += self.before[-1]
        for k in range(len(self.dims), 0, -1):
            lines += self.after[k]
            lines.append("}")
        return [*lines, *self.after[0], "}"]


def unit_text(unit: Unit, names: Names) -> list[str]:
    """A unit of the schedule as lines of C."""
    if isinstance(unit, Nest):
        return _NestText(unit, names).text()
    parts = [_argument(operand, names) for operand in unit.operands]
    return [unit.text.format(*parts, *(names.pointer(target) for target in unit.targets)) + ";"]


def _argument(operand: Operand, names: Names) -> str:
    if isinstance(operand, Whole):
        return names.start(operand.source)
    if isinstance(operand, Load):
        return f"({names.pointer(operand.buffer)} + {operand.offset})"
    if isinstance(operand, Splat):
        return f"({names.data(operand.slot)} + {operand.offset})"
    if isinstance(operand, Literal):
        return operand.code
    raise TypeError(operand)


def parts(units: Sequence[Unit], names: Names, prefix: str) -> tuple[str, str]:
    """The units as C functions of bounded length, and the calls of them."""
    functions: list[list[str]] = []
    room = 0
    for unit in units:
        room -= len(unit.statements) if isinstance(unit, Nest) else 20
        if room < 0:
            functions.append([])
            room = _PART
        functions[-1] += unit_text(unit, names)
    head = "static void {0}(const void *const *restrict d, D *restrict a) {{\n{1}\n}}\n"
    text = "".join(head.format(f"{prefix}{k}", "\n".join(lines)) for k, lines in enumerate(functions))
    return text, "".join(f"{prefix}{k}(d, a);\n" for k in range(len(functions)))
