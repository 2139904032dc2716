"""A flat graph of torch operations, walked once: constants are folded by torch, the rest becomes statements."""

from __future__ import annotations

import operator
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import torch
from torch import Tensor
from torch._C import DispatchKey
from torch._decomp import decomposition_table
from torch._ops import OpOverload
from torch.utils._pytree import tree_leaves, tree_map

from ppzoo.inference.graph.graph import Graph, Node, holds, map_leaves
from ppzoo.inference.graph.recording import functional, record
from ppzoo.inference.native import arithmetic, factors, indexing, linear, pointwise, reductions, shaping
from ppzoo.inference.native.builder import Builder
from ppzoo.inference.native.pieces import pieces
from ppzoo.inference.native.values import Handler, Unsupported, Value, Variable, dtype_of, shape_of, through

__all__ = ["OPERATIONS", "lower"]

aten = torch.ops.aten
_DETERMINANTS = {aten._linalg_det.default, aten._linalg_slogdet.default}  # noqa: SLF001  # names of operations

OPERATIONS: dict[str, Handler] = {
    name: handler
    for room in (pointwise, arithmetic, reductions, shaping, indexing, linear, factors)
    for name, handler in room.OPERATIONS.items()
}


def lower(graph: Graph, inputs: Sequence[Value], builder: Builder) -> list[Value]:
    """The outputs of a flat graph.

    Args:
        graph: Functional, of aten operations.
        inputs: What its inputs stand for.
        builder: Takes the statements.

    Raises:
        Unsupported: If an operation or a type has no native code.
    """
    values: dict[Node, Any] = dict(zip(graph.inputs, inputs, strict=True))

    def of(leaf: Any) -> Any:
        if not isinstance(leaf, Node):
            return leaf
        return values[leaf] if leaf.constant is None else leaf.constant.detach()

    transposed = _factored_transposed(graph)
    for node in graph.calls:
        kwargs = map_leaves(of, node.kwargs)
        if node.target in _DETERMINANTS:
            kwargs["of_transpose"] = node in transposed
        values[node] = _call(builder, node.target, map_leaves(of, node.args), kwargs)
        _check(node, values[node])
    result = map_leaves(of, graph.outputs)
    return list(result) if isinstance(result, (tuple, list)) else [result]


def _check(node: Node, value: Any) -> None:
    """What came out has the shape and type that it had when the graph was recorded."""
    if not isinstance(value, (Variable, Tensor)) or node.target is operator.getitem:
        return
    if tuple(value.shape) != node.shape or value.dtype != node.dtype:
        known = f"recorded as {node.shape} {node.dtype}"
        raise Unsupported(f"operation {node.target}: {tuple(value.shape)} {value.dtype}, {known}")


def _factored_transposed(graph: Graph) -> set[Node]:
    """The determinants that keep the factors of the transposed matrix: their gradients tell, by how they solve."""
    determinants = [node for node in graph.calls if node.target in _DETERMINANTS]
    users: dict[Node, list[Node]] = defaultdict(list)
    for node in graph.calls if determinants else ():
        for source in node.sources:
            users[source].append(node)

    def solves(part: Node) -> bool:
        """Whether the factors, or the factors made safe by a sum, solve an adjoint system."""
        sums = [user for user in users[part] if user.target is aten.add.Tensor]
        behind = [*users[part], *(user for each in sums for user in users[each])]
        return any(u.target is aten.linalg_lu_solve.default and u.kwargs.get("adjoint", False) for u in behind)

    return {node for node in determinants if not any(solves(part) for part in users[node])}


def _call(builder: Builder, target: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    """One operation: folded, looked up, viewed, or taken apart."""
    if target is operator.getitem:
        return args[0][args[1]]
    if not isinstance(target, OpOverload):
        raise Unsupported(f"a call of {target}")
    if torch.Tag.nondeterministic_seeded in target.tags:
        raise Unsupported(f"random numbers inside the graph ({target})")
    try:
        if not holds((args, kwargs), Variable):
            with torch.no_grad():
                return target(*args, **kwargs)
        if torch.Tag.pointwise in target.tags and not kwargs:
            rows = _rows(builder, args)
            if rows is not None:
                return _assembled(builder, [_call(builder, target, row, {}) for row in rows])
        return _lowered(builder, target, args, kwargs)
    except (TypeError, ValueError, RuntimeError, NotImplementedError, IndexError, KeyError, AttributeError) as error:
        raise Unsupported(f"operation {target}: {type(error).__name__}: {error}") from error


def _lowered(builder: Builder, target: OpOverload[..., Any], args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    handler = _handler(target)
    if handler is not None:
        return handler(builder, *args, **kwargs)
    if target.is_view:
        base: Variable = args[0]
        return tree_map(partial(builder.look, base), target(base.view, *args[1:], **kwargs))
    return _taken_apart(builder, target, args, kwargs)


def _rows(builder: Builder, args: Sequence[Any]) -> list[list[Any]] | None:
    """The arguments of an operation element by element, each as a vector of one, if one of them is cut into these.

    Such a vector is put together from numbers, and is never laid out unless somebody asks for that.
    """
    cut = [builder.elements_of(v) for v in args]
    size = max(map(len, filter(None, cut)), default=0)
    if not size or any(isinstance(v, (Variable, Tensor)) and shape_of(v) not in {(), (size,)} for v in args):
        return None

    def element(k: int, i: int) -> Any:
        known, value = cut[k], args[k]
        if known is not None or not isinstance(value, (Variable, Tensor)) or not shape_of(value):
            return value if known is None else known[i]
        return through(value, lambda x: x.narrow(0, i, 1))

    return [[element(k, i) for k in range(len(args))] for i in range(size)]


def _assembled(builder: Builder, rows: Sequence[Value]) -> Value:
    if not holds(rows, Variable):
        return torch.cat([torch.as_tensor(row) for row in rows])
    result = builder.new((len(rows),), dtype_of(rows[0]))
    return builder.assemble(result, pieces((result.view[i : i + 1], row) for i, row in enumerate(rows)))


@cache
def _handler(target: OpOverload[..., Any]) -> Handler | None:
    name, _, overload = target.name().split("::")[1].partition(".")
    return OPERATIONS.get(f"{name}.{overload or 'default'}") or OPERATIONS.get(name)


@dataclass(frozen=True)
class _Hole:
    """The place of a tensor in an operation's arguments."""

    index: int


def _taken_apart(builder: Builder, target: OpOverload[..., Any], args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    """The operation by torch's own decomposition into smaller ones."""
    decomposition = decomposition_table.get(target)
    if decomposition is None and target.has_kernel_for_dispatch_key(DispatchKey.CompositeImplicitAutograd):
        decomposition = target.decompose
    if decomposition is None:
        raise Unsupported(f"operation {target}")
    leaves: list[Value] = []
    several: list[bool] = []

    def hole(value: Any) -> Any:
        if not isinstance(value, (Variable, Tensor)):
            return value
        leaves.append(value)
        return _Hole(len(leaves) - 1)

    holed = tree_map(hole, (_plain(args), dict(kwargs)))

    def run(*tensors: Tensor) -> list[Tensor]:
        filled, named = tree_map(lambda x: tensors[x.index] if isinstance(x, _Hole) else x, holed)
        result = decomposition(*filled, **named)
        several.append(not isinstance(result, Tensor))
        return tree_leaves(result)

    examples = [torch.zeros(v.shape, dtype=v.dtype) if isinstance(v, Variable) else torch.as_tensor(v) for v in leaves]
    results = lower(functional(record(run, examples), examples), leaves, builder)
    return tuple(results) if several[0] else results[0]


def _plain(tree: Any) -> Any:
    """Lists of a graph, which cannot be changed, as ordinary ones."""
    return [_plain(item) for item in tree] if isinstance(tree, (list, tuple)) else tree
