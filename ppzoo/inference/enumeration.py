"""A program's finite discrete sites: which statement knows which of them, and how they are summed out.

Every site gets a dimension of its own, left of the plates, along which it takes all its values; the log probabilities
of the statements, run so, are the tables of :mod:`ppzoo.inference.elimination`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pyro import poutine
from pyro.poutine.subsample_messenger import _Subsample
from torch import Tensor

from ppzoo.errors import ModelError
from ppzoo.inference.elimination import Elimination, Variable, eliminate
from ppzoo.inference.program import Site, nodes_of

__all__ = ["Enumeration", "enumeration_of"]


@dataclass(frozen=True)
class Enumeration:
    """The finite discrete sites of a program.

    Attributes:
        elimination: The order in which they are summed out, of tables by statement.
        knows: The discrete sites that each statement's probability depends on; its own, if it is one of them.
        functions: The deterministic sites that depend on discrete ones.
    """

    elimination: Elimination
    knows: Mapping[str, frozenset[str]]
    functions: tuple[str, ...]
    _values: Mapping[str, tuple[Site, Tensor]]  # by symbol: the site, and its values (K, *event)

    def values(self, index: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Each site's values ``(S, *site.shape)`` for indices ``(S, *plates)`` by symbol."""
        found = {}
        for symbol, (site, support) in self._values.items():
            picked = support[index[symbol]]
            found[site.name] = picked.reshape(len(picked), *site.shape)
        return found


def enumeration_of(trace: poutine.Trace, sites: Sequence[Site]) -> Enumeration:
    """What a run of the program, with its discrete sites enumerated and log probabilities computed, shows.

    Args:
        trace: That run.
        sites: Every statement of the program, as a run without enumeration showed it.

    Raises:
        ModelError: If a discrete site is marked for something else than parallel enumeration, or sites of plates that
            do not lie inside one another depend on each other.
    """
    trace.pack_tensors()
    nodes = {n: v for n, v in nodes_of(trace).items() if v["type"] == "sample" and not isinstance(v["fn"], _Subsample)}
    discrete = {site.name: site for site in sites if site.kind == "discrete"}
    _check_marks(discrete, nodes)
    symbols = {nodes[name]["infer"]["_enumerate_symbol"]: site for name, site in discrete.items()}
    named = {name: _named(node) for name, node in nodes.items()}
    sizes = {d: size for found in named.values() for d, size in found.items()}
    values, variables = {}, {}
    for symbol, site in symbols.items():
        support = nodes[site.name]["fn"].enumerate_support(expand=False)
        values[symbol] = site, support.reshape(-1, *site.shape[len(site.shape) - site.event_dim :])
        variables[symbol] = Variable(site.name, tuple(d for d in named[site.name] if d not in symbols))
    tables = {name: tuple(found) for name, found in named.items() if not symbols.keys().isdisjoint(found)}
    knows = {name: frozenset(symbols[d].name for d in dims if d in symbols) for name, dims in tables.items()}
    moved = (s.name for s in sites if s.kind == "deterministic" and nodes[s.name]["value"].shape != s.shape)
    return Enumeration(eliminate(tables, variables, sizes), knows, tuple(moved), values)


def _check_marks(discrete: Mapping[str, Site], nodes: Mapping[str, Any]) -> None:
    marks = {name: nodes[name]["infer"] for name in discrete}
    other = [name for name, infer in marks.items() if "_enumerate_symbol" not in infer or infer.get("num_samples")]
    if other:
        raise ModelError(
            "has discrete sites that are marked for something else than parallel enumeration",
            argument="model",
            got=f"sites {', '.join(map(repr, other))}",
            expected='infer={"enumerate": "parallel"}, which is set where nothing is',
            remedy="Remove infer= from these sites.",
        )


def _named(node: dict[str, Any]) -> dict[str, int]:
    """The symbols of a statement's dimensions, from left to right, with their lengths; those of length 1 go."""
    shape = node["log_prob"].shape
    names = node["infer"]["_dim_to_symbol"]
    return {names[i - len(shape)]: size for i, size in enumerate(shape) if size > 1}
