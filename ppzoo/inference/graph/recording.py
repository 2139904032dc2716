"""What a function of tensors computes on an example, operation by operation, as a graph that can be run again.

Torch shows a dispatch mode every operation below the differentiation, so gradients are recorded like everything else,
and below the mapping over chains, so many chains are recorded as operations on larger tensors. Only tensors are seen: a
number that Python reads ends the recording if it hangs on the inputs, and is part of the program if it does not.

``make_fx`` of torch records the same graph for a compiler that is not used here: it loads that compiler, and notes each
value's metadata and each operation's place in the source, which takes ten times as long.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias
from weakref import ref

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from ppzoo.inference.graph.graph import Graph, Node, is_random, map_leaves, nodes_in, taking_graphs, writes

__all__ = ["Parts", "functional", "record"]

Parts: TypeAlias = dict[Any, Callable[..., Any]]

_aten: Any = torch.ops.aten


def record(
    function: Callable[..., Any],
    examples: Sequence[Tensor],
    parts: Parts | None = None,
    *,
    adopted: Sequence[Tensor] = (),
    differentiable: bool = False,
) -> Graph:
    """The operations that the function runs on copies of the examples.

    Args:
        function: From tensors to a tensor, or a tuple or list of some.
        examples: One tensor per argument.
        parts: Operations that are recorded as what their functions run instead, among which they may be themselves.
        adopted: Tensors that the function finds elsewhere, parameters say, and that are inputs too, after the others.
        differentiable: Whether the graph is to have the function's own gradients.

    Returns:
        Calls of aten operations and of graphs. Its constants are the other tensors that the function found elsewhere.

    Raises:
        RuntimeError: If a number is read that hangs on the inputs; if the graph is to be differentiable, and something
            is computed from them without torch's own gradient: under ``no_grad``, or by a function with a backward.
    """
    recorder = _Recorder(parts or {}, differentiable=differentiable)
    inputs = [recorder.input(example) for example in examples]
    for tensor in adopted:
        recorder.adopt(tensor)
    with recorder, taking_graphs(recorder.take):
        outputs = function(*inputs)
    return recorder.finished(outputs)


def functional(graph: Graph, examples: Sequence[Tensor]) -> Graph:
    """The same graph without operations that write into their arguments.

    What a recording leaves of them goes by torch's way, which is slow at first: to check the shape of a write it loads
    the compiler.
    """
    if graph.writes:
        return record(torch.func.functionalize(graph.run, remove="mutations"), examples)
    return graph


class _Recorder(TorchDispatchMode):
    def __init__(self, parts: Parts, *, differentiable: bool) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch's mode is untyped
        self._parts, self._in_part, self._differentiable = parts, False, differentiable
        self._inputs: list[Node] = []
        self._calls: list[Node] = []
        self._nodes: dict[int, tuple[ref[Tensor], Node]] = {}  # by id, which is another tensor's when one is gone
        self._memory: dict[Node, Node] = {}  # a value -> the first one of those that share its memory
        self._moved: set[Node] = set()  # memories that hang on the inputs
        self._viewed: set[Node] = set()  # memories that more than one tensor may show

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Torch would load its compiler to tell it to leave a mode alone; nothing is compiled under this one."""
        return False

    def input(self, example: Tensor) -> Tensor:
        """A copy that stands for the next argument: one tensor given twice would be taken for one argument."""
        copy = example.detach().clone()
        self.adopt(copy)
        return copy

    def adopt(self, tensor: Tensor) -> None:
        """This tensor stands for the next argument."""
        node = Node().like(tensor)
        self._inputs.append(node)
        self._memory[node] = node
        self._nodes[id(tensor)] = ref(tensor), node
        self._moved.add(node)

    def finished(self, outputs: Any) -> Graph:
        """The graph with these outputs, without what does not matter for them."""
        return Graph(self._inputs, self._calls, self._known(outputs))

    def take(self, graph: Graph, tensors: tuple[Tensor, ...]) -> Any:
        """A call of a graph, as one operation."""
        with torch.utils._python_dispatch._disable_current_modes(), taking_graphs(None):  # noqa: SLF001  # no public way
            result = graph.run(*tensors)
        node = Node(graph, self._known(tensors))
        self._enter(node)
        self._name(result, node)
        return result

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func in self._parts and not self._in_part:
            return self._run_in_parts(func, args, kwargs)
        if func is _aten.lift_fresh.default:  # a new constant, which the function may write into
            func = _aten.lift_fresh_copy.default
        if func is _aten.bernoulli_.float and len(args) == 1 and not kwargs:
            args = (*args, 0.5)  # which the operation that writes nowhere has no default for
        node = Node(func, self._known(args), self._known(kwargs))
        if torch.Tag.data_dependent_output in func.tags:
            if self._hang(node.sources):
                raise RuntimeError(f"data-dependent: a number is read that hangs on the inputs ({func})")
            return func(*args, **kwargs)
        if self._differentiable and not torch.is_grad_enabled() and self._hang(node.sources):
            raise RuntimeError(f"a value that hangs on the inputs has no gradient, or one of its own ({func})")
        if self._hang(_shaping(node)):
            raise RuntimeError(f"data-dependent: a dynamic shape hangs on the inputs ({func})")
        pure: Any = _without_writing(func) if writes(func) and self._writes_alone(node) else None
        value = None if pure is None else pure(*args, **kwargs)
        result = func(*args, **kwargs)
        if value is not None and (value.shape, value.dtype) == (result.shape, result.dtype):
            node.target = pure  # from here on the tensor goes by the new value's name
        self._enter(node)
        self._name(result, node)
        return result

    def _run_in_parts(self, func: Any, args: Any, kwargs: Any) -> Any:
        self._in_part = True
        try:
            with self:
                return self._parts[func](*args, **kwargs)
        finally:
            self._in_part = False

    def _writes_alone(self, node: Node) -> bool:
        """Whether it writes into one tensor whose memory is its own, so that nobody can tell a new tensor from it."""
        written = _written(node)
        return len(written) == 1 and self._owns(written[0])

    def _owns(self, node: Node) -> bool:
        return node.target is not None and self._memory[node] is node and node not in self._viewed

    def _known(self, tree: Any) -> Any:
        """The nodes of the tensors."""
        return map_leaves(lambda x: self._node(x) if isinstance(x, Tensor) else x, tree)

    def _node(self, tensor: Tensor) -> Node:
        known = self._nodes.get(id(tensor))
        if known is not None and known[0]() is tensor:
            return known[1]
        node = Node(constant=tensor).like(tensor)
        self._memory[node] = node
        self._nodes[id(tensor)] = ref(tensor), node
        return node

    def _name(self, result: Any, node: Node) -> None:
        if isinstance(result, Tensor):
            self._nodes[id(result)] = ref(result), node.like(result)
        elif isinstance(result, (tuple, list)):
            for i, part in enumerate(result):
                item = Node(operator.getitem, (node, i))
                self._enter(item)
                self._name(part, item)

    def _enter(self, node: Node) -> None:
        """Note an operation, whose memory its result is, and whether what it writes into hangs on the inputs."""
        self._calls.append(node)
        written = _written(node)
        view = node.target is operator.getitem or getattr(node.target, "is_view", False)
        seen = node.args[:1] if view else written
        self._memory[node] = self._memory[seen[0]] if seen and isinstance(seen[0], Node) else node
        if view:
            self._viewed.add(self._memory[node])
        if self._hang(node.sources) or is_random(node.target):
            self._moved.update(self._memory[each] for each in (node, *written))

    def _hang(self, nodes: Sequence[Node]) -> bool:
        return any(self._memory[node] in self._moved for node in nodes)


def _shaping(node: Node) -> list[Node]:
    """The arguments whose numbers decide on the shape of the result: masks, or all of an operation that counts."""
    if torch.Tag.dynamic_output_shape not in node.target.tags:
        return []
    if node.target in {_aten.index.Tensor, _aten.masked_select.default}:
        return [position for position in nodes_in(node.args[1]) if position.dtype in {torch.bool, torch.uint8}]
    return node.sources


def _written(node: Node) -> list[Node]:
    """The arguments that the operation writes into."""
    if not writes(node.target):
        return []
    arguments = enumerate(node.target._schema.arguments)  # noqa: SLF001  # torch's only name for it
    into = [(i, a.name) for i, a in arguments if a.alias_info is not None and a.alias_info.is_write]
    return nodes_in([node.args[i] if i < len(node.args) else node.kwargs.get(name) for i, name in into])


def _without_writing(func: Any) -> Any:
    """The operation that returns what this one writes into its first argument; None if torch has none."""
    name = func.overloadpacket.__name__
    if func is _aten.fill_.Scalar:
        return _aten.full_like.default  # which vmap knows how to map, and ``fill`` it does not
    if func is _aten.normal_.default:
        return _aten.normal_functional.default
    if func is _aten.bernoulli_.float:
        return _aten.bernoulli.p
    packet = getattr(_aten, name.removesuffix("_"), None) if name.endswith("_") else None
    return getattr(packet, func._overloadname, None)  # noqa: SLF001  # torch's only name for it
