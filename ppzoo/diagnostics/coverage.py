r"""Coverage and bias where the truth is known: how often intervals hold it, and on which side it tends to be.

The rank :math:`r` of the truth among :math:`L` draws of its posterior is uniform on :math:`0 \dots L` if the draws are
right. Then

* the central interval that leaves :math:`(L + 1) \alpha / 2` ranks on each side holds the truth with a probability of
  exactly :math:`1 - \alpha`, and the number of replicates in which it does is binomial;
* :math:`p = (r + 1/2) / (L + 1)` is symmetric about :math:`1/2`. If an approximation shifts a parameter, it is not:
  that is variational simulation-based calibration, which asks for bias where uniform ranks are too much to ask for
  (Yao, Vehtari, Simpson and Gelman, *Yes, but Did It Work?*, 2018, https://arxiv.org/abs/1802.02538). The paper
  compares :math:`p` to :math:`1 - p` as if these were two samples; the signed-rank test used here needs no such thing
  (Wilcoxon 1945, https://doi.org/10.2307/3001968).

Shapes: ``R`` replicates, ``L`` draws of each.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from ppzoo.diagnostics.calibration import rank_p_value
from ppzoo.diagnostics.diagnosis import Diagnosis, Finding

__all__ = ["LEVELS", "coverage_band", "coverage_of", "coverage_table", "diagnose_coverage", "symmetry_p_value"]

LEVELS = (0.5, 0.8, 0.95)
_TESTS = 2 + len(LEVELS)  # of each quantity: its ranks, its bias, its intervals
_NAMED = 5  # quantities in a finding
_REMEDY = "Use a richer guide, take more steps, or use MCMC; if MCMC fails too, suspect the program."


def coverage_of(ranks: ArrayLike, draws: int, level: float) -> float:
    """The share of replicates whose central interval holds the truth.

    Args:
        ranks: Of the truth among its draws, 0 to L, ``(R,)``.
        draws: ``L``; ``(L + 1) (1 - level) / 2`` must be a whole number, 199 draws do for 50, 80 and 95 %.
        level: What the interval promises.

    Example:
        >>> coverage_of([0, 50, 100, 199], 199, 0.5)
        0.5
    """
    found, out = np.asarray(ranks), round((draws + 1) * (1 - level) / 2)
    return float(((found >= out) & (found <= draws - out)).mean())


def coverage_band(replicates: int, level: float, confidence: float = 0.99) -> tuple[float, float]:
    """Between which shares the coverage of a right interval lies with this confidence, by the exact binomial law.

    Example:
        >>> coverage_band(100, 0.8)
        (0.69, 0.9)
    """
    low, high = stats.binom.interval(confidence, replicates, level)
    return float(low) / replicates, float(high) / replicates


def symmetry_p_value(ranks: ArrayLike, draws: int) -> float:
    """How likely a distribution that is symmetric about the middle gives ranks as lopsided as these, or more.

    Args:
        ranks: Of the truth among its draws, 0 to L, ``(R,)``.
        draws: ``L``.

    Example:
        >>> symmetry_p_value([0, 1, 2, 3, 4, 5, 6, 7, 8, 9], 99) < 0.01
        True
        >>> symmetry_p_value([0, 99, 10, 89, 3, 96], 99)
        1.0
    """
    moved = 2 * np.asarray(ranks) - draws  # from the middle
    moved = moved[moved != 0]
    if not moved.size:
        return 1.0
    places = stats.rankdata(np.abs(moved))
    above = float(places[moved > 0].sum())
    mean, variance = float(places.sum()) / 2, float((places**2).sum()) / 4  # given the sizes, signs are fair coins
    return float(min(1.0, 2 * stats.norm.sf(max(0.0, abs(above - mean) - 0.5) / variance**0.5)))


def coverage_table(ranks: Mapping[str, NDArray[np.int64]], draws: int) -> pd.DataFrame:
    """One row for each quantity.

    Args:
        ranks: Quantity to the ranks of its truth, ``(R,)``.
        draws: ``L``.

    Returns:
        ``bias`` = 1 - 2 mean(p), from -1 (every draw is below the truth) over 0 to 1 (every draw is above it);
        ``p_bias`` of the test for symmetry, ``p_ranks`` of the test for uniform ranks; and the coverage of the 50, 80
        and 95 % intervals, ``cover50, cover80, cover95``.
    """
    rows = {}
    for name, found in ranks.items():
        row = {"bias": 1 - 2 * float(((found + 0.5) / (draws + 1)).mean())}
        row |= {"p_bias": symmetry_p_value(found, draws), "p_ranks": rank_p_value(found, draws)}
        rows[name] = row | {f"cover{level * 100:.0f}": coverage_of(found, draws, level) for level in LEVELS}
    return pd.DataFrame.from_dict(rows, orient="index")


def diagnose_coverage(table: pd.DataFrame, replicates: int, *, false_alarm: float = 0.01) -> Diagnosis:
    """Findings on quantities that are biased, or whose intervals or ranks are not those of the truth.

    Args:
        table: As :func:`coverage_table` makes it.
        replicates: ``R``.
        false_alarm: Chance of any finding if all is right, shared out over quantities and tests.

    Returns:
        A finding (reject) for the quantities whose draws are too high, too low, too narrow or too wide, each of them
        in one finding only; and the numbers ``replicates`` and ``worst_coverage`` (of the 95 % intervals).
    """
    each = false_alarm / (_TESTS * max(1, len(table)))
    bands = {level: coverage_band(replicates, level, 1 - each) for level in LEVELS}
    found: dict[str, list[str]] = {}
    for name, row in table.iterrows():
        shares = {level: float(row[f"cover{level * 100:.0f}"]) for level in LEVELS}
        if row["p_bias"] < each:
            found.setdefault("too high" if row["bias"] > 0 else "too low", []).append(str(name))
        elif row["p_ranks"] < each or not all(_inside(share, bands[level]) for level, share in shares.items()):
            narrow = sum(share - level for level, share in shares.items()) < 0
            found.setdefault("too narrow" if narrow else "too wide", []).append(str(name))
    findings = [
        Finding("reject", f"the draws of {_listed(names)} are {what}", _evidence(table.loc[names], replicates), _REMEDY)
        for what, names in found.items()
    ]
    worst = float(table["cover95"].min()) if len(table) else float("nan")
    return Diagnosis(tuple(findings), {"replicates": float(replicates), "worst_coverage": worst})


def _evidence(rows: pd.DataFrame, replicates: int) -> str:
    """The figures of the quantity that is worst covered."""
    i = int((rows["cover80"] - 0.8).abs().to_numpy().argmax())
    worst = rows.iloc[i]
    covered = ", ".join(f"{level:.0%} intervals hold {worst[f'cover{level * 100:.0f}']:.0%}" for level in LEVELS)
    bias = f"bias {worst['bias']:+.2f} with p = {worst['p_bias']:.1e}"
    return f"of {replicates} truths of {str(rows.index[i])!r} the {covered}; {bias}"


def _listed(names: list[str]) -> str:
    return f"{', '.join(map(repr, names[:_NAMED]))}{f' and {len(names) - _NAMED} more' if len(names) > _NAMED else ''}"


def _inside(share: float, band: tuple[float, float]) -> bool:
    return band[0] - 1e-9 <= share <= band[1] + 1e-9
