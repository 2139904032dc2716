"""A simplified graph computes what the original computes, with fewer operations."""

from __future__ import annotations

import pytest
import torch

from ppzoo.inference.graph.recording import record
from ppzoo.inference.graph.simplify import simplify

X = torch.tensor([0.3, -1.2, 2.0], dtype=torch.float64)
DATA = torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64)


def simplified(function, *examples):
    graph = simplify(record(function, examples))
    for example in (examples, tuple(-2 * e for e in examples)):
        expected, found = function(*example), graph(*example)
        assert torch.equal(expected, found)
        assert expected.dtype == found.dtype
    return [str(node.target) for node in graph.calls]


@pytest.mark.parametrize(
    ("function", "operations"),
    [
        (lambda x: x * 1, 0),
        (lambda x: x + torch.zeros(3, dtype=torch.float64), 0),
        (lambda x: 0.0 + x / 1, 0),
        (lambda x: (x - 0) ** 1, 0),
        (lambda x: x.neg().neg(), 0),
        (lambda x: x.clone().detach().expand(3).reshape(3), 0),
        (lambda x: torch.where(torch.ones(3, dtype=torch.bool), x, 7.0 * x), 0),
        (lambda x: x * torch.full((3,), -1.0, dtype=torch.float64), 1),
        (lambda x: x * (DATA.log() - DATA.exp().sum()), 1),  # what data alone decide is computed once
        (lambda x: x.exp() + x.exp(), 2),  # and what is asked for twice, too
        (lambda x: x + 0.0 * x, 2),  # not x: infinity times zero is not a number
        (lambda x: 1.0 * x.sum(), 1),
        (lambda x: x * torch.ones(2, 3, dtype=torch.float64), 1),  # the shape changes: it stays
        (lambda x: torch.zeros_like(x) - x, 1),
        (lambda x: torch.div(x, 1, rounding_mode="floor"), 1),  # a rule does not know what else was asked for
        (lambda x: torch.add(torch.zeros(3, dtype=torch.float64), x, alpha=2), 1),
        (lambda x: torch.sub(torch.zeros(3, dtype=torch.float64), x, alpha=2), 1),
        (lambda x: torch.full_like(x, 2.0).log() + 0 * torch.ones_like(x), 0),
    ],
)
def test_rules(function, operations):
    assert len(simplified(function, X)) == operations


def test_a_constant_result_is_a_constant():
    graph = simplify(record(lambda x: (x.new_ones(2), x), [X]))
    one, x = graph(X)
    assert torch.equal(one, torch.ones(2, dtype=torch.float64))
    assert x is X


def test_equal_constants_do_not_hide_different_ones():
    """Constants are told apart by their values, not by where they lie in memory."""

    def function(x):
        total = x
        for k in range(20):
            total = total + x * (DATA + k).sqrt()
        return total

    assert sum("mul" in name for name in simplified(function, X)) == 20


def test_operations_know_their_shape():
    graph = simplify(record(lambda x: x[None].exp() @ DATA, [X]))
    assert graph.calls[-1].shape == (1,)
    assert all(node.dtype == torch.float64 for node in graph.calls)


def test_several_results_of_one_operation():
    def function(x):
        value, index = torch.max(x, 0)
        return value + index.double()

    simplified(function, X)
