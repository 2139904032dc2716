"""A step's randomness apart from its arithmetic: what is drawn, as inputs of the graph that uses it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import zip_longest
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ppzoo.inference.graph.graph import Graph, Node, is_random, map_leaves
from ppzoo.inference.native.values import Unsupported
from ppzoo.inference.variational.course import WINDOW

__all__ = ["Draw", "at_once", "drawn", "separated", "shared"]

_aten: Any = torch.ops.aten
_NORMAL = {_aten.normal_functional.default, _aten.randn.default, _aten.randn_like.default}
_UNIFORM = {_aten.uniform.default, _aten.rand.default, _aten.rand_like.default}

_ROOM = 2**25  # bytes


class Draw(NamedTuple):
    """One random operation: ``"normal"`` or ``"uniform"`` numbers of a shape and type, in standard form."""

    kind: str
    shape: tuple[int, ...]
    dtype: torch.dtype
    part: tuple[int, int, int] | None = None  # dimension from the right, start and length of what a step is given

    @property
    def nbytes(self) -> int:
        """What it takes in memory."""
        return math.prod(self.shape) * self.dtype.itemsize

    def made(self, steps: Sequence[int] = (), generator: torch.Generator | None = None) -> Tensor:
        """Its numbers, ``(*steps, *shape)``: of a generator on its device, else of the default device's."""
        fill = torch.randn if self.kind == "normal" else torch.rand
        own: dict[str, Any] = {} if generator is None else {"generator": generator, "device": generator.device}
        made = fill((*steps, *self.shape), dtype=self.dtype, **own)
        return made if self.part is None else made.narrow(*self.part).contiguous()


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


def drawn(
    draws: Sequence[Draw], steps: int, generator: torch.Generator, device: torch.device | None = None
) -> list[Tensor]:
    """The numbers of so many steps: ``(steps, *shape)`` of each, on the generator's device or another."""
    return [draw.made((steps,), generator).to(device or generator.device) for draw in draws]


def shared(own: Sequence[Draw], whole: Sequence[Draw], rows: slice) -> list[Draw]:
    """What all processes draw together, and this one's part of it: of what each row has, some rows.

    Args:
        own: What a step of these rows draws.
        whole: What a step of all rows draws.
        rows: Which of them these are.

    Raises:
        Unsupported: If the two are not the same draws but for the rows.
    """
    made = []
    for one, all_rows in zip_longest(own, whole, fillvalue=Draw("none", (), torch.float64)):
        differ = [i for i, (n, m) in enumerate(zip(one.shape, all_rows.shape, strict=False)) if n != m]
        alike = (one.kind, one.dtype, len(one.shape)) == (all_rows.kind, all_rows.dtype, len(all_rows.shape))
        if not alike or len(differ) > 1 or any(one.shape[i] != rows.stop - rows.start for i in differ):
            raise Unsupported("what it draws follows the rows in another way")
        part = (differ[0] - len(one.shape), rows.start, rows.stop - rows.start) if differ else None
        made.append(all_rows._replace(part=part))
    return made


def at_once(size: int) -> int:
    """How many steps' tensors, of so many bytes a step, are in memory at once: a whole part of a window."""
    return next(each for each in range(WINDOW, 0, -1) if each == 1 or (WINDOW % each == 0 and each * size <= _ROOM))


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
