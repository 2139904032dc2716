"""Types have one C type each, or are refused by name."""

from __future__ import annotations

import pytest
import torch

from ppzoo.inference.native.values import Buffer, Unsupported, broadcast, entering, is_plain, letter, shape_of, variable


def test_a_type_without_lanes_is_unsupported():
    with pytest.raises(Unsupported, match=r"torch\.complex64"):
        letter(torch.complex64)


def test_a_variable_is_plain_if_it_is_all_of_its_buffer_in_order():
    whole = variable(Buffer(6, torch.float64), (2, 3))
    assert is_plain(whole)
    assert not is_plain(whole.seen(whole.view.mT))
    assert not is_plain(whole.seen(whole.view[1]))
    assert shape_of(broadcast(whole, (4, 2, 3))) == (4, 2, 3)
    assert shape_of(broadcast(2.0, (4,))) == (4,)


def test_a_handler_is_entered_under_all_its_names():
    table = {}
    entering(table)("one", "other")(len)
    assert table == {"one": len, "other": len}
