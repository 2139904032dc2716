"""Do posteriors of the same parameters agree, as far as Monte Carlo error lets us see?

One fit is the reference; the others are held against it, parameter by parameter, and the worst decides.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import wasserstein_distance

from ppzoo.diagnostics.diagnosis import Diagnosis, Verdict

__all__ = ["Gap", "Source", "choose_reference", "differing", "gap_table", "judge", "worst_gap"]

Source = Literal["exact", "mcmc", "draws"]

REJECT, CAUTION = 0.30, 0.15  # of the mean, in sd of the reference; of the sd, as a share of it
SAME = 1e-3  # of the largest entry of a parameter
NOISE = 4.0  # combined Monte Carlo standard errors
_ORDER: tuple[Verdict, ...] = ("trust", "caution", "reject")
QUANTILES = {"q5": 0.05, "q25": 0.25, "q50": 0.5, "q75": 0.75, "q95": 0.95}


@dataclass(frozen=True)
class Gap:
    """How far the worst parameter of one fit is from the reference.

    Args:
        parameter: Its label.
        mean: |m - m_ref| / s_ref.
        sd: s / s_ref - 1.
        level: What the counted gaps of all parameters amount to.
        counted: Whether this gap is above 0.15 and more than Monte Carlo error.
    """

    parameter: str
    mean: float
    sd: float
    level: Verdict
    counted: bool


def gap_table(
    draws: Mapping[str, NDArray[np.float64]],
    summary: pd.DataFrame,
    reference: Mapping[str, NDArray[np.float64]],
    reference_summary: pd.DataFrame,
) -> pd.DataFrame:
    """Estimates of one fit and their distance from those of the reference.

    Args:
        draws: Parameter to draws ``(chain, draw)``; the reference must have the same parameters.
        summary: Their summary, as :func:`ppzoo.diagnostics.arviz.summarise` makes it.
        reference: The same of the reference.
        reference_summary: The same of the reference.

    Returns:
        One row for each parameter: ``mean, sd, mcse_mean, mcse_sd, q5, q25, q50, q75, q95``, and
        ``gap_mcse`` = (m - m_ref) / √(e² + e_ref²) with the MCSEs e, ``gap_sd`` = (m - m_ref) / s_ref,
        ``sd_ratio`` = s / s_ref, ``sd_gap_mcse`` = (s - s_ref) / √(e_s² + e_s_ref²), ``wasserstein`` = W₁ / s_ref.
    """
    names = list(draws)
    table = summary.loc[names, ["mean", "sd", "mcse_mean", "mcse_sd"]].copy()
    against = reference_summary.loc[names]
    stacked = np.stack([draws[name].reshape(-1) for name in names])
    for column, values in zip(QUANTILES, np.quantile(stacked, list(QUANTILES.values()), axis=1), strict=True):
        table[column] = values
    m, s, m_ref, s_ref = table["mean"], table["sd"], against["mean"], against["sd"]
    table["gap_mcse"] = (m - m_ref) / np.hypot(table["mcse_mean"], against["mcse_mean"])
    table["gap_sd"] = (m - m_ref) / s_ref
    table["sd_ratio"] = s / s_ref
    table["sd_gap_mcse"] = (s - s_ref) / np.hypot(table["mcse_sd"], against["mcse_sd"])
    table["wasserstein"] = [_distance(draws[name], reference[name]) for name in names] / s_ref
    return table


def worst_gap(table: pd.DataFrame) -> Gap:
    """The worst gap of a fit, and what it amounts to.

    A gap of the mean, |m - m_ref| / s_ref, or of the sd, |s / s_ref - 1|, above 0.30 is ``"reject"``, above 0.15
    ``"caution"``; it counts if it is more than 4 combined Monte Carlo standard errors (or if these are unknown).
    A mean 0.3 sd off gives a nominal 90 % interval a coverage of 88 %, an sd 30 % too small one of 75 %.

    Args:
        table: As :func:`gap_table` makes it, of one or more parameters.
    """
    gaps = table[["gap_sd", "sd_ratio", "gap_mcse", "sd_gap_mcse"]].to_numpy(dtype=np.float64).T
    mean, sd = np.abs(gaps[0]), np.abs(gaps[1] - 1)
    counted = np.fmax(  # NaN compares false: an error that is unknown excuses nothing
        np.where(np.abs(gaps[2]) <= NOISE, 0.0, mean), np.where(np.abs(gaps[3]) <= NOISE, 0.0, sd)
    )
    counted = np.where(np.isnan(counted), np.inf, counted)
    greatest = counted.max()
    level: Verdict = "reject" if greatest > REJECT else "caution" if greatest > CAUTION else "trust"
    i = int(np.argmax(counted if level != "trust" else np.nan_to_num(np.fmax(mean, sd))))
    return Gap(str(table.index[i]), float(mean[i]), float(gaps[1][i]) - 1, level, level != "trust")


def choose_reference(diagnoses: Mapping[str, Diagnosis], sources: Mapping[str, Source]) -> str:
    """The exact fit unless it is rejected, else Markov chains, else a guide; among equals the most trustworthy.

    That is the one with the best verdict, then the greatest least ESS, then the lowest k-hat.
    """

    def rank(name: str) -> tuple[float, ...]:
        diagnosis, source = diagnoses[name], sources[name]
        numbers = diagnosis.numbers
        exact = source == "exact" and diagnosis.verdict != "reject"
        ess = min(numbers.get("ess_bulk", 0.0), numbers.get("ess_tail", 0.0))
        k_hat = numbers.get("k_hat", math.inf)
        return (not exact, source != "mcmc", _ORDER.index(diagnosis.verdict), -np.nan_to_num(ess), k_hat)

    return min(diagnoses, key=rank)


def differing(left: Mapping[str, NDArray[np.float64]], right: Mapping[str, NDArray[np.float64]]) -> list[str]:
    """Names on both sides whose values are further apart than a thousandth of the largest of them.

    Example:
        >>> one = {"W": np.array([1.0, 2.0]), "sigma": np.array(0.5)}
        >>> differing(one, {"W": np.array([2.0, 1.0]), "sigma": np.array(0.5)}), differing(one, {})
        (['W'], [])
    """
    return [name for name in left if name in right and not _same(left[name], right[name])]


def _same(left: NDArray[np.float64], right: NDArray[np.float64]) -> bool:
    if left.shape != right.shape:
        return False
    scale = float(np.nan_to_num(np.abs(right)).max(initial=0.0))
    return bool(np.allclose(left, right, rtol=0.0, atol=SAME * scale, equal_nan=True))


def judge(
    tables: Mapping[str, pd.DataFrame],
    diagnoses: Mapping[str, Diagnosis],
    sources: Mapping[str, Source],
    *,
    reference: str,
    apart: Mapping[str, Sequence[str]] | None = None,
) -> tuple[Verdict, str]:
    """The verdict on several fits, and the sentence that says it.

    Args:
        tables: Fit to its :func:`gap_table`, constants left out.
        diagnoses: Fit to its own diagnosis.
        sources: Fit to where its draws come from.
        reference: Name of the reference.
        apart: Fit to the parameters without a prior in which it differs from the reference: where there are any,
            the two posteriors are of two models, a gap is nobody's fault, and no verdict is given.
    """
    own = diagnoses[reference]
    if own.verdict == "reject":
        failed = "did not converge" if sources[reference] == "mcmc" else "is rejected by its own diagnosis"
        return "reject", f"No verdict: the reference {reference} {failed} ({_reason(own)})."
    apart = apart or {}
    others = [
        _of_two_models(name, reference, apart[name])
        if apart.get(name)
        else _against(name, reference, tables[name], diagnoses[name], converges=sources[name] == "mcmc")
        for name in diagnoses
        if name != reference
    ]
    levels: list[Verdict] = [own.verdict, *(level for level, _ in others)]
    sentences = [sentence for _, sentence in others]
    if sources[reference] == "draws":
        levels.append("caution")
        sentences.append("none of these is an exact fit or Markov chains, so they may be wrong together")
    elif own.verdict == "caution":
        sentences.append(f"{reference} itself calls for caution ({_reason(own)})")
    text = "; ".join(sentences)
    return max(levels, key=_ORDER.index), f"{text}."


def _against(name: str, reference: str, table: pd.DataFrame, own: Diagnosis, *, converges: bool) -> tuple[Verdict, str]:
    if own.verdict == "reject" and converges:
        return "reject", f"Do not use {name}: it did not converge ({_reason(own)})"
    if table.empty:
        return own.verdict, f"{name} and {reference} share only constants"
    gap = worst_gap(table)
    where = (
        f"worst of {len(table)} parameters is {gap.parameter}, {gap.mean:.2f} sd off in mean and {_sd(gap.sd)} in sd"
    )
    if gap.level == "reject":
        return "reject", f"Do not use {name}'s intervals: against {reference}, the {where}"
    if gap.level == "caution":
        return "caution", f"{name} is near {reference}, not equal: {where}"
    if own.verdict == "reject":
        return "caution", f"{name} agrees with {reference} ({where}), yet its own diagnosis rejects it ({_reason(own)})"
    return "trust", f"{name} agrees with {reference}: {where}"


def _of_two_models(name: str, reference: str, parameters: Sequence[str]) -> tuple[Verdict, str]:
    own = f"{', '.join(parameters[:3])}{' ...' if len(parameters) > 3 else ''}"
    why = f"{name} and {reference} each have their own {own}, so these are posteriors of two models"
    return "caution", f"No verdict: {why}"


def _sd(share: float) -> str:
    return f"{share:+.0%}".replace("%", " %")


def _reason(diagnosis: Diagnosis) -> str:
    """Evidence of the first finding that made the verdict."""
    found = next(finding for finding in diagnosis.findings if finding.level == diagnosis.verdict)
    return found.evidence or found.what


def _distance(draws: NDArray[np.float64], reference: NDArray[np.float64]) -> float:
    if not (np.isfinite(draws).all() and np.isfinite(reference).all()):
        return float("nan")
    return float(wasserstein_distance(draws.reshape(-1), reference.reshape(-1)))
