"""Functions become graphs with the same numbers, for one chain and for many; what cannot is refused."""

from __future__ import annotations

import pytest
import torch

from ppzoo.inference.graph.tracing import NotTraceable, map_chains, trace
from ppzoo.isolation import isolated

X = torch.tensor([0.3, -1.2, 2.0], dtype=torch.float64)


def value_and_gradient(q):
    leaf = q.detach().requires_grad_(True)
    value = torch.nn.functional.logsigmoid(leaf).sum() - (leaf**2).cumsum(0).exp().sum()
    return value.detach(), torch.autograd.grad(value, leaf)[0]


def test_gradients_are_recorded():
    graph = trace(value_and_gradient, [X])
    for x in (X, X + 0.7):
        for found, expected in zip(graph(x), value_and_gradient(x), strict=True):
            torch.testing.assert_close(found, expected, rtol=1e-14, atol=0)


@pytest.mark.parametrize("chains", [1, 2, 9])
def test_all_chains_at_once(chains):
    x = X + torch.linspace(-1, 1, chains, dtype=torch.float64)[:, None]
    graph = map_chains(trace(value_and_gradient, [X]), [x])
    values, gradients = graph(x)
    for row, value, gradient in zip(x, values, gradients, strict=True):
        expected = value_and_gradient(row)
        torch.testing.assert_close(value, expected[0], rtol=1e-13, atol=0)
        torch.testing.assert_close(gradient, expected[1], rtol=1e-13, atol=0)


def test_the_same_tensor_as_two_examples_is_two_arguments():
    graph = trace(lambda a, b: (a - 2 * b,), [X, X])
    assert torch.equal(graph(X, X + 1)[0], X - 2 * (X + 1))


def test_writing_in_place_leaves_no_trace():
    def function(x):
        y = x.clone()
        y[0] = 5.0
        y.mul_(2)
        return (y,)

    before = X.clone()
    graph = trace(function, [X])
    assert torch.equal(graph(X)[0], torch.tensor([10.0, -2.4, 4.0], dtype=torch.float64))
    assert torch.equal(X, before)


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        (lambda x: (x if float(x[0]) > 0 else -x,), "data-dependent"),
        (lambda x: (x + torch.randn(3, dtype=torch.float64),), "draws at random"),
        (lambda x: (x + torch.distributions.Gamma(2.0, 1.0).sample(),), "draws at random"),
    ],
)
def test_what_a_replay_would_get_wrong_is_refused(function, reason):
    with isolated(seed=0), pytest.raises(NotTraceable, match=reason):
        trace(function, [X])


def test_a_shape_that_depends_on_values_cannot_be_mapped():
    with pytest.raises(NotTraceable, match="dynamic shape"):
        map_chains(trace(lambda x: (x[x > 0].sum(),), [X]), [X.expand(2, 3)])


def test_a_matrix_without_cholesky_factor_is_not_a_number_for_its_chain_alone():
    def function(x):
        leaf = x.detach().requires_grad_(True)
        value = torch.linalg.cholesky(torch.eye(2, dtype=x.dtype) * leaf).diagonal().log().sum()
        return value.detach(), torch.autograd.grad(value, leaf)[0]

    x = torch.tensor([4.0, -1.0, 9.0], dtype=torch.float64)
    graph = trace(function, [x[0]])
    value, gradient = map_chains(graph, [x])(x)
    torch.testing.assert_close(value[[0, 2]], x[[0, 2]].log())
    torch.testing.assert_close(gradient[[0, 2]], 1 / x[[0, 2]])
    assert bool(value[1].isnan())
    assert bool(gradient[1].isnan())


def test_numbers_may_be_read_from_data():
    """How many groups there are is no question of the chain."""
    group = torch.tensor([0, 2, 1, 2])

    def function(x):
        size = int(group.max()) + 1
        if bool((group == 2).any()):
            x = 2 * x
        return (x[:size].sum() + x[group].prod(),)

    graph = trace(function, [X])
    torch.testing.assert_close(graph(X + 1)[0], function(X + 1)[0])
    assert not any("max" in str(node.target) for node in graph.calls)


def test_a_number_read_from_an_input_through_others_is_refused():
    def function(x):
        total = torch.zeros(2, dtype=torch.float64)
        total[0] = x.sum()
        return (x * float(total.max()),)

    with pytest.raises(NotTraceable, match="data-dependent"):
        trace(function, [X])
