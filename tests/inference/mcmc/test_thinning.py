"""Which draws are kept, however they are cut into blocks, and that no divergence is lost on the way."""

from __future__ import annotations

import pytest
import torch

from ppzoo.inference.mcmc.thinning import Thinning

DRAWS = 60
KEYS = torch.zeros(3, 2, dtype=torch.int64)
DIVERGING = torch.rand(3, DRAWS, generator=torch.Generator().manual_seed(1)) < 0.1


def blocks(every, size, *, restored=False):
    """Chains give 0 to ``size`` draws a block, each at its own pace; the rows kept of each."""
    generator = torch.Generator().manual_seed(2)
    thinning = Thinning.of(every, KEYS)
    kept = [[] for _ in range(3)]
    while bool((thinning.given < DRAWS).any()):
        given = thinning.given.clone()
        counts = torch.minimum(torch.randint(0, size + 1, (3,), generator=generator), DRAWS - given)
        place = torch.clamp(given[:, None] + torch.arange(size), max=DRAWS - 1)
        rows = {"x": place, "diverging": DIVERGING[torch.arange(3)[:, None], place]}
        picked, n = thinning.take(rows, counts)
        if restored:
            tensors, thinning = thinning.snapshot(), Thinning.of(every, KEYS)
            thinning.restore(tensors)
        for c in range(3):
            kept[c] += list(zip(picked["x"][c, : n[c]].tolist(), picked["diverging"][c, : n[c]].tolist(), strict=True))
    return kept


@pytest.mark.parametrize("restored", [False, True])
@pytest.mark.parametrize("size", [1, 4, 7, 60])
@pytest.mark.parametrize("every", [1, 2, 5, 12])
def test_every_so_many_is_kept_and_says_whether_one_of_them_diverged(every, size, restored):
    kept = blocks(every, size, restored=restored)
    for c in range(3):
        assert [row for row, _ in kept[c]] == list(range(every - 1, DRAWS, every))
        groups = DIVERGING[c].reshape(-1, every).any(1)
        assert [diverged for _, diverged in kept[c]] == groups.tolist()
