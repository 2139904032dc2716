"""Loops are shared where dependencies and shapes allow, and memory where lives do not overlap."""

from __future__ import annotations

import random

import pytest
import torch

from ppzoo.inference.graph.recording import record
from ppzoo.inference.native.builder import Builder
from ppzoo.inference.native.lowering import lower
from ppzoo.inference.native.schedule import Nest, _pack, live, place, schedule
from ppzoo.inference.native.values import Buffer


def _scheduled(function, *examples):
    builder = Builder()
    inputs = [builder.input(x) for x in examples]
    results = [builder.materialise(v) for v in lower(record(function, examples), inputs, builder)]
    after = [r.buffer for r in results]
    units = schedule(live(builder.statements, after))
    return units, place(units, [v.buffer for v in inputs], after)


@pytest.fixture
def x() -> torch.Tensor:
    return torch.randn(20, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def test_a_chain_and_its_sums_are_one_loop(x):
    units, placement = _scheduled(lambda x: ((x.exp() * 2 + 1).log().sum(), x.sum(), (x * x).amax()), x)
    assert len(units) == 1
    assert placement.size == 1 + 20 + 3  # the reserved word, the input, three sums


def test_what_needs_a_finished_sum_waits(x):
    units, _ = _scheduled(lambda x: x - x.logsumexp(0), x)
    assert [unit.size for unit in units if isinstance(unit, Nest)] == [20, 1, 20, 1, 20]


def test_shapes_with_a_common_refinement_share_a_loop(x):
    units, _ = _scheduled(lambda x: (x.view(4, 5).sum(0), x.view(2, 10).exp().sum(1), x.view(5, 4).sum(1)), x)
    assert [unit.cuts for unit in units] == [{5, 10}, {4}]


def test_nothing_is_computed_that_no_result_needs(x):
    units, _ = _scheduled(lambda x: (x.exp(), x.log())[0], x)
    assert [len(unit.statements) for unit in units] == [1]


def test_memory_is_used_again(x):
    def chain(x):
        for _ in range(50):
            x = x.flip(0) + 1
        return x

    _, placement = _scheduled(chain, x)
    assert placement.size <= 1 + 3 * 20


def test_many_scalars_are_cut_into_several_units():
    def chain(x):
        for _ in range(500):
            x = x.exp()
        return x

    units, _ = _scheduled(chain, torch.zeros((), dtype=torch.float64))
    assert len(units) > 2
    assert max(len(unit.statements) for unit in units) < 200


def test_each_buffer_takes_the_first_gap_among_those_alive():
    """Held against the definition, in which all gaps are looked at anew for each buffer."""
    draw = random.Random(0)
    for _ in range(200):
        buffers = [Buffer(draw.randint(1, 9), torch.float64) for _ in range(draw.randint(1, 40))]
        first = {buffer: draw.randint(-1, 30) for buffer in buffers}
        last = {buffer: born + draw.randint(0, 12) for buffer, born in first.items()}
        placement = _pack(first, last, set(buffers), {buffer: buffer.size for buffer in buffers})
        placed: list[Buffer] = []
        for buffer in sorted(buffers, key=lambda b: first[b]):
            alive = [(placement.offsets[b], placement.offsets[b] + b.size) for b in placed if last[b] >= first[buffer]]
            ends = [1, *(end for _, end in alive)]  # behind the reserved word, or behind another
            fits = [at for at in ends if all(end <= at or at + buffer.size <= begin for begin, end in alive)]
            assert placement.offsets[buffer] == min(fits)
            placed.append(buffer)
        assert placement.size == max(placement.offsets[b] + b.size for b in buffers)
