"""A comparison as tables: for a terminal, a notebook and plain output."""

from __future__ import annotations

import html
from collections.abc import Hashable, Iterator, Mapping
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from rich.table import Table
from rich.text import Text

from ppzoo.diagnostics.arviz import format_estimate
from ppzoo.report.tables import html_table, rich_table, text_table

if TYPE_CHECKING:
    from ppzoo.comparison import Comparison

__all__ = ["as_html", "as_rich", "as_text", "shown_first"]

ROWS = 40
NAMED = 5
PARAMETERS = ("parameter", "fit", "mean ± MCSE", "sd", "5 %", "50 %", "95 %")
GAPS = ("gap/MCSE", "gap/sd", "sd ratio", "W1/sd", "R-hat", "ESS")
METHODS = ("fit", "method", "verdict", "k-hat", "R-hat", "ESS", "ESS/s", "divergent", "seconds")

# Monte Carlo errors of the 5, 50 and 95 % quantiles in units of that of the mean, for independent normal draws
QUANTILE_ERRORS = {"q5": 2.11, "q50": 1.25, "q95": 2.11}


def as_text(comparison: Comparison) -> str:
    """Both tables and the verdict as plain text."""
    tables = (text_table(PARAMETERS + GAPS, _parameters(comparison), left=2), text_table(METHODS, _methods(comparison)))
    return "\n\n".join([*tables, "\n".join(_remarks(comparison))])


def as_rich(comparison: Comparison, width: int) -> Iterator[Table | Text]:
    """Both tables and the verdict for a terminal of some width; no name is read as markup.

    Where the first table is too wide for the terminal, it comes in two halves: estimates, and gaps.
    """
    rows = _parameters(comparison)
    if len(text_table(PARAMETERS + GAPS, rows).splitlines()[0]) <= width:
        yield rich_table(PARAMETERS + GAPS, rows, left=2)
    else:
        split = len(PARAMETERS)
        yield rich_table(PARAMETERS, [row[:split] for row in rows], left=2)
        yield Text()
        yield rich_table(PARAMETERS[:2] + GAPS, [row[:2] + row[split:] for row in rows], left=2)
    yield Text()
    yield rich_table(METHODS, _methods(comparison))
    yield Text("\n" + "\n".join(_remarks(comparison)))


def as_html(comparison: Comparison) -> str:
    """Both tables and the verdict for a notebook, every name escaped."""
    tables = html_table(PARAMETERS + GAPS, _parameters(comparison)) + html_table(METHODS, _methods(comparison))
    return tables + "".join(f"<p>{html.escape(remark)}</p>" for remark in _remarks(comparison))


def shown_first(table: pd.DataFrame) -> list[str]:
    """The parameters as the model has them; if there are more than are shown, the worst gap first."""
    names = [str(name) for name in dict.fromkeys(table.index.get_level_values("parameter"))]
    if len(names) <= ROWS:
        return names
    gap, ratio = (table[column].to_numpy(dtype=np.float64) for column in ("gap_sd", "sd_ratio"))
    score = np.nan_to_num(np.fmax(np.abs(gap), np.abs(ratio - 1))).reshape(len(names), -1).max(1)
    return [names[i] for i in np.argsort(-score, kind="stable")]


def _parameters(comparison: Comparison) -> list[list[str]]:
    rows = comparison.table.to_dict("index")
    return [
        ["" if position else parameter, fit, *_estimates(rows[parameter, fit]), *_gaps(rows[parameter, fit])]
        for parameter in shown_first(comparison.table)[:ROWS]
        for position, fit in enumerate(map(str, comparison.methods.index))
    ]


def _estimates(row: Mapping[Hashable, float]) -> list[str]:
    """Each with the digits that its Monte Carlo error leaves."""
    error = row["mcse_mean"]
    quantiles = [format_estimate(row[name], error * times) for name, times in QUANTILE_ERRORS.items()]
    return [
        f"{format_estimate(row['mean'], error)} ± {error:.1g}",
        format_estimate(row["sd"], row["mcse_sd"]),
        *quantiles,
    ]


def _gaps(row: Mapping[Hashable, float]) -> list[str]:
    gaps = (f"{row['gap_mcse']:z.1f}", f"{row['gap_sd']:z.2f}", f"{row['sd_ratio']:.2f}", f"{row['wasserstein']:.2f}")
    return list(map(_blank, (*gaps, f"{row['r_hat']:.3f}", f"{row['ess_bulk']:.0f}")))


def _methods(comparison: Comparison) -> list[list[str]]:
    rows = []
    for name, row in comparison.methods.to_dict("index").items():
        mark = " (reference)" if name == comparison.reference else ""
        numbers = (f"{row['k_hat']:.2f}", f"{row['r_hat']:.3f}", f"{min(row['ess_bulk'], row['ess_tail']):.0f}")
        more = (f"{row['ess_per_second']:.3g}", f"{row['divergences']:.0f}", f"{row['seconds']:.1f}")
        rows.append([f"{name}{mark}", row["method"], row["verdict"], *map(_blank, (*numbers, *more))])
    return rows


def _remarks(comparison: Comparison) -> list[str]:
    count, missing = len(comparison.table) // len(comparison.methods), comparison.not_shared
    remarks = []
    if count > ROWS:
        remarks.append(f"{ROWS} of {count} parameters are shown, those with the worst gaps first.")
    if missing:
        more = f" and {len(missing) - NAMED} more" if len(missing) > NAMED else ""
        remarks.append(f"Not of one shape in every fit, so not compared: {', '.join(missing[:NAMED])}{more}.")
    return [*remarks, f"verdict: {comparison.verdict}. {comparison.sentence}"]


def _blank(number: str) -> str:
    return "" if number == "nan" else number
