r"""Draws of the discrete sites that a sampler summed out, given its draws of the continuous ones.

With :math:`\theta` the continuous latent values of one draw, :math:`y` the data and :math:`f_j` the log probabilities
of the program's statements, the sites are summed out one after the other (forward),

.. math:: m_i(z_{N_i}) = \log \sum_{z_i} \exp \sum_{j \ni i} f_j(z_i, z_{N_i})

where the sum runs over the statements and earlier :math:`m` that know :math:`z_i`, and :math:`N_i` are the sites that
they know beside it. Drawn in the opposite order (backward), each given those that were summed out after it,

.. math:: p(z_i \mid z_{N_i}, \theta, y) \propto \exp \sum_{j \ni i} f_j(z_i, z_{N_i})

they are an exact joint draw from :math:`p(z \mid \theta, y)`. In a hidden Markov model this is forward filtering and
backward sampling. A plate is a batch dimension of its own sites, and a sum of :math:`m` for sites outside it.

Reference: Obermeyer, Bingham, Jankowiak, Chiu, Pradhan, Rush and Goodman, *Tensor Variable Elimination for Plated
Factor Graphs*, 2019, https://arxiv.org/abs/1902.03210, algorithm 1.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from pyro import poutine
from pyro.poutine.subsample_messenger import _Subsample
from torch import Tensor
from torch.overrides import TorchFunctionMode

from ppzoo.errors import FitError, ModelError
from ppzoo.inference.density import Density, density_of
from ppzoo.inference.draws import Mapped, Values, map_draws
from ppzoo.inference.mcmc.streams import chain_keys, uniforms
from ppzoo.inference.program import Pair, Site, nodes_of, trace_of

__all__ = ["discrete_draws"]

_ELEMENTS = 10_000_000  # of all tables of the draws in hand: 80 MB in float64, and some two times that in passing
_DATA: Any = Tensor.data.__get__  # type: ignore[attr-defined]  # a descriptor, to the type checker a tensor

Dims = tuple[str, ...]  # Pyro's symbols of plates (from left to right), then of enumerated sites


@torch.no_grad()
def discrete_draws(pair: Pair, draws: Values, seed: int) -> Mapped:
    """For each draw of the continuous sites an exact joint draw of all finite discrete sites, given it and the data.

    Scales and masks count as they do in the density that was sampled. The numbers of draw ``i`` depend on the seed,
    on ``i`` and on the values of that draw alone.

    Args:
        pair: A program on its data.
        draws: Values of every continuous latent site, ``(S, ...)``.
        seed: Of the uniform numbers.

    Returns:
        Values of each discrete site ``(S, ...)``, none if the program has none; and whether the program was mapped
        over the draws or run for one after the other.

    Raises:
        ModelError: If a discrete site cannot be enumerated, a continuous one has no draws, or sites of plates that do
            not lie inside one another depend on each other.
        FitError: If the data are impossible, or their probability is no number, given one of the draws.

    Example:
        >>> import pyro, pyro.distributions as dist, torch
        >>> from ppzoo.datasets.arguments import Arguments
        >>> def model(x):
        ...     apart = pyro.sample("apart", dist.LogNormal(0.0, 1.0))
        ...     with pyro.plate("row", len(x)):
        ...         z = pyro.sample("z", dist.Bernoulli(0.5))
        ...         pyro.sample("x", dist.Normal(apart * z, 0.1), obs=x)
        >>> pair = Pair(model, model, Arguments((torch.tensor([0.0, 2.1]),), {}, {}, {}, ()))
        >>> discrete_draws(pair, {"apart": torch.tensor([1.9, 2.0, 2.2])}, seed=0).values
        {'z': tensor([[0., 1.], [0., 1.], [0., 1.]])}
    """
    density = density_of(pair)
    n = min((len(draws[name]) for name in density.shapes if name in draws), default=0)
    if n == 0 or not draws.keys() >= density.shapes.keys():
        raise ModelError(
            "lack a continuous latent site of the program",
            argument="draws",
            got=f"sites {', '.join(map(repr, draws)) or '(none)'}",
            expected=f"draws of {', '.join(map(repr, density.shapes))}",
        )
    if not density.enumerates:
        return Mapped({}, vectorised=True)
    given = {name: draws[name] for name in density.shapes}
    run = _enumerated(pair, density)
    graph = _graph(run({name: value[0] for name, value in given.items()}), density)

    def tables(values: Values) -> Values:
        nodes = nodes_of(run(values))
        return {name: nodes[name]["log_prob"] for name in graph.tables}

    key = chain_keys(seed, 1, "discrete")[0].to(next(iter(given.values())).device)
    found, mapped = list[Values](), True
    for start in range(0, n, chunk := max(1, _ELEMENTS // graph.elements)):
        numbers = torch.arange(start, min(start + chunk, n), device=key.device)
        part = {name: value[start : start + chunk] for name, value in given.items()}
        filled = map_draws(tables, part, len(numbers))
        found.append(graph.draw(filled.values, key, numbers))
        mapped = mapped and filled.vectorised
    return Mapped({name: torch.cat([part[name] for part in found]) for name in found[0]}, mapped)


def _enumerated(pair: Pair, density: Density) -> Callable[[Values], poutine.Trace]:
    """From continuous values to the run of the program with the log probability of every discrete value."""

    def run(values: Values) -> poutine.Trace:
        conditioned = Pair(pair.owner, poutine.condition(pair.model, values), pair.data)
        program = poutine.enum(conditioned.enumerated(), first_available_dim=-1 - density.plates)
        with _Mappable():
            trace = trace_of(program, pair.data)
        trace.compute_log_prob()
        return trace

    return run


class _Mappable(TorchFunctionMode):
    """Enumeration reads ``value.data``, only for its shape; vmap refuses that, but not the same without gradient."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return (Tensor.detach if func == _DATA else func)(*args, **(kwargs or {}))


@dataclass(frozen=True)
class _Variable:
    """A discrete site: its values ``(K, *event)`` and the plates that repeat it, from left to right."""

    site: Site
    support: Tensor
    plates: Dims

    def value(self, index: Tensor) -> Tensor:
        """The site's values ``(S, *site.shape)`` for indices ``(S, *plates)`` into its support."""
        return self.support[index].reshape(len(index), *self.site.shape)


@dataclass(frozen=True)
class _Step:
    """Tables are added up, then dimensions go: that of a site, which is drawn later, or those of plates."""

    inputs: tuple[int, ...]
    gone: Dims
    left: Dims
    draws: bool


@dataclass(frozen=True)
class _Graph:
    """Which statement knows which discrete sites, and the order in which these are summed out.

    Attributes:
        tables: Dimensions, after that of the draws, of each statement that knows discrete sites.
        variables: The sites, by the symbol of their dimension.
        sizes: Length of each dimension.
        steps: What becomes of the tables; the table that a step makes is appended to them.
    """

    tables: dict[str, Dims]
    variables: dict[str, _Variable]
    sizes: dict[str, int]
    steps: tuple[_Step, ...]

    @property
    def elements(self) -> int:
        """How many numbers one draw takes."""
        every = [*self._dims(), *(variable.plates for variable in self.variables.values())]
        largest = max((prod(self._shape((*step.left, *step.gone))) for step in self.steps), default=0)
        return sum(prod(self._shape(dims)) for dims in every) + largest

    def draw(self, filled: Values, key: Tensor, numbers: Tensor) -> Values:
        """A value of every site for each of the draws ``numbers``, from tables ``(S, ...)`` by statement."""
        rows = len(numbers)
        tables = [filled[name].reshape(rows, *self._shape(dims)) for name, dims in self.tables.items()]
        self._forward(tables, numbers)
        shapes = {symbol: self._shape(variable.plates) for symbol, variable in self.variables.items()}
        counts = [prod(shape) for shape in shapes.values()]
        noise = torch.func.vmap(lambda number: uniforms(key, number, sum(counts)))(numbers).split(counts, 1)
        u = {name: part.reshape(rows, *shape) for (name, shape), part in zip(shapes.items(), noise, strict=True)}
        index = self._backward(tables, u)
        return {variable.site.name: variable.value(index[symbol]) for symbol, variable in self.variables.items()}

    def _forward(self, tables: list[Tensor], numbers: Tensor) -> None:
        """Append the table of every step."""
        dims = self._dims()
        for step in self.steps:
            aligned = (_aligned(tables[i], dims[i], (*step.left, *step.gone)) for i in step.inputs)
            total = sum(aligned, torch.zeros(()))
            over = tuple(range(-len(step.gone), 0))
            tables.append(total.logsumexp(over) if step.draws else total.sum(over))
        ends = set(range(len(tables))).difference(*(step.inputs for step in self.steps))
        evidence = sum((tables[i] for i in sorted(ends)), torch.zeros(len(numbers)))
        if not bool(torch.isfinite(evidence).all()):
            first = int((~torch.isfinite(evidence)).nonzero()[0])
            raise FitError(
                "the discrete sites cannot be drawn: the data are impossible, or their probability is no number",
                argument="draws",
                got=f"log probability {evidence[first].item():g} at draw {int(numbers[first])}",
                expected="draws with a finite log density",
                remedy="Look at that draw: a scale that reached zero, or data outside the support for its values.",
            )

    def _backward(self, tables: list[Tensor], u: Values) -> Values:
        """Each site's index into its support ``(S, *plates)``, from uniform numbers of that shape."""
        dims = self._dims()
        index = {symbol: torch.zeros_like(part, dtype=torch.int64) for symbol, part in u.items()}
        for step in reversed(self.steps):
            if step.draws:
                (site,) = step.gone
                logits = sum((self._given(tables[i], dims[i], site, index) for i in step.inputs), torch.zeros(()))
                below = logits.softmax(-1).cumsum(-1)
                index[site] = (below / below[..., -1:] <= u[site][..., None]).sum(-1)  # never one of probability 0
        return index

    def _given(self, table: Tensor, dims: Dims, site: str, index: Values) -> Tensor:
        """The table ``(S, *plates, K)`` of one site, with the others that it knows at their drawn values."""
        plates = self.variables[site].plates
        others = tuple(d for d in dims if d in self.variables and d != site)
        table = _aligned(table, dims, (*plates, *others, site))
        for other in reversed(others):
            at = _aligned(index[other], self.variables[other].plates, plates)
            at = at.reshape(*at.shape, *[1] * (table.dim() - at.dim()))
            table = table.take_along_dim(at, -2).squeeze(-2)
        return table

    def _dims(self) -> list[Dims]:
        return [*self.tables.values(), *(step.left for step in self.steps)]

    def _shape(self, dims: Dims) -> list[int]:
        return [self.sizes[d] for d in dims]


def _graph(trace: poutine.Trace, density: Density) -> _Graph:
    trace.pack_tensors()
    nodes = {n: v for n, v in nodes_of(trace).items() if v["type"] == "sample" and not isinstance(v["fn"], _Subsample)}
    sites = {site.name: site for site in density.sites if site.kind == "discrete"}
    other = [n for n in sites if "_enumerate_symbol" not in nodes[n]["infer"] or nodes[n]["infer"].get("num_samples")]
    if other:
        raise ModelError(
            "has discrete sites that are marked for something else than parallel enumeration",
            argument="model",
            got=f"sites {', '.join(map(repr, other))}",
            expected='infer={"enumerate": "parallel"}, which is set where nothing is',
            remedy="Remove infer= from these sites.",
        )
    symbols = {nodes[name]["infer"]["_enumerate_symbol"]: site for name, site in sites.items()}
    named = {name: _named(node) for name, node in nodes.items()}
    sizes = {d: size for found in named.values() for d, size in found.items()}
    variables = {}
    for symbol, site in symbols.items():
        support = nodes[site.name]["fn"].enumerate_support(expand=False)
        support = support.reshape(-1, *site.shape[len(site.shape) - site.event_dim :])
        variables[symbol] = _Variable(site, support, tuple(d for d in named[site.name] if d not in symbols))
    tables = {name: tuple(found) for name, found in named.items() if not symbols.keys().isdisjoint(found)}
    return _Graph(tables, variables, sizes, _Order(list(tables.values()), variables, sizes).steps())


def _named(node: dict[str, Any]) -> dict[str, int]:
    """The symbols of a statement's dimensions, from left to right, with their lengths; those of length 1 go."""
    shape = node["log_prob"].shape
    names = node["infer"]["_dim_to_symbol"]
    return {names[i - len(shape)]: size for i, size in enumerate(shape) if size > 1}


class _Order:
    """Finds the steps: innermost plates first, and in each the site whose summing out makes the smallest table."""

    def __init__(self, tables: list[Dims], variables: dict[str, _Variable], sizes: dict[str, int]) -> None:
        self._variables, self._sizes = variables, sizes
        self._left = dict(enumerate(tables))
        self._holders = {v: {i for i, dims in self._left.items() if v in dims} for v in variables}
        self._steps: list[_Step] = []
        self._count = len(tables)

    def steps(self) -> tuple[_Step, ...]:
        """All steps; nothing is left after the last but one number for each draw.

        Raises:
            ModelError: If sites of plates that do not lie inside one another depend on each other.
        """
        places = {self._plates(dims) for dims in self._left.values()}
        for place in sorted(places, key=lambda plates: (-len(plates), sorted(plates))):
            self._sum_sites(place)
            self._sum_plates(place)
        return tuple(self._steps)

    def _sum_sites(self, place: frozenset[str]) -> None:
        here = [v for v, held in self._holders.items() if held and frozenset(self._variables[v].plates) == place]
        cost = {v: self._cost(v) for v in here}
        while cost:
            site = min(cost, key=lambda v: cost[v])
            del cost[site]
            inputs = tuple(sorted(self._holders[site]))
            self._check(site, inputs)
            left = tuple(d for d in dict.fromkeys(d for i in inputs for d in self._left[i]) if d != site)
            self._step(_Step(inputs, (site,), left, draws=True))
            cost |= {d: self._cost(d) for d in left if d in cost}

    def _sum_plates(self, place: frozenset[str]) -> None:
        for i, dims in list(self._left.items()):
            if self._plates(dims) == place:
                kept = {p for d in dims if d in self._variables for p in self._variables[d].plates}
                gone = tuple(p for p in dims if p in place and p not in kept)
                if gone:
                    self._step(_Step((i,), gone, tuple(d for d in dims if d not in gone), draws=False))

    def _step(self, step: _Step) -> None:
        for i in step.inputs:
            for d in self._left.pop(i):
                self._holders.get(d, set()).discard(i)
        for d in step.left:
            self._holders.get(d, set()).add(self._count)
        self._left[self._count] = step.left
        self._count += 1
        self._steps.append(step)

    def _cost(self, site: str) -> int:
        return prod(self._sizes[d] for d in {d for i in self._holders[site] for d in self._left[i]})

    def _check(self, site: str, inputs: tuple[int, ...]) -> None:
        place = frozenset(self._variables[site].plates)
        known = {d for i in inputs for d in self._left[i] if d in self._variables}
        if all(self._plates(self._left[i]) == place >= set(self._variables[d].plates) for i in inputs for d in known):
            return
        raise ModelError(
            "has discrete sites in different plates that depend on each other, so they cannot be drawn exactly",
            argument="model",
            got=f"sites {', '.join(sorted(repr(self._variables[d].site.name) for d in known))}",
            expected="plates that lie inside one another",
            remedy="Write one of the plates as a Python loop, or sum the sites out by hand.",
        )

    def _plates(self, dims: Dims) -> frozenset[str]:
        return frozenset(d for d in dims if d not in self._variables)


def _aligned(table: Tensor, dims: Dims, target: Dims) -> Tensor:
    """A table ``(S, *dims)`` as ``(S, *target)``, of length 1 where it does not have the dimension."""
    table = table.permute(0, *(1 + dims.index(d) for d in target if d in dims))
    return table[(slice(None), *(slice(None) if d in dims else None for d in target))]
