"""Loops of the program become loops in C: the same numbers from a fraction of the text."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch

from ppzoo.inference.graph.recording import functional, record
from ppzoo.inference.native import compile_map
from ppzoo.inference.native.builder import Builder
from ppzoo.inference.native.lowering import lower
from ppzoo.inference.native.program import map_source, prelude
from ppzoo.inference.native.repeats import bodies, stretches
from ppzoo.inference.native.schedule import live, targets_of
from tests.inference.native.gradients import with_gradient

STEPS = 60


def runge_kutta(x):
    def slope(z):
        return torch.stack([x[0] * z[0] - x[1] * z[0] * z[1], x[3] * z[0] * z[1] - x[2] * z[1]])

    z, h, seen = torch.ones(2, dtype=x.dtype), 0.02, []
    for i in range(STEPS):
        k1 = slope(z)
        k2 = slope(z + h / 2 * k1)
        k3 = slope(z + h / 2 * k2)
        k4 = slope(z + h * k3)
        z = z + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
        if i % 10 == 9:
            seen.append(z)
    return torch.stack(seen).log().square().sum()


def hidden_markov(x):
    """Data that differ from step to step, and sums over the states."""
    y = torch.linspace(-2, 3, STEPS, dtype=x.dtype).sin()
    moves = x[:9].reshape(3, 3).log_softmax(1)
    forward = torch.zeros(3, dtype=x.dtype)
    for t in range(STEPS):
        forward = (forward[:, None] + moves).logsumexp(0) - (y[t] - x[9:12]) ** 2
    return forward.logsumexp(0)


def kalman(x):
    """Calls of functions on whole matrices, and numbers of the step itself."""
    mean, spread = x[:2], torch.eye(2, dtype=x.dtype)
    turn = torch.tensor([[1.0, 0.1], [-0.1, 1.0]], dtype=x.dtype)
    total = x.new_zeros(())
    for t in range(STEPS):
        mean, spread = turn @ mean, turn @ spread @ turn.T + x[2].exp() * torch.eye(2, dtype=x.dtype)
        factor = torch.linalg.cholesky(spread)
        error = torch.linalg.solve_triangular(factor, (0.01 * t - mean)[:, None], upper=False)[:, 0]
        total = total - error.square().sum() - factor.diagonal().log().sum()
        mean = mean + 0.5 * error
        spread = 0.5 * spread
    return total


def positions(x):
    """Each step reads and writes its own places of longer vectors."""
    y, path = torch.linspace(0, 1, len(x), dtype=x.dtype), [x[0]]
    for t in range(1, len(x)):
        path.append(path[-1] * 0.9 + x[t] * y[t] + (0.1 if t % 2 else -0.2) * torch.tanh(x[t - 1]))
    return torch.stack(path).sin().sum()


PROGRAMS = {
    "runge_kutta": (runge_kutta, 4),
    "hidden_markov": (hidden_markov, 12),
    "kalman": (kalman, 3),
    "positions": (positions, 5 * STEPS),
}


@pytest.fixture
def graph(monkeypatch):
    """The graph of a function; loops of these short programs are worth the while."""
    monkeypatch.setattr("ppzoo.inference.native.repeats._WORTH", 200)
    return lambda function, x: functional(record(function, [x]), [x])


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_loop_gives_the_same_numbers_from_less_text(name, graph, monkeypatch):
    function, size = PROGRAMS[name]
    function = with_gradient(function)
    x = torch.rand(5, size, dtype=torch.float64, generator=torch.Generator().manual_seed(1)) * 0.5 + 0.2
    looped = compile_map(graph(function, x[0]), [x[0]])
    for row, value, gradient in zip(x, *looped(x), strict=True):
        expected = function(row)
        torch.testing.assert_close(value, expected[0], rtol=1e-11, atol=1e-11)
        torch.testing.assert_close(gradient, expected[1], rtol=1e-9, atol=1e-9)
    monkeypatch.setattr("ppzoo.inference.native.repeats._WORTH", 10**9)
    flat = map_source(graph(function, x[0]), [x[0]], looped.width)
    one, other = (source.text.removeprefix(prelude(looped.width)) for source in (looped.source, flat))
    assert 1 <= one.count("static void body") <= 8
    assert "static void body" not in other
    assert len(one) < 0.5 * len(other)


def test_single_precision(graph):
    function = with_gradient(runge_kutta)
    x = torch.rand(5, 4, generator=torch.Generator().manual_seed(1)) * 0.5 + 0.2
    looped = compile_map(graph(function, x[0]), [x[0]])
    assert "static void body" in looped.source.text
    torch.testing.assert_close(looped(x)[1], torch.stack([function(row)[1] for row in x]), rtol=1e-4, atol=1e-4)


def statements_of(function, x):
    builder = Builder()
    results = [builder.materialise(v) for v in lower(record(function, [x]), [builder.input(x)], builder)]
    return live(builder.statements, [r.buffer for r in results])


def test_runs_are_in_order_and_apart(graph):
    x = torch.full((4,), 0.3, dtype=torch.float64)
    statements = statements_of(with_gradient(runge_kutta), x)
    found = bodies(statements)
    assert len(found) > STEPS
    assert all(end <= begin for (_, end), (begin, _) in pairwise(found))
    looks = [tuple(getattr(s, "template", "") for s in statements[begin:end]) for begin, end in found]
    assert len(set(looks)) <= 3  # forward, backward, backward where something was observed
    units = [unit for stretch in stretches(statements) for unit in stretch.units]
    order = {id(s): k for k, unit in enumerate(units) for s in getattr(unit, "statements", [unit])}
    assert len(order) == len(statements)
    made = {buffer: order[id(s)] for s in statements for buffer in targets_of(s)}
    assert len(made) > STEPS


@pytest.mark.parametrize("function", [lambda x: x.exp().sum(), lambda x: sum(x.sin() * k for k in range(50)).sum()])
def test_a_short_program_is_not_cut(function):
    x = torch.zeros(3, dtype=torch.float64)
    statements = statements_of(function, x)
    assert bodies(statements) == []
    assert [stretch.repeated for stretch in stretches(statements)] == [False]


def test_nothing_is_nothing():
    assert stretches([]) == []
