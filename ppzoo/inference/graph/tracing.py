"""A function of tensors as a flat graph: plain operations, no Python, nothing written in place.

The function runs once on an example, and what torch computes is recorded, gradients included. What cannot be recorded
is refused: a number read back into Python (``.item()``, ``if x > 0``), a shape that depends on values. So is what would
be recorded wrongly: randomness, which a replay would not repeat.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch._decomp import get_decompositions

from ppzoo.inference.graph.graph import Graph, is_random
from ppzoo.inference.graph.recording import Parts, functional, record
from ppzoo.inference.graph.simplify import simplify
from ppzoo.inference.program import first_words
from ppzoo.isolation import uncollected

__all__ = ["NotTraceable", "map_chains", "refusing", "tolerance_of", "trace"]


class NotTraceable(Exception):  # noqa: N818  # a turn of the road, not a user's error
    """The function cannot become a flat graph; the message says why."""


def trace(function: Callable[..., Any], examples: Sequence[Tensor]) -> Graph:
    """The function as a simplified graph for the shapes and types of the examples.

    Args:
        function: From tensors to a tuple of tensors.
        examples: One tensor per argument.

    Raises:
        NotTraceable: If the function reads values back, has shapes that depend on them, or draws at random.
    """
    graph = _recorded(function, examples, _in_parts() | _failing_softly())
    with refusing():
        graph = functional(graph, examples)
    with uncollected():
        return simplify(graph)


def map_chains(graph: Graph, examples: Sequence[Tensor], *, shared: int = 0) -> Graph:
    """The graph of one chain as a graph of all chains, each input with the chains first but the last ``shared``.

    Raises:
        NotTraceable: If some operation cannot be mapped.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="There is a performance drop")  # slower, and the same numbers
        dims = (0,) * (len(examples) - shared) + (None,) * shared
        return simplify(_recorded(torch.func.vmap(graph, dims), examples, _in_parts()))


@contextmanager
def refusing() -> Iterator[None]:
    """Whatever torch raises over a function that it cannot record or map, as :class:`NotTraceable`."""
    try:
        yield
    except (RuntimeError, ValueError, NotImplementedError, TypeError, IndexError) as error:
        raise NotTraceable(f"{type(error).__name__}: {first_words(error)}") from error


def tolerance_of(like: Tensor) -> float:
    """How far numbers of a graph may be from the program's, of this one's type; else it computes something else."""
    return 1e-8 if like.dtype == torch.float64 else 1e-3


def _recorded(function: Callable[..., Any], examples: Sequence[Tensor], parts: Parts) -> Graph:
    with refusing():
        graph = record(function, examples, parts)
    for node in graph.calls:
        if is_random(node.target):
            raise NotTraceable(f"it draws at random inside ({node.target})")
    return graph


def _failing_softly() -> Parts:
    """A matrix without Cholesky factor gives NaN where it would raise: one chain far out must not end the others."""
    aten: Any = torch.ops.aten

    def factor(x: Tensor, *, upper: bool = False, check_errors: bool = False) -> tuple[Tensor, Tensor]:  # noqa: ARG001  # as torch calls it
        factor, info = aten.linalg_cholesky_ex(x, upper=upper)
        return factor.masked_fill((info > 0)[..., None, None], float("nan")), info

    return {aten.linalg_cholesky_ex.default: factor, aten._linalg_check_errors.default: lambda *_, **__: None}  # noqa: SLF001  # the name of an operation


def _in_parts() -> Parts:
    """Operations that are recorded in parts, because vmap maps the whole one badly."""
    aten = torch.ops.aten
    return get_decompositions([aten.log_sigmoid_forward, aten.log_sigmoid_backward])
