"""What a graph is turned into: buffers in lane layout, and statements that fill them.

A *buffer* holds one per-chain tensor for a whole group of chains: element ``i`` of lane ``l`` lies at ``[i][l]``. A
*variable* is a strided view of a buffer; strides and offset are kept by a tensor on torch's meta device, so that every
view operation is torch's own. A *slot* is memory that all lanes share: data, or a shared input.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias, TypeVar

import numpy as np
import torch
from torch import Tensor

__all__ = [
    "Block",
    "Buffer",
    "Entry",
    "Handler",
    "Literal",
    "Load",
    "Map",
    "Operand",
    "Product",
    "Reduce",
    "Slot",
    "Splat",
    "Statement",
    "Unsupported",
    "Update",
    "Value",
    "Variable",
    "Whole",
    "broadcast",
    "common_shape",
    "dtype_of",
    "entering",
    "is_plain",
    "letter",
    "shape_of",
    "through",
    "variable",
]

_LETTERS = {torch.float64: "d", torch.float32: "f", torch.int64: "i", torch.bool: "i"}


class Unsupported(Exception):  # noqa: N818  # a road that is closed, not an error: the caller takes another
    """An operation, a type or a machine for which there is no native code; the message names it."""


def letter(dtype: torch.dtype) -> str:
    """The C type of a lane: ``d`` double, ``f`` float, ``i`` 64-bit integer; a truth is an integer 0 or -1."""
    if dtype not in _LETTERS:
        raise Unsupported(f"type {dtype}")
    return _LETTERS[dtype]


@dataclass(eq=False, slots=True)
class Buffer:
    """``size`` elements per lane of one type."""

    size: int
    dtype: torch.dtype


@dataclass(eq=False, slots=True)
class Slot:
    """Memory shared by the lanes: ``tensor`` if it is a constant of the graph, else given at every call."""

    dtype: torch.dtype
    tensor: Tensor | None = None


@dataclass(frozen=True, slots=True)
class Variable:
    """A strided view of a buffer.

    Attributes:
        buffer: Where the elements are.
        view: Shape, strides and offset, in elements of the buffer: a tensor on the meta device.
        shared: The slot of a shared input, whose elements are there instead.
    """

    buffer: Buffer
    view: Tensor
    shared: Slot | None = None

    @property
    def shape(self) -> torch.Size:
        """Shape of one chain's tensor."""
        return self.view.shape

    @property
    def dtype(self) -> torch.dtype:
        """Type of the elements."""
        return self.buffer.dtype

    def seen(self, view: Tensor) -> Variable:
        """The same elements through another view."""
        return Variable(self.buffer, view, self.shared)


Value: TypeAlias = Variable | Tensor | float | int | bool
"""A tensor of the graph: per chain (a variable), or the same for all chains and known now."""

Handler: TypeAlias = Callable[..., Any]
"""``handler(builder, *args, **kwargs)``: an aten operation on values."""

H = TypeVar("H", bound=Handler)


@dataclass(frozen=True, slots=True)
class Load:
    """One element of a buffer, by strides over the statement's shape."""

    buffer: Buffer
    strides: tuple[int, ...]
    offset: int

    def over(self, strides: tuple[int, ...]) -> Load:
        """The same by other strides."""
        return Load(self.buffer, strides, self.offset)


@dataclass(frozen=True, slots=True)
class Splat:
    """One element of a slot, the same in every lane."""

    slot: Slot
    strides: tuple[int, ...]
    offset: int

    def over(self, strides: tuple[int, ...]) -> Splat:
        """The same by other strides."""
        return Splat(self.slot, strides, self.offset)


@dataclass(frozen=True, slots=True)
class Entry:
    """One element of a slot as a C scalar: a position in a buffer."""

    slot: Slot
    strides: tuple[int, ...]
    offset: int

    def over(self, strides: tuple[int, ...]) -> Entry:
        """The same by other strides."""
        return Entry(self.slot, strides, self.offset)


@dataclass(frozen=True, slots=True)
class Literal:
    """A number, as C text."""

    code: str


@dataclass(frozen=True, slots=True)
class Whole:
    """A buffer, or memory that all lanes share, as a C pointer to its first element."""

    source: Buffer | Slot


Operand: TypeAlias = Load | Splat | Entry | Literal | Whole


@dataclass(eq=False, slots=True)
class Map:
    """``target[i] = template(operands[i])`` for every ``i`` of ``shape``, in order.

    Attributes:
        part: Where in the target, by strides and offset, if not element by element.
        alone: No other statement writes this part, except one before all parts that fills the whole target.
        again: The target held something else before, which every earlier statement still reads.
    """

    target: Buffer
    template: str
    operands: tuple[Operand, ...]
    shape: tuple[int, ...]
    part: tuple[tuple[int, ...], int] | None = None
    alone: bool = False
    again: bool = False


@dataclass(eq=False, slots=True)
class Update:
    """``template(target, operands[i])`` for every ``i`` of ``shape``, in order: a C statement on a filled target."""

    target: Buffer
    template: str
    operands: tuple[Operand, ...]
    shape: tuple[int, ...]


@dataclass(eq=False, slots=True)
class Reduce:
    """``target[j(i)] = combine(target[j(i)], operand[i])`` from ``start``, with ``j`` by strides, zero if reduced.

    Attributes:
        register: The C type in which one number is accumulated, if not the target's.
        finish: The number that such a register stands for.
    """

    target: Buffer
    combine: str
    start: str
    operands: tuple[Operand, ...]
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    register: str = ""
    finish: str = "{0}"


@dataclass(eq=False, slots=True)
class Block:
    """A call of a C function on whole buffers: ``text`` formatted with the operands, then the targets."""

    targets: tuple[Buffer, ...]
    text: str
    operands: tuple[Operand, ...]


@dataclass(eq=False, slots=True)
class Product(Block):
    """A Block that is a matrix product, ``C[n][m] = sum_k A[n][k] B[k][m]``.

    Attributes:
        name: The C function.
        sizes: ``n, k, m``.
        strides: From row to row and from column to column of C, A and B.
    """

    text: str = field(init=False)
    name: str
    sizes: tuple[int, int, int]
    strides: tuple[int, int, int, int, int, int]

    def __post_init__(self) -> None:
        self.text = self.call()

    def axis(self, rows: int) -> str:
        """Which of the sizes so many rows are."""
        return "nkm"[self.sizes.index(rows)]

    def call(self, begin: int | str = 0, axis: str = "", count: str = "") -> str:
        """The call in C: of ``count`` of an axis from ``begin`` on, if there is one; sums go on from where they are."""
        moves = {"n": (0, 2, None), "k": (None, 3, 4), "m": (1, None, 5), "": (None, None, None)}[axis]
        places = [
            f"{{{place}}}" if move is None else f"{{{place}}} + {self.strides[move]} * {begin}"
            for place, move in zip((2, 0, 1), moves, strict=True)
        ]
        sizes = [count if name == axis else str(size) for name, size in zip("nkm", self.sizes, strict=True)]
        more = f"{begin} > 0" if axis == "k" else "0"
        return f"{self.name}({', '.join([*places, *sizes, *map(str, self.strides), more])})"


Statement: TypeAlias = Map | Update | Reduce | Block


def variable(buffer: Buffer, shape: Sequence[int]) -> Variable:
    """A buffer, in order, in a shape."""
    return Variable(buffer, torch.empty(tuple(shape), dtype=buffer.dtype, device="meta"))


def is_plain(value: Variable) -> bool:
    """Whether the variable is the whole of its buffer, in order."""
    return value.view.is_contiguous() and value.view.storage_offset() == 0 and value.view.numel() == value.buffer.size


def shape_of(value: Value) -> torch.Size:
    """Shape of a value; that of a number is ``()``."""
    return value.shape if isinstance(value, (Variable, Tensor)) else torch.Size()


def common_shape(*shapes: Sequence[int]) -> torch.Size:
    """What the shapes broadcast to. Torch's own function loads a system for computer algebra first: half a second."""
    distinct = {tuple(shape) for shape in shapes} - {()}
    return torch.Size(np.broadcast_shapes(*distinct) if len(distinct) > 1 else next(iter(distinct), ()))


def dtype_of(value: Value) -> torch.dtype:
    """Type of a value's elements."""
    return value.dtype if isinstance(value, (Variable, Tensor)) else torch.tensor(value).dtype


def through(value: Value, view: Callable[[Tensor], Tensor]) -> Value:
    """The value through a view: a function of any tensor that copies nothing."""
    return value.seen(view(value.view)) if isinstance(value, Variable) else view(torch.as_tensor(value))


def broadcast(value: Value, shape: Sequence[int]) -> Value:
    """The value expanded to a shape."""
    return through(value, lambda x: x.expand(tuple(shape)))


def entering(table: dict[str, Handler]) -> Callable[..., Callable[[H], H]]:
    """A decorator that enters a handler in a table under the names of its operations."""

    def operation(*names: str) -> Callable[[H], H]:
        def enter(handler: H) -> H:
            table.update(dict.fromkeys(names, handler))
            return handler

        return enter

    return operation
