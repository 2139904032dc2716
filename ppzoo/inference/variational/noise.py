"""A step's randomness apart from its arithmetic: what is drawn, as inputs of the graph that uses it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ppzoo.inference.graph.graph import Graph, Node, is_random, map_leaves
from ppzoo.inference.native.values import Unsupported

__all__ = ["Draw", "drawn", "separated"]

_aten: Any = torch.ops.aten
_NORMAL = {_aten.normal_functional.default, _aten.randn.default, _aten.randn_like.default}
_UNIFORM = {_aten.uniform.default, _aten.rand.default, _aten.rand_like.default}


class Draw(NamedTuple):
    """One random operation: ``"normal"`` or ``"uniform"`` numbers of a shape and type, in standard form."""

    kind: str
    shape: tuple[int, ...]
    dtype: torch.dtype


def separated(graph: Graph) -> tuple[Graph, list[Draw]]:
    """The graph with its random numbers as inputs after the others, and what they are.

    Raises:
        Unsupported: If something is drawn whose distribution hangs on the inputs, or neither normal nor uniform.
    """
    draws = {call: _draw(call) for call in graph.calls if is_random(call.target)}
    known: dict[Node, Node] = {
        call: Node(shape=draw.shape, dtype=draw.dtype, device=call.device) for call, draw in draws.items()
    }

    def of(leaf: Any) -> Any:
        return known.get(leaf, leaf) if isinstance(leaf, Node) else leaf

    for call in graph.calls:
        if call not in known:
            args, kwargs = map_leaves(of, call.args), map_leaves(of, call.kwargs)
            known[call] = Node(call.target, args, kwargs, call.shape, call.dtype, call.device)
    calls = [known[call] for call in graph.calls if call not in draws]
    inputs = [*graph.inputs, *(known[call] for call in draws)]
    return Graph(inputs, calls, map_leaves(of, graph.outputs)), list(draws.values())


def drawn(draws: Sequence[Draw], steps: int, generator: torch.Generator) -> list[Tensor]:
    """The numbers of so many steps: ``(steps, *shape)`` of each."""
    made: list[Tensor] = []
    for draw in draws:
        fill = torch.randn if draw.kind == "normal" else torch.rand
        made.append(fill(steps, *draw.shape, dtype=draw.dtype, device=generator.device, generator=generator))
    return made


def _draw(call: Node) -> Draw:
    if call.target in _NORMAL and list(call.args[1:]) in ([], [0.0], [0.0, 1.0]):
        return Draw("normal", *_shape_and_type(call))
    if call.target in _UNIFORM and list(call.args[1:]) in ([], [0.0], [0.0, 1.0]):
        return Draw("uniform", *_shape_and_type(call))
    raise Unsupported(f"a draw of {call.target} hangs on more than its shape")


def _shape_and_type(call: Node) -> tuple[tuple[int, ...], torch.dtype]:
    if call.shape is None or call.dtype is None:
        raise Unsupported(f"{call.target} draws no tensor")
    return call.shape, call.dtype
