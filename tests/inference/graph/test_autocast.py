"""Products of float32 matrices by way of bfloat16; everything else, and every other type, as it was."""

from __future__ import annotations

import pytest
import torch

from ppzoo.inference.graph.autocast import has_products, in_bfloat16
from ppzoo.inference.graph.recording import record
from ppzoo.inference.graph.simplify import simplify


def matrices(*shapes, dtype=torch.float32):
    noise = torch.Generator().manual_seed(0)
    return [torch.randn(shape, generator=noise, dtype=dtype) for shape in shapes]


def low(x):
    return x.bfloat16()


def twice(a, b):
    return torch.exp(a @ b) @ a


def twice_low(a, b):
    return (low((low(a) @ low(b)).float().exp()) @ low(a)).float()


@pytest.mark.parametrize(
    ("function", "expected", "shapes"),
    [
        (lambda a, b: a @ b, lambda a, b: (low(a) @ low(b)).float(), [(3, 5), (5, 2)]),
        (torch.bmm, lambda a, b: torch.bmm(low(a), low(b)).float(), [(4, 3, 5), (4, 5, 2)]),
        (lambda a, b: a @ b.t(), lambda a, b: (low(a) @ low(b).t()).float(), [(3, 5), (2, 5)]),
        (torch.addmm, lambda c, a, b: c + (low(a) @ low(b)).float(), [(2,), (3, 5), (5, 2)]),
        (twice, twice_low, [(3, 3), (3, 3)]),
    ],
    ids=["mm", "bmm", "turned", "addmm", "two"],
)
def test_products_are_of_rounded_numbers(function, expected, shapes):
    given = matrices(*shapes)
    graph = simplify(record(function, given))
    assert has_products(graph)
    found = in_bfloat16(graph)(*given)
    assert found.dtype == torch.float32
    assert torch.equal(found, expected(*given))
    torch.testing.assert_close(found, graph(*given), rtol=0.05, atol=0.1)
    assert not torch.equal(found, graph(*given))


def test_a_matrix_is_cast_once():
    a, b = matrices((3, 3), (3, 3))
    graph = in_bfloat16(simplify(record(lambda a, b: (a @ b, a.t() @ b, b @ a), [a, b])))
    casts = [call for call in graph.calls if call.dtype is torch.bfloat16 and "_to_copy" in str(call.target)]
    assert len(casts) == 2


@pytest.mark.parametrize(
    ("function", "given"),
    [
        (lambda a, b: a @ b, matrices((3, 5), (5, 2), dtype=torch.float64)),
        (lambda a, b: (a * b).sum().exp(), matrices((3, 5), (3, 5))),
        (lambda c, a, b: torch.addmm(c, a, b, alpha=2.0), matrices((2,), (3, 5), (5, 2))),
    ],
    ids=["float64", "no product", "weighed"],
)
def test_other_operations_stay(function, given):
    graph = simplify(record(function, given))
    assert not has_products(graph)
    assert torch.equal(in_bfloat16(graph)(*given), graph(*given))
