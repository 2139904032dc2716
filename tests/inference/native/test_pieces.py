"""What is put together and cut up again is the same; sums of pieces add up where they meet."""

from __future__ import annotations

import torch

from ppzoo.inference.graph.recording import record
from ppzoo.inference.native import compile_map
from ppzoo.inference.native.pieces import added, cut_out, elements, grows, pieces, region_of

F = torch.float64
WHOLE = torch.empty(4, 3, device="meta")
X = torch.rand(5, 6, dtype=F, generator=torch.Generator().manual_seed(0))


def number(value):
    return torch.tensor([float(value)])


def test_a_region_is_the_same_however_it_was_cut():
    assert region_of(WHOLE[1]) == region_of(WHOLE[1:2]) == region_of(WHOLE.narrow(0, 1, 1)[0]) == ((3,), (1,), 3)
    assert region_of(WHOLE[:, 2]) == ((4,), (3,), 2)
    assert region_of(WHOLE[3, 2]) == ((), (), 11)


def test_pieces_of_one_region_are_added_and_others_stand_beside():
    vector = torch.empty(4, device="meta")
    one, other = pieces([(vector[0], number(1)), (vector[1:3], number(2))]), pieces([(vector[:1], number(5))])
    total = added(one, other, torch.add)
    assert {region: float(value) for region, (_, value) in total.items()} == {((), (), 0): 6, ((2,), (1,), 1): 2}
    assert float(one[(), (), 0][1]) == 1  # the terms are as they were


def test_a_piece_is_cut_out_where_nothing_else_lies():
    vector = torch.empty(4, device="meta")
    parts = pieces([(vector[:2], torch.ones(2)), (vector[2:], torch.zeros(2))])
    assert torch.equal(cut_out(parts, vector[2:]), torch.zeros(2))
    assert cut_out(parts, vector[1:3]) is None
    assert cut_out(pieces([(vector[:2], torch.ones(2)), (vector[1:3], torch.ones(2))]), vector[:2]) is None


def test_short_vectors_of_numbers_are_their_elements():
    vector = torch.empty(3, device="meta")
    assert [float(x) for x in elements(pieces([(vector[1], number(7))]), vector.shape)] == [0, 7, 0]
    assert elements(pieces([(vector[:2], torch.ones(2))]), vector.shape) is None
    long = torch.empty(9, device="meta")
    assert elements(pieces([(long[1], number(7))]), long.shape) is None


def test_a_whole_tensor_joins_the_pieces_unless_they_cover_it():
    vector = torch.empty(4, device="meta")
    halves = [(vector[:2], torch.ones(2)), (vector[2:], torch.ones(2))]
    assert grows(pieces(halves[:1]), 4)
    assert not grows(pieces(halves), 4)
    assert grows(pieces([*halves, (vector, torch.ones(4))]), 4)


def test_vectors_cut_up_and_put_together(hold):
    def sums_of_slices(x):
        leaf = x.detach().requires_grad_(True)
        value = (leaf**2).sum() + sum((leaf[k] * leaf[k + 1 : k + 3].sum()).exp() for k in range(4)) + leaf[:2].prod()
        return torch.autograd.grad(value, leaf)[0]

    def stacked(x):
        z = torch.stack([x[0] * x[1], x[2].exp()])
        for _ in range(3):
            z = torch.where(z > 1, z / 2, torch.stack([z[1] * 0.5 + x[3], -z[0]])) * torch.tensor([1.0, -2.0], dtype=F)
        return z, z.sum(), z[None] * z[:, None], (z > 0)

    hold(
        {
            "sums of slices": (sums_of_slices, X),
            "stacked": (stacked, X),
            "one of two": (lambda x: torch.stack([x[0], torch.zeros((), dtype=F)]) + x[1:3], X),
            "both known": (lambda x: (torch.stack([x[0], torch.ones((), dtype=F)]) * 2)[1:], X),
            "overlapping": (lambda x: torch.cat([x[:2], x[1:3]]).view(2, 2).sum(0) + x[:2], X),
        }
    )


def test_a_stacked_vector_is_never_laid_out():
    def slope(x):
        z = torch.stack([x[0] * x[1], x[1] - x[0]])
        return (z * 2 + 1)[0] * (z * 2 + 1)[1]

    x = X[0]
    text = compile_map(record(slope, [x]), [x]).source.text.split("static void part0")[1]
    assert "for (long i0 = 0; i0 < 2" not in text
