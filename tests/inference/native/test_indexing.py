"""Known and computed positions read and write what torch does."""

from __future__ import annotations

import pytest
import torch

from ppzoo.inference.graph.graph import Graph, Node
from ppzoo.inference.graph.recording import record
from ppzoo.inference.native import Unsupported, compile_map
from ppzoo.inference.native.indexing import OPERATIONS

C = 7
aten = torch.ops.aten
NEVER_TRACED = {"_unsafe_index", "_unsafe_index_put", "_index_put_impl", "index_add"}


def _numbers(*shape: int) -> torch.Tensor:
    return torch.randn(C, *shape, dtype=torch.float64)


@pytest.fixture(scope="module")
def seen() -> set[str]:
    return set()


def test_reading(seeded, hold, seen):
    x = _numbers(3, 4, 5)
    i, j = torch.randint(-3, 3, (C, 6)), torch.randint(0, 4, (C, 6))
    known, mask = torch.tensor([2, -1, 0, 0]), torch.tensor([True, False, True])
    triangle = torch.ones(4, 5, dtype=torch.bool).tril()
    table = torch.randn(4, 3, dtype=torch.float64)
    cases = {
        "known": (lambda x: (x[known], x[:, known[:2]], x[:, :, known]), x),
        "known pairs": (lambda x: (x[known[:3], known[1:]], x[known[:3], :, known[1:]], x[:, known[:3], known[1:]]), x),
        "grid": (lambda x: x[known[:, None], known[None, :3]], x),
        "mask": (lambda x: (x[mask], x[0][triangle]), x),
        "computed": (lambda x, i: (x[i], x[:, i], x[..., i]), x, i),
        "both computed": (lambda x, i, j: (x[i, j], x[i, :, j], x[:, i, j], x[i[:, None], j[:2]]), x, i, j),
        "mixed": (lambda x, i: (x[i, 2], x[i[:4], known]), x, i),
        "row of a table": (lambda x, i: x[i[:1]] * 2, x, i),
        "of a constant": (lambda j: table[j], j),
        "of a view": (lambda x, i: x.permute(2, 0, 1)[:, i], x, i),
        "whole numbers": (lambda j, i: j[i], j, i),
        "truths": (lambda x, i: (x[:, 0, 0] > 0)[i], x, i),
        "gather": (lambda x, j: (x.gather(1, j.view(1, 3, 2)), x[0, :, 0].gather(0, j)), x, j),
        "gather known": (lambda x: x.gather(2, torch.tensor([[[1, 1, 4]]])), x),
        "gather scalar": (lambda x, j: x[0, 0, 0].gather(0, j[0] * 0), x, j),
        "embedding": (lambda x, j: torch.nn.functional.embedding(j, x[0]), x, j.clamp(max=3)),
        "index_select": (lambda x, j: (x.index_select(1, j), x.index_select(2, known.abs())), x, j),
        "take along": (lambda x: torch.take_along_dim(x, x.argmax(1, keepdim=True), 1), x),
    }
    seen |= hold(cases)


def test_writing(seeded, hold, seen):
    x, rows, row = _numbers(4, 5), _numbers(6, 5), _numbers(5)
    i, distinct = torch.randint(0, 4, (C, 6)), torch.stack([torch.randperm(4) for _ in range(C)])
    known = torch.tensor([3, 0, 0])
    cases = {
        "row": (lambda x, i, v: x.index_put((i[:1],), v), x, distinct, row),
        "rows": (lambda x, i, v: x.index_put((i,), v[:4]), x, distinct, rows),
        "add": (lambda x, i, v: x.index_put((i,), v, accumulate=True), x, i, rows),
        "add known": (lambda x, v: x.index_put((known,), v[:3], accumulate=True), x, rows),
        "into zeros": (lambda x, v: torch.zeros_like(x).index_put((known,), v[:3], accumulate=True) + x, x, rows),
        "computed mask": (lambda x, i: x.index_put((x > 0,), i[0].double()), x, i),
        "computed mask of rows": (lambda x, i: x.index_put((x[:, 0] > 0,), torch.tensor(1.5, dtype=x.dtype)), x, i),
        "masked": (lambda x, v: x.index_put((torch.eye(4, 5, dtype=torch.bool),), v[:4, 0]), x, rows),
        "column": (lambda x, v: aten.index_put(x, [None, torch.tensor([1])], v[:4, :1]), x, rows),
        "scatter": (lambda x, i, v: x.scatter(0, i[:, None].expand(4, 5), v[:4]), x, distinct, rows),
        "scatter a number": (lambda x, i: x.scatter(1, i[:, None], 2.5), x, distinct),
        "scatter_add": (lambda x, i, v: x.scatter_add(0, i[:, None].expand(6, 5), v), x, i, rows),
        "scatter part": (lambda x, i, v: x.scatter(0, i[:2, None].expand(2, 3), v), x, distinct, rows),
        "scalars": (lambda x, v: x[0, 0].scatter(0, torch.tensor(0), v[0]), x, row),
        "scalars added": (lambda x, v: x[0, 0].scatter_add(0, torch.tensor(0), v[0]), x, row),
        "whole numbers": (lambda i, d: i.index_put((d,), d, accumulate=True), i, distinct),
        "truths": (lambda x, i: (x[:, 0] > 0).index_put((i[1:2],), torch.tensor(True)), x, distinct),
        "single precision": (lambda x, i, v: x.float().index_put((i,), v.float()[:4]), x, distinct, rows),
    }
    seen |= hold(cases)


def test_a_position_out_of_range_raises():
    x, i = torch.zeros(3, 4), torch.tensor([[0], [4], [1]])
    native = compile_map(record(lambda x, i: x[i], [x[0], i[0]]), [x[0], i[0]])
    with pytest.raises(IndexError, match="out of range"):
        native(x, i)
    assert native(x, i.clamp(max=3))[0].shape == (3, 1)


def test_a_known_position_out_of_range_is_never_compiled():
    x = torch.zeros(3, dtype=torch.float64)
    graph = record(lambda x: x[torch.tensor([0, 2])], [x])
    table = next(node for call in graph.calls for node in call.sources if node.constant is not None)
    table.constant = torch.tensor([0, 3])
    with pytest.raises(Unsupported, match="out of range"):
        compile_map(graph, [x])


def test_a_computed_mask_is_unsupported():
    example = torch.zeros(3)
    x = Node().like(example)
    mask = Node(aten.gt.Scalar, (x, 0)).like(example > 0)
    graph = Graph([x], [mask, chosen := Node(aten.index.Tensor, (x, [mask]))], chosen)
    with pytest.raises(Unsupported, match="mask"):
        compile_map(graph, [example])


def test_every_operation_has_a_case(seen):
    if not seen:
        pytest.skip("the other tests of this file were not run")
    assert set(OPERATIONS) - NEVER_TRACED - seen == set()
