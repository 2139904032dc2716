"""Equal statements are made once, and equal constants kept once."""

from __future__ import annotations

import pytest
import torch

from ppzoo.inference.native.builder import Builder
from ppzoo.inference.native.pieces import pieces
from ppzoo.inference.native.pointwise import apply
from ppzoo.inference.native.values import Literal, Splat


@pytest.fixture
def builder() -> Builder:
    return Builder()


def test_the_same_operation_is_done_once(builder):
    x = builder.input(torch.zeros(3, 4, dtype=torch.float64))
    one = apply(builder, "exp_T({0})", x, dtype=torch.float64)
    other = apply(builder, "exp_T({0})", x.seen(x.view.view(12)), dtype=torch.float64)
    assert one.buffer is other.buffer
    assert other.shape == (12,)
    assert len(builder.statements) == 1


def test_a_constant_that_is_one_number_becomes_text(builder):
    assert builder.operand(torch.full((3,), 2.5, dtype=torch.float64), (3,)) == Literal("splat_d(2.5)")
    assert builder.operand(torch.full((3,), -0.0), (3,)) == Literal("splat_f(-0.0)")
    assert builder.operand(torch.tensor([torch.nan, torch.nan]), (2,)) == Literal("splat_f(NAN)")
    assert builder.operand(-torch.inf, ()) == Literal("splat_f(-INFINITY)")
    assert builder.operand(torch.tensor(True), ()) == Literal("splat_i(-1LL)")
    assert builder.operand(torch.tensor(-(2**63)), ()) == Literal("splat_i(INT64_MIN)")
    assert isinstance(builder.operand(torch.tensor([0.0, -0.0]), (2,)), Splat)
    assert isinstance(builder.operand(torch.tensor([1.0, torch.nan]), (2,)), Splat)


def test_data_never_enter_the_source_and_are_not_expanded(builder):
    data = torch.arange(4.0).expand(1000, 4)
    operand = builder.operand(data, (1000, 4))
    assert operand.slot.tensor.numel() == 4
    assert operand.strides == (0, 1)
    assert builder.operand(torch.arange(4.0), (4,)).slot is builder.operand(torch.arange(4.0), (4,)).slot


def test_a_matrix_and_its_transpose_are_kept_once(builder):
    matrix = torch.arange(12.0).view(3, 4)
    one, other = builder.operand(matrix, (3, 4)), builder.operand(matrix.T, (4, 3))
    assert one.slot is other.slot
    assert (one.strides, other.strides) == ((4, 1), (1, 4))
    assert builder.operand(matrix[:, ::2], (3, 2)).strides == (2, 1)
    assert builder.operand(matrix.T[1:, None], (3, 5, 3)).strides == (3, 0, 1)


def test_pieces_are_written_when_they_are_read(builder):
    x = builder.input(torch.zeros(2, dtype=torch.float64))
    whole = builder.new((5,), torch.float64)
    builder.assemble(whole, pieces([(whole.view[1:3], x)]))
    assert builder.statements == []
    assert len(builder.pieces_of(whole)) == 1
    builder.materialise(whole)
    assert [statement.alone for statement in builder.statements] == [False, True]  # zeros, then the piece
    assert builder.pieces_of(whole) is None
