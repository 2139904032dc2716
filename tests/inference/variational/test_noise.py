"""What a graph draws becomes its inputs, or it says why not."""

from __future__ import annotations

import pytest
import torch

from ppzoo.inference.graph.recording import record
from ppzoo.inference.native import Unsupported
from ppzoo.inference.variational.noise import Draw, at_once, drawn, separated, shared


def test_given_the_numbers_the_graph_is_the_same():
    def function(x):
        return x * torch.empty(3).normal_() + torch.rand(2, 1) - torch.randn(3)

    x = torch.tensor([1.0, 2.0, 3.0])
    with torch.random.fork_rng():
        graph, draws = separated(record(function, [x]))
    assert sorted(draws) == [Draw("normal", (3,), torch.float32)] * 2 + [Draw("uniform", (2, 1), torch.float32)]
    numbers = [torch.full(draw.shape, float(i)) for i, draw in enumerate(draws)]
    kinds = [draw.kind for draw in draws]
    first, last = (i for i, kind in enumerate(kinds) if kind == "normal")
    torch.testing.assert_close(graph(x, *numbers), (x * first + kinds.index("uniform") - last).expand(2, 3))


@pytest.mark.parametrize(
    "function",
    [
        torch._standard_gamma,  # torch has no public way to its draws
        torch.bernoulli,
        lambda x: x + torch.empty(3).normal_(1.0, 2.0),
        lambda x: x + torch.empty(3).exponential_(),
    ],
)
def test_other_distributions_stay(function):
    with torch.random.fork_rng(), pytest.raises(Unsupported, match="hangs on more than its shape"):
        separated(record(function, [torch.tensor([0.1, 0.2, 0.3])]))


def test_numbers_are_of_their_distribution_and_generator():
    draws = [Draw("normal", (500,), torch.float64), Draw("uniform", (), torch.float32)]
    normal, uniform = drawn(draws, 100, torch.Generator().manual_seed(0))
    again, _ = drawn(draws, 100, torch.Generator().manual_seed(0))
    assert normal.shape == (100, 500)
    assert uniform.shape == (100,)
    assert (normal.dtype, uniform.dtype) == (torch.float64, torch.float32)
    assert abs(float(normal.mean())) < 4 / 50_000**0.5
    assert abs(float(normal.var()) - 1) < 4 * (2 / 50_000) ** 0.5
    assert 0 <= float(uniform.min()) <= float(uniform.max()) < 1
    assert torch.equal(normal, again)


def test_processes_take_their_parts_of_the_same_numbers():
    """Of what each row has, some rows; of what they share, all."""
    whole = [Draw("normal", (2, 5, 3), torch.float64), Draw("normal", (4,), torch.float64)]
    parts = []
    for rows in (slice(0, 2), slice(2, 5)):
        own = [Draw("normal", (2, rows.stop - rows.start, 3), torch.float64), whole[1]]
        parts.append(drawn(shared(own, whole, rows), 6, torch.Generator().manual_seed(0)))
    local, common = drawn(whole, 6, torch.Generator().manual_seed(0))
    assert torch.equal(torch.cat([part[0] for part in parts], 2), local)
    assert all(torch.equal(part[1], common) for part in parts)
    assert parts[0][0].is_contiguous()


@pytest.mark.parametrize(
    "own",
    [
        [],
        [Draw("uniform", (2,), torch.float64)],
        [Draw("normal", (2,), torch.float32)],
        [Draw("normal", (2, 1), torch.float64)],
        [Draw("normal", (3,), torch.float64)],
        [Draw("normal", (2,), torch.float64)] * 2,
    ],
    ids=["fewer", "kind", "type", "dimensions", "rows", "more"],
)
def test_what_follows_the_rows_in_another_way_is_refused(own):
    with pytest.raises(Unsupported, match="follows the rows in another way"):
        shared(own, [Draw("normal", (5,), torch.float64)], slice(0, 2))


@pytest.mark.parametrize(("nbytes", "steps"), [(0, 50), (2**20, 25), (2**21, 10), (2**25, 1), (2**40, 1)])
def test_portions_fill_windows_and_fit_into_memory(nbytes, steps):
    assert at_once(nbytes) == steps
