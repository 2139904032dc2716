"""Any number of chains, lanes and threads gives the same numbers; what cannot be handed to C is refused."""

from __future__ import annotations

import pytest
import torch

from ppzoo.inference.graph.recording import record
from ppzoo.inference.native import Unsupported, compile_map
from ppzoo.inference.native.build import lanes

KNOWN = torch.linspace(-1, 1, 35, dtype=torch.float64).view(7, 5)


def _function(x, i):
    y = (KNOWN @ x).exp().log1p()
    return (y * y).sum(), y.softmax(0) + x.mean(), x[i].lgamma(), y > 1, i + 2


@pytest.fixture
def inputs(seeded):
    return torch.randn(101, 5, dtype=torch.float64), torch.randint(0, 5, (101, 3))


@pytest.mark.parametrize("width", [2, 4, 8])
def test_lanes_threads_and_chains_change_no_bit(inputs, width):
    if width > lanes():
        pytest.skip(f"vectors of this machine hold {lanes()} doubles")
    x, i = inputs
    graph = record(_function, [x[0], i[0]])
    want = compile_map(graph, [x[0], i[0]])(x, i)
    native = compile_map(graph, [x[0], i[0]], width=width)
    for threads in (1, 2, 5):
        assert all(torch.equal(a, b) for a, b in zip(native(x, i, threads=threads), want, strict=True))
    for chains in (1, 2, 7, 8, 9):
        got = native(x[:chains].contiguous(), i[:chains].contiguous())
        assert all(torch.equal(a, b[:chains]) for a, b in zip(got, want, strict=True))


def test_no_chains_no_numbers(inputs):
    x, i = inputs
    outputs = compile_map(record(_function, [x[0], i[0]]), [x[0], i[0]])(x[:0], i[:0])
    assert [tuple(o.shape) for o in outputs] == [(0,), (0, 7), (0, 3), (0, 7), (0, 3)]


def test_inputs_are_left_alone_and_outputs_are_new(inputs):
    x, _ = inputs
    native = compile_map(record(lambda x: (x, x * 2), [x[0]]), [x[0]])
    before = x.clone()
    first, second = native(x), native(x)
    first[0].zero_()
    assert torch.equal(x, before)
    assert torch.equal(second[0], x)


def test_wrong_inputs_are_refused(inputs):
    x, i = inputs
    native = compile_map(record(_function, [x[0], i[0]]), [x[0], i[0]])
    with pytest.raises(ValueError, match="got 1 inputs, expected 2"):
        native(x)
    with pytest.raises(ValueError, match=r"input 0: got \(101, 4\).*expected \(101, 5\)"):
        native(x[:, :4].contiguous(), i)
    with pytest.raises(ValueError, match=r"input 1: got \(100, 3\)"):
        native(x, i[:100].contiguous())
    with pytest.raises(ValueError, match=r"float32, expected \(101, 5\) torch.float64"):
        native(x.float(), i)
    with pytest.raises(ValueError, match="expected contiguous"):
        native(x.T.contiguous().T, i)


def test_random_numbers_inside_are_unsupported(seeded):
    x = torch.zeros(3)
    with pytest.raises(Unsupported, match="random numbers"):
        compile_map(record(lambda x: x + torch.rand(3), [x]), [x])
