r"""Divergences of a guide's sites from the model's in closed form, where they may take the place of a draw's.

.. math::
    \mathbb{E}_q[\log q(z) - \log p(z)]
    = \sum_i \mathbb{E}_q\bigl[\mathrm{KL}(q(z_i | z_{<i}) \,\|\, p(z_i | \mathrm{pa}_i))\bigr]

holds for site :math:`i` where all that the model draws before it, and so its :math:`\mathrm{pa}_i`, is drawn before it
by the guide too.

Reference: Kingma and Welling, *Auto-Encoding Variational Bayes*, 2014, https://arxiv.org/abs/1312.6114, appendix B.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from pyro.distributions import Delta
from pyro.distributions.util import scale_and_mask
from torch import Tensor
from torch.distributions import kl_divergence

from ppzoo.inference.door import is_real
from ppzoo.inference.variational.runs import Traces, drawn, same_weight

__all__ = ["Divergence", "divergences"]


class Divergence(NamedTuple):
    """``KL(q || p)`` of a site.

    Attributes:
        value: In nats, of the site's batch shape, scaled and masked as its log probability.
        sites: The guide's sites whose log probabilities it stands for.
    """

    value: Tensor
    sites: tuple[str, ...]


def divergences(particle: Traces) -> dict[str, Divergence]:
    """By latent site, where there is a closed form and it is right.

    Args:
        particle: A run of the guide, and of the model on its draws.
    """
    model, guide = drawn(particle.model), drawn(particle.guide)
    place = {name: i for i, name in enumerate(guide)}
    found: dict[str, Divergence] = {}
    latest = -1  # where the guide has drawn all that the model has so far
    for name, site in model.items():
        if site["is_observed"]:
            continue
        names = _names(name, site, guide)
        if names and latest < place[names[0]]:
            value = _closed(guide[names[0]], site)
            if value is not None:
                found[name] = Divergence(value, names)
        latest = max(latest, place.get(name, len(guide)))  # what the guide does not draw could hang on anything
    return found


def _names(name: str, site: dict[str, Any], guide: dict[str, Any]) -> tuple[str, ...]:
    """The guide's sites that draw this one, the first of them by a density; none if there is no such."""
    if name not in guide or not isinstance(_innermost(guide[name]["fn"]), Delta):
        return (name,) if name in guide else ()
    draw = f"{name}_unconstrained"  # by which Pyro's AutoNormal draws a site, to state it as a point then
    known = draw in guide and guide[draw]["infer"].get("is_auxiliary")
    return (draw, name) if known and is_real(site["fn"].support) else ()


def _closed(q: dict[str, Any], p: dict[str, Any]) -> Tensor | None:
    """The divergence of two statements; None without a closed form, or where they are not weighed alike."""
    if not (same_weight(q["scale"], p["scale"]) and same_weight(q["mask"], p["mask"])):
        return None
    try:
        value = kl_divergence(q["fn"], p["fn"])
    except NotImplementedError:  # how torch says that it has none
        return None
    return scale_and_mask(value, p["scale"], p["mask"]) if value.shape == p["log_prob"].shape else None


def _innermost(fn: Any) -> Any:
    while not isinstance(fn, Delta) and hasattr(fn, "base_dist"):
        fn = fn.base_dist
    return fn
