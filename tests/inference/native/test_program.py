"""A program is a function of its graph alone: the same for other data of the same shape."""

from __future__ import annotations

import torch
from torch.fx.experimental.proxy_tensor import make_fx

from ppzoo.inference.native.program import map_source


def _source(data):
    x = torch.zeros(3, dtype=torch.float64)
    return map_source(make_fx(lambda x: (x * data).sum())(x), [x], 4)


def test_other_data_give_the_same_text():
    one, other = (_source(torch.tensor(values, dtype=torch.float64)) for values in ([1.0, 2.0, 3.0], [4.0, 5.0, 7.0]))
    assert one.text == other.text
    assert [tensor.tolist() for tensor in other.data] == [[4.0, 5.0, 7.0]]
    assert one.outputs == [(torch.Size([]), torch.float64)]


def test_the_arena_holds_inputs_results_and_the_reserved_word():
    assert _source(torch.arange(3.0, dtype=torch.float64)).words == 1 + 3 + 1
