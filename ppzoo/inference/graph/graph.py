"""A flat graph: operations on tensors, one after the other, and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import torch
from torch import Tensor

__all__ = ["Graph", "Node", "holds", "is_random", "map_leaves", "nodes_in", "taking_graphs", "writes"]

Taker: TypeAlias = Callable[["Graph", tuple[Tensor, ...]], Any]
_taker: ContextVar[Taker | None] = ContextVar("taker", default=None)


@dataclass(eq=False, slots=True, repr=False)
class Node:
    """What one operation returns, or an input, or a constant: these have no operation.

    Attributes:
        target: The operation.
        args: Its arguments; tensors among them are nodes.
        kwargs: Those by name.
        shape: Shape of the tensor; None of what is not one.
        dtype: Its type.
        device: Where it is.
        constant: The tensor itself, of a constant.
    """

    target: Any = None
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = field(default_factory=dict)
    shape: tuple[int, ...] | None = None
    dtype: torch.dtype | None = None
    device: torch.device | None = None
    constant: Tensor | None = None

    def __repr__(self) -> str:
        """This node alone; those before it would be the whole graph."""
        what = self.target or ("input" if self.constant is None else "constant")
        return f"<{what} {self.shape} {self.dtype}>"

    def like(self, tensor: Tensor) -> Node:
        """This node, of which the tensor is an example."""
        self.shape, self.dtype, self.device = tuple(tensor.shape), tensor.dtype, tensor.device
        return self

    @property
    def sources(self) -> list[Node]:
        """The nodes among the arguments."""
        return nodes_in((self.args, self.kwargs))


class Graph:
    """A function of tensors as operations in order.

    A call runs them; while another function is being recorded, it is one operation there.

    Attributes:
        inputs: One node per argument.
        calls: The operations, each after what it needs; of those without effect on the outputs none.
        outputs: A tuple or list of nodes, or a single one.
    """

    def __init__(self, inputs: list[Node], calls: list[Node], outputs: Any) -> None:
        needed = set(nodes_in(outputs))
        kept: list[Node] = []
        for call in reversed(calls):
            if call in needed or writes(call.target):
                kept.append(call)
                needed.update(call.sources)
        self.inputs, self.calls, self.outputs = inputs, kept[::-1], outputs
        self._plan: _Plan | None = None

    @property
    def constants(self) -> list[Tensor]:
        """The tensors that are the same in every call."""
        nodes = dict.fromkeys([*(node for call in self.calls for node in call.sources), *nodes_in(self.outputs)])
        return [node.constant for node in nodes if node.constant is not None]

    @property
    def writes(self) -> bool:
        """Whether some operation changes one of its arguments."""
        return any(writes(call.target) for call in self.calls)

    def __call__(self, *tensors: Tensor) -> Any:
        """The outputs for these inputs."""
        taker = _taker.get()
        if taker is not None and all(map(_is_plain, tensors)):
            return taker(self, tensors)
        return self.run(*tensors)

    def run(self, *tensors: Tensor) -> Any:
        """The same, whether something is being recorded or not."""
        if self._plan is None:
            self._plan = _Plan(self)
        return self._plan.run(tensors)


class _Plan:
    """A graph ready to run: every value, constant and number has its place in one list."""

    def __init__(self, graph: Graph) -> None:
        self._start: list[Any] = [None] * len(graph.inputs)
        self._places: dict[Node, int] = {node: k for k, node in enumerate(graph.inputs)}
        self._form = graph.outputs
        self._steps = [self._step(call) for call in graph.calls]
        kept = set(nodes_in(graph.outputs))
        self._outputs = {node: self._place(node) for node in kept}
        self._done: list[list[int]] = []  # by call, the places of which nobody asks later
        for call in reversed(graph.calls):
            done = [node for node in {call, *call.sources} if node not in kept and node.constant is None]
            kept.update(done)
            self._done.append([self._places[node] for node in done])
        self._done.reverse()

    def run(self, tensors: tuple[Tensor, ...]) -> Any:
        values, places = self._start.copy(), self._outputs
        values[: len(tensors)] = tensors
        for (target, where, kwargs, place), done in zip(self._steps, self._done, strict=True):
            values[place] = target(*[values[k] for k in where], **kwargs)
            for k in done:
                values[k] = None
        return map_leaves(lambda leaf: values[places[leaf]] if isinstance(leaf, Node) else leaf, self._form)

    def _step(self, call: Node) -> tuple[Any, list[int], dict[str, Any], int]:
        """An operation, where its arguments are, those by name, and where its result belongs."""
        target, args, kwargs = call.target, call.args, call.kwargs
        if nodes_in(kwargs) or any(nodes_in(arg) for arg in args if not isinstance(arg, Node)):
            target, args, kwargs = _of_nodes(call), tuple(call.sources), {}
        where = [self._place(arg) for arg in args]
        self._places[call] = len(self._start)
        self._start.append(None)
        return target, where, kwargs, self._places[call]

    def _place(self, arg: Any) -> int:
        if isinstance(arg, Node):
            if arg.constant is not None and arg not in self._places:
                self._places[arg] = len(self._start)
                self._start.append(arg.constant)
            return self._places[arg]
        self._start.append(arg)
        return len(self._start) - 1


def _of_nodes(call: Node) -> Callable[..., Any]:
    """The operation as a function of what its nodes are, in their order, wherever in its arguments they stand."""

    def run(*values: Any) -> Any:
        given = iter(values)
        args, kwargs = map_leaves(
            lambda leaf: next(given) if isinstance(leaf, Node) else leaf, (call.args, call.kwargs)
        )
        return call.target(*args, **kwargs)

    return run


@contextmanager
def taking_graphs(taker: Taker | None) -> Iterator[None]:
    """Hand calls of graphs on plain tensors to a recorder; to nobody, if None."""
    token = _taker.set(taker)
    try:
        yield
    finally:
        _taker.reset(token)


def map_leaves(function: Callable[[Any], Any], tree: Any) -> Any:
    """The function of every leaf of nested tuples, lists and dicts; named tuples stay such."""
    if isinstance(tree, (tuple, list)):
        items = [map_leaves(function, item) for item in tree]
        return type(tree)(*items) if hasattr(tree, "_fields") else type(tree)(items)
    if isinstance(tree, dict):
        return {key: map_leaves(function, item) for key, item in tree.items()}
    return function(tree)


def nodes_in(tree: Any) -> list[Node]:
    """The nodes among the leaves, in order."""
    if isinstance(tree, Node):
        return [tree]
    if isinstance(tree, dict):
        tree = tree.values()
    elif not isinstance(tree, (tuple, list)):
        return []
    return [node for item in tree for node in nodes_in(item)]


def holds(tree: Any, kind: type) -> bool:
    """Whether some leaf is of a type."""
    if isinstance(tree, dict):
        tree = tree.values()
    elif not isinstance(tree, (tuple, list)):
        return isinstance(tree, kind)
    return any(holds(item, kind) for item in tree)


def is_random(target: Any) -> bool:
    """Whether an operation draws at random."""
    return torch.Tag.nondeterministic_seeded in getattr(target, "tags", ())


def writes(target: Any) -> bool:
    """Whether an operation changes one of its arguments."""
    schema = getattr(target, "_schema", None)
    return schema is not None and bool(schema.is_mutable)


def _is_plain(tensor: Tensor) -> bool:
    """Whether nothing follows what becomes of the tensor: no mapping, no differentiation."""
    return not torch._C._functorch.is_functorch_wrapped_tensor(tensor) and not (  # noqa: SLF001  # no public way
        tensor.requires_grad and torch.is_grad_enabled()
    )
