"""The text loads once, as far out as it can, and cuts long programs into functions."""

from __future__ import annotations

import torch

from ppzoo.inference.graph.recording import record
from ppzoo.inference.native.program import map_source


def _text(function, *examples):
    return map_source(record(function, examples), list(examples), 4).text.split("polynomial")[-1]


def test_an_operand_is_loaded_before_the_loop_that_does_not_move_it():
    x, y = torch.zeros(6, 7, dtype=torch.float64), torch.zeros(6, 1, dtype=torch.float64)
    lines = _text(lambda x, y: (x + y) * x, x, y).splitlines()
    outer, inner = (next(k for k, line in enumerate(lines) if f"i{d} < {n}" in line) for d, n in ((0, 6), (1, 7)))
    loads = [k for k, line in enumerate(lines) if " x0 = " in line or " x1 = " in line]
    assert sum(outer < k < inner for k in loads) == 1
    assert sum(k > inner for k in loads) == 1


def test_a_sum_over_inner_dimensions_stays_in_a_register():
    x = torch.zeros(6, 7, dtype=torch.float64)
    assert "r1 = (r1 + t0)" in _text(lambda x: x.exp().sum(1), x)


def test_a_long_program_is_several_functions():
    def chain(x):
        for _ in range(1000):
            x = x.sin()
        return x

    text = _text(chain, torch.zeros((), dtype=torch.float64))
    assert text.count("static void part") >= 3


def test_data_of_the_user_are_not_in_the_text():
    secret = torch.tensor([1.23456789, 9.87654321], dtype=torch.float64)
    graph = record(lambda x: x * secret, [torch.zeros(2, dtype=torch.float64)])
    text = map_source(graph, [torch.zeros(2, dtype=torch.float64)], 4).text
    assert "1.2345" not in text
