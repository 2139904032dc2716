"""A recording is what torch computed, runs again with other numbers, and knows what hangs on its inputs."""

from __future__ import annotations

import subprocess
import sys
import weakref

import pytest
import torch

from ppzoo.inference.graph.recording import functional, record

X = torch.tensor([0.3, -1.2, 2.0], dtype=torch.float64)
DATA = torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64)


def operations(graph):
    return [str(node.target).removeprefix("aten.") for node in graph.calls]


def test_the_operations_and_nothing_else():
    graph = record(lambda x: (x.exp() * DATA).sum(), [X])
    assert operations(graph) == ["exp.default", "mul.Tensor", "sum.default"]
    assert torch.equal(graph(X + 1), ((X + 1).exp() * DATA).sum())
    assert [node.shape for node in graph.calls] == [(3,), (3,), ()]


def test_gradients_are_operations():
    def function(x):
        leaf = x.detach().requires_grad_(True)
        return torch.autograd.grad(leaf.sin().sum(), leaf)

    torch.testing.assert_close(record(function, [X])(X - 2)[0], (X - 2).cos(), rtol=1e-15, atol=0)


def test_several_results_are_told_apart():
    graph = record(lambda x: x.max(0).values + x.split([1, 2])[1].sum(), [X])
    assert float(graph(X + 1)) == pytest.approx(3.0 + 2.8)


def test_an_operation_in_parts():
    parts = {torch.ops.aten.sigmoid.default: lambda x: 1 / (1 + (-x).exp())}
    graph = record(torch.sigmoid, [X], parts)
    assert operations(graph)[:2] == ["neg.default", "exp.default"]
    torch.testing.assert_close(graph(X + 1), torch.sigmoid(X + 1))


def test_a_constant_that_is_written_into_is_new_each_time():
    def function(x):
        total = torch.tensor([1.0, 1.0, 1.0], dtype=torch.float64)
        total[:] += x
        return total

    written = record(function, [X])
    pure = functional(written, [X])
    assert "add_.Tensor" in operations(written)
    assert not any(name.partition(".")[0].endswith("_") for name in operations(pure))
    for graph in (written, pure, written, pure):
        assert torch.equal(graph(X), 1 + X)


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (lambda x: x.exp().add_(DATA).mul_(x), ["exp.default", "add.Tensor", "mul.Tensor"]),
        (lambda x: (x[:, None] @ DATA[None]).squeeze_(), ["mm.default", "squeeze.default"]),
        (lambda x: torch.zeros_like(x).index_put_((torch.tensor(1),), x[0]), ["index_put.default"]),
        (lambda x: (y := x.exp(), z := y + 1, y.mul_(2), z * y)[-1], ["exp.default", "add.Tensor", "mul.Tensor"]),
    ],
)
def test_a_write_that_only_its_tensor_sees_is_recorded_as_a_new_value(function, expected):
    graph = record(function, [X])
    assert functional(graph, [X]) is graph
    assert [name for name in operations(graph) if name in expected][: len(expected)] == expected
    torch.testing.assert_close(graph(X + 1), function(X + 1), rtol=0, atol=0)


@pytest.mark.parametrize(
    "function",
    [
        lambda x: (y := x.exp(), first := y[0], y.mul_(2), first * y)[-1],
        lambda x: (y := x.exp(), y[0].mul_(2), y * 1)[-1],
        lambda x: (y := x.exp(), z := y.view(1, 3), z.mul_(2), y * 1)[-1],
        lambda x: (y := x.exp().max(0).values, y.mul_(2), y * x)[-1],
        lambda x: (y := torch.ones(3), y.add_(x), y * x)[-1],
    ],
    ids=["before", "through", "other", "one of several", "narrower"],
)
def test_a_write_that_another_tensor_sees_is_one(function):
    """And so is one whose value torch would make of another type or shape."""
    graph = record(function, [X])
    pure = functional(graph, [X])
    assert pure is not graph
    for each in (graph, pure, graph):
        torch.testing.assert_close(each(X + 1), function(X + 1), rtol=0, atol=0)


def test_a_graph_that_writes_nowhere_is_functional():
    graph = record(torch.exp, [X])
    assert functional(graph, [X]) is graph


def test_examples_stay_as_they_are():
    before = X.clone()
    record(lambda x: x.mul_(2), [X])
    assert torch.equal(X, before)


def test_values_on_the_way_are_not_kept():
    kept = []

    def function(x):
        kept.append(weakref.ref(x.exp())() is not None)
        return x

    record(function, [X])
    assert kept == [False]


def through_a_view(x):
    total = torch.zeros(3, dtype=torch.float64)
    first = total[0]
    total.copy_(x)
    return x * float(first)


def through_a_result_given(x):
    total = torch.zeros(3, dtype=torch.float64)
    first = total.split(1)[0]
    torch.add(x, DATA, out=total)
    return x * float(first)


def through_several_at_once(x):
    totals = [torch.zeros(3, dtype=torch.float64), torch.zeros(3, dtype=torch.float64)]
    torch._foreach_add_(totals, [DATA, x])
    return x if bool((totals[1] > 0).any()) else -x


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x * float(x[0]),
        lambda x: x if torch.equal(x, DATA) else -x,
        through_a_view,
        through_a_result_given,
        through_several_at_once,
    ],
)
def test_reading_what_hangs_on_the_inputs_is_refused(function):
    with pytest.raises(RuntimeError, match="data-dependent"):
        record(function, [X])


def test_reading_data_is_part_of_the_program():
    def function(x):
        kept = torch.zeros(3, dtype=torch.float64)
        kept.copy_(DATA)
        moved = DATA + x  # next to the data, not into them
        return moved * float(kept.max()) if torch.equal(kept, DATA) else moved

    assert torch.equal(record(function, [X])(X + 1), 3 * (DATA + X + 1))


def test_no_compiler_is_loaded():
    """It would take as long as all the rest of setting a sampler up."""
    code = """
import sys, torch
from ppzoo.inference.graph.tracing import map_chains, trace
x = torch.ones(2, 3)
map_chains(trace(lambda x: (x.exp().cumsum(0),), [x[0]]), [x])
sys.exit("torch._dynamo" in sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True)
