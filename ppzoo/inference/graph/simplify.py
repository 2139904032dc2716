"""Fewer operations for the same numbers: constants folded, repetitions shared, operations without effect removed.

One pass over the graph in order. Every value is either known now (data, literals and whatever follows from them alone)
or an operation of the new graph; each operation is first computed on the example, for its shape and type, then
rewritten by the rules below, then shared with an equal earlier one. Nothing is regrouped: the numbers stay the same to
the last bit, but for the sign of a zero.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx

__all__ = ["simplify"]

_aten: Any = torch.ops.aten
_SAME = {_aten.alias, _aten.detach, _aten.lift_fresh_copy, _aten.lift_fresh, _aten.clone, _aten.contiguous}
_SHAPE = {_aten.expand, _aten.view, _aten.reshape, _aten._unsafe_view, _aten._to_copy, _aten.sum, _aten.squeeze}  # noqa: SLF001  # names of operations
_LIKE = {_aten.full_like, _aten.zeros_like, _aten.ones_like, _aten.new_zeros, _aten.new_ones, _aten.new_full}
_VIEWS = {_aten.view.default, _aten._unsafe_view.default}  # noqa: SLF001  # names of operations
_UNIFORM_SEARCH = 4096  # elements: a constant larger than this is not searched for being one repeated number


@dataclass(frozen=True)
class _Op:
    """A value that depends on the inputs: its operation in the new graph, and its value on the example."""

    node: fx.Node
    value: Any


def simplify(graph: fx.GraphModule, examples: Sequence[Tensor]) -> fx.GraphModule:
    """The same function with fewer operations.

    Args:
        graph: A functional graph of aten operations; its inputs are tensors.
        examples: One tensor per input, with its shape and type.

    Returns:
        A graph whose operations carry ``meta["shape"]`` and ``meta["dtype"]``, and whose constants are its buffers.
    """
    return _Simplifier(graph, examples).run()


class _Simplifier:
    def __init__(self, graph: fx.GraphModule, examples: Sequence[Tensor]) -> None:
        self.source = graph
        self.examples = list(examples)
        self.root = torch.nn.Module()
        self.graph = fx.Graph()
        self.values: dict[fx.Node, Any] = {}  # old node -> constant or _Op
        self.shared: dict[Any, _Op] = {}
        self.buffers: dict[int, fx.Node] = {}
        self.kept: list[Tensor] = []  # constants stay alive while their id is a key

    def run(self) -> fx.GraphModule:
        inputs = iter(self.examples)
        for node in self.source.graph.nodes:
            if node.op == "placeholder":
                example = next(inputs)
                self.values[node] = self._described(_Op(self.graph.placeholder(node.name), example))
            elif node.op == "get_attr":
                self.values[node] = _attribute(self.source, str(node.target))
            elif node.op == "call_function":
                args, kwargs = self._known((node.args, node.kwargs))
                self.values[node] = self.call(node.target, args, kwargs)
            elif node.op == "output":
                self.graph.output(self._nodes(self._known(node.args[0])))
        self.graph.eliminate_dead_code()
        module = fx.GraphModule(self.root, self.graph)
        module.graph.lint()
        return module

    def _known(self, tree: Any) -> Any:
        return _map(lambda v: self.values[v] if isinstance(v, fx.Node) else v, tree)

    def call(self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The value of one operation: known now, an earlier one, or a new one."""
        target = _aten.reshape.default if target in _VIEWS else target  # its source may be laid out anew
        values = _map(lambda v: v.value if isinstance(v, _Op) else v, (args, kwargs))
        result = target(*values[0], **values[1])
        if not _any_op((args, kwargs)):
            return result
        rewritten = self._rewrite(target, args, kwargs, result)
        if rewritten is not None:
            return rewritten
        key = _key((target, args, kwargs))
        if key in self.shared:
            return self.shared[key]
        node = self.graph.call_function(target, *self._nodes((args, kwargs)))
        made = self._described(_Op(node, result))
        self.shared[key] = made
        self.kept += [v for v in _leaves((args, kwargs)) if isinstance(v, Tensor)]
        return made

    def _rewrite(self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any) -> Any:
        packet = getattr(target, "overloadpacket", target)
        if target is operator.getitem or not isinstance(result, Tensor):
            return None
        if packet in _SAME:
            return args[0]
        if packet in _LIKE:
            return result
        if packet in _SHAPE and isinstance(args[0], _Op) and _alike(args[0].value, result):
            return args[0]
        rule = None if kwargs else _RULES.get(packet)  # no rule knows a factor or a way of rounding
        return rule(self, args, result) if rule is not None else None

    def _described(self, op: _Op) -> _Op:
        if isinstance(op.value, Tensor):
            op.node.meta["shape"], op.node.meta["dtype"] = tuple(op.value.shape), op.value.dtype
        return op

    def _nodes(self, tree: Any) -> Any:
        return _map(lambda v: v.node if isinstance(v, _Op) else self._buffer(v) if isinstance(v, Tensor) else v, tree)

    def _buffer(self, constant: Tensor) -> fx.Node:
        if id(constant) not in self.buffers:
            name = f"constant_{len(self.buffers)}"
            self.root.register_buffer(name, constant.detach(), persistent=False)
            node = self.graph.get_attr(name)
            node.meta["shape"], node.meta["dtype"] = tuple(constant.shape), constant.dtype
            self.buffers[id(constant)] = node
            self.kept.append(constant)
        return self.buffers[id(constant)]


def _map(function: Callable[[Any], Any], tree: Any) -> Any:
    if isinstance(tree, tuple | list):
        return type(tree)(_map(function, item) for item in tree)
    if isinstance(tree, dict):
        return {key: _map(function, item) for key, item in tree.items()}
    return function(tree)


def _leaves(tree: Any) -> list[Any]:
    found: list[Any] = []
    _map(found.append, tree)
    return found


def _any_op(tree: Any) -> bool:
    return any(isinstance(leaf, _Op) for leaf in _leaves(tree))


def _key(tree: Any) -> Any:
    """Equal for equal operations on the same values."""
    if isinstance(tree, tuple | list):
        return tuple(_key(item) for item in tree)
    if isinstance(tree, dict):
        return tuple((name, _key(tree[name])) for name in sorted(tree))
    if isinstance(tree, _Op):
        return ("op", id(tree.node))
    if isinstance(tree, Tensor):
        return ("constant", *_uniform_key(tree)) if _uniform(tree) is not None else ("constant", id(tree))
    return (type(tree).__name__, repr(tree)) if isinstance(tree, float) else (type(tree).__name__, tree)


def _uniform_key(constant: Tensor) -> tuple[Any, ...]:
    return (repr(_uniform(constant)), tuple(constant.shape), constant.dtype, constant.device)


def _attribute(module: Any, path: str) -> Any:
    for part in path.split("."):
        module = getattr(module, part)
    return module


def _alike(value: Tensor, result: Tensor) -> bool:
    return value.shape == result.shape and value.dtype == result.dtype and value.device == result.device


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


def _times(self: _Simplifier, args: tuple[Any, ...], result: Tensor) -> Any:
    for x, c in _orders(args):
        number = _uniform(c) if _alike(x.value, result) else None
        if number == 1:
            return x
        if number == -1:
            return self.call(_aten.neg.default, (x,), {})
    return None


def _plus(_: _Simplifier, args: tuple[Any, ...], result: Tensor) -> Any:
    return next((x for x, c in _orders(args) if _alike(x.value, result) and _uniform(c) == 0), None)


def _minus(self: _Simplifier, args: tuple[Any, ...], result: Tensor) -> Any:
    x, c = args[:2]
    if isinstance(x, _Op):
        return x if not isinstance(c, _Op) and _alike(x.value, result) and _uniform(c) == 0 else None
    return self.call(_aten.neg.default, (c,), {}) if _alike(c.value, result) and _uniform(x) == 0 else None


def _over(_: _Simplifier, args: tuple[Any, ...], result: Tensor) -> Any:
    x, c = args[:2]
    alike = isinstance(x, _Op) and not isinstance(c, _Op) and _alike(x.value, result)
    return x if alike and _uniform(c) == 1 else None


def _negated(_: _Simplifier, args: tuple[Any, ...], result: Tensor) -> Any:
    x = args[0].node
    return _Op(x.args[0], result) if x.target is _aten.neg.default else None


def _chosen(_: _Simplifier, args: tuple[Any, ...], result: Tensor) -> Any:
    condition, yes, no = args
    known = None if isinstance(condition, _Op) else _uniform(condition)
    pick = no if known is False else yes if known is True else None
    return pick if isinstance(pick, _Op) and _alike(pick.value, result) else None


def _orders(args: tuple[Any, ...]) -> list[tuple[_Op, Any]]:
    """The two operands as (depends on the inputs, constant), where they are so."""
    first, second = args[:2]
    pairs = [(first, second), (second, first)]
    return [(x, c) for x, c in pairs if isinstance(x, _Op) and not isinstance(c, _Op)]


_RULES: dict[Any, Callable[[_Simplifier, tuple[Any, ...], Tensor], Any]] = {
    _aten.mul: _times,
    _aten.add: _plus,
    _aten.sub: _minus,
    _aten.div: _over,
    _aten.pow: _over,
    _aten.neg: _negated,
    _aten.where: _chosen,
}
