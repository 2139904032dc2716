"""The last check at the door: the program runs on the data, and every observation lies in its site's support."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pyro
import torch
from torch import Tensor
from torch.distributions import TransformedDistribution
from torch.distributions.constraints import Constraint, independent

from ppzoo.errors import DataError, ModelError
from ppzoo.inference.program import Pair, Site, first_words, sites_of
from ppzoo.inference.start import near_zero

__all__ = ["check_program"]

_REMEDIES = {
    "Bernoulli": "Bernoulli data are 0 or 1; use ContinuousBernoulli, Beta or Normal for other values.",
    "Poisson": "Counts are whole numbers >= 0.",
    "Categorical": "Categories are whole numbers from 0 up to the number of categories less one.",
}


def check_program(pair: Pair) -> tuple[Site, ...]:
    """Run the program once and hold every observation against the support of its site.

    Returns:
        The program's sites, in order.

    Raises:
        ModelError: If the program fails on the data.
        DataError: If an observation lies outside the support.
    """
    sites = tuple(sites_of(pair.trace_model()))
    elsewhere = {site.name: site for site in sites_of(pair.trace_model(near_zero))}
    for site in sites:
        if site.kind == "observed" and _validates(site.distribution) and _is_fixed(site, elsewhere.get(site.name)):
            _check_support(site)
    with pyro.validation_enabled(is_validate=False):  # values outside a support that moves are no error
        for site in sites_of(pair.trace_model()):
            _check_density(site)
    return sites


def _check_density(site: Site) -> None:
    """A log probability can be computed at all; whether it is finite depends on where inference starts."""
    try:
        site.distribution.log_prob(site.value)
    except (RuntimeError, TypeError, ValueError) as error:
        raise ModelError(
            "has a density that cannot be computed",
            argument=site.name,
            got=f"{site.value.dtype} values; {first_words(error)}",
            expected=f"values of a type and shape that {_innermost(site.distribution)} takes",
            remedy="Integer labels need obs=y.float() for a Bernoulli; check types and shapes of the arguments.",
        ) from error


def _is_fixed(site: Site, elsewhere: Site | None) -> bool:
    """Whether the support is the same for other latent values; one that moves (Uniform(0, theta)) is no error."""
    return elsewhere is not None and _bounds(site.distribution.support) == _bounds(elsewhere.distribution.support)


def _bounds(support: Any) -> list[Any]:
    """The numbers a constraint is made of."""
    found: list[Any] = [type(support)]
    for value in vars(support).values():
        if isinstance(value, Constraint):
            found += _bounds(value)
        elif isinstance(value, Tensor):
            found.append(value.tolist())
        elif isinstance(value, int | float):
            found.append(value)
    return found


def _check_support(site: Site) -> None:
    support = site.distribution.support
    while isinstance(support, independent):  # entry by entry, so that the message can name the entry
        support = support.base_constraint
    inside: Tensor = support.check(site.value)
    if bool(inside.all()):
        return
    bad = (~inside).nonzero()
    where = tuple(int(i) for i in bad[0]) if inside.dim() else ()
    value = site.value[where] if where else site.value
    kind = _innermost(site.distribution)
    raise DataError(
        "lies outside the support of its site",
        argument=site.name,
        got=f"{_show(value)} at index {where} ({len(bad) if inside.dim() else 1} such)",
        expected=f"{kind} data: {_support(site)}",
        remedy=_REMEDIES.get(kind, "Check the data, or choose a likelihood for such values."),
    )


def _validates(fn: Any) -> bool:
    """A program that switches validation off at a site, at any level of its distribution, means it."""
    return all(level.__dict__.get("_validate_args") is not False for level in _levels(fn))


def _innermost(fn: Any) -> str:
    """The distribution as the user wrote it, without expansion, masks and ``to_event``."""
    levels = list(_levels(fn))
    named = next((level for level in levels if isinstance(level, TransformedDistribution)), levels[-1])
    return type(named).__name__


def _levels(fn: Any) -> Iterator[Any]:
    yield fn
    while hasattr(fn, "base_dist"):
        fn = fn.base_dist
        yield fn


def _support(site: Site) -> str:
    support = site.distribution.support
    return str(getattr(support, "base_constraint", support)).removesuffix("()")


def _show(value: Tensor) -> str:
    return f"{value.item():g}" if value.numel() == 1 else str(torch.round(value, decimals=3).tolist()[:5])
