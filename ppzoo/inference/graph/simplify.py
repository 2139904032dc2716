"""Fewer operations for the same numbers: constants folded, repetitions shared, operations without effect removed.

One pass over the graph in order. Every value is either known now (data, literals and whatever follows from them alone)
or an operation of the new graph; each operation is rewritten by the rules below, then shared with an equal earlier one,
unless it draws at random. Nothing is regrouped: the numbers stay the same to the last bit, but for the sign of a zero.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ppzoo.inference.graph.graph import Graph, Node, holds, is_random, map_leaves

__all__ = ["simplify"]

_aten: Any = torch.ops.aten
_SAME = {_aten.alias, _aten.detach, _aten.lift_fresh_copy, _aten.lift_fresh, _aten.clone, _aten.contiguous}
_SHAPE = {_aten.expand, _aten.view, _aten.reshape, _aten._unsafe_view, _aten._to_copy, _aten.sum, _aten.squeeze}  # noqa: SLF001  # names of operations
_LIKE = {_aten.full_like, _aten.zeros_like, _aten.ones_like, _aten.new_zeros, _aten.new_ones, _aten.new_full}
_VIEWS = {_aten.view.default, _aten._unsafe_view.default}  # noqa: SLF001  # names of operations
_UNIFORM_SEARCH = 4096  # elements: a constant larger than this is not searched for being one repeated number


def simplify(graph: Graph) -> Graph:
    """The same function with fewer operations, and no graph among them.

    Args:
        graph: A functional graph of aten operations, and of such graphs.
    """
    simplifier = _Simplifier()
    inputs = [Node(shape=node.shape, dtype=node.dtype, device=node.device) for node in graph.inputs]
    outputs = simplifier.through(graph, inputs)
    return Graph(inputs, simplifier.calls, map_leaves(simplifier.node, outputs))


class _Simplifier:
    """A value is known now, a number or a tensor, or a node of the new graph."""

    def __init__(self) -> None:
        self.calls: list[Node] = []
        self.shared: dict[Any, Node] = {}
        self.constants: dict[int, Node] = {}
        self.keys: dict[int, tuple[Any, ...]] = {}
        self.kept: list[Tensor] = []  # constants stay alive while their id is a key

    def through(self, graph: Graph, inputs: list[Any]) -> Any:
        """The outputs of a graph for these values."""
        values: dict[Node, Any] = dict(zip(graph.inputs, inputs, strict=True))

        def of(leaf: Any) -> Any:
            if not isinstance(leaf, Node):
                return leaf
            return values[leaf] if leaf.constant is None else leaf.constant

        for call in graph.calls:
            args, kwargs = map_leaves(of, call.args), map_leaves(of, call.kwargs)
            inlined = isinstance(call.target, Graph)
            values[call] = self.through(call.target, args) if inlined else self.call(call.target, args, kwargs, call)
        return map_leaves(of, graph.outputs)

    def call(self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any], like: Node) -> Any:
        """The value of one operation, of a node's shape and type: known now, an earlier one, or a new one."""
        target = _aten.reshape.default if target in _VIEWS else target  # its source may be laid out anew
        if is_random(target):
            return self._made(target, args, kwargs, like)
        if not holds((args, kwargs), Node):
            return target(*args, **kwargs)
        rewritten = self._rewrite(target, args, kwargs, like)
        if rewritten is not None:
            return rewritten
        key = (target, self._key(args), self._key(kwargs))
        if key not in self.shared:
            self.shared[key] = self._made(target, args, kwargs, like)
        return self.shared[key]

    def _made(self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any], like: Node) -> Node:
        args, kwargs = map_leaves(self.node, args), map_leaves(self.node, kwargs)
        self.calls.append(Node(target, args, kwargs, like.shape, like.dtype, like.device))
        return self.calls[-1]

    def node(self, leaf: Any) -> Any:
        """A constant as a node; all else as it is."""
        if not isinstance(leaf, Tensor):
            return leaf
        if id(leaf) not in self.constants:
            self.constants[id(leaf)] = Node(constant=leaf.detach()).like(leaf)
            self.kept.append(leaf)
        return self.constants[id(leaf)]

    def _rewrite(self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any], like: Node) -> Any:
        packet = getattr(target, "overloadpacket", target)
        if like.shape is None or target is operator.getitem:
            return None
        if packet in _SAME:
            return args[0]
        if packet in _LIKE:
            return target(_example(args[0]), *args[1:], **kwargs)
        if packet in _SHAPE and isinstance(args[0], Node) and _alike(args[0], like):
            return args[0]
        rule = None if kwargs else _RULES.get(packet)  # no rule knows a factor or a way of rounding
        return rule(self, args, like) if rule is not None else None

    def _key(self, tree: Any) -> Any:
        """Equal for equal operations on the same values."""
        if isinstance(tree, Node):
            return tree
        if isinstance(tree, (tuple, list)):
            return tuple([self._key(item) for item in tree])
        if isinstance(tree, dict):
            return tuple([(name, self._key(tree[name])) for name in sorted(tree)])
        if isinstance(tree, Tensor):
            return self._constant_key(tree)
        return (type(tree), repr(tree)) if isinstance(tree, float) else (type(tree), tree)

    def _constant_key(self, tensor: Tensor) -> tuple[Any, ...]:
        if id(tensor) not in self.keys:
            self.kept.append(tensor)
            number = _uniform(tensor)
            same = (repr(number), tuple(tensor.shape), tensor.dtype, tensor.device)
            self.keys[id(tensor)] = ("constant", id(tensor)) if number is None else ("constant", *same)
        return self.keys[id(tensor)]


def _example(value: Any) -> Any:
    """A tensor of a node's shape and type, whatever its numbers."""
    if not isinstance(value, Node) or value.shape is None:
        return value
    return torch.zeros((), dtype=value.dtype, device=value.device).expand(value.shape)


def _alike(value: Node, like: Node) -> bool:
    return value.shape == like.shape and value.dtype == like.dtype and value.device == like.device


def _uniform(value: Any) -> float | int | bool | None:
    """The one number that a literal or a constant tensor holds everywhere; ``None`` where it holds several."""
    if isinstance(value, bool | int | float):
        return value
    if not isinstance(value, Tensor) or value.numel() == 0 or value.is_complex():
        return None
    one = value.reshape(-1)[0]
    if any(stride for stride, size in zip(value.stride(), value.shape, strict=True) if size > 1) and (
        value.numel() > _UNIFORM_SEARCH or not bool((value == one).all())
    ):
        return None
    number: float | int | bool = one.item()
    return number


def _times(self: _Simplifier, args: tuple[Any, ...], like: Node) -> Any:
    for x, c in _orders(args):
        number = _uniform(c) if _alike(x, like) else None
        if number == 1:
            return x
        if number == -1:
            return self.call(_aten.neg.default, (x,), {}, like)
    return None


def _plus(_: _Simplifier, args: tuple[Any, ...], like: Node) -> Any:
    return next((x for x, c in _orders(args) if _alike(x, like) and _uniform(c) == 0), None)


def _minus(self: _Simplifier, args: tuple[Any, ...], like: Node) -> Any:
    x, c = args[:2]
    if isinstance(x, Node):
        return x if not isinstance(c, Node) and _alike(x, like) and _uniform(c) == 0 else None
    return self.call(_aten.neg.default, (c,), {}, like) if _alike(c, like) and _uniform(x) == 0 else None


def _over(_: _Simplifier, args: tuple[Any, ...], like: Node) -> Any:
    x, c = args[:2]
    alike = isinstance(x, Node) and not isinstance(c, Node) and _alike(x, like)
    return x if alike and _uniform(c) == 1 else None


def _negated(_: _Simplifier, args: tuple[Any, ...], __: Node) -> Any:
    return args[0].args[0] if args[0].target is _aten.neg.default else None


def _chosen(_: _Simplifier, args: tuple[Any, ...], like: Node) -> Any:
    condition, yes, no = args
    known = None if isinstance(condition, Node) else _uniform(condition)
    pick = no if known is False else yes if known is True else None
    return pick if isinstance(pick, Node) and _alike(pick, like) else None


def _orders(args: tuple[Any, ...]) -> list[tuple[Node, Any]]:
    """The two operands as (depends on the inputs, constant), where they are so."""
    first, second = args[:2]
    pairs = [(first, second), (second, first)]
    return [(x, c) for x, c in pairs if isinstance(x, Node) and not isinstance(c, Node)]


_RULES: dict[Any, Callable[[_Simplifier, tuple[Any, ...], Node], Any]] = {
    _aten.mul: _times,
    _aten.add: _plus,
    _aten.sub: _minus,
    _aten.div: _over,
    _aten.pow: _over,
    _aten.neg: _negated,
    _aten.where: _chosen,
}
