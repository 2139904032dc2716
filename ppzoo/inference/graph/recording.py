"""What a function of tensors computes on an example, operation by operation, as a graph that can be run again.

Torch shows a dispatch mode every operation below the differentiation, so gradients are recorded like everything else,
and below the mapping over chains, so many chains are recorded as operations on larger tensors. Only tensors are seen: a
number that Python reads ends the recording if it hangs on the inputs, and is part of the program if it does not.

``make_fx`` of torch records the same graph for a compiler that is not used here: it loads that compiler, and notes each
value's metadata and each operation's place in the source, which takes ten times as long.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.weak import WeakTensorKeyDictionary

__all__ = ["functional", "record"]

Parts = Mapping[Any, Callable[..., Any]]

_aten: Any = torch.ops.aten


def record(function: Callable[..., Any], examples: Sequence[Tensor], parts: Parts | None = None) -> fx.GraphModule:
    """The operations that the function runs on copies of the examples.

    Args:
        function: From tensors to a tensor, or a tuple or list of some.
        examples: One tensor per argument.
        parts: Operations that are recorded as what their functions run instead.

    Returns:
        Placeholders, calls of aten operations, which carry ``meta["shape"]`` and ``meta["dtype"]``, and constants: the
        tensors that the function found elsewhere.

    Raises:
        RuntimeError: If a number is read that hangs on the inputs.
    """
    recorder = _Recorder(parts or {})
    inputs = [recorder.input(example) for example in examples]
    with recorder:
        outputs = function(*inputs)
    return recorder.finished(outputs)


def functional(graph: fx.GraphModule, examples: Sequence[Tensor]) -> fx.GraphModule:
    """The same graph without operations that write into their arguments.

    What a recording leaves of them goes by torch's way, which is slow at first: to check the shape of a write it loads
    the compiler.
    """
    if any(_writes(node.target) for node in graph.graph.nodes):
        return record(torch.func.functionalize(graph, remove="mutations"), examples)
    return graph


class _Recorder(TorchDispatchMode):
    def __init__(self, parts: Parts) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch's mode is untyped
        self._parts = parts
        self._root, self._graph = nn.Module(), fx.Graph()
        self._nodes: Any = WeakTensorKeyDictionary()
        self._memory: dict[fx.Node, fx.Node] = {}  # a value -> the first one of those that share its memory
        self._moved: set[fx.Node] = set()  # memories that hang on the inputs
        self._viewed: set[fx.Node] = set()  # memories that more than one tensor may show

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Torch would load its compiler to tell it to leave a mode alone; nothing is compiled under this one."""
        return False

    def input(self, example: Tensor) -> Tensor:
        """A copy that stands for the next argument: one tensor given twice would be taken for one argument."""
        copy, node = example.detach().clone(), self._graph.placeholder(f"input_{len(self._graph.nodes)}")
        self._nodes[copy] = self._memory[node] = node
        self._moved.add(node)
        return copy

    def finished(self, outputs: Any) -> fx.GraphModule:
        """The graph with these outputs, without what does not matter for them."""
        self._graph.output(self._known(outputs))
        self._graph.eliminate_dead_code()
        return fx.GraphModule(self._root, self._graph)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func in self._parts:
            with self:
                return self._parts[func](*args, **kwargs)
        if func is _aten.lift_fresh.default:  # a new constant, which the function may write into
            func = _aten.lift_fresh_copy.default
        known, named = self._known(args), self._known(kwargs)
        if torch.Tag.data_dependent_output in func.tags:
            if self._hang(_nodes_in((known, named))):
                raise RuntimeError(f"data-dependent: a number is read that hangs on the inputs ({func})")
            return func(*args, **kwargs)
        node = self._graph.call_function(func, known, named)
        pure: Any = _without_writing(func) if self._writes_alone(node) else None
        value = None if pure is None else pure(*args, **kwargs)
        result = func(*args, **kwargs)
        if value is not None and (value.shape, value.dtype) == (result.shape, result.dtype):
            node.target = pure  # from here on the tensor goes by the new value's name
        self._follow(node)
        self._name(result, node)
        return result

    def _writes_alone(self, node: fx.Node) -> bool:
        """Whether it writes into one tensor whose memory is its own, so that nobody can tell a new tensor from it."""
        written = _written(node)
        return len(written) == 1 and self._owns(written[0])

    def _owns(self, node: fx.Node) -> bool:
        return node.op == "call_function" and self._memory[node] is node and node not in self._viewed

    def _known(self, tree: Any) -> Any:
        """The nodes of the tensors."""
        return fx.node.map_aggregate(tree, lambda x: self._node(x) if isinstance(x, Tensor) else x)

    def _node(self, tensor: Tensor) -> fx.Node:
        if tensor not in self._nodes:
            name = f"constant_{len(self._graph.nodes)}"
            self._root.register_buffer(name, tensor, persistent=False)
            node = self._graph.get_attr(name)
            self._nodes[tensor] = self._memory[node] = node
        found: fx.Node = self._nodes[tensor]
        return found

    def _name(self, result: Any, node: fx.Node) -> None:
        if isinstance(result, Tensor):
            self._nodes[result] = node
            node.meta["shape"], node.meta["dtype"] = tuple(result.shape), result.dtype
        elif isinstance(result, (tuple, list)):
            for i, part in enumerate(result):
                item = self._graph.call_function(operator.getitem, (node, i))
                self._follow(item)
                self._name(part, item)

    def _follow(self, node: fx.Node) -> None:
        """Note whose memory the result is, and whether that, or whatever is written into, hangs on the inputs."""
        written = _written(node)
        view = node.target is operator.getitem or getattr(node.target, "is_view", False)
        seen = node.args[:1] if view else written
        self._memory[node] = self._memory[seen[0]] if seen and isinstance(seen[0], fx.Node) else node
        if view:
            self._viewed.add(self._memory[node])
        if self._hang(node.all_input_nodes):
            self._moved.update(self._memory[each] for each in (node, *written))

    def _hang(self, nodes: Sequence[fx.Node]) -> bool:
        return any(self._memory[node] in self._moved for node in nodes)


def _nodes_in(tree: Any) -> list[fx.Node]:
    found: list[fx.Node] = []
    fx.node.map_arg(tree, found.append)
    return found


def _written(node: fx.Node) -> list[fx.Node]:
    """The arguments that the operation writes into."""
    if not _writes(node.target):
        return []
    arguments = enumerate(node.target._schema.arguments)  # type: ignore[union-attr]  # noqa: SLF001  # torch's only name for it
    into = [(i, a.name) for i, a in arguments if a.alias_info is not None and a.alias_info.is_write]
    return _nodes_in([node.args[i] if i < len(node.args) else node.kwargs.get(name) for i, name in into])


def _without_writing(func: Any) -> Any:
    """The operation that returns what this one writes into its first argument; None if torch has none."""
    name = func.overloadpacket.__name__
    packet = getattr(_aten, name.removesuffix("_"), None) if name.endswith("_") else None
    return getattr(packet, func._overloadname, None)  # noqa: SLF001  # torch's only name for it


def _writes(target: Any) -> bool:
    schema = getattr(target, "_schema", None)
    return schema is not None and bool(schema.is_mutable)
