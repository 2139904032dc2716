"""Posterior prediction on the data of the fit or on new data, checked at the door like the first."""

from __future__ import annotations

import inspect
import os
from typing import TYPE_CHECKING, Any

import torch
from pyro.infer.autoguide import AutoGuide
from torch import Tensor

from ppzoo.checks import check_columns
from ppzoo.datasets.arguments import Arguments, arguments_for
from ppzoo.datasets.record import Dataset
from ppzoo.errors import DataError
from ppzoo.inference.draws import draw_guide, predict
from ppzoo.inference.program import Pair, run_once, sites_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ppzoo.result import Fit

__all__ = ["check_like_fit", "predict_from"]

_DRAWS = 200


def predict_from(fit: Fit, data: tuple[Any, ...], named: dict[str, Any], draws: int | None) -> dict[str, Tensor]:
    """Draws of every observed site; see :meth:`ppzoo.Fit.predict`."""
    new = bool(data or named)
    pair = fit.pair.rebind(_new_data(fit, data, named)) if new else fit.pair
    amortised = new and pair.guide is not None and not isinstance(pair.guide, AutoGuide) and fit.outcome.draws is None
    with fit.world("predict"):
        sites = {site.name: site for site in sites_of(pair.trace_model())}
        values = _from_guide(pair, draws or _DRAWS) if amortised else fit.flat_draws(_at_most(fit, draws), "predict")
        n = len(next(iter(values.values()))) if values else draws or _DRAWS
        kept = {name: v for name, v in values.items() if name in sites and tuple(v.shape[1:]) == sites[name].shape}
        return predict(pair, kept, n, fit.observed).values


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
    return f"{value.shape[1]} columns" if value.dim() == 2 else f"{value.dim()} dimensions"


def _from_guide(pair: Pair, n: int) -> dict[str, Tensor]:
    if pair.guide is not None:
        run_once(pair.guide, pair.data, "guide")  # a typed error where it cannot follow the new data
    return draw_guide(pair, n).values


def _at_most(fit: Fit, draws: int | None) -> int:
    if draws is not None or fit.outcome.draws is None:
        return draws or _DRAWS
    chains, n = next(iter(fit.outcome.draws.values())).shape[:2]
    return min(_DRAWS, chains * n)


def _new_data(fit: Fit, data: tuple[Any, ...], named: dict[str, Any]) -> Arguments:
    """New arguments; those named like an observed site may be missing, for they are what is predicted."""
    program, pair = fit.pair.model, fit.pair
    signature = inspect.signature(program)
    before = dict(signature.bind(*pair.data.args, **pair.data.kwargs).arguments)
    if len(data) == 1 and not named and isinstance(data[0], Dataset | dict | tuple | str | os.PathLike):
        arguments = arguments_for(program, data[0], dtype=fit.dtype, device=fit.device)
    else:
        given = _bind(signature, data, named)
        rows = next((len(value) for value in given.values() if hasattr(value, "__len__")), 0)
        for name, value in before.items():
            if name not in given and isinstance(value, Tensor) and name in fit.observed:
                given[name] = torch.zeros(rows, *value.shape[1:], dtype=value.dtype)
        arguments = arguments_for(program, given, dtype=fit.dtype, device=fit.device)
    check_like_fit(fit, arguments, before, signature.bind(*arguments.args, **arguments.kwargs).arguments)
    return arguments


def _bind(signature: inspect.Signature, data: tuple[Any, ...], named: dict[str, Any]) -> dict[str, Any]:
    try:
        return dict(signature.bind_partial(*data, **named).arguments)
    except TypeError as error:
        raise DataError(str(error), argument="predict", expected=f"arguments of {signature}") from error
