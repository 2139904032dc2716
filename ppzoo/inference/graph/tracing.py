"""A function of tensors as a flat graph: plain operations, no Python, nothing written in place.

The function runs once on an example, and what torch computes is recorded, gradients included. What cannot be recorded
is refused: a number read back into Python (``.item()``, ``if x > 0``), a shape that depends on values. So is what would
be recorded wrongly: randomness, which a replay would not repeat.
"""

from __future__ import annotations

import operator
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, fx
from torch._decomp import get_decompositions

from ppzoo.inference.graph.recording import functional, record
from ppzoo.inference.graph.simplify import simplify
from ppzoo.inference.program import first_words

__all__ = ["NotTraceable", "map_chains", "refusing", "trace"]


class NotTraceable(Exception):  # noqa: N818  # a turn of the road, not a user's error
    """The function cannot become a flat graph; the message says why."""


def trace(function: Callable[..., Any], examples: Sequence[Tensor]) -> fx.GraphModule:
    """The function as a simplified graph for the shapes and types of the examples.

    Args:
        function: From tensors to a tuple of tensors.
        examples: One tensor per argument.

    Raises:
        NotTraceable: If the function reads values back, has shapes that depend on them, or draws at random.
    """
    graph = _recorded(function, examples)
    with refusing():
        graph = functional(graph, examples)
    _let_fail(graph.graph)
    return simplify(graph, examples)


def map_chains(graph: fx.GraphModule, examples: Sequence[Tensor], *, shared: int = 0) -> fx.GraphModule:
    """The graph of one chain as a graph of all chains, each input with the chains first but the last ``shared``.

    Raises:
        NotTraceable: If some operation cannot be mapped.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="There is a performance drop")  # slower, and the same numbers
        dims = (0,) * (len(examples) - shared) + (None,) * shared
        return simplify(_recorded(torch.func.vmap(graph, dims), examples), examples)


@contextmanager
def refusing() -> Iterator[None]:
    """Whatever torch raises over a function that it cannot record or map, as :class:`NotTraceable`."""
    try:
        yield
    except (RuntimeError, ValueError, NotImplementedError, TypeError, IndexError) as error:
        raise NotTraceable(f"{type(error).__name__}: {first_words(error)}") from error


def _recorded(function: Callable[..., Any], examples: Sequence[Tensor]) -> fx.GraphModule:
    with refusing():
        graph = record(function, examples, _in_parts())
    for node in graph.graph.nodes:
        if torch.Tag.nondeterministic_seeded in getattr(node.target, "tags", ()):
            raise NotTraceable(f"it draws at random inside ({node.target})")
    return graph


def _let_fail(graph: fx.Graph) -> None:
    """A matrix without Cholesky factor gives NaN where it would raise: one chain far out must not end the others."""
    aten = torch.ops.aten
    for node in list(graph.nodes):
        if node.target is aten._linalg_check_errors.default:  # noqa: SLF001  # the name of an operation
            graph.erase_node(node)
        elif node.target is aten.linalg_cholesky_ex.default:
            with graph.inserting_before(node.next):
                factor, info = (graph.call_function(operator.getitem, (node, i)) for i in (0, 1))
                failed = graph.call_function(aten.gt.Scalar, (info, 0))
                for _ in range(2):
                    failed = graph.call_function(aten.unsqueeze.default, (failed, -1))
                guarded = graph.call_function(aten.masked_fill.Scalar, (factor, failed, float("nan")))
            for user in list(node.users):
                if user.target is operator.getitem and user.args[1] == 0 and user is not factor:
                    user.replace_all_uses_with(guarded)


def _in_parts() -> dict[Any, Callable[..., Any]]:
    """Operations that are recorded in parts, because vmap maps the whole one badly."""
    aten = torch.ops.aten
    return get_decompositions([aten.log_sigmoid_forward, aten.log_sigmoid_backward])
