"""The one file that knows ArviZ: arrays into a DataTree, a DataTree into a table of estimates.

A posterior is a :class:`xarray.DataTree` with one group for each kind of array, as every ArviZ function expects
(https://python.arviz.org/en/latest/getting_started/WorkingWithDataTree.html). Draws are shaped ``(chain, draw, ...)``;
independent draws, as from a guide, have one chain.
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal

import arviz_base
import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from ppzoo.checks import check_choice
from ppzoo.diagnostics.ess import ess_bulk, ess_tail, mcse_mean, mcse_sd
from ppzoo.diagnostics.ranks import FEWEST_DRAWS, Ranked, blocks, measurable
from ppzoo.diagnostics.rhat import rhat

__all__ = [
    "Kind",
    "build_datatree",
    "format_estimate",
    "format_summary",
    "is_continuous",
    "mcmc_numbers",
    "scalars",
    "summarise",
]

Kind = Literal["mcmc", "draws", "point"]

_RESERVED = ("chain", "draw", "sample", ".", "")
_INTERVAL = (0.055, 0.945)  # 89 % equal-tailed, as ArviZ has it
_DIGITS_OF = {  # the Monte Carlo error of a column; that of a quantile follows from a normal's density there
    "mean": ("mcse_mean", 1.0),
    "sd": ("mcse_sd", 1.0),
    "median": ("mcse_mean", 1.25),
    "eti89_lb": ("mcse_mean", 2.06),
    "eti89_ub": ("mcse_mean", 2.06),
    "psis_mean": ("psis_mcse_mean", 1.0),
    "psis_sd": ("psis_mcse_sd", 1.0),
    "psis_eti89_lb": ("psis_mcse_mean", 2.06),
    "psis_eti89_ub": ("psis_mcse_mean", 2.06),
}


def build_datatree(
    groups: Mapping[str, Mapping[str, ArrayLike]],
    *,
    dims: Mapping[str, Sequence[str]],
    coords: Mapping[str, Sequence[Any]],
    attrs: Mapping[str, Any],
    discrete: Mapping[str, str] | None = None,
    steps: Mapping[str, int] | None = None,
) -> xr.DataTree:
    """Named groups of arrays as a DataTree that ArviZ reads.

    Names that a DataTree cannot hold are changed: ``/`` becomes ``.``, and one that is taken (``chain``, ``draw``,
    a plate called like a variable) gets a trailing ``_``; the root's attribute ``renamed`` tells which, as JSON. No
    time stamp is written: the same arrays give the same tree.

    Args:
        groups: Group name to variables. ``posterior``, ``sample_stats``, ``log_likelihood``, ``log_prior`` and
            ``posterior_predictive`` are shaped ``(chain, draw, ...)``; groups with ``data`` in their name, such as
            ``observed_data``, have no sample dimensions. A group may be empty.
        dims: Variable to the names of its leading dimensions after ``(chain, draw)``: its plates. Dimensions without
            a name, or of another size than their plate, are called ``<variable>_dim_<i>``.
        coords: Dimension to its labels; whole numbers from zero where there are none.
        attrs: Attributes of the root, such as the method and the seed.
        discrete: Variables of the posterior that are not continuous, whatever their type, to what they are:
            ``"number"`` (0 or 1, a count), ``"label"`` (one of several categories, whose mean says nothing) or
            ``"function"`` (of discrete ones). It becomes the variable's attribute ``discrete``.
        steps: Groups that hold every k-th draw only, to that ``k``: their coordinate ``draw`` says which.

    Example:
        >>> groups, coords = {"posterior": {"theta": np.zeros((2, 5, 3))}}, {"school": ["A", "B", "C"]}
        >>> tree = build_datatree(groups, dims={"theta": ["school"]}, coords=coords, attrs={"method": "nuts"})
        >>> dict(tree["posterior"]["theta"].sizes)
        {'chain': 2, 'draw': 5, 'school': 3}
    """
    variables = _safe_names((name for arrays in groups.values() for name in arrays), taken=_RESERVED)
    plates = _safe_names(itertools.chain(coords, *dims.values()), taken=(*_RESERVED, *variables.values()))
    labels = {plates[dim]: list(values) for dim, values in coords.items()}
    axes = {variables[name]: [plates[dim] for dim in named] for name, named in dims.items() if name in variables}
    tree = xr.DataTree.from_dict(
        {
            group: _dataset(
                {variables[name]: np.asarray(values) for name, values in arrays.items()},
                axes,
                labels,
                sample_dims=[] if "data" in group else ["chain", "draw"],
                step=(steps or {}).get(group, 1),
            )
            for group, arrays in groups.items()
        }
    )
    for name, what in (discrete or {}).items():
        tree["posterior"].dataset[variables[name]].attrs["discrete"] = what
    renamed = {new: old for names in (variables, plates) for old, new in names.items() if old != new}
    tree.attrs = {**attrs, **({"renamed": json.dumps(renamed)} if renamed else {})}
    return tree


def scalars(tree: xr.DataTree, group: str = "posterior", *, continuous: bool = False) -> dict[str, NDArray[np.float64]]:
    """Every scalar of a group, labelled by its coordinates: ``theta[A]``, ``W[0, 1]``.

    Args:
        tree: As :func:`build_datatree` makes it.
        group: A group whose variables are shaped ``(chain, draw, ...)``.
        continuous: Leave out what is not :func:`is_continuous`.

    Returns:
        Label to draws ``(chain, draw)``, in float64; empty where the group is absent or empty.
    """
    variables = tree[group].data_vars.values() if group in tree.children else ()
    kept = (v for v in variables if v.dtype.kind in "biuf" and (is_continuous(v) or not continuous))
    return {label: values for variable in kept for label, values in _entries(variable)}


def is_continuous(variable: xr.DataArray) -> bool:
    """Whether a variable is neither of an integer type nor marked as discrete."""
    return variable.dtype.kind == "f" and "discrete" not in variable.attrs


def _entries(variable: xr.DataArray) -> Iterator[tuple[str, NDArray[np.float64]]]:
    array = variable.transpose("chain", "draw", ...)
    values, events = np.asarray(array.values, dtype=np.float64), array.dims[2:]
    for index in np.ndindex(*values.shape[2:]):
        where = ", ".join(str(array[dim].values[i]) for dim, i in zip(events, index, strict=True))
        yield f"{array.name}[{where}]" if index else str(array.name), values[(slice(None), slice(None), *index)]


_NUMBERS = {"r_hat": rhat, "ess_bulk": ess_bulk, "ess_tail": ess_tail, "mcse_mean": mcse_mean, "mcse_sd": mcse_sd}


def mcmc_numbers(draws: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    """Convergence numbers of K parameters: rank-normalised split R-hat, bulk and tail ESS, MCSE of mean and sd.

    As in Vehtari, Gelman, Simpson, Carpenter and Bürkner (2021, https://doi.org/10.1214/20-BA1221), tail ESS at the
    5 % and 95 % quantiles; :mod:`ppzoo.diagnostics.ess` says where ArviZ's differ. They are NaN where they are
    undefined: fewer than 4 draws, NaN among the draws, draws that are all equal.

    Args:
        draws: Shape ``(K, chain, draw)``.

    Returns:
        ``r_hat, ess_bulk, ess_tail, mcse_mean, mcse_sd``, each ``(K,)``.
    """
    found = {name: np.full(len(draws), np.nan) for name in _NUMBERS}
    if draws.shape[-1] < FEWEST_DRAWS:
        return found
    for block in blocks(draws):
        usable = measurable(draws[block])
        if usable.any():
            ranked = Ranked(draws[block][usable])
            for name, measure in _NUMBERS.items():
                found[name][block][usable] = measure(ranked)
    return found


def summarise(tree: xr.DataTree, *, kind: Kind) -> pd.DataFrame:
    """One row for each scalar of the posterior, one column for each estimate, unrounded.

    Args:
        tree: As :func:`build_datatree` makes it.
        kind: ``"mcmc"`` (Markov chains), ``"draws"`` (independent draws, as from a guide or an exact posterior) or
            ``"point"`` (one value, as from maximum likelihood).

    Returns:
        ``mean, sd, median, eti89_lb, eti89_ub, mcse_mean, mcse_sd`` and, for Markov chains only, ``ess_bulk, ess_tail,
        r_hat``: of independent draws these would look perfect and mean nothing. A point has only ``value``. The sd
        divides by S - 1; the interval is the 89 % equal-tailed one; for S independent draws the MCSE of the mean is
        sd / √S, and that of the sd √((m₄ / sd⁴ - 1) / S) sd / 2 with the fourth central moment m₄. Labels have instead
        their most frequent value, ``mode``, and the share of the draws that have it, ``p_mode``; NaN stands for what a
        scalar has not, and these two columns are there only beside labels.
    """
    check_choice("kind", kind, ("mcmc", "draws", "point"))
    found = scalars(tree)
    stacked = np.stack(list(found.values())) if found else np.zeros((0, 1, 4))
    if kind == "point":
        return pd.DataFrame({"value": stacked[:, 0, 0]}, index=list(found))
    columns = _moments(stacked.reshape(len(stacked), stacked.shape[1] * stacked.shape[2]))
    moments = list(columns)
    if kind == "mcmc":
        numbers = mcmc_numbers(stacked)
        columns |= {name: numbers[name] for name in ("mcse_mean", "mcse_sd", "ess_bulk", "ess_tail", "r_hat")}
    frame = pd.DataFrame(columns, index=list(found))
    if labels := _labels(tree):
        frame.loc[labels, moments] = np.nan
        frame[["mode", "p_mode"]] = pd.DataFrame({label: _mode(found[label]) for label in labels}).T
    return frame


def _labels(tree: xr.DataTree) -> list[str]:
    """The scalars of the posterior that are labels."""
    variables = tree["posterior"].data_vars.values() if "posterior" in tree.children else ()
    return [label for v in variables if v.attrs.get("discrete") == "label" for label, _ in _entries(v)]


def _mode(draws: NDArray[np.float64]) -> tuple[float, float]:
    """The most frequent value, the least of equals, and its share."""
    values, counts = np.unique(draws, return_counts=True)
    return float(values[counts.argmax()]), float(counts.max() / draws.size)


def format_estimate(value: float, mcse: float) -> str:
    """``value`` with the digits that its Monte Carlo standard error leaves: the last one shown is the first uncertain.

    Example:
        >>> format_estimate(4.41712, 0.031)
        '4.42'
        >>> format_estimate(1234.5, 20.0)
        '1230'
        >>> format_estimate(4.41712, 0.0)
        '4.417'
    """
    if not (math.isfinite(value) and math.isfinite(mcse)) or mcse <= abs(value) * 1e-14:
        return f"{value:.4g}"
    decimals = -math.floor(math.log10(mcse))
    rounded = round(value, decimals) + 0.0  # no minus zero
    if -5 <= decimals <= 8 or rounded == 0:
        return f"{rounded:.{min(max(decimals, 0), 8)}f}"
    return f"{rounded:.{max(math.floor(math.log10(abs(rounded))) + decimals, 0)}e}"


def format_summary(frame: pd.DataFrame) -> str:
    """The table of :func:`summarise` as text: each estimate rounded to what its MCSE supports, ESS whole.

    Example:
        >>> frame = pd.DataFrame({"mean": [4.41712], "mcse_mean": [0.031], "r_hat": [1.0042]}, index=["mu"])
        >>> print(format_summary(frame))
            mean  mcse_mean  r_hat
        mu  4.42      0.031  1.004
    """
    if frame.empty:
        return "no parameter has a posterior"
    cells = pd.DataFrame(
        {column: [_cell(row, str(column)) for _, row in frame.iterrows()] for column in frame.columns},
        index=frame.index,
    )
    widths = [max(len(str(column)), *map(len, cells[column])) for column in cells.columns]
    margin = max(len(str(label)) for label in cells.index)
    lines = ["  ".join(["".ljust(margin), *(str(name).rjust(w) for name, w in zip(cells, widths, strict=True))])]
    for label, row in cells.iterrows():
        lines.append(
            "  ".join([str(label).ljust(margin), *(text.rjust(w) for text, w in zip(row, widths, strict=True))])
        )
    return "\n".join(lines)


def _cell(row: pd.Series, column: str) -> str:
    value = float(row[column])
    if math.isnan(value):
        return "-"
    if column.startswith(("ess", "psis_ess")):
        return f"{value:.0f}"
    if column in ("r_hat", "p_mode"):
        return f"{value:.3f}"
    error, times = _DIGITS_OF.get(column, ("", math.nan))
    if error in row.index:
        return format_estimate(value, float(row[error]) * times)
    return f"{value:.2g}" if "mcse" in column else f"{value:.4g}"


def _moments(draws: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    """Estimates from S independent draws of K parameters, shape ``(K, S)``."""
    s = draws.shape[1]
    mean = draws.mean(1)
    with np.errstate(invalid="ignore", divide="ignore"):  # one draw has no sd
        sd = draws.std(1, ddof=1) if s > 1 else np.full(len(draws), np.nan)
        kurtosis = ((draws - mean[:, None]) ** 4).mean(1) / sd**4
        mcse_sd = np.where(sd > 0, sd / 2 * np.sqrt(np.maximum(kurtosis - 1, 0) / s), sd)
    low, median, high = np.quantile(draws, [_INTERVAL[0], 0.5, _INTERVAL[1]], axis=1)
    return {
        "mean": mean,
        "sd": sd,
        "median": median,
        "eti89_lb": low,
        "eti89_ub": high,
        "mcse_mean": sd / math.sqrt(s),
        "mcse_sd": mcse_sd,
    }


def _dataset(
    arrays: Mapping[str, NDArray[Any]],
    axes: Mapping[str, Sequence[str]],
    labels: Mapping[str, Sequence[Any]],
    *,
    sample_dims: list[str],
    step: int,
) -> xr.Dataset:
    shapes = {name: values.shape[len(sample_dims) :] for name, values in arrays.items()}
    sizes: dict[str, int] = {}
    for name, shape in shapes.items():
        for dim, size in zip(axes.get(name, ()), shape, strict=False):
            sizes[dim] = len(labels[dim]) if dim in labels else max(size, sizes.get(dim, 0))
    dims: dict[Hashable, Sequence[Hashable]] = {
        name: [dim if sizes[dim] == size else None for dim, size in zip(axes.get(name, ()), shape, strict=False)]
        for name, shape in shapes.items()
    }
    dataset: xr.Dataset = arviz_base.dict_to_dataset(
        arrays,
        dims=dims,
        coords=dict(labels),
        sample_dims=sample_dims,
        index_origin=0,
        check_conventions=False,  # many short chains: more chains than draws is meant
    )
    draws = {"draw": step * np.arange(dataset.sizes["draw"])} if step > 1 else {}
    dataset = dataset.assign_coords(draws)
    dataset.attrs = {}  # among them the time of creation; xarray's drop_attrs() copies all numbers
    for variable in dataset.variables.values():
        variable.attrs = {}
    return dataset


def _safe_names(names: Iterable[str], *, taken: Iterable[str]) -> dict[str, str]:
    used, safe = set(taken), {}
    for name in dict.fromkeys(names):
        new = name.replace("/", ".")
        while new in used:
            new += "_"
        used.add(new)
        safe[name] = new
    return safe
