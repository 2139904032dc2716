"""Logarithms and exponentials of a log likelihood that need not be computed, or not one by one.

* ``sum_i (a_i + log b_i - log c_i) = sum_i a_i + log prod_i b_i - log prod_i c_i``: log likelihoods are such sums, of a
  logistic regression, a mixture, a Student t, and a multiplication is one operation where a logarithm is thirty. A
  product keeps its power of two beside it, so it leaves no range, and each factor moves the logarithm by one rounding
  of 1.1e-16: absolutely, which is what counts in a log density.
* ``exp(a_k - log sum_j exp(a_j)) = exp(a_k - m) / sum_j exp(a_j - m)``: the gradient of a mixture asks for the left, of
  what its value has computed on the right.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from math import prod
from typing import TypeGuard, TypeVar

import torch

from ppzoo.inference.native.schedule import is_same_element, reads_of, targets_of
from ppzoo.inference.native.values import Block, Buffer, Literal, Load, Map, Reduce, Statement

__all__ = ["multiplied", "normalised"]

M = TypeVar("M", Map, Reduce)

_FEWEST = 4  # terms: the product's own logarithm is one
_SUM = "({0} + {1})"
_ZERO = Literal("splat_d(0.0)")
_LOGARITHMS = {"log_d({0})": "log_times({0}, {1})", "log1p_d({0})": "log_times({0}, splat_d(1.0) + {1})"}
_SIGNS = {"({0} + {1})": (1, 1), "({0} - {1})": (1, -1), "(-{0})": (-1,)}


def multiplied(statements: Sequence[Statement], results: Collection[Buffer]) -> list[Statement]:
    """The statements, with sums over all elements whose terms are logarithms, plus or minus, taken apart.

    Args:
        statements: Live ones, in order.
        results: Buffers that are read afterwards.
    """
    readers = Counter(buffer for statement in statements for buffer in reads_of(statement))
    made = _made(statements)
    own = {buffer: made[buffer] for buffer in made.keys() - set(results) if readers[buffer] == 1}
    changed: dict[Buffer, list[Statement]] = {}
    for statement in statements:
        if _is_sum(statement):
            changed |= _taken_apart(statement, own)
    return [new for s in statements for new in (changed.get(targets_of(s)[0], [s]))]


def normalised(statements: Sequence[Statement]) -> list[Statement]:
    """The statements, with the exponentials of what a logarithm of a sum of exponentials normalises as quotients."""
    made = _made(statements)
    sums = {s.target: s for s in statements if isinstance(s, Reduce) and s.combine == _SUM}
    inverses: dict[Buffer, Buffer] = {}
    result: list[Statement] = []
    for statement in statements:
        found = _quotient(statement, made, sums)
        if found is None or isinstance(statement, Block):
            result.append(statement)
            continue
        powers, total, each = found
        if total not in inverses:
            inverses[total] = Buffer(total.size, total.dtype)
            line = (total.size,) if total.size > 1 else ()
            whole = Load(total, (1,) * len(line), 0)
            result.append(Map(inverses[total], "(splat_d(1.0) / {0})", (whole,), line))
        row_major = tuple(prod(powers.shape[d + 1 :]) for d in range(len(powers.shape)))
        operands = (Load(powers.target, row_major, 0), Load(inverses[total], each, 0))
        result.append(Map(statement.target, "({0} * {1})", operands, powers.shape))
    return result


def _quotient(
    statement: Statement, made: dict[Buffer, Map], sums: dict[Buffer, Reduce]
) -> tuple[Map, Buffer, tuple[int, ...]] | None:
    """Of ``exp(a - (log total + top))``, ``total`` the sum of ``exp(a - top)``: these, the total, and where it is."""
    difference = _maker(statement, 0, made) if _is(statement, "exp_d({0})") else None
    if not _is(difference, "({0} - {1})"):
        return None
    shifted, each = difference.operands
    normaliser = made.get(each.buffer) if isinstance(each, Load) else None
    logarithm = _maker(normaliser, 0, made) if _is(normaliser, "({0} + {1})") else None
    total = _maker(logarithm, 0, sums) if _is(logarithm, "log_d({0})") else None
    powers = _maker(total, 0, made) if total is not None else None
    if normaliser is None or total is None or not _is(powers, "exp_d({0} - {1})"):
        return None
    top, added = powers.operands[1], normaliser.operands[1]
    if not (isinstance(each, Load) and isinstance(top, Load) and isinstance(added, Load)):
        return None
    shapes = powers.shape == difference.shape == total.shape
    rows = each.strides == top.strides == total.strides and each.offset == top.offset == 0
    terms = shifted == powers.operands[0] and top.buffer is added.buffer and is_same_element(added, normaliser)
    return (powers, total.target, total.strides) if shapes and rows and terms else None


def _is(statement: Statement | None, template: str) -> TypeGuard[Map]:
    return isinstance(statement, Map) and statement.template == template


def _maker(statement: Statement, k: int, made: Mapping[Buffer, M]) -> M | None:
    """What makes an operand, if that is read element by element."""
    operand = statement.operands[k]
    aligned = isinstance(operand, Load) and not isinstance(statement, Block) and is_same_element(operand, statement)
    return made.get(operand.buffer) if isinstance(operand, Load) and aligned else None


def _made(statements: Sequence[Statement]) -> dict[Buffer, Map]:
    """What is written whole, by one statement, element by element."""
    writers = Counter(buffer for statement in statements for buffer in targets_of(statement))
    maps = (s for s in statements if isinstance(s, Map) and s.part is None and not s.again)
    return {s.target: s for s in maps if writers[s.target] == 1}


def _is_sum(statement: Statement) -> TypeGuard[Reduce]:
    return (
        isinstance(statement, Reduce)
        and statement.combine == _SUM
        and statement.target.dtype is torch.float64
        and not any(statement.strides)
        and prod(statement.shape) >= _FEWEST
    )


def _taken_apart(total: Reduce, own: dict[Buffer, Map]) -> dict[Buffer, list[Statement]]:
    """What stands in the place of a sum and of those that make its terms; nothing where no logarithm is among them."""
    found: list[tuple[int, Map]] = []
    changed: dict[Buffer, list[Statement]] = {}
    rest = total
    todo: list[tuple[Map | Reduce, tuple[int, ...]]] = [(total, (1,))]
    while todo:
        statement, signs = todo.pop()
        operands = list(statement.operands)
        for k, sign in enumerate(signs):
            term = _maker(statement, k, own)
            if term is not None and term.template in _LOGARITHMS:
                found.append((sign, term))
                changed[term.target] = []
                operands[k] = _ZERO
            elif term is not None and term.template in _SIGNS:
                todo.append((term, tuple(sign * s for s in _SIGNS[term.template])))
        if isinstance(statement, Reduce):
            rest = replace(statement, operands=tuple(operands))
        elif tuple(operands) != statement.operands:
            changed[statement.target] = [replace(statement, operands=tuple(operands))]
    if found:
        changed[total.target] = _together(total.target, rest, found)
    return changed


def _together(total: Buffer, rest: Reduce, found: Sequence[tuple[int, Map]]) -> list[Statement]:
    """The sum of the rest and of the logarithms of products."""
    logarithms = [_logarithm(term) for _, term in found]
    if rest.operands == (_ZERO,):
        return [replace(logarithms[0], target=total)]
    others = Buffer(1, torch.float64)
    template = "({0}" + "".join(f" {'+' if sign > 0 else '-'} {{{k + 1}}}" for k, (sign, _) in enumerate(found)) + ")"
    parts = tuple(Load(buffer, (), 0) for buffer in (others, *(each.target for each in logarithms)))
    return [replace(rest, target=others), *logarithms, Map(total, template, parts, ())]


def _logarithm(term: Map) -> Reduce:
    combine, nothing = _LOGARITHMS[term.template], (0,) * len(term.shape)
    target = Buffer(1, torch.float64)
    return Reduce(target, combine, "log_of_one()", term.operands, term.shape, nothing, "LOG", "log_of({0})")
