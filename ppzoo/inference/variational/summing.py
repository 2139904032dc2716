r"""Runs in which the finite discrete sites that the guide leaves out are summed out.

With discrete :math:`k` and continuous :math:`z`, the joint density of a run is

.. math:: \log p(x, z) = \log \sum_k p(x, z, k)

by :mod:`ppzoo.inference.elimination`: plain operations on tensors, so that steps can be recorded. A number that the
statements around :math:`k` are weighed with, that of a minibatch, stands outside the sum of each row; masks of other
statements are inside.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from pyro import poutine
from pyro.distributions.util import scale_and_mask
from torch import Tensor

from ppzoo.datasets.arguments import Arguments
from ppzoo.errors import ModelError
from ppzoo.inference.enumeration import enumeration_of
from ppzoo.inference.program import Site, trace_of
from ppzoo.inference.variational.runs import Summed, Traces, drawn, same_weight, scored

__all__ = ["summing_traces"]


def summing_traces(
    model: Callable[..., Any], guide: Callable[..., Any], data: Arguments, sites: Sequence[Site]
) -> Traces:
    """Run the guide, and the model on what it drew, with every value of the other discrete sites.

    Args:
        model: The program, its discrete sites marked for parallel enumeration.
        guide: The guide, which enumerates nothing.
        data: The arguments of both.
        sites: The model's statements, as a run without enumeration showed them.

    Raises:
        ModelError: If the sites cannot be summed out, or are weighed with different numbers.
    """
    first = trace_of(guide, data)
    depth = max((-dim for site in sites for _, dim, _ in site.plates), default=0)
    program = poutine.enum(poutine.replay(model, trace=first), first_available_dim=-1 - depth)
    run = scored(trace_of(program, data), first)
    given = drawn(run.guide)
    left = [site for site in sites if site.kind != "discrete" or site.name not in given]
    elimination = enumeration_of(run.model, left).elimination
    tables = {name: drawn(run.model)[name] for name in elimination.tables}
    weight = _weight(tables)
    summed = {site.name for site in left if site.kind == "discrete"}  # whose probabilities add up to 1, masked or not
    filled = {
        name: scale_and_mask(site["unscaled_log_prob"], mask=None if name in summed else site["mask"])[None]
        for name, site in tables.items()
    }
    value = scale_and_mask(elimination.log_sum(filled, 1).squeeze(0), weight)
    return run._replace(summed=Summed(value, frozenset(tables)))


def _weight(tables: dict[str, Any]) -> float | Tensor:
    """What all the statements that know a discrete site are weighed with."""
    scales = {name: site["scale"] for name, site in tables.items()}
    weight: float | Tensor = next(iter(scales.values()), 1.0)
    if not all(same_weight(weight, scale) for scale in scales.values()):
        raise ModelError(
            "weighs statements around a discrete site differently, so it cannot be summed out",
            argument="model",
            got="; ".join(f"site {name!r} with {scale:.4g}" for name, scale in scales.items()),
            expected="one weight, that of a minibatch or of poutine.scale, for all of them",
            remedy="Leave batch_size out, or put the discrete site into the plate over rows.",
        )
    return weight
