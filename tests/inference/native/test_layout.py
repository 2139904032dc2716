"""Refinements of loops keep every element where it was."""

from __future__ import annotations

from itertools import product
from math import prod

import torch

from ppzoo.inference.native.layout import collapse, cuts_of, join, sizes, spread


def _positions(shape, strides):
    return [sum(i * s for i, s in zip(index, strides, strict=True)) for index in product(*map(range, shape))]


def test_collapsing_keeps_the_order_of_positions(seeded):
    for shape in ((2, 3, 4), (1, 5, 1), (4, 1, 3), (6,), ()):
        reverse = tuple(range(len(shape) - 1, -1, -1))
        views = [torch.zeros(shape), torch.zeros(shape[::-1]).permute(reverse), torch.zeros(()).expand(shape)]
        dims, strides = collapse(shape, [view.stride() for view in views])
        assert prod(dims) == prod(shape)
        assert 1 not in dims
        for view, collapsed in zip(views, strides, strict=True):
            assert _positions(dims, collapsed) == _positions(shape, view.stride())


def test_two_shapes_meet_in_a_common_refinement():
    for one, other in (((6, 4), (2, 12)), ((24,), (2, 3, 4)), ((3, 8), (3, 8))):
        cuts = join(24, cuts_of(one), cuts_of(other))
        finer = sizes(24, cuts)
        for shape in (one, other):
            strides = torch.zeros(shape).stride()
            assert _positions(finer, spread(shape, strides, finer)) == list(range(24))
            assert _positions(finer, spread(shape, [7 * s for s in strides], finer)) == [7 * k for k in range(24)]
    assert join(24, cuts_of((3, 8)), cuts_of((2, 12))) is None


def test_a_single_element_has_one_dimension_of_one():
    assert sizes(1, cuts_of(())) == (1,)
    assert spread((), (), (1,)) == (0,)
