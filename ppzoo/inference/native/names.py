"""How buffers, shared memory and numbers are called in C."""

from __future__ import annotations

import re
from collections.abc import Hashable
from dataclasses import dataclass, field

import torch

from ppzoo.inference.native.schedule import Placement
from ppzoo.inference.native.values import Buffer, Slot, letter

__all__ = ["BodyNames", "Names", "StripNames", "c_type"]

_VARYING = re.compile(r"splat_([df])\((-?[0-9.e+-]+)\)")
_FIXED = {"0.0", "1.0"}  # numbers that compilers simplify with


def c_type(dtype: torch.dtype) -> str:
    """C type of one element in all lanes."""
    return letter(dtype).upper()


@dataclass
class Names:
    """Every place as a number in the text."""

    placement: Placement
    slots: dict[Slot, int]
    numbers: dict[Buffer, int] = field(default_factory=dict)

    def pointer(self, buffer: Buffer, offset: int = 0) -> str:
        """A C pointer to an element of a buffer, by default the first."""
        start = self.placement.offsets[buffer]
        if buffer.dtype is torch.float32 and offset:
            return f"(((F *)(a + {self.place(buffer, start)})) + {offset})"
        return f"(({c_type(buffer.dtype)} *)(a + {self.place((buffer, offset), start + offset)}))"

    def data(self, slot: Slot, offset: int = 0) -> str:
        """A C pointer to an element of a slot, by default the first."""
        kind = {"d": "double", "f": "float", "i": "int64_t"}[letter(slot.dtype)]
        start = f"((const {kind} *)d[{self.place(slot, self.slots[slot])}])"
        only = slot.tensor is not None and slot.tensor.numel() == 1
        return start if only else f"({start} + {self.place((slot, offset), offset)})"

    def start(self, source: Buffer | Slot) -> str:
        """A C pointer to the first element of either."""
        return self.pointer(source) if isinstance(source, Buffer) else self.data(source)

    def temporary(self, buffer: Buffer) -> str:
        """The C variable that holds the current element of a buffer."""
        return f"t{self.numbers.setdefault(buffer, len(self.numbers))}"

    def place(self, what: Hashable, number: int) -> str:  # in a body it is asked for
        """The number of a place in C; the same for the same place."""
        return str(number)

    def literal(self, code: str) -> str:
        """A number in C."""
        return code


@dataclass
class StripNames(Names):
    """Places of a strip that begins at row ``b``.

    Attributes:
        inner: How many elements of a row each buffer has of which only one strip is kept.
    """

    inner: dict[Buffer, int] = field(default_factory=dict)

    def pointer(self, buffer: Buffer, offset: int = 0) -> str:
        """A C pointer as if all rows were kept."""
        pointer = super().pointer(buffer, offset)
        return f"({pointer} - {self.inner[buffer]} * b)" if buffer in self.inner else pointer


@dataclass
class BodyNames(Names):
    """Places and numbers of one run through a body, which every run reads from its own row of two tables.

    Attributes:
        places: The row of the table ``o``.
        values: The row of the table ``v``.
    """

    places: list[int] = field(default_factory=list)
    values: list[float] = field(default_factory=list)
    _known: dict[Hashable, str] = field(default_factory=dict)

    def place(self, what: Hashable, number: int) -> str:
        """An entry of ``o``."""
        if what not in self._known:
            self._known[what] = f"o[{len(self.places)}]"
            self.places.append(number)
        return self._known[what]

    def literal(self, code: str) -> str:
        """An entry of ``v``, unless it is 0 or 1 or whole."""
        found = _VARYING.fullmatch(code)
        if found is None or found[2] in _FIXED:
            return code
        self.values.append(float(found[2]))
        return f"splat_{found[1]}(v[{len(self.values) - 1}])"
