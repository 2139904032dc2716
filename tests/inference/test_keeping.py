"""Memory: rows of many chains, each at its own pace."""

from __future__ import annotations

import torch

from ppzoo.inference.keeping import Memory


def test_each_chain_fills_its_own_rows_in_order():
    generator = torch.Generator().manual_seed(0)
    truth = torch.arange(4 * 10 * 2.0).reshape(4, 10, 2)
    memory, given = Memory(), torch.zeros(4, dtype=torch.int64)
    kept = memory.begin({"x": (torch.float32, (2,)), "n": (torch.int64, ())}, chains=4, draws=10)
    assert kept.counts.tolist() == [0, 0, 0, 0]
    assert not kept.state
    assert not kept.numbers
    while bool((given < 10).any()):
        counts = torch.minimum(torch.randint(0, 4, (4,), generator=generator), 10 - given)
        place = torch.clamp(given[:, None] + torch.arange(4), max=9)
        memory.append({"x": truth[torch.arange(4)[:, None], place], "n": place}, counts, {}, {})
        given = given + counts
    rows = memory.take("x")
    assert torch.equal(rows, truth)
    assert torch.equal(memory.take("n"), torch.arange(10).expand(4, 10))
    assert rows.dtype == torch.float32


def test_memory_is_not_lasting():
    assert not Memory.lasting
