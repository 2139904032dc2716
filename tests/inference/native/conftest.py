"""Every operation is held against torch, chain by chain; without a C compiler these tests skip."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from ppzoo.inference.graph.graph import Graph
from ppzoo.inference.graph.recording import functional, record
from ppzoo.inference.native import available, compile_map

Cases = dict[str, tuple[Any, ...]]  # a function of one chain's tensors, then those tensors with the chain first
Hold = Callable[..., set[str]]


@pytest.fixture(autouse=True)
def compiler():
    """The path of a C compiler."""
    path = available()
    if path is None:
        pytest.skip("no C compiler")
    return path


@pytest.fixture
def hold() -> Hold:
    return hold_against_torch


def hold_against_torch(cases: Cases, *, tolerance: float = 1e-12, **options: Any) -> set[str]:
    """All cases in one program agree with torch; returns the names of the operations in it.

    Whole numbers and truths are equal, floats within ``tolerance`` relative to the largest finite element; NaN and
    infinities are where torch has them.
    """
    inputs = [tensor.contiguous() for _, *tensors in cases.values() for tensor in tensors]
    chains = inputs[0].shape[0]

    def together(*given: Tensor) -> list[Tensor]:
        rest = iter(given)
        results: list[Tensor] = []
        for function, *tensors in cases.values():
            result = function(*(next(rest) for _ in tensors))
            results += [result] if isinstance(result, Tensor) else list(result)
        return results

    first = [tensor[0].contiguous() for tensor in inputs]
    graph = functional(record(together, first), first)
    got = iter(compile_map(graph, first, **options)(*inputs))
    for name, (function, *tensors) in cases.items():
        rows = [function(*(tensor[c] for tensor in tensors)) for c in range(chains)]
        rows = [(row,) if isinstance(row, Tensor) else tuple(row) for row in rows]
        for k in range(len(rows[0])):
            compare(f"{name}[{k}]", next(got), torch.stack([row[k] for row in rows]), tolerance)
    return names_in(graph)


def compare(name: str, got: Tensor, want: Tensor, tolerance: float) -> None:
    assert got.dtype == want.dtype, name
    assert got.shape == want.shape, name
    if not want.dtype.is_floating_point:
        assert torch.equal(got, want), f"{name}: {got.tolist()} instead of {want.tolist()}"
        return
    finite = want[want.isfinite()].abs()
    scale = max(1.0, float(finite.max())) if finite.numel() else 1.0
    close = torch.isclose(got, want, rtol=tolerance, atol=tolerance * 0.1 * scale, equal_nan=True)
    assert close.all(), f"{name}: {got[~close][:5].tolist()} instead of {want[~close][:5].tolist()}"


def names_in(graph: Graph) -> set[str]:
    """``add`` and ``add.Tensor`` for every operation of a graph."""
    targets = [node.target for node in graph.calls if hasattr(node.target, "overloadpacket")]
    full = {target.name().split("::")[1] for target in targets}
    return full | {name.partition(".")[0] for name in full} | {f"{name}.default" for name in full if "." not in name}
