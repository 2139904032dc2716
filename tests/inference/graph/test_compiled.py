"""A compiled graph computes and draws what the graph does. Compiling takes seconds."""

from __future__ import annotations

import pytest
import torch

from ppzoo.inference.graph.compiled import compiled
from ppzoo.inference.graph.recording import record
from ppzoo.inference.graph.simplify import simplify
from ppzoo.isolation import isolated

SCALE = torch.tensor([2.0, 3.0, 5.0])


@pytest.mark.slow
def test_it_computes_and_draws_the_same():
    def function(x, y):
        return (torch.randn(4, 3) * SCALE + x @ y).exp().sum(0)

    examples = [torch.ones(4, 2), torch.linspace(-1, 1, 6).reshape(2, 3)]
    with isolated(seed=3):
        graph = simplify(record(function, examples))
        fast = compiled(graph)
        for _ in range(3):
            state = torch.get_rng_state()
            expected = graph(*examples)
            torch.set_rng_state(state)
            torch.testing.assert_close(fast(*examples), expected, rtol=1e-5, atol=1e-5)
