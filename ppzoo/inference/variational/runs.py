"""Runs of a guide, and of the model on what it drew: what every objective is a function of."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from pyro import poutine
from pyro.poutine.util import prune_subsample_sites
from torch import Tensor

from ppzoo.datasets.arguments import Arguments
from ppzoo.inference.program import nodes_of, trace_of

__all__ = ["Held", "Summed", "Traces", "drawn", "held", "same_weight", "scored", "traces"]


class Summed(NamedTuple):
    """The log probability of some of the model's statements, summed over discrete sites, weighed; and their names."""

    value: Tensor | float
    sites: frozenset[str]


class Traces(NamedTuple):
    """One run of the guide, and of the model on what it drew, with the log probability of every site.

    Attributes:
        model: The model's run.
        guide: The guide's.
        summed: What stands for the log probability of those of the model's sites that discrete sites are summed out of.
    """

    model: poutine.Trace
    guide: poutine.Trace
    summed: Summed = Summed(0.0, frozenset())


def traces(model: Callable[..., Any], guide: Callable[..., Any], data: Arguments) -> Traces:
    """Run the guide, and the model on what it drew."""
    first = trace_of(guide, data)
    return scored(trace_of(poutine.replay(model, trace=first), data), first)


def scored(model: poutine.Trace, guide: poutine.Trace) -> Traces:
    """The runs with log probabilities, without the indices of plates."""
    model, guide = prune_subsample_sites(model), prune_subsample_sites(guide)
    model.compute_log_prob()
    guide.compute_score_parts()
    return Traces(model, guide)


class Held(NamedTuple):
    """A run of model and guide on draws that are held: neither's parameters move them.

    Attributes:
        traces: The runs; what the guide drew in them are leaves.
        made: What the guide drew, as a function of its parameters, by site.
    """

    traces: Traces
    made: dict[str, Tensor]


def held(model: Callable[..., Any], guide: Callable[..., Any], data: Arguments) -> Held:
    """Run the guide, and guide and model on what it drew, held."""
    first = trace_of(guide, data)
    leaves, made = first.copy(), {}
    for name, node in drawn(first).items():
        value = node["value"]
        if value.is_floating_point() and not node["is_observed"]:
            made[name] = value
            leaf = node.copy()
            leaf["value"] = value.detach().requires_grad_()
            leaves.nodes[name] = leaf
    again = trace_of(poutine.replay(guide, trace=leaves), data)
    return Held(scored(trace_of(poutine.replay(model, trace=leaves), data), again), made)


def drawn(trace: poutine.Trace) -> dict[str, Any]:
    """The sample statements of a run, observed ones too, in order."""
    return {name: node for name, node in nodes_of(trace).items() if node["type"] == "sample"}


def same_weight(a: Any, b: Any) -> bool:
    """Whether two scales or masks of statements are one; tensors only if they are the same object."""
    return a is b or (not isinstance(a, Tensor) and not isinstance(b, Tensor) and a == b)
