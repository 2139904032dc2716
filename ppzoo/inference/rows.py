"""Programs of many rows, looked at through some of them: what is to be fitted by minibatches is not run on all."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.distributions.constraints import Constraint

from ppzoo.datasets.arguments import Arguments, Place
from ppzoo.errors import ModelError
from ppzoo.inference.door import check_program, check_support, is_checked
from ppzoo.inference.program import Pair, Site, sites_of
from ppzoo.inference.start import near_zero

__all__ = ["check_on_some", "fewer_rows", "plates_over_rows", "some_rows", "watched"]

_MODEST = 1_000_000  # numbers: so many are looked at in one run of the program, which sees more than a look at the data


def some_rows(data: Arguments, batch_size: int | None) -> Arguments:
    """As many rows as a step sees and one more, evenly from all; all of them where a step sees all."""
    if data.source is not None:
        batch_size = data.source.size
    elif batch_size is None or batch_size >= data.rows:
        return data
    return data.take(_evenly(batch_size + 1, data.rows))


def fewer_rows(data: Arguments, batch_size: int) -> Arguments:
    """One row less than :func:`some_rows`, from the other end: what follows the rows is seen to follow them."""
    return data.take(data.rows - 1 - _evenly(batch_size, data.rows))


def _evenly(count: int, rows: int) -> Tensor:
    return torch.arange(count, device="cpu") * rows // count


def plates_over_rows(pair: Pair, batch_size: int) -> frozenset[str]:
    """The plates that have as many entries as there are rows, whatever rows there are.

    Args:
        pair: On all rows.
        batch_size: Rows of a step.

    Raises:
        ModelError: If no plate does, or a site outside of these plates does.
    """
    some, few = pair.rebind(some_rows(pair.data, batch_size)), pair.rebind(fewer_rows(pair.data, batch_size))
    here, there = list(sites_of(some.trace_model())), list(sites_of(few.trace_model()))
    rows = some.data.rows
    sizes = {name: size for site in here for name, _, size in site.plates}
    other = {name: size for site in there for name, _, size in site.plates}
    plates = frozenset(name for name, size in sizes.items() if size == rows and other.get(name) == few.data.rows)
    if not plates:
        raise ModelError(
            "has no plate over the rows, so a minibatch cannot be weighed",
            argument="batch_size",
            got=f"plates {sizes or '(none)'} on {rows} rows",
            expected='with pyro.plate("row", len(x)): around the sites of a row',
            remedy="Add the plate, or leave batch_size out.",
        )
    shapes = {site.name: site.shape for site in there}
    for site in here:
        outside = plates.isdisjoint(name for name, _, _ in site.plates)
        if outside and site.kind != "observed" and shapes.get(site.name, site.shape) != site.shape:
            raise ModelError(
                "changes its shape with the rows, outside of the plate over them",
                argument=site.name,
                got=f"shape {site.shape} on {rows} rows, {shapes[site.name]} on {few.data.rows} others",
                expected="sizes that every minibatch has",
                remedy="Take them from all data, beside the model (functools.partial), or leave batch_size out.",
            )
    return plates


def watched(pair: Pair) -> tuple[dict[Place, Site], list[str]]:
    """What every row can be held against without a run: the arguments that a site observes as they are.

    Returns:
        By position or name of the argument, the site, whose support is the same for all rows; and the names of the
        names of other observed sites that are held against their support.
    """
    places: list[tuple[Place, Any]] = [*enumerate(pair.data.args), *pair.data.kwargs.items()]
    elsewhere = {site.name: site for site in sites_of(pair.trace_model(near_zero))}
    found: dict[Place, Site] = {}
    others = []
    for site in sites_of(pair.trace_model()):
        if site.kind != "observed" or not is_checked(site, elsewhere.get(site.name)):
            continue
        place = next((place for place, value in places if _same(value, site.value)), None)
        if place is not None and pair.data.by_rows(site.value) and _numbers(site.distribution.support) <= 1:
            found[place] = site
        else:
            others.append(site.name)
    return found, others


def check_on_some(pair: Pair, batch_size: int | None) -> tuple[str, ...]:
    """As :func:`~ppzoo.inference.door.check_program`; of many rows run on some, observations of all being looked at.

    Returns:
        A note, if the program was not run on all rows.
    """
    few = pair.rebind(some_rows(pair.data, batch_size))
    modest = sum(value.numel() for value in pair.data.tensors()) <= _MODEST
    if few.data is pair.data or (modest and pair.data.source is None):
        check_program(pair)
        return ()
    check_program(few)
    found, others = watched(few)
    note = f"Before the first step the program was run on {few.data.rows:,} of {pair.data.total:,} rows."
    if pair.data.source is not None:
        unseen = ", ".join(map(repr, others))
        beside = f"No other row of what is observed at {unseen} was held against its support." if others else ""
        return (note, *filter(None, [beside]), *pair.data.source.notes)
    if others:
        check_program(pair)
        return ()
    for place, site in found.items():
        check_support(replace(site, value=pair.data.at(place)))
    return (note,)


def _same(value: Any, observed: Tensor) -> bool:
    return isinstance(value, Tensor) and value.data_ptr() == observed.data_ptr() and value.shape == observed.shape


def _numbers(support: Any) -> int:
    """The most numbers that a bound of a support has: one for all rows, or one for each."""
    values = vars(support).values()
    sizes = [value.numel() for value in values if isinstance(value, Tensor)]
    return max([*sizes, *(_numbers(value) for value in values if isinstance(value, Constraint))], default=0)
