"""A graph runs its operations in order, keeps no more than it needs, and is one operation to whoever records it."""

from __future__ import annotations

import weakref

import pytest
import torch

from ppzoo.inference.graph.graph import Graph, Node, map_leaves, nodes_in
from ppzoo.inference.graph.recording import record
from ppzoo.inference.graph.simplify import simplify

X = torch.tensor([0.3, -1.2, 2.0], dtype=torch.float64)
DATA = torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64)
aten = torch.ops.aten


def test_what_no_output_needs_is_left_out():
    x = Node().like(X)
    exp, sin = Node(aten.exp.default, (x,)), Node(aten.sin.default, (x,))
    graph = Graph([x], [exp, sin], (exp,))
    assert graph.calls == [exp]
    assert torch.equal(graph(X)[0], X.exp())


def test_outputs_have_the_form_that_they_had():
    graph = record(lambda x: [x, (x + DATA, DATA)], [X])
    first, (second, third) = graph(X)
    assert first is X
    assert third is DATA
    assert torch.equal(second, X + DATA)
    assert [constant is DATA for constant in graph.constants] == [True]


def test_values_are_gone_after_their_last_use():
    gone = []

    def watched(x):
        gone.extend(ref() is None for ref in seen)
        result = x + 1
        seen.append(weakref.ref(result))
        return result

    seen: list[weakref.ref] = []
    nodes = [Node().like(X)]
    for _ in range(4):
        nodes.append(Node(watched, (nodes[-1],)))
    Graph(nodes[:1], nodes[1:], nodes[-1])(X)
    assert gone == [False, True, False, True, True, False]  # only the last result is there at each call


def test_while_recorded_it_is_one_operation():
    inner = record(lambda x: (x.exp() * DATA, x.sum()), [X])
    outer = record(lambda x: inner(2 * x)[0] + inner(x)[1], [X])
    assert [node.target for node in outer.calls].count(inner) == 2
    assert not any(isinstance(node.target, Graph) for node in simplify(outer).calls)
    for graph in (outer, simplify(outer)):
        torch.testing.assert_close(graph(X + 1), (2 * (X + 1)).exp() * DATA + (X + 1).sum(), rtol=0, atol=0)


@pytest.mark.parametrize("how", ["mapped", "differentiated"])
def test_where_something_follows_its_operations_they_are_recorded(how):
    inner = record(lambda x: (x.exp() * DATA).sum(), [X])

    def mapped(x):
        return torch.func.vmap(inner)(x[None])

    def differentiated(x):
        leaf = x.detach().requires_grad_(True)
        return torch.autograd.grad(inner(leaf), leaf)[0]

    function = {"mapped": mapped, "differentiated": differentiated}[how]
    graph = record(function, [X])
    assert inner not in [node.target for node in graph.calls]
    torch.testing.assert_close(graph(X + 1), function(X + 1), rtol=0, atol=0)


def test_leaves_and_nodes_of_a_tree():
    a, b = Node(), Node()
    tree = (a, [1, {"x": b}], None)
    assert nodes_in(tree) == [a, b]
    assert map_leaves(lambda leaf: leaf if isinstance(leaf, Node) else 7, tree) == (a, [7, {"x": b}], 7)
