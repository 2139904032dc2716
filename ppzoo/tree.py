"""A fit as a DataTree: what was drawn, how likely the data are under each draw, what each draw predicts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from torch import Tensor
from torch.distributions import Categorical

from ppzoo.diagnostics.arviz import build_datatree
from ppzoo.inference.draws import evaluate, predict
from ppzoo.inference.program import Site, has_method, sites_of
from ppzoo.predicting import replicated

if TYPE_CHECKING:
    import xarray as xr

    from ppzoo.result import Fit

__all__ = ["build_tree", "parameter_tree", "shown"]

_DRAWS = 1000  # of a guide, where nobody says how many
_FEWEST_DRAWS = 100
_ELEMENTS = 20_000_000  # largest posterior predictive array; beyond it fewer draws are shown
_LARGEST_PARAMETER = 100  # a network's weights are no estimates to be read

Groups = dict[str, dict[str, Tensor]]


def build_tree(fit: Fit) -> xr.DataTree:
    """Groups ``posterior, sample_stats, log_likelihood, log_prior, posterior_predictive, observed_data``.

    Arrays are ``(chain, draw, ...)``, one chain for a guide; dimensions are named by the model's plates. A fit
    without latent sites has an empty posterior and a group ``parameters_data``.

    Of a program whose discrete sites a sampler summed out, ``log_likelihood`` and ``log_prior`` are those of the
    continuous draws, discrete sites summed out, and ``posterior_predictive`` draws the discrete sites of a row anew, as
    :meth:`ppzoo.Fit.predict` does: the three are of one distribution, as PSIS-LOO and its checks need.
    """
    notes = list(fit.notes)
    if has_method(fit.pair.owner, "critic_loss"):
        groups: Groups = {"posterior": {}, "observed_data": fit.data_tensors()}
        sites, discrete = dict[str, Site](), dict[str, str]()
    else:
        groups, sites, discrete = _groups(fit, notes)
    attrs: dict[str, Any] = {
        "inference_library": "ppzoo",
        "model": str(fit.source["name"]),
        "method": fit.method.name,
        "seed": str(fit.seed),
        "notes": " ".join(notes),
    }
    dims = {name: site.dims for name, site in sites.items()}
    return _tree(groups, dims, fit.pair.data.coords, attrs, discrete)


def parameter_tree(fit: Fit) -> xr.DataTree:
    """The small parameters of a point fit as one draw of one chain."""
    small = {name: value[None, None] for name, value in fit.parameters().items() if value.numel() <= _LARGEST_PARAMETER}
    return _tree({"posterior": small}, {}, {}, {}, {})


def shown(values: Mapping[str, Tensor], sites: Mapping[str, Site]) -> dict[str, Tensor]:
    """Without auxiliary sites, which a model reports in another form."""
    return {name: value for name, value in values.items() if name not in sites or not sites[name].auxiliary}


def _groups(fit: Fit, notes: list[str]) -> tuple[Groups, dict[str, Site], dict[str, str]]:
    enumeration = fit.enumeration
    with fit.world("arviz"):
        sites = {site.name: site for site in sites_of(fit.pair.trace_model())}
        observed = {name: site.value for name, site in sites.items() if site.kind == "observed"}
        latent = fit.chains(_draws_to_show(observed))
        chains, n = next(iter(latent.values())).shape[:2] if latent else (1, 1)
        flat = {name: value.flatten(0, 1) for name, value in latent.items()}
        known = {name: value for name, value in flat.items() if enumeration is None or sites[name].kind != "discrete"}
        densities = evaluate(fit.pair, known, chains * n)
        functions = enumeration.functions if enumeration is not None else ()
        full = evaluate(fit.pair, flat, chains * n) if functions else densities
        predictive = predict(fit.pair, replicated(fit, flat), chains * n, fit.observed).values if latent else {}
    if not (densities.vectorised and full.vectorised):
        notes.append("Likelihoods were evaluated one draw at a time.")
    shaped = {name: value.unflatten(0, (chains, n)) for name, value in densities.values.items()}
    values = {name: value.unflatten(0, (chains, n)) for name, value in _under("value/", full.values).items()}
    posterior = shown(latent, sites) | values
    discrete = {name: _what(sites[name]) for name in posterior if sites[name].kind == "discrete"}
    discrete |= dict.fromkeys(functions, "function")
    groups = {
        "posterior": dict(sorted(posterior.items(), key=lambda item: item[0] in discrete)),  # often many: last
        "sample_stats": fit.outcome.statistics,
        "log_likelihood": _under("likelihood/", shaped),
        "log_prior": _under("prior/", shaped),
        "posterior_predictive": {name: value.unflatten(0, (chains, n)) for name, value in predictive.items()},
        "observed_data": observed,
        "parameters_data": {} if latent else fit.parameters(),
    }
    return {name: found for name, found in groups.items() if found or name == "posterior"}, sites, discrete


def _what(site: Site) -> str:
    """Whether the values of a discrete site are numbers, or labels that only look so."""
    fn: Any = site.distribution
    while not isinstance(fn, Categorical) and hasattr(fn, "base_dist"):
        fn = fn.base_dist
    return "label" if isinstance(fn, Categorical) and fn.param_shape[-1] > 2 else "number"


def _tree(
    groups: Groups,
    dims: Mapping[str, list[str]],
    coords: Mapping[str, Any],
    attrs: dict[str, Any],
    discrete: Mapping[str, str],
) -> xr.DataTree:
    arrays = {group: {name: v.numpy(force=True) for name, v in found.items()} for group, found in groups.items()}
    return build_datatree(arrays, dims=dims, coords=coords, attrs=attrs, discrete=discrete)


def _draws_to_show(observed: dict[str, Tensor]) -> int:
    """Fewer draws of a guide than usual where the predictions would not fit into memory."""
    size = max((value.numel() for value in observed.values()), default=1)
    return int(min(_DRAWS, max(_FEWEST_DRAWS, _ELEMENTS // max(1, size))))


def _under(prefix: str, values: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in values.items() if name.startswith(prefix)}
