"""A fit as a DataTree: what was drawn, how likely the data are under each draw, what each draw predicts."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray
from torch import Tensor
from torch.distributions import Categorical

from ppzoo.diagnostics.arviz import build_datatree
from ppzoo.inference.draws import evaluate, predict
from ppzoo.inference.program import Site, has_method, sites_of
from ppzoo.predicting import replicated

if TYPE_CHECKING:
    import xarray as xr

    from ppzoo.result import Fit

__all__ = ["Posterior", "build_tree", "parameter_tree", "posterior_of", "shown", "weighed_tree"]

_DRAWS = 1000  # of a guide, where nobody says how many
_FEWEST_DRAWS = 100
_ELEMENTS = 20_000_000  # of a guide, the largest posterior predictive array; beyond it fewer draws are shown
_POINTWISE = 2**27  # of a sampler, numbers in all pointwise likelihoods and predictions: a gigabyte
_LARGEST_PARAMETER = 100  # a network's weights are no estimates to be read

Groups = dict[str, dict[str, Tensor]]


def build_tree(fit: Fit, *, pointwise: bool = True) -> xr.DataTree:
    """Groups ``posterior, sample_stats, log_likelihood, log_prior, posterior_predictive, observed_data``.

    Arrays are ``(chain, draw, ...)``, one chain for a guide; dimensions are named by the model's plates. A fit
    without latent sites has an empty posterior and a group ``parameters_data``.

    Likelihoods and predictions of many rows are those of every k-th draw, so that they take a gigabyte at most; the
    coordinate ``draw`` tells which, and so does a note. Not ``pointwise``, they are left out: who judges a fit does not
    look at them. Of data that are streamed, there are none, nor observed data.

    Of a program whose discrete sites a sampler summed out, ``log_likelihood`` and ``log_prior`` are those of the
    continuous draws, discrete sites summed out, and ``posterior_predictive`` draws the discrete sites of a row anew, as
    :meth:`ppzoo.Fit.predict` does: the three are of one distribution, as PSIS-LOO and its checks need.
    """
    if has_method(fit.pair.owner, "critic_loss"):
        return _tree(fit, {"posterior": {}, "observed_data": fit.data_tensors()}, Posterior({}, {}, {}, {}), fit.notes)
    posterior = fit.posterior
    notes = [*fit.notes, *posterior.notes]
    source = fit.pair.data.source
    if source is not None:
        shown = f"{fit.pair.data.rows:,} of {source.rows:,}"
        notes.append(f"Data are streamed: likelihoods and predictions are left out, sites of rows are of {shown} rows.")
    step, found = _pointwise(fit, posterior, notes) if pointwise and source is None else (1, {})
    observed = {} if source is not None else {n: s.value for n, s in posterior.sites.items() if s.kind == "observed"}
    groups = {
        "posterior": posterior.values,
        "sample_stats": fit.outcome.statistics,
        **found,
        "observed_data": observed,
        "parameters_data": {} if posterior.latent else fit.parameters(),
    }
    return _tree(fit, groups, posterior, notes, dict.fromkeys(found, step))


def parameter_tree(fit: Fit) -> xr.DataTree:
    """The small parameters of a point fit as one draw of one chain."""
    small = {name: value[None, None] for name, value in fit.parameters().items() if value.numel() <= _LARGEST_PARAMETER}
    return _tree(fit, {"posterior": small}, Posterior({}, {}, {}, {}), ())


def shown(values: Mapping[str, Tensor], sites: Mapping[str, Site]) -> dict[str, Tensor]:
    """Without auxiliary sites, which a model reports in another form."""
    return {name: value for name, value in values.items() if name not in sites or not sites[name].auxiliary}


def weighed_tree(fit: Fit, draws: Mapping[str, Tensor], *, pointwise: bool = False) -> xr.DataTree:
    """The group ``posterior`` of draws of the guide that have weights, ``(S, ...)``, as one chain.

    With ``pointwise``, a group ``log_likelihood`` goes with them.
    """
    latent = {name: value[None] for name, value in draws.items()}
    kinds, found = (["value", "likelihood"] if pointwise else ["value"]), {}
    with fit.world("weighed"):
        sites = {site.name: site for site in sites_of(fit.pair.trace_model())}
        if pointwise or any(site.kind == "deterministic" for site in sites.values()):
            found = _evaluated(fit, latent, kinds, [])
    values = shown(latent, sites) | found.get("value", {})
    discrete = {name: _what(sites[name]) for name in values if sites[name].kind == "discrete"}
    groups = {"posterior": values, "log_likelihood": found.get("likelihood", {})}
    return _tree(fit, groups, Posterior(sites, latent, values, discrete), ())


@dataclass(frozen=True)
class Posterior:
    """What was drawn, ``(C, S, ...)``: of every latent site, and as it is shown; what its discrete variables are.

    ``notes`` say what took long.
    """

    sites: dict[str, Site]
    latent: dict[str, Tensor]
    values: dict[str, Tensor]
    discrete: dict[str, str]
    notes: tuple[str, ...] = ()


def posterior_of(fit: Fit) -> Posterior:
    """The draws of a fit, or of its guide, and its deterministic sites."""
    notes: list[str] = []
    with fit.world("arviz"):
        sites = {site.name: site for site in sites_of(fit.pair.trace_model())}
        latent = fit.chains(_draws_to_show(max(_observed(sites).values(), default=1)))
        values: dict[str, Tensor] = {}
        if any(site.kind == "deterministic" for site in sites.values()):
            values = _evaluated(fit, latent, ("value",), notes)["value"]
    posterior = shown(latent, sites) | values
    discrete = {name: _what(sites[name]) for name in posterior if sites[name].kind == "discrete"}
    discrete |= dict.fromkeys(fit.enumeration.functions if fit.enumeration is not None else (), "function")
    often_many = sorted(posterior.items(), key=lambda item: item[0] in discrete)  # last, for who reads the first rows
    return Posterior(sites, latent, dict(often_many), discrete, tuple(notes))


def _pointwise(fit: Fit, posterior: Posterior, notes: list[str]) -> tuple[int, Groups]:
    """Likelihoods, priors and predictions, and of every how many-th draw they are."""
    sites, latent = posterior.sites, posterior.latent
    chains, draws = _shape(latent)
    step = min(draws, max(1, math.ceil(chains * draws * 2 * sum(_observed(sites).values()) / _POINTWISE)))
    if step > 1:
        kept = chains * len(range(0, draws, step))
        notes.append(f"Likelihoods and predictions are of one draw in {step}: {kept:,} of {chains * draws:,}.")
        latent = {name: value[:, ::step] for name, value in latent.items()}
    with fit.world("pointwise"):
        known = {n: v for n, v in latent.items() if fit.enumeration is None or sites[n].kind != "discrete"}
        densities = _evaluated(fit, known, ("likelihood", "prior"), notes)
        predictive: dict[str, Tensor] = {}
        if latent:
            flat = {name: value.flatten(0, 1) for name, value in latent.items()}
            made = predict(fit.pair, replicated(fit, flat), math.prod(_shape(latent)), fit.observed).values
            predictive = {name: value.unflatten(0, _shape(latent)) for name, value in made.items()}
    groups = {
        "log_likelihood": densities["likelihood"],
        "log_prior": densities["prior"],
        "posterior_predictive": predictive,
    }
    return step, groups


def _evaluated(fit: Fit, latent: dict[str, Tensor], kinds: Sequence[str], notes: list[str]) -> Groups:
    """Of each draw, by kind and name, ``(C, S, ...)``."""
    shape = _shape(latent)
    flat = {name: value.flatten(0, 1) for name, value in latent.items()}
    found = evaluate(fit.pair, flat, math.prod(shape), kinds)
    if not found.vectorised:
        notes.append(f"{', '.join(kinds).capitalize()}s were evaluated one draw at a time.")
    by_kind: Groups = {kind: {} for kind in kinds}
    for name, value in found.values.items():
        kind, _, site = name.partition("/")
        by_kind[kind][site] = value.unflatten(0, shape)
    return by_kind


def _observed(sites: Mapping[str, Site]) -> dict[str, int]:
    """How many numbers each observed site holds."""
    return {name: site.value.numel() for name, site in sites.items() if site.kind == "observed"}


def _what(site: Site) -> str:
    """Whether the values of a discrete site are numbers, or labels that only look so."""
    fn: Any = site.distribution
    while not isinstance(fn, Categorical) and hasattr(fn, "base_dist"):
        fn = fn.base_dist
    return "label" if isinstance(fn, Categorical) and fn.param_shape[-1] > 2 else "number"


def _tree(
    fit: Fit, groups: Groups, posterior: Posterior, notes: Sequence[str], steps: Mapping[str, int] | None = None
) -> xr.DataTree:
    attrs = {
        "inference_library": "ppzoo",
        "model": str(fit.source["name"]),
        "method": fit.method.name,
        "seed": str(fit.seed),
        "notes": " ".join(notes),
    }
    filled = {name: found for name, found in groups.items() if found or name == "posterior"}
    return build_datatree(
        {group: {name: _read_only(value) for name, value in found.items()} for group, found in filled.items()},
        dims={name: site.dims for name, site in posterior.sites.items()},
        coords=fit.pair.data.coords,
        attrs=attrs,
        discrete=posterior.discrete,
        steps=steps,
    )


def _read_only(value: Tensor) -> NDArray[Any]:
    """The same memory, which nobody is to write into through the tree: it is the fit's own."""
    view = value.numpy(force=True).view()
    view.flags.writeable = False
    return view


def _shape(latent: Mapping[str, Tensor]) -> tuple[int, int]:
    """Chains and draws."""
    return next(((value.shape[0], value.shape[1]) for value in latent.values()), (1, 1))


def _draws_to_show(rows: int) -> int:
    """Fewer draws of a guide than usual where the predictions would not fit into memory."""
    return int(min(_DRAWS, max(_FEWEST_DRAWS, _ELEMENTS // max(1, rows))))
