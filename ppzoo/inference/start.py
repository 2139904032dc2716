"""Where inference starts, without sampling from distributions that cannot be sampled.

Pyro's own strategies all draw from the prior first, which an improper site refuses.
"""

from __future__ import annotations

from typing import Any

import torch
from pyro.distributions import ImproperUniform
from pyro.infer.autoguide.initialization import init_to_median
from torch import Tensor
from torch.distributions import biject_to

__all__ = ["RADIUS", "near_zero", "prior_draw", "prior_median", "uniform"]

RADIUS = 2.0  # Stan's: unconstrained values between -2 and 2


def prior_draw(site: dict[str, Any]) -> Tensor:
    """A draw of the prior, or a uniform one in unconstrained space where there is no prior to draw."""
    if not _is_discrete(site) and _is_improper(site["fn"]):
        return uniform(site)
    return site["fn"].sample()  # type: ignore[no-any-return]  # Pyro is untyped


def prior_median(site: dict[str, Any]) -> Tensor:
    """The median of a few prior draws, or a point near zero in unconstrained space where there is no prior to draw."""
    if _is_discrete(site) or not _is_improper(site["fn"]):
        return site["fn"].sample() if _is_discrete(site) else init_to_median(site)  # type: ignore[no-any-return]  # a tensor
    return near_zero(site)


def near_zero(site: dict[str, Any]) -> Tensor:
    """The image of (almost) zero in unconstrained space; a tie would make some gradients vanish."""
    return _from_unconstrained(site, 0.1)


def uniform(site: dict[str, Any]) -> Tensor:
    """A uniform draw between -2 and 2 in unconstrained space (Stan's starting point)."""
    return _from_unconstrained(site, RADIUS)


def _from_unconstrained(site: dict[str, Any], radius: float) -> Tensor:
    fn = site["fn"]
    if _is_discrete(site):
        return fn.sample()  # type: ignore[no-any-return]  # Pyro is untyped
    transform = biject_to(fn.support)
    single = transform.domain.event_dim == transform.codomain.event_dim == 0  # number by number: the shape stays
    shape = fn.shape() if single else transform.inverse_shape(fn.shape())  # which loads sympy: half a second
    return transform((torch.rand(shape) * 2 - 1) * radius)  # type: ignore[no-any-return]  # torch's transforms are untyped


def _is_discrete(site: dict[str, Any]) -> bool:
    return bool(site["fn"].support.is_discrete)


def _is_improper(fn: Any) -> bool:
    while not isinstance(fn, ImproperUniform):
        if not hasattr(fn, "base_dist"):
            return False
        fn = fn.base_dist
    return True
