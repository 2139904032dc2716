"""A function of tensors as a flat graph: plain operations, no Python, nothing written in place.

``make_fx`` runs the function once on an example and records what torch computes, gradients included. What it cannot
record it refuses: a number read back into Python (``.item()``, ``if x > 0``), a shape that depends on values. What it
would record wrongly is refused here: randomness, which a replay would not repeat.
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
from torch.fx.experimental.proxy_tensor import (
    disable_proxy_modes_tracing,
    get_proxy_mode,
    get_proxy_slot,
    make_fx,
)
from torch.utils._python_dispatch import TorchDispatchMode

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
    examples = [example.clone() for example in examples]  # one tensor given twice would be taken for one argument
    graph = _recorded(function, examples)
    if any(_writes(node.target) for node in graph.graph.nodes):
        graph = _recorded(torch.func.functionalize(graph, remove="mutations"), examples)
    _let_fail(graph)
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
        graph = make_fx(_reading_data(function), decomposition_table=_in_parts())(*examples)
    for node in graph.graph.nodes:
        if torch.Tag.nondeterministic_seeded in getattr(node.target, "tags", ()):
            raise NotTraceable(f"it draws at random inside ({node.target})")
    return graph


def _reading_data(function: Callable[..., Any]) -> Callable[..., Any]:
    def run(*tensors: Tensor) -> Any:
        with _Reads():  # type: ignore[no-untyped-call]  # torch's mode is untyped
            return function(*tensors)

    return run


class _Reads(TorchDispatchMode):
    """Lets numbers be read that hang on data alone, as ``int(county.max()) + 1``, which make_fx refuses, too."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.aten._local_scalar_dense.default and not _hangs_on_inputs(args[0]):  # noqa: SLF001
            with disable_proxy_modes_tracing():
                return func(*args)
        return func(*args, **(kwargs or {}))


def _hangs_on_inputs(value: Tensor) -> bool:
    """Whether a number read here would be another for other inputs, as far as the graph has come."""
    mode: Any = get_proxy_mode()
    slot: Any = get_proxy_slot(value, mode.tracer, None)
    if slot is None:
        return False
    moved: set[fx.Node] = set()
    for node in mode.tracer.graph.nodes:
        if node.op == "placeholder" or any(source in moved for source in node.all_input_nodes):
            moved.add(node)
            if _writes(node.target):  # what it writes into has changed, and whatever that is a view of
                written = node.args[0]
                while isinstance(written, fx.Node):
                    moved.add(written)
                    written = written.args[0] if getattr(written.target, "is_view", False) else None
    return slot.proxy.node in moved


def _let_fail(graph: fx.GraphModule) -> None:
    """A matrix without Cholesky factor gives NaN where it would raise: one chain far out must not end the others."""
    aten = torch.ops.aten
    for node in list(graph.graph.nodes):
        if node.target is aten._linalg_check_errors.default:  # noqa: SLF001  # the name of an operation
            graph.graph.erase_node(node)
        elif node.target is aten.linalg_cholesky_ex.default:
            with graph.graph.inserting_after(node):
                factor, info = (graph.graph.call_function(operator.getitem, (node, i)) for i in (0, 1))
            with graph.graph.inserting_after(factor):
                failed = graph.graph.call_function(aten.gt.Scalar, (info, 0))
            with graph.graph.inserting_after(failed):
                failed = graph.graph.call_function(aten.unsqueeze.default, (failed, -1))
            with graph.graph.inserting_after(failed):
                failed = graph.graph.call_function(aten.unsqueeze.default, (failed, -1))
            with graph.graph.inserting_after(failed):
                guarded = graph.graph.call_function(aten.masked_fill.Scalar, (factor, failed, float("nan")))
            for user in list(node.users):
                if user.target is operator.getitem and user.args[1] == 0 and user is not factor:
                    user.replace_all_uses_with(guarded)
    graph.recompile()


def _in_parts() -> dict[Any, Callable[..., Any]]:
    """Operations that are recorded in parts, because vmap maps the whole one badly."""
    aten = torch.ops.aten
    return get_decompositions([aten.log_sigmoid_forward, aten.log_sigmoid_backward])


def _writes(target: Any) -> bool:
    schema = getattr(target, "_schema", None)
    return schema is not None and bool(schema.is_mutable)
