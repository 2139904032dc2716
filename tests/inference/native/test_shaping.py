"""Views cost nothing and tensors put together are what torch makes of them."""

from __future__ import annotations

import pytest
import torch

from ppzoo.inference.graph.recording import record
from ppzoo.inference.native import Unsupported, compile_map
from ppzoo.inference.native.shaping import OPERATIONS

C = 5
aten = torch.ops.aten
NEVER_TRACED = {  # composite: a recording shows what they are made of; kept for graphs made otherwise
    *("contiguous", "lift_fresh", "view_of", "reshape", "_reshape_alias", "view_copy", "to", "convert_element_type"),
    *("type_as", "concatenate", "empty_like", "new_empty", "_unsafe_view", "_linalg_check_errors", "full"),
    *("view.dtype", "clone", "lift_fresh_copy"),
}


def _numbers(*shape: int) -> torch.Tensor:
    return torch.randn(C, *shape, dtype=torch.float64)


@pytest.fixture(scope="module")
def seen() -> set[str]:
    return set()


def test_views(seeded, hold, seen):
    x = _numbers(3, 4, 6)
    cases = {
        "permute": (lambda x: x.permute(2, 0, 1) * 2, x),
        "transpose and view": (lambda x: x.transpose(0, 1).reshape(12, 6).exp(), x),
        "view": (lambda x: x.view(4, 18) * x[:2].view(2, 2, 2, 6).sum(), x),
        "view of a transpose": (lambda x: x.mT.reshape(-1), x),
        "slice": (lambda x: x[1:, ::2, -4:-1] + 1, x),
        "select": (lambda x: x[-1, 2] * x[0, 1], x),
        "squeeze": (lambda x: x[:, :1].squeeze(1) + x[:1].squeeze()[:3], x),
        "unsqueeze": (lambda x: x.unsqueeze(1) * x.unsqueeze(0), x),
        "expand": (lambda x: x[0, 0].expand(5, 6) + x[0, :1].expand(5, -1), x),
        "diagonal": (lambda x: (x.diagonal(0, 1, 2), x.diagonal(-1, 0, 1), x[0].diag()), x),
        "movedim": (lambda x: x.movedim(0, -1).flatten(), x),
        "split": (lambda x: torch.stack([part.sum() for part in x.split(2, dim=2)]), x),
        "unbind": (lambda x: x.unbind(1)[2] - x.unbind(1)[0], x),
        "chunk": (lambda x: x.chunk(3, 2)[1].exp(), x),
        "flip": (lambda x: (x.flip(0), x.flip((1, 2)), x.mT.flip(0)), x),
        "roll": (lambda x: (x.roll(2, 1), x.roll((1, -1), (0, 2))), x),
        "repeat": (lambda x: (x[0].repeat(2, 1), x[0].repeat(2, 1, 3), x[0, 0, 0].repeat(4)), x),
        "the input itself": (lambda x: (x, x.mT, x[1]), x),
    }
    seen |= hold(cases)


def test_tensors_put_together(seeded, hold, seen):
    x, y = _numbers(3, 4), _numbers(3, 4)
    whole = torch.arange(C * 2).view(C, 2)
    cases = {
        "cat": (lambda x, y: (torch.cat([x, y]), torch.cat([x, y[:, :2], x], -1)), x, y),
        "cat with a constant": (lambda x: torch.cat([x, torch.ones(2, 4, dtype=torch.float64)]), x),
        "cat of types": (lambda x, i: torch.cat([x[0], i]), x, whole),
        "stack": (lambda x, y: (torch.stack([x, y]), torch.stack([x, y], 1), torch.stack([x, x, y], -1)), x, y),
        "of numbers": (lambda x: torch.stack([x[0, 0], x[0, 1] * 2, x[2, 3]]), x),
        "pad": (lambda x: torch.constant_pad_nd(x, (1, 2)), x),
        "pad more": (lambda x: torch.constant_pad_nd(x, (1, 0, 2, 1), 3.5), x),
        "crop": (lambda x: torch.constant_pad_nd(x, (-1, 2, 1, -1), -1.0), x),
        "slice_scatter": (lambda x, y: torch.slice_scatter(x, y[:, :2], 1, 1, 4, 2), x, y),
        "into zeros": (lambda x, y: torch.slice_scatter(torch.zeros_like(x), y[:2], 0, 1, 3) * x, x, y),
        "select_scatter": (lambda x, y: torch.select_scatter(x, y[0], 0, -1), x, y),
        "diagonal_scatter": (lambda x, y: torch.diagonal_scatter(x, y[0, :3], 0), x, y),
        "triangles": (lambda x: (x.tril(), x.triu(1), x.tril(-1)), x),
        "sum of slices": (
            lambda x: (
                aten.slice_backward(x[0, :2], [6], 0, 0, 2, 1)
                + aten.slice_backward(x[1, :3], [6], 0, 3, 6, 1)
                + aten.select_backward(x[2, 3], [6], 0, 2)
            ),
            x,
        ),
        "overlapping slices": (
            lambda x: (
                aten.slice_backward(x[0], [6], 0, 0, 4, 1)
                + aten.slice_backward(x[1], [6], 0, 1, 5, 1)
                + aten.slice_backward(x[1], [6], 0, 1, 5, 1)
            ),
            x,
        ),
        "gradient of a diagonal": (lambda x: aten.diagonal_backward(x[0, :3], [3, 3], 0, 0, 1), x),
        "used twice": (lambda x: (lambda g: (g + g, g.exp()))(aten.slice_backward(x[0], [6], 0, 1, 5, 1)), x),
    }
    seen |= hold(cases)


def test_filled_like(seeded, hold, seen):
    x = _numbers(2, 3)
    cases = {
        "like": (lambda x: (torch.zeros_like(x) + x, torch.ones_like(x) * x, torch.full_like(x, 2.5) * x), x),
        "new": (lambda x: (x.new_zeros(3) + x, x.new_ones(3) * x, x.new_full((2, 1), 4.0) - x), x),
        "types": (lambda x: torch.ones_like(x, dtype=torch.int64) + x.long(), x),
        "fill": (lambda x: (torch.fill(x, 2.0) * x, torch.fill(x, x[0, 0])), x),
        "copy": (lambda x: torch.ops.aten.copy(x, x[0]), x),
        "constants": (lambda x: (torch.arange(3), torch.eye(2) > 0, torch.zeros(())), x),
        "detach": (lambda x: x.detach().clone() * 2, x),
        "alias": (lambda x: torch.ops.aten.alias(x) * 2, x),
    }
    seen |= hold(cases)


def test_memory_that_autograd_lays_out(seeded, hold, seen):
    x = _numbers(3, 5)
    plain = torch.zeros(15, dtype=torch.float64)
    cases = {
        "as_strided": (lambda x: aten.as_strided(x + 1, [3], [5], 4), x),
        "as_strided_scatter": (lambda x: aten.as_strided_scatter(x * 2, x[:, 0], [3], [6], 1), x),
        "into zeros": (lambda x: aten.as_strided_scatter(plain, x[:, 0], [3], [5], 0) * 2, x),
        "new_empty_strided": (lambda x: aten.copy(aten.new_empty_strided(x, [3, 5], [5, 1]), x), x),
        "unfold": (lambda x: (x.unfold(1, 3, 1), x.unfold(0, 2, 1).sum(-1)), x),
    }
    seen |= hold(cases)


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        (lambda x: torch.as_strided(x.T, (4,), (1,)), "a view of a view"),
        (lambda x: aten.as_strided_scatter(x.T, x[0], [2], [1], 0), "a view of a view"),
        (lambda x: aten.new_empty_strided(x, [2, 2], [1, 2]) + x, "in another order"),
        (lambda x: x.view(torch.int64), "as another type"),
    ],
)
def test_what_depends_on_how_torch_lays_a_tensor_out_is_unsupported(function, reason):
    x = torch.zeros(2, 2, dtype=torch.float64)
    with pytest.raises(Unsupported, match=reason):
        compile_map(record(function, [x]), [x])


def test_every_operation_has_a_case(seen):
    if not seen:
        pytest.skip("the other tests of this file were not run")
    assert set(OPERATIONS) - NEVER_TRACED - seen == set()
