"""A graph through torch's compiler: operations fused into a few loops, for work that outlasts the compilation."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, fx

from ppzoo.inference.graph.graph import Graph, Node, map_leaves

__all__ = ["compiled"]


def compiled(graph: Graph) -> Callable[..., Any]:
    """The same function, compiled when it is first called; random operations draw what they drew.

    Raises:
        RuntimeError: When it is called, if the compiler is missing or fails.
    """
    with _quiet():
        function = torch.compile(_module(graph), dynamic=False, options={"fallback_random": True})

    def run(*tensors: Tensor) -> Any:
        with torch.no_grad(), _quiet():
            return function(*tensors)

    return run


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the compiler's warnings about itself."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _module(graph: Graph) -> fx.GraphModule:
    """The graph in the form that the compiler takes."""
    root, made = torch.nn.Module(), fx.Graph()
    known: dict[Node, fx.Node] = {node: made.placeholder(f"input_{i}") for i, node in enumerate(graph.inputs)}

    def of(leaf: Any) -> Any:
        if not isinstance(leaf, Node):
            return leaf
        if leaf not in known:
            name = f"constant_{len(known)}"
            root.register_buffer(name, leaf.constant, persistent=False)
            known[leaf] = made.get_attr(name)
        return known[leaf]

    for call in graph.calls:
        known[call] = made.call_function(call.target, map_leaves(of, call.args), map_leaves(of, call.kwargs))
    made.output(map_leaves(of, graph.outputs))
    return fx.GraphModule(root, made)
