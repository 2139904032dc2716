"""Importance weights where the rows of the data are read while they are used: what can be known, and what is said."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor

from ppzoo.diagnostics.diagnosis import Finding
from ppzoo.inference.program import sites_of
from ppzoo.inference.rows import plates_over_rows
from ppzoo.inference.weights import common_plate, log_weights, log_weights_in_parts

if TYPE_CHECKING:
    from ppzoo.datasets.arguments import Source
    from ppzoo.result import Fit

__all__ = ["streamed_limits", "streamed_weights"]

_MOST, _FEWEST = 400_000_000, 400  # draws times rows that are read again; k-hat of fewer draws is noise


def streamed_weights(fit: Fit, source: Source, draws: int) -> tuple[Tensor, dict[str, Tensor]] | None:
    """Log weights and draws, ``draws`` of them at most: of each row, or of all that are read again in parts.

    ``None`` where that is not feasible; :func:`streamed_limits` says why.
    """
    rows = plates_over_rows(fit.pair, source.size)
    if common_plate(fit.pair) in rows:  # each row has weights of its own, so some rows do
        return log_weights(fit.pair, draws)
    if _why_not(fit, source, rows):
        return None
    return log_weights_in_parts(fit.pair, min(draws, _MOST // source.rows), source.once(fit.pair.data), rows)


def streamed_limits(fit: Fit, source: Source, *, found: bool) -> tuple[Finding, ...]:
    """What the weights of a fit on streamed rows do not say; nothing, if they are of all rows."""
    rows = plates_over_rows(fit.pair, source.size)
    if common_plate(fit.pair) in rows:
        what = f"k-hat is of {fit.pair.data.rows:,} of {source.rows:,} rows, for data are streamed"
        return (Finding("note", what),)
    if found:
        return ()
    why = _why_not(fit, source, rows) or "not every row can be read again, or draws have no weights"
    remedy = "Fit a part of the rows in memory to see whether the guide can follow the posterior."
    return (Finding("caution", "k-hat was not checked, because data are streamed", why, remedy),)


def _why_not(fit: Fit, source: Source, rows: frozenset[str]) -> str:
    latent = [site for site in sites_of(fit.pair.trace_model()) if site.kind == "latent"]
    if any(not rows.isdisjoint(name for name, _, _ in site.plates) for site in latent):
        return "beside sites that all rows share, each row has its own"
    if _MOST // source.rows < _FEWEST:
        return f"{source.rows:,} rows are too many to be read for {_FEWEST} draws"
    return ""
