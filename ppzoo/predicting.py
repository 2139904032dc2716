"""What a fit says of the data it was given or of new ones, which are checked at the door like the first."""

from __future__ import annotations

import inspect
import os
from typing import TYPE_CHECKING, Any

import torch
from pyro.infer.autoguide import AutoGuide
from torch import Tensor, nn

from ppzoo.checks import check_columns
from ppzoo.datasets.arguments import Arguments, arguments_for, real_numbers
from ppzoo.datasets.record import Dataset
from ppzoo.errors import DataError, ModelError
from ppzoo.inference.draws import draw_guide, predict
from ppzoo.inference.program import Pair, Site, has_method, run_once, sites_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ppzoo.result import Fit

__all__ = ["check_can", "check_like_fit", "local_sites", "predict_from", "replicated", "rows_for"]

_DRAWS = 200
_CAN = {
    "log_prob": "an exact density, such as 'realnvp', 'gmm' or 'ppca'",
    "importance_weighted_bound": "a bound on its density, such as 'vae'",
    "sample": "a way to draw observations, such as 'vae', 'realnvp' or 'gan'",
    "encode": "an encoder, such as 'vae', 'ppca' or 'gmm'",
}


def predict_from(fit: Fit, data: tuple[Any, ...], named: dict[str, Any], draws: int | None) -> dict[str, Tensor]:
    """Draws of every observed site; see :meth:`ppzoo.Fit.predict`."""
    if not fit.observed:
        raise ModelError("observes nothing, so there is nothing to predict", argument="fit", got=repr(fit))
    if not (data or named):
        if fit.pair.data.source is not None:
            raise DataError(
                "are streamed, so there are too many to predict",
                argument="data",
                got=f"a fit on {fit.pair.data.total:,} rows",
                expected="the rows to predict",
                remedy="Pass some: fit.predict(x).",
            )
        with fit.world("predict"):
            values = fit.flat_draws(_at_most(fit, draws), "predict")
            return predict(fit.pair, replicated(fit, values), _count(values, draws), fit.observed).values
    arguments, complete = _new_data(fit, data, named)
    pair = fit.pair.rebind(arguments)
    with fit.world("predict"):
        sites = {site.name: site for site in sites_of(pair.trace_model())}
        local = local_sites(sites)
        posterior = fit.flat_draws(_at_most(fit, draws), "predict")
        kept = {n: v for n, v in posterior.items() if n not in local and n in sites and _same_shape(v, sites[n])}
        n = _count(posterior, draws)
        if complete and local and fit.outcome.draws is None and not isinstance(pair.guide, AutoGuide):
            kept |= _from_guide(pair, n, kept)
        return predict(pair, kept, n, fit.observed).values


def local_sites(sites: Mapping[str, Site]) -> set[str]:
    """Names of the latent sites of a row: inside every plate of an observed site, so that new rows have new ones."""
    rows = [{name for name, _, _ in site.plates} for site in sites.values() if site.kind == "observed" and site.plates]
    return {
        name
        for name, site in sites.items()
        if site.kind in ("latent", "discrete") and any(row <= {plate for plate, _, _ in site.plates} for row in rows)
    }


def replicated(fit: Fit, values: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The draws that new observations of the fit's own rows are made from; what is left out is drawn anew.

    Left out are the discrete sites of a row that a sampler summed out, as its likelihood has them: a replicate is
    another observation, from whichever component. Sites that something else with draws of its own depends on stay, for
    drawn without that they would contradict it.
    """
    if fit.enumeration is None:
        return dict(values)
    with fit.world("sites"):
        sites = {site.name: site for site in sites_of(fit.pair.trace_model())}
    anew = {name for name in local_sites(sites) if sites[name].kind == "discrete"}
    kept = set(values) - anew
    while held := {known for name in kept for known in fit.enumeration.knows.get(name, ()) if known in anew}:
        anew -= held
        kept |= held
    return {name: value for name, value in values.items() if name in kept}


def check_can(fit: Fit, method: str, verb: str, what: str) -> None:
    """The model has what a verb needs.

    Raises:
        ModelError: If not; it says which models have it.
    """
    if method == "model" and not has_method(fit.pair.owner, "critic_loss"):
        return
    if not has_method(fit.pair.owner, method):
        raise ModelError(
            f"cannot {verb}",
            argument="fit",
            got=f"a fit of {fit.source['name']}",
            expected=f"a model with {what}",
            remedy="fit.predict() works for every Pyro program, fit.draws() where there are latent sites.",
        )


def rows_for(fit: Fit, name: str, *data: Any) -> tuple[Tensor, ...]:
    """New rows for a method of the model, in the form of the fit's own; nothing where none are given.

    Raises:
        ModelError: If the model has no such method.
        DataError: If the rows cannot be used, or have other columns.
    """
    check_can(fit, name, name, _CAN[name])
    if not data:
        return ()
    arguments = arguments_for(getattr(fit.pair.owner, name), data[0], dtype=fit.dtype, device=fit.device)
    before = dict(zip(("x",), fit.data_tensors().values(), strict=False))
    arguments = real_numbers(arguments, before)
    values = (*arguments.args, *arguments.kwargs.values())
    check_like_fit(fit, arguments, before, dict(zip(("x",), values, strict=True)))
    return values


def _same_shape(value: Tensor, site: Site) -> bool:
    return tuple(value.shape[1:]) == site.shape


def _count(values: Mapping[str, Tensor], draws: int | None) -> int:
    return len(next(iter(values.values()))) if values else draws or _DRAWS


def check_like_fit(fit: Fit, new: Arguments, before: Mapping[str, Any], given: Mapping[str, Any]) -> None:
    """New arguments have the columns of the fit's, by name and by number.

    Raises:
        DataError: If not; names are listed as unseen and missing.
    """
    for name, columns in new.columns.items():
        check_columns(name, columns, fit.pair.data.columns.get(name, ()))
    for name, value in given.items():
        old = before.get(name)
        if isinstance(value, Tensor) and isinstance(old, Tensor) and value.shape[1:] != old.shape[1:]:
            raise DataError(
                f"has {_columns(value)}, but the model was fitted on {_columns(old)}",
                argument=name,
                got=f"shape {tuple(value.shape)}",
                expected=f"shape (rows{''.join(f', {n}' for n in old.shape[1:])}{',' if old.dim() == 1 else ''})",
                remedy="Pass the same columns, in the same order.",
            )


def _columns(value: Tensor) -> str:
    count, what = (value.shape[1], "column") if value.dim() == 2 else (value.dim(), "dimension")
    return f"{count} {what}{'s' if count != 1 else ''}"


def _from_guide(pair: Pair, n: int, given: dict[str, Tensor]) -> dict[str, Tensor]:
    if pair.guide is not None:
        run_once(pair.guide, pair.data, "guide")  # a typed error where it cannot follow the new data
    return draw_guide(pair, n, given).values


def _at_most(fit: Fit, draws: int | None) -> int:
    if draws is not None or fit.outcome.draws is None:
        return draws or _DRAWS
    chains, n = next(iter(fit.outcome.draws.values())).shape[:2]
    return min(_DRAWS, chains * n)


def _new_data(fit: Fit, data: tuple[Any, ...], named: dict[str, Any]) -> tuple[Arguments, bool]:
    """New arguments, and whether all were given; what is observed may be missing, for it is what is predicted."""
    pair = fit.pair
    program = pair.model.forward if isinstance(pair.model, nn.Module) else pair.model
    signature = inspect.signature(program)
    before = signature.bind(*pair.data.args, **pair.data.kwargs).arguments
    only = data[0] if len(data) == 1 and not named else None
    if isinstance(only, tuple):
        data = only
    elif isinstance(only, dict):
        data, named = (), only
    complete = True
    if isinstance(only, Dataset | str | os.PathLike):
        arguments = arguments_for(program, only, dtype=fit.dtype, device=fit.device)
    else:
        bound = _bind(signature, data, named)
        rows = next((len(value) for value in bound.arguments.values() if hasattr(value, "__len__")), 0)
        responses = _responses(fit, before)
        for name, value in before.items():
            if name not in bound.arguments and isinstance(value, Tensor):
                complete = False
                if name in responses:
                    bound.arguments[name] = torch.zeros(rows, *value.shape[1:], dtype=value.dtype)
        star = any(p.kind is p.VAR_POSITIONAL for p in signature.parameters.values())
        values: Any = bound.args if star else dict(bound.arguments)
        arguments = arguments_for(program, values, dtype=fit.dtype, device=fit.device)
    arguments = real_numbers(arguments, before)
    check_like_fit(fit, arguments, before, signature.bind(*arguments.args, **arguments.kwargs).arguments)
    return arguments, complete


def _responses(fit: Fit, before: Mapping[str, Any]) -> set[str]:
    """Arguments that an observed site observes: those of its name, and those whose very memory it holds."""
    with fit.world("sites"):
        held = {s.value.data_ptr() for s in sites_of(fit.pair.trace_model()) if s.kind == "observed"}
    return {
        name
        for name, value in before.items()
        if name in fit.observed or (isinstance(value, Tensor) and value.data_ptr() in held)
    }


def _bind(signature: inspect.Signature, data: tuple[Any, ...], named: dict[str, Any]) -> inspect.BoundArguments:
    try:
        return signature.bind_partial(*data, **named)
    except TypeError as error:
        raise DataError(str(error), argument="predict", expected=f"arguments of {signature}") from error
