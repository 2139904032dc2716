"""Guides by name, and the check that a guide fits its program.

All are families of distributions over the continuous latent sites in unconstrained space, ``D`` numbers in all.

=============== ==================================================================================== ==================
name            family                                                                               parameters
=============== ==================================================================================== ==================
``normal``      a normal for each number by itself: mean-field                                       2 D
``mvn``         a multivariate normal                                                                D (D + 3) / 2
``lowrank``     a multivariate normal, its covariance a diagonal and some sqrt(D) directions         D (sqrt(D) + 2)
``iaf``         a multivariate normal bent by an inverse autoregressive flow: bananas, funnels       some 10 D^2
``spline``      one bent by a neural spline flow: also skewness, several modes                       some 100 D^2
``structured``  a multivariate normal that couples what the program couples                          grows with rows
``amortised``   a normal for each, of the sites of a row computed from its data by a network         64 (F + 2 L)
``delta``       a point: the mode of the joint density                                               D
=============== ==================================================================================== ==================
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import torch
from pyro import poutine
from pyro.distributions import Delta, TransformedDistribution
from pyro.infer.autoguide import (
    AutoDelta,
    AutoGuide,
    AutoNormal,
)
from pyro.infer.autoguide.initialization import InitMessenger
from pyro.poutine.subsample_messenger import _Subsample
from torch import Tensor, nn
from torch.distributions import biject_to

from ppzoo.checks import nearest
from ppzoo.errors import ModelError, OptionError
from ppzoo.inference.door import family_of, has_fixed_support, levels_of, support_of
from ppzoo.inference.program import Guide, Pair, Site, copy_model, has_method, nodes_of, point_guide, sites_of, trace_of
from ppzoo.inference.start import near_zero, prior_median
from ppzoo.inference.variational.amortised import Amortised
from ppzoo.inference.variational.flows import InverseAutoregressive, NeuralSpline
from ppzoo.inference.variational.gaussian import LowRank, Multivariate
from ppzoo.inference.variational.runs import drawn, held
from ppzoo.inference.variational.structured import Structured

__all__ = ["GUIDES", "Start", "check_draws", "check_guide", "check_guide_option", "check_plates", "choose_guide"]

Start = Callable[[dict[str, Any]], Tensor]

GUIDES: dict[str, type[AutoGuide | Amortised]] = {
    "normal": AutoNormal,
    "mvn": Multivariate,
    "lowrank": LowRank,
    "iaf": InverseAutoregressive,
    "spline": NeuralSpline,
    "structured": Structured,
    "amortised": Amortised,
    "delta": AutoDelta,
}
_FAR = 3.0  # in unconstrained space: outside every other support that there is, and representable in every type
# Their support is what their last map could reach from anywhere, not what it reaches from what is below it.
_DECLARES_TOO_MUCH = (TransformedDistribution, torch.distributions.TransformedDistribution)


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
    if inspect.isclass(guide) and issubclass(guide, AutoGuide | Amortised):
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


def _automatic(
    kind: type[AutoGuide | Amortised], model: Callable[..., Any], latent: list[str], start: Start
) -> AutoGuide | Amortised:
    if not latent:
        raise ModelError("has no continuous latent site for a guide to fit", argument="guide", got=kind.__name__)
    if issubclass(kind, Structured):  # which looks at the observed sites too
        return kind(model, latent, start)
    build: Callable[..., AutoGuide | Amortised] = kind
    return build(poutine.block(model, expose=latent), init_loc_fn=start)


def _adopted(guide: AutoGuide, owner: Any, model: Callable[..., Any], latent: list[str]) -> AutoGuide:
    """A copy; one made for a module knows the user's, and is pointed to the copy that is fitted."""
    twin: AutoGuide = copy_model(guide)
    if isinstance(owner, nn.Module):
        start = getattr(guide, "init_loc_fn", prior_median)
        point_guide(twin, (InitMessenger(start)(poutine.block(model, expose=latent)),))
    return twin


def check_guide(pair: Pair) -> None:
    """Model and guide name the same continuous latent sites, with the same shapes and supports; nothing is observed.

    Raises:
        ModelError: If a site is missing, extra, observed, of another shape, or reaches beyond the model's support.
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
    _check_supports(pair, wanted, given)


def _check_supports(pair: Pair, wanted: dict[str, Site], given: dict[str, Site]) -> None:
    """The guide draws nothing that the model rules out: there the ELBO is minus infinity, or not a number."""
    outside = [name for name, site in wanted.items() if name in given and not _stays_inside(given[name], site)]
    elsewhere = {site.name: site for site in sites_of(pair.trace_model(near_zero))} if outside else {}
    for name in outside:
        if has_fixed_support(wanted[name], elsewhere.get(name)):
            raise ModelError(
                f"can give site {name!r} values that the model rules out",
                argument="guide",
                got=f"{family_of(given[name].distribution)} on {support_of(given[name])}",
                expected=f"a distribution on {support_of(wanted[name])}, as {family_of(wanted[name].distribution)}",
                remedy="Use one of that support, as LogNormal for positive numbers and Beta for shares, or a guide by "
                'name, such as guide="normal", which takes every site to its support.',
            )


def _stays_inside(given: Site, wanted: Site) -> bool:
    """Whether what the guide drew, and points far out in its support, lie in the model's."""
    levels = list(levels_of(given.distribution))
    if any(isinstance(level, Delta) for level in levels):
        return bool(wanted.distribution.support.check(given.value).all())
    if given.kind != wanted.kind:
        return False
    points = [given.value]
    if given.kind == "latent" and not any(type(level) in _DECLARES_TOO_MUCH for level in levels):
        with suppress(NotImplementedError):  # a support that nobody maps to (a sphere): what was drawn has to do
            transform = biject_to(given.distribution.support)
            unconstrained = transform.inv(given.value)
            points += [transform(torch.full_like(unconstrained, far)) for far in (-_FAR, _FAR)]
    return all(bool(wanted.distribution.support.check(point).all()) for point in points)


def check_plates(guide: Guide, model: poutine.Trace) -> None:
    """No plate of the model looks at some of its rows only, where the guide makes plates of its own.

    Such a guide chooses its own rows, and the model is replayed on those: whatever the model chose itself is lost.

    Args:
        guide: To be trained.
        model: One run of the program.

    Raises:
        ModelError: If one does and the guide is automatic.
    """
    if not isinstance(guide, AutoGuide | Amortised):
        return
    for name, node in nodes_of(model).items():
        fn, rows = node.get("fn"), node.get("value")
        if isinstance(fn, _Subsample) and not torch.equal(rows, torch.arange(fn.size).to(rows)):
            raise ModelError(
                f"takes some rows of plate {name!r} by itself, which an automatic guide cannot follow",
                argument="model",
                got=f"a plate of {fn.size} with {'subsample=' if fn.subsample_size is None else 'subsample_size='}"
                f"{'...' if fn.subsample_size is None else fn.subsample_size}, and {type(guide).__name__}",
                expected=f'with pyro.plate("{name}", len(x)): over all rows that the model is given',
                remedy="Leave subsample_size= and subsample= out, and pass batch_size= to fit; or write the guide.",
            )


def check_draws(pair: Pair, guide: Guide, objective: str, *, reparametrised: bool) -> None:
    """The guide's draws can be held, to ask for the probability of these very draws again.

    Args:
        pair: With every parameter made.
        guide: The guide.
        objective: Which one wants it.
        reparametrised: Whether every draw has to be differentiable.

    Raises:
        ModelError: If a draw cannot be differentiated and should be, if one is a point, not a draw, if the guide knows
            the density of a draw only while it makes it, or is random beside its draws.
    """
    if isinstance(guide, InverseAutoregressive | NeuralSpline):
        raise ModelError(
            "knows the density of a draw only while it makes it",
            argument="guide",
            got=f"a flow with objective={objective!r}",
            expected="a guide whose density is known everywhere",
            remedy='Use objective="elbo" or "iwae", or guide="mvn".',
        )
    run = held(pair.model, guide, pair.data)
    sites = {name: node["fn"] for name, node in drawn(run.traces.guide).items() if not node["is_observed"]}
    rough = [name for name, fn in sites.items() if reparametrised and not fn.has_rsample]
    if rough:
        raise ModelError(
            "draws what cannot be differentiated",
            argument="guide",
            got=f"sites {', '.join(map(repr, rough))} with objective={objective!r}",
            expected="distributions with rsample",
            remedy='Use objective="iwae" or "wake-sleep".',
        )
    points = [name for name, fn in sites.items() if _is_point(fn, pair.trainable())]
    if points:
        raise ModelError(
            "puts all mass on a point, which has no weight",
            argument="guide",
            got=f"sites {', '.join(map(repr, points))} with objective={objective!r}",
            expected="a guide that draws",
            remedy='Use objective="elbo", or guide="normal".',
        )
    with torch.no_grad():
        first = trace_of(guide, pair.data)
        again = trace_of(poutine.replay(guide, trace=first), pair.data)
        known = [torch.as_tensor(trace.log_prob_sum()) for trace in (first, again)]
    if not torch.equal(*known):
        raise ModelError(
            "is random beside its draws, so the probability of a draw cannot be asked for again",
            argument="guide",
            got=f"log probabilities {known[0]:.6g} and {known[1]:.6g} of the same draws with objective={objective!r}",
            expected="randomness in pyro.sample alone",
            remedy='Take dropout out of the guide, or use objective="iwae".',
        )


def _is_point(fn: Any, parameters: list[Tensor]) -> bool:
    """Whether a distribution is a point mass that parameters move, though all draws are held."""
    while not isinstance(fn, Delta) and hasattr(fn, "base_dist"):
        fn = fn.base_dist
    if not isinstance(fn, Delta):
        return False
    place = fn.v.sum() + torch.as_tensor(fn.log_density).sum()
    if not place.requires_grad:
        return False
    slopes: Any = torch.autograd.grad(place, parameters, allow_unused=True)  # which gives None
    return any(slope is not None for slope in slopes)


def _empty_guide(*args: Any, **kwargs: Any) -> None:
    """No latent site to guide: the ELBO is the log likelihood."""
