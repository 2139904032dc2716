"""A program is a function of its graph alone: the same for other data of the same shape."""

from __future__ import annotations

import torch

from ppzoo.inference.graph.recording import record
from ppzoo.inference.native.program import loop_source, map_source


def _source(data):
    x = torch.zeros(3, dtype=torch.float64)
    return map_source(record(lambda x: (x * data).sum(), [x]), [x], 4)


def test_other_data_give_the_same_text():
    one, other = (_source(torch.tensor(values, dtype=torch.float64)) for values in ([1.0, 2.0, 3.0], [4.0, 5.0, 7.0]))
    assert one.text == other.text
    assert [tensor.tolist() for tensor in other.data] == [[4.0, 5.0, 7.0]]
    assert one.outputs == [(torch.Size([]), torch.float64)]


def test_the_arena_holds_inputs_results_and_the_reserved_word():
    assert _source(torch.arange(3.0, dtype=torch.float64)).words == 1 + 3 + 1


def test_a_loop_is_written_the_same_each_time():
    """So it is compiled once, however often the same program is fitted."""
    state = [torch.zeros(size, dtype=torch.float64) for size in (2, 3, 5, 7)]

    def step(*x):
        total = sum(part.sum() for part in x)
        return (*(part * total.exp() for part in x), total > 0, total)

    graph = record(step, [*state])
    assert len({loop_source(graph, state, [], [], 4).text for _ in range(8)}) == 1
