"""What a target is: a program, its data, and what is known of its posterior from elsewhere.

Scalars carry Stan's names: ``beta[1]`` is the first entry of the vector ``beta``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from arviz_stats.base.array import array_stats
from numpy.typing import NDArray
from torch import Tensor

from ppzoo.fitting import prepare
from ppzoo.inference.density import Density, density_of
from ppzoo.isolation import isolated

Array = NDArray[np.float64]
Values = dict[str, Tensor]

TAILS = (0.05, 0.95)


def unchanged(values: Values) -> Values:
    """The map of a program whose sites are the reference's parameters."""
    return values


@dataclass(frozen=True, eq=False)
class Quantiles:
    """The 5 % and 95 % quantiles and their Monte Carlo errors, each ``(P, 2)``."""

    value: Array
    error: Array


@dataclass(frozen=True, eq=False)
class Reference:
    """What is known of a posterior.

    Attributes:
        names: Of the P scalars.
        mean: ``(P,)``.
        mean_error: Monte Carlo standard errors of the means, ``(P,)``.
        sd: ``(P,)``.
        quantiles: Where there are draws to tell them.
        draws: ``(chain, draw, P)``, where there are some.
    """

    names: tuple[str, ...]
    mean: Array
    mean_error: Array
    sd: Array
    quantiles: Quantiles | None = None
    draws: Array | None = None


@dataclass(frozen=True, eq=False)
class Target:
    """A program whose posterior is known.

    Attributes:
        name: As its collection has it.
        model: The program.
        data: Its arguments by name; floating ones are float64.
        reference: What its posterior is.
        parameters: From latent sites, each ``(..., *shape)``, to the reference's parameters.
        sites: The way back.
    """

    name: str
    model: Callable[..., None]
    data: dict[str, Tensor]
    reference: Reference
    parameters: Callable[[Values], Values] = unchanged
    sites: Callable[[Values], Values] = unchanged

    def read(self, draws: Values) -> Array:
        """The scalars of the reference, in its order, ``(..., P)``, from draws of the latent sites."""
        return flatten(self.parameters(draws), self.reference.names)

    def write(self, scalars: Array) -> Values:
        """The latent sites, each ``(..., *shape)``, from scalars in the reference's order, ``(..., P)``."""
        return self.sites(unflatten(scalars, self.reference.names))


@contextmanager
def opened(target: Target) -> Iterator[Density]:
    """The density of a target's program, in the isolated world that it must run in."""
    pair, dtype, _ = prepare(target.model, target.data, prefer=torch.float64)
    with isolated(seed=0, dtype=dtype):
        yield density_of(pair)


def flatten(values: Values, names: Sequence[str]) -> Array:
    """Named scalars, ``(..., P)``, of parameters that are scalars or vectors, ``(...)`` or ``(..., K)``."""
    columns = []
    for name in names:
        base, index = _split(name)
        columns.append(values[base] if index is None else values[base][..., index])
    return torch.stack(columns, -1).double().cpu().numpy()


def unflatten(scalars: Array, names: Sequence[str]) -> Values:
    """The inverse of :func:`flatten`."""
    found: dict[str, list[Tensor]] = {}
    single: Values = {}
    for column, name in zip(torch.from_numpy(scalars).unbind(-1), names, strict=True):
        base, index = _split(name)
        if index is None:
            single[base] = column
        else:
            found.setdefault(base, []).append(column)
    return single | {base: torch.stack(entries, -1) for base, entries in found.items()}


def names_of(values: Values) -> tuple[str, ...]:
    """The scalars of one value of each parameter: ``sigma``, ``beta[1]``, ``beta[2]``."""
    return tuple(
        name
        for base, value in values.items()
        for name in ([base] if value.ndim == 0 else [f"{base}[{i + 1}]" for i in range(len(value))])
    )


def summarised(draws: Array, names: Sequence[str]) -> Reference:
    """A reference from its draws, ``(chain, draw, P)``, with errors from their effective sample sizes."""
    scalar_first = np.moveaxis(draws, -1, 0)  # (P, chain, draw)
    errors = [array_stats.mcse(scalar_first, method="quantile", prob=prob) for prob in TAILS]
    return Reference(
        names=tuple(names),
        mean=draws.mean((0, 1)),
        mean_error=np.asarray(array_stats.mcse(scalar_first, method="mean")),
        sd=draws.reshape(-1, len(names)).std(0, ddof=1),
        quantiles=Quantiles(np.quantile(draws, TAILS, axis=(0, 1)).T, np.stack(errors, -1)),
        draws=draws,
    )


def _split(name: str) -> tuple[str, int | None]:
    base, bracket, rest = name.partition("[")
    return base, int(rest.removesuffix("]")) - 1 if bracket else None
