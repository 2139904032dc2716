r"""Discrete variables summed out of a product of tables, one after the other, and drawn in the opposite order.

With :math:`f_j` the tables of log probabilities, a variable is summed out by

.. math:: m_i(z_{N_i}) = \log \sum_{z_i} \exp \sum_{j \ni i} f_j(z_i, z_{N_i})

where the sum runs over the tables and earlier :math:`m` that know :math:`z_i`, and :math:`N_i` are the variables that
they know beside it (forward). Drawn in the opposite order (backward), each given those that were summed out after it,

.. math:: p(z_i \mid z_{N_i}) \propto \exp \sum_{j \ni i} f_j(z_i, z_{N_i})

they are an exact joint draw. A plate is a batch dimension of its own variables, and a sum of :math:`m` for those
outside it.

Reference: Obermeyer, Bingham, Jankowiak, Chiu, Pradhan, Rush and Goodman, *Tensor Variable Elimination for Plated
Factor Graphs*, 2019, https://arxiv.org/abs/1902.03210, algorithm 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor

from ppzoo.errors import ModelError

__all__ = ["Dims", "Elimination", "Variable", "eliminate"]

Dims = tuple[str, ...]  # symbols of plates (from left to right) and of variables


@dataclass(frozen=True)
class Variable:
    """A discrete site by its name, and the plates that repeat it, from left to right."""

    name: str
    plates: Dims


@dataclass(frozen=True)
class _Step:
    """Tables are added up, then dimensions go: that of a variable, which is drawn later, or those of plates."""

    inputs: tuple[int, ...]
    gone: Dims
    left: Dims
    draws: bool


@dataclass(frozen=True)
class Elimination:
    """The order in which variables are summed out.

    Attributes:
        tables: Dimensions, after that of the draws, of each table that knows variables.
        variables: By the symbol of their dimension.
        sizes: Length of each dimension.
    """

    tables: Mapping[str, Dims]
    variables: Mapping[str, Variable]
    sizes: Mapping[str, int]
    _steps: tuple[_Step, ...]

    @property
    def elements(self) -> int:
        """How many numbers one draw takes."""
        every = [*self._dims(), *(variable.plates for variable in self.variables.values())]
        largest = max((prod(self._shape((*step.left, *step.gone))) for step in self._steps), default=0)
        return sum(prod(self._shape(dims)) for dims in every) + largest

    @property
    def noise(self) -> int:
        """How many uniform numbers one draw takes."""
        return sum(prod(self._shape(variable.plates)) for variable in self.variables.values())

    def draw(self, filled: Mapping[str, Tensor], u: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        """A joint draw for each of ``S`` fillings of the tables.

        Args:
            filled: Log probabilities by table, ``(S, ...)``.
            u: Uniform numbers in (0, 1), ``(S, noise)``.

        Returns:
            Each variable's index into its values by symbol, ``(S, *plates)``, and the log of the sum over all values,
            ``(S,)``. Where that is not finite the draw means nothing.
        """
        tables = self._filled(filled, len(u))
        evidence = self._forward(tables, len(u))
        shapes = {symbol: self._shape(variable.plates) for symbol, variable in self.variables.items()}
        parts = zip(shapes.items(), u.split([prod(shape) for shape in shapes.values()], 1), strict=True)
        return self._backward(
            tables, {symbol: part.reshape(len(u), *shape) for (symbol, shape), part in parts}
        ), evidence

    def log_sum(self, filled: Mapping[str, Tensor], rows: int) -> Tensor:
        """The log of the sum over all values, ``(S,)``, of ``S`` fillings ``(S, ...)`` of the tables."""
        return self._forward(self._filled(filled, rows), rows)

    def _filled(self, filled: Mapping[str, Tensor], rows: int) -> list[Tensor]:
        return [filled[name].reshape(rows, *self._shape(dims)) for name, dims in self.tables.items()]

    def _forward(self, tables: list[Tensor], rows: int) -> Tensor:
        """Append the table of every step; what is left of all tables is one number for each draw."""
        dims = self._dims()
        for step in self._steps:
            aligned = (_aligned(tables[i], dims[i], (*step.left, *step.gone)) for i in step.inputs)
            total = sum(aligned, torch.zeros(()))
            over = tuple(range(-len(step.gone), 0))
            tables.append(total.logsumexp(over) if step.draws else total.sum(over))
        ends = set(range(len(tables))).difference(*(step.inputs for step in self._steps))
        return sum((tables[i] for i in sorted(ends)), torch.zeros(rows))

    def _backward(self, tables: list[Tensor], u: dict[str, Tensor]) -> dict[str, Tensor]:
        dims = self._dims()
        index = {symbol: torch.zeros_like(part, dtype=torch.int64) for symbol, part in u.items()}
        for step in reversed(self._steps):
            if step.draws:
                (symbol,) = step.gone
                logits = sum((self._given(tables[i], dims[i], symbol, index) for i in step.inputs), torch.zeros(()))
                below = logits.softmax(-1).cumsum(-1)
                index[symbol] = (below / below[..., -1:] <= u[symbol][..., None]).sum(-1)  # never one of probability 0
        return index

    def _given(self, table: Tensor, dims: Dims, symbol: str, index: dict[str, Tensor]) -> Tensor:
        """The table ``(S, *plates, K)`` of one variable, with the others that it knows at their drawn values."""
        plates = self.variables[symbol].plates
        others = tuple(d for d in dims if d in self.variables and d != symbol)
        table = _aligned(table, dims, (*plates, *others, symbol))
        for other in reversed(others):
            at = _aligned(index[other], self.variables[other].plates, plates)
            at = at.reshape(*at.shape, *[1] * (table.dim() - at.dim()))
            table = table.take_along_dim(at, -2).squeeze(-2)
        return table

    def _dims(self) -> list[Dims]:
        return [*self.tables.values(), *(step.left for step in self._steps)]

    def _shape(self, dims: Dims) -> list[int]:
        return [self.sizes[d] for d in dims]


def eliminate(tables: Mapping[str, Dims], variables: Mapping[str, Variable], sizes: Mapping[str, int]) -> Elimination:
    """Find the order: innermost plates first, and in each the variable whose summing out makes the smallest table.

    Args:
        tables: Dimensions of each table that knows variables, without that of the draws.
        variables: By the symbol of their dimension.
        sizes: Length of each dimension.

    Raises:
        ModelError: If variables of plates that do not lie inside one another depend on each other.

    Example:
        >>> found = eliminate({"prior": ("z",), "x": ("row", "z")}, {"z": Variable("z", ())}, {"z": 2, "row": 3})
        >>> tables = {"prior": torch.zeros(1, 2), "x": torch.tensor([[[0.0, -9.0]] * 3])}
        >>> found.draw(tables, torch.full((1, found.noise), 0.5))[0]
        {'z': tensor([0])}
    """
    return Elimination(tables, variables, sizes, _Order(list(tables.values()), variables, sizes).steps())


class _Order:
    """What is left to be done while the steps are found."""

    def __init__(self, tables: list[Dims], variables: Mapping[str, Variable], sizes: Mapping[str, int]) -> None:
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
            self._sum_variables(place)
            self._sum_plates(place)
        return tuple(self._steps)

    def _sum_variables(self, place: frozenset[str]) -> None:
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
            "has discrete sites in different plates that depend on each other, so they cannot be summed out",
            argument="model",
            got=f"sites {', '.join(sorted(repr(self._variables[d].name) for d in known))}",
            expected="plates that lie inside one another",
            remedy="Write one of the plates as a Python loop, or sum the sites out by hand.",
        )

    def _plates(self, dims: Dims) -> frozenset[str]:
        return frozenset(d for d in dims if d not in self._variables)


def _aligned(table: Tensor, dims: Dims, target: Dims) -> Tensor:
    """A table ``(S, *dims)`` as ``(S, *target)``, of length 1 where it does not have the dimension."""
    table = table.permute(0, *(1 + dims.index(d) for d in target if d in dims))
    return table[(slice(None), *(slice(None) if d in dims else None for d in target))]
