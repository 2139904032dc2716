"""The leaf by leaf bookkeeping against the recursive definition of a balanced tree."""

from __future__ import annotations

import pytest
import torch

from ppzoo.inference.mcmc.uturn import closed_subtrees, turns

MASS = torch.tensor([1.0, 3.0], dtype=torch.float64)


def test_a_straight_line_does_not_turn_and_a_reversal_does():
    p = torch.tensor([1.0, 0.5], dtype=torch.float64)
    assert not bool(turns(p, p, 5 * p, MASS))
    assert bool(turns(p, -p, 0 * p, MASS))
    assert bool(turns(p, 0.1 * p, -p, MASS))


def test_the_metric_counts():
    first = torch.tensor([0.6, 1.2], dtype=torch.float64)
    last = torch.tensor([0.6, -0.6], dtype=torch.float64)  # v . rho is 0.36 - 0.18 here, 0.36 - 0.54 with the mass
    assert not bool(turns(first, last, first + last, torch.ones(2, dtype=torch.float64)))
    assert bool(turns(first, last, first + last, MASS))


@pytest.mark.parametrize("depth", [1, 2, 3, 6])
def test_every_balanced_subtree_is_closed_once_by_its_last_leaf(depth):
    """Leaf n closes the subtrees [n - 2^k + 1, n] that start at a multiple of 2^k, and finds their first leaf."""
    memory: dict[int, int] = {}
    found = set()
    for n in range(2**depth):
        write, closed = closed_subtrees(torch.tensor(n), 6)
        found |= {(memory[slot], n) for slot in closed.nonzero()[:, 0].tolist()}
        for slot in write.nonzero()[:, 0].tolist():
            memory[slot] = n
    expected = {(n - 2**k + 1, n) for n in range(2**depth) for k in range(1, depth + 1) if (n + 1) % 2**k == 0}
    assert found == expected
