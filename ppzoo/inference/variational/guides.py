"""Guides by name, and the check that a guide fits its program.

All are families of distributions over the continuous latent sites in unconstrained space, ``D`` numbers in all.

=============== ==================================================================================== ==================
name            family                                                                               parameters
=============== ==================================================================================== ==================
``normal``      a normal for each number by itself: mean-field                                       2 D
``mvn``         a multivariate normal                                                                D (D + 5) / 2
``lowrank``     a multivariate normal, its covariance a diagonal and some sqrt(D) directions         D (sqrt(D) + 2)
``iaf``         a multivariate normal bent by an inverse autoregressive flow: bananas, funnels       some 10 D^2
``spline``      one bent by a neural spline flow: also skewness, heavy middles, several modes        some 100 D^2
``delta``       a point: the mode of the joint density                                               D
=============== ==================================================================================== ==================
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from pyro import poutine
from pyro.infer.autoguide import (
    AutoDelta,
    AutoGuide,
    AutoLowRankMultivariateNormal,
    AutoMultivariateNormal,
    AutoNormal,
)
from pyro.infer.autoguide.initialization import InitMessenger
from torch import Tensor, nn

from ppzoo.checks import nearest
from ppzoo.errors import ModelError, OptionError
from ppzoo.inference.program import Pair, copy_model, has_method, nodes_of, point_guide, sites_of, trace_of
from ppzoo.inference.start import prior_median
from ppzoo.inference.variational.flows import InverseAutoregressive, NeuralSpline

__all__ = ["GUIDES", "Start", "check_guide", "check_guide_option", "choose_guide"]

Start = Callable[[dict[str, Any]], Tensor]

GUIDES: dict[str, type[AutoGuide]] = {
    "normal": AutoNormal,
    "mvn": AutoMultivariateNormal,
    "lowrank": AutoLowRankMultivariateNormal,
    "iaf": InverseAutoregressive,
    "spline": NeuralSpline,
    "delta": AutoDelta,
}


def choose_guide(
    guide: Any, owner: Any, model: Callable[..., Any], latent: list[str], start: Start = prior_median
) -> Callable[..., Any]:
    """The guide to train: a name, an AutoGuide class or instance, a function, the model's own, or ``"normal"``.

    Args:
        guide: What the user gave; ``None`` means the model's own guide, or ``"normal"`` where it brings none.
        owner: The copied model, asked for a guide of its own.
        model: The program.
        latent: Names of its continuous latent sites; without any, the guide is empty.
        start: Where an automatic guide begins, site by site.

    Raises:
        OptionError: If the name is unknown, or the value is nothing that can be called.
    """
    if guide is None:
        if has_method(owner, "guide"):
            return owner.guide  # type: ignore[no-any-return]  # has_method: it is a bound method
        if not latent:
            return _empty_guide
        guide = "normal"
    check_guide_option(guide)
    if isinstance(guide, str):
        guide = GUIDES[guide]
    if inspect.isclass(guide) and issubclass(guide, AutoGuide):
        return _automatic(guide, model, latent, start)
    if isinstance(guide, AutoGuide):
        return _adopted(guide, owner, model, latent)
    return copy_model(guide)  # type: ignore[no-any-return]  # callable in, callable out


def check_guide_option(guide: Any) -> None:
    """``guide`` is a known name or can be called.

    Raises:
        OptionError: If not.
    """
    if isinstance(guide, str):
        if guide not in GUIDES:
            raise OptionError("unknown guide", argument="guide", got=repr(guide), remedy=nearest(guide, GUIDES))
    elif guide is not None and not callable(guide):
        raise OptionError(
            "is not a guide",
            argument="guide",
            got=f"a {type(guide).__name__}",
            expected=f"a function, an AutoGuide class or instance, or one of {', '.join(map(repr, GUIDES))}",
        )


def _automatic(kind: type[AutoGuide], model: Callable[..., Any], latent: list[str], start: Start) -> AutoGuide:
    if not latent:
        raise ModelError("has no continuous latent site for a guide to fit", argument="guide", got=kind.__name__)
    build: Callable[..., AutoGuide] = kind
    return build(poutine.block(model, expose=latent), init_loc_fn=start)


def _adopted(guide: AutoGuide, owner: Any, model: Callable[..., Any], latent: list[str]) -> AutoGuide:
    """A copy; one made for a module knows the user's, and is pointed to the copy that is fitted."""
    twin: AutoGuide = copy_model(guide)
    if isinstance(owner, nn.Module):
        start = getattr(guide, "init_loc_fn", prior_median)
        point_guide(twin, (InitMessenger(start)(poutine.block(model, expose=latent)),))
    return twin


def check_guide(pair: Pair) -> None:
    """Model and guide name the same continuous latent sites, with the same shapes; the guide observes nothing.

    Raises:
        ModelError: If a site is missing, extra, observed, or of another shape.
    """
    if pair.guide is None:
        return
    guide_trace = trace_of(pair.guide, pair.data)
    observed = [site.name for site in sites_of(guide_trace) if site.kind == "observed"]
    if observed:  # its density would cancel the model's, and the prior would pass for the posterior
        raise ModelError(
            "observes data, which is for the model to do",
            argument="guide",
            got=f"obs= at site {', '.join(map(repr, observed))}",
            expected="a function that samples the latent sites and nothing else",
            remedy="Leave the observed sites out of the guide; if it is the model itself, give its guide instead.",
        )
    wanted = {site.name: site for site in sites_of(pair.trace_model()) if site.kind in ("latent", "discrete")}
    given = {site.name: site for site in sites_of(guide_trace) if site.kind in ("latent", "discrete")}
    auxiliary = {name for name, node in nodes_of(guide_trace).items() if (node.get("infer") or {}).get("is_auxiliary")}
    missing = [name for name, site in wanted.items() if name not in given and site.kind == "latent"]
    extra = [name for name in given if name not in wanted and name not in auxiliary]
    if missing or extra:
        raise ModelError(
            "does not match the model",
            argument="guide",
            got="; ".join(
                f"{label} {', '.join(map(repr, names))}"
                for label, names in (("misses site", missing), ("has extra site", extra))
                if names
            ),
            expected=f"exactly the latent sites {', '.join(map(repr, wanted)) or '(none)'}",
            remedy="Sample each latent site of the model once in the guide, under the same name.",
        )
    for name in wanted.keys() & given.keys():
        if wanted[name].shape != given[name].shape:
            raise ModelError(
                f"gives site {name!r} another shape than the model",
                argument="guide",
                got=f"shape {given[name].shape}",
                expected=f"shape {wanted[name].shape}",
                remedy="Use the same plates in both.",
            )


def _empty_guide(*args: Any, **kwargs: Any) -> None:
    """No latent site to guide: the ELBO is the log likelihood."""
