"""Statements are made here, and numbered by value: the same operation on the same operands is done once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from math import isinf, isnan, prod
from typing import Any

import torch
from torch import Tensor

from ppzoo.inference.native.layout import collapse
from ppzoo.inference.native.pieces import Pieces, cut_out, elements
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
    Slot,
    Splat,
    Statement,
    Update,
    Value,
    Variable,
    Whole,
    dtype_of,
    is_plain,
    letter,
    shape_of,
    variable,
)

__all__ = ["Builder"]

_SMALL = 4096  # elements up to which equal constants are found by their bytes
_PROBE = 64  # elements that tell most constants from one repeated number
_STRIDED = (Load, Splat, Entry)


@dataclass
class Builder:
    """Collects statements; equal ones once.

    Attributes:
        statements: In the order in which they were made.
        products: For buffers that are a product, element by element, what it is of.
    """

    statements: list[Statement] = field(default_factory=list)
    products: dict[Buffer, tuple[Value, Value]] = field(default_factory=dict)
    _known: dict[Any, Any] = field(default_factory=dict)
    _slots: dict[Any, Slot] = field(default_factory=dict)
    _pieces: dict[Buffer, Pieces] = field(default_factory=dict)

    def input(self, example: Tensor) -> Variable:
        """A per-chain input of the graph."""
        return self.new(example.shape, example.dtype)

    def shared(self, example: Tensor) -> Variable:
        """An input that all chains share."""
        plain = self.new(example.shape, example.dtype)
        return Variable(plain.buffer, plain.view, Slot(example.dtype))

    def new(self, shape: Sequence[int], dtype: torch.dtype) -> Variable:
        """A variable that statements still have to fill."""
        letter(dtype)
        return variable(Buffer(prod(shape), dtype), shape)

    def slot(self, tensor: Tensor) -> Slot:
        """The slot of a constant; contiguous."""
        tensor = tensor.detach().contiguous()
        size = tensor.numel()
        content = tensor.numpy().tobytes() if size <= _SMALL else (tensor.data_ptr(), size)
        return self._slots.setdefault((tensor.dtype, content), Slot(tensor.dtype, tensor))

    def operand(self, value: Value, shape: Sequence[int], dtype: torch.dtype | None = None) -> Operand:
        """The value at each element of ``shape``, to which it broadcasts, as ``dtype``."""
        value = value if dtype is None else self.cast(value, dtype)
        if isinstance(value, Variable):
            self.settle(value)
            view = value.view if value.view.shape == tuple(shape) else value.view.expand(tuple(shape))
            strides, offset = tuple(view.stride()), int(view.storage_offset())
            return Splat(value.shared, strides, offset) if value.shared else Load(value.buffer, strides, offset)
        constant = value if isinstance(value, Tensor) else torch.tensor(value)
        number = _uniform(constant)
        if number is not None:
            return _literal(number, constant.dtype)
        letter(constant.dtype)
        if constant.dtype is torch.bool:
            constant = constant.to(torch.int64).neg()
        return Splat(*self._table(constant, shape), 0)

    def entry(self, positions: Tensor) -> Entry:
        """A table of positions, as C integers over its own shape."""
        return Entry(*self._table(positions, positions.shape), 0)

    def _table(self, constant: Tensor, shape: Sequence[int]) -> tuple[Slot, tuple[int, ...]]:
        """A slot for a constant, and strides over ``shape`` in it; a matrix and its transpose share one."""
        distinct = _distinct(constant)
        by_stride = distinct.permute(sorted(range(distinct.dim()), key=distinct.stride().__getitem__, reverse=True))
        if by_stride.is_contiguous():
            return self.slot(by_stride), tuple(distinct.expand(tuple(shape)).stride())
        plain = distinct.contiguous()
        return self.slot(plain), tuple(plain.expand(tuple(shape)).stride())

    def whole(self, value: Value, dtype: torch.dtype) -> Whole:
        """The value as a C pointer; a constant or shared input without a copy for every lane."""
        if isinstance(value, Tensor) and dtype is not torch.bool:
            return Whole(self.slot(value.to(dtype)))
        if isinstance(value, Variable) and value.shared and value.dtype is dtype and is_plain(value):
            return Whole(value.shared)
        return Whole(self.materialise(value, dtype).buffer)

    def map(self, template: str, operands: Iterable[Operand], dtype: torch.dtype, shape: Sequence[int]) -> Variable:
        """A variable, element by element; along a dimension in which no operand moves, one element stands for all."""
        operands = tuple(operands)
        moving = [op.strides for op in operands if isinstance(op, _STRIDED)]
        distinct = [n if n < 2 or any(strides[d] for strides in moving) else 1 for d, n in enumerate(shape)]
        filled = self._filled(template, operands, dtype, distinct)
        return filled if distinct == list(shape) else filled.seen(filled.view.expand(tuple(shape)))

    def _filled(self, template: str, operands: Iterable[Operand], dtype: torch.dtype, shape: Sequence[int]) -> Variable:
        letter(dtype)
        dims, placed, _ = _collapsed(shape, operands)

        def make() -> Buffer:
            buffer = Buffer(prod(shape), dtype)
            self.statements.append(Map(buffer, template, placed, dims))
            return buffer

        return variable(self.once((template, placed, dtype, dims), make), shape)

    def reduce(
        self, target: Buffer, combine: str, start: str, operand: Operand, shape: Sequence[int], view: Tensor
    ) -> None:
        """Fill a new target, seen through an expanded view, by combining an operand's elements over ``shape``."""
        dims, placed, (strides,) = _collapsed(shape, [operand], view.stride())
        self.statements.append(Reduce(target, combine, start, placed, dims, strides))

    def update(self, target: Variable, template: str, operands: Iterable[Operand], shape: Sequence[int]) -> None:
        """Change a filled target: ``{0}`` is the pointer to it, the operands follow."""
        dims, placed, _ = _collapsed(shape, operands)
        self.statements.append(Update(target.buffer, template, placed, dims))

    def block(self, targets: Sequence[Variable], text: str, operands: Sequence[Operand]) -> None:
        """Fill new targets by a call of a C function."""
        self.statements.append(Block(tuple(target.buffer for target in targets), text, tuple(operands)))

    def multiply(
        self,
        target: Variable,
        name: str,
        sizes: tuple[int, int, int],
        strides: tuple[int, int, int, int, int, int],
        operands: tuple[Operand, Operand],
    ) -> None:
        """Fill a new target by a matrix product."""
        self.statements.append(Product((target.buffer,), operands, name, sizes, strides))

    def copy_into(self, target: Variable, value: Value, *, alone: bool = False, add: bool = False) -> None:
        """``target[...] = value`` or ``+= value``, broadcast: ``target`` may be a view of part of a new buffer."""
        strides, offset = tuple(target.view.stride()), int(target.view.storage_offset())
        operands = [self.operand(value, target.shape, target.dtype)]
        if add:
            operands.append(Load(target.buffer, strides, offset))
        dims, placed, (strides,) = _collapsed(target.shape, operands, strides)
        template = "({1} + {0})" if add else "{0}"
        self.statements.append(Map(target.buffer, template, placed, dims, (strides, offset), alone))

    def overwrite(self, target: Variable, value: Variable) -> None:
        """The target, read so far, becomes the value; the last statement about either."""
        load = Load(value.buffer, (1,), 0) if value.buffer.size != 1 else Load(value.buffer, (), 0)
        shape = (value.buffer.size,) if value.buffer.size != 1 else ()
        self.statements.append(Map(target.buffer, "{0}", (load,), shape, again=True))

    def once(self, key: Any, make: Callable[[], Any]) -> Any:
        """What ``make`` made the first time it was asked for with this key."""
        if key not in self._known:
            self._known[key] = make()
        return self._known[key]

    def assemble(self, result: Variable, pieces: Pieces) -> Variable:
        """``result``, new, is the sum of pieces; written when it is first read as a whole."""
        self._pieces[result.buffer] = pieces
        return result

    def pieces_of(self, value: Value) -> Pieces | None:
        """The pieces of a variable that has not been written yet."""
        if isinstance(value, Variable) and value.buffer in self._pieces and is_plain(value):
            return self._pieces[value.buffer]
        return None

    def elements_of(self, value: Value) -> list[Value] | None:
        """The elements of a short vector that has not been written yet, each as a vector of one, if it is cut so."""
        parts = self.pieces_of(value)
        return elements(parts, shape_of(value)) if parts is not None else None

    def look(self, value: Variable, view: Tensor) -> Value:
        """The value through a view: one of its pieces, if it shows that."""
        parts = self.pieces_of(value)
        found = None if parts is None else cut_out(parts, view)
        return value.seen(view) if found is None else found

    def settle(self, value: Variable) -> None:
        """Write a variable of pieces, if it is one."""
        buffer = value.buffer
        if buffer not in self._pieces:
            return
        parts = list(self._pieces.pop(buffer).values())
        parts.sort(key=lambda part: -part[0].numel())
        covered = torch.zeros(buffer.size, dtype=torch.int32)
        for region, _ in parts:
            covered.as_strided(region.shape, region.stride(), region.storage_offset()).add_(1)
        alone = bool((covered <= 1).all())
        if not alone and parts[0][0].numel() == buffer.size:
            region, whole = parts.pop(0)
            self.copy_into(Variable(buffer, region), whole)
        elif not (alone and covered.all()):
            self.copy_into(variable(buffer, (buffer.size,)), 0)
        for region, piece in parts:
            self.copy_into(Variable(buffer, region), piece, alone=alone, add=not alone)

    def cast(self, value: Value, dtype: torch.dtype) -> Value:
        """The value as another type."""
        if not isinstance(value, Variable):
            return value.to(dtype) if isinstance(value, Tensor) else torch.tensor(value, dtype=dtype)
        if value.dtype == dtype:
            return value
        return self.map(_cast(value.dtype, dtype), [self.operand(value, value.shape)], dtype, value.shape)

    def materialise(self, value: Value, dtype: torch.dtype | None = None) -> Variable:
        """The value in a contiguous buffer of its own, from the first element on."""
        value = value if dtype is None else self.cast(value, dtype)
        if isinstance(value, Variable) and not value.shared and is_plain(value):
            self.settle(value)
            return value
        shape = shape_of(value)
        return self._filled("{0}", [self.operand(value, shape)], dtype_of(value), shape)


def _collapsed(
    shape: Sequence[int], operands: Iterable[Operand], *others: Sequence[int]
) -> tuple[tuple[int, ...], tuple[Operand, ...], list[tuple[int, ...]]]:
    """The loop over ``shape`` with as few dimensions as its operands' and the other strides allow."""
    operands = tuple(operands)
    own = [op.strides for op in operands if isinstance(op, _STRIDED)]
    dims, strides = ((0,), [(0,)] * (len(own) + len(others))) if 0 in shape else collapse(shape, [*own, *others])
    given = iter(strides)
    placed = tuple([op.over(next(given)) if isinstance(op, _STRIDED) else op for op in operands])
    return dims, placed, list(given)


def _distinct(tensor: Tensor) -> Tensor:
    """The tensor with expanded dimensions cut to one."""
    return tensor[tuple(slice(0, 1) if stride == 0 else slice(None) for stride in tensor.stride())]


def _uniform(tensor: Tensor) -> float | int | bool | None:
    """The number that all elements equal, sign of zero and NaN included, else None."""
    flat = _distinct(tensor).reshape(-1)
    if not len(flat) or not _all_alike(flat[:_PROBE]) or not _all_alike(flat):
        return None
    number: float | int | bool = flat[0].item()
    return number


def _all_alike(flat: Tensor) -> bool:
    first = flat[:1].expand_as(flat)
    same = torch.equal(torch.nan_to_num(flat), torch.nan_to_num(first)) and torch.equal(flat.isnan(), first.isnan())
    return same and (not flat.is_floating_point() or torch.equal(flat.signbit(), first.signbit()))


def _literal(number: float | bool, dtype: torch.dtype) -> Literal:
    kind = letter(dtype)
    if kind == "i":
        whole = -int(number) if dtype is torch.bool else int(number)
        return Literal(f"splat_i({whole}LL)" if whole > -(2**63) else "splat_i(INT64_MIN)")
    if isnan(number) or isinf(number):
        return Literal(f"splat_{kind}({'NAN' if isnan(number) else 'INFINITY' if number > 0 else '-INFINITY'})")
    return Literal(f"splat_{kind}({float(number)!r})")


def _cast(source: torch.dtype, target: torch.dtype) -> str:
    if target is torch.bool:
        return "MASK({0} != 0)"
    if source is torch.bool:
        return {"d": "truth_d({0})", "f": "truth_f({0})", "i": "(-{0})"}[letter(target)]
    return f"{letter(source)}_to_{letter(target)}({{0}})"
