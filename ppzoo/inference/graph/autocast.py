"""Products of matrices in bfloat16, everything else as it was: half the memory to move, and units of their own for it.

A bfloat16 has the range of a float32 and eight bits of its digits: each number that enters a product is rounded by up
to 0.4 %, their sums are kept in float32. Sums of log probabilities, draws and steps of an optimiser stay exact.

D. Kalamkar et al. (2019), *A Study of BFLOAT16 for Deep Learning Training*, https://arxiv.org/abs/1905.12322.
"""

from __future__ import annotations

from typing import Any

import torch

from ppzoo.inference.graph.graph import Graph, Node, map_leaves

__all__ = ["has_products", "in_bfloat16"]

_aten: Any = torch.ops.aten
_PRODUCTS = {
    _aten.mm.default: _aten.mm.default,
    _aten.bmm.default: _aten.bmm.default,
    _aten.addmm.default: _aten.mm.default,  # what is added stays exact
    _aten.baddbmm.default: _aten.bmm.default,
}
_CAST = _aten._to_copy.default  # noqa: SLF001  # the name of an operation
_TURNS = {_aten.t.default, _aten.transpose.int, _aten.permute.default}  # the same numbers in another order


def in_bfloat16(graph: Graph) -> Graph:
    """The graph with products of float32 matrices by way of bfloat16.

    Args:
        graph: Of operations that write nowhere.
    """
    return _Lowering(graph).graph()


def has_products(graph: Graph) -> bool:
    """Whether the graph multiplies matrices of float32."""
    return any(map(_is_product, graph.calls))


class _Lowering:
    """What each node of the graph is in the new one, and in bfloat16."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._calls: list[Node] = []
        self._known: dict[Node, Node] = {node: node for node in graph.inputs}
        self._low: dict[Node, Node] = {}

    def graph(self) -> Graph:
        for call in self._graph.calls:
            if _is_product(call):
                self._known[call] = self._product(call)
            else:
                self._known[call] = self._made(call, call.target, call.args, call.dtype, call.kwargs)
        outputs = map_leaves(self._of, self._graph.outputs)
        return Graph(self._graph.inputs, self._calls, outputs)

    def _product(self, call: Node) -> Node:
        *added, a, b = call.args
        rounded = self._made(call, _PRODUCTS[call.target], (self._lowered(a), self._lowered(b)), torch.bfloat16)
        product = self._cast(rounded, torch.float32)
        return self._made(call, _aten.add.Tensor, (added[0], product), torch.float32) if added else product

    def _lowered(self, node: Node) -> Node:
        """The node in bfloat16, cast once for all products, before it is turned."""
        if node not in self._low:
            if node.target in _TURNS:
                source, *turn = node.args
                self._low[node] = self._made(node, node.target, (self._lowered(source), *turn), torch.bfloat16)
            else:
                self._low[node] = self._cast(self._of(node), torch.bfloat16)
        return self._low[node]

    def _cast(self, node: Node, dtype: torch.dtype) -> Node:
        return self._made(node, _CAST, (node,), dtype, {"dtype": dtype})

    def _made(
        self, like: Node, target: Any, args: Any, dtype: torch.dtype | None, kwargs: dict[str, Any] | None = None
    ) -> Node:
        """An operation with the shape of another node; the arguments are of the graph or of the new one."""
        args, kwargs = map_leaves(self._of, (tuple(args), kwargs or {}))
        made = Node(target, args, kwargs, like.shape, dtype, like.device)
        self._calls.append(made)
        return made

    def _of(self, leaf: Any) -> Any:
        return self._known.get(leaf, leaf) if isinstance(leaf, Node) else leaf


def _is_product(call: Node) -> bool:
    """Of float32 matrices, and no other weights than one."""
    return (
        call.target in _PRODUCTS
        and call.dtype is torch.float32
        and not call.kwargs
        and len(call.sources) == len(call.args)
    )
