"""Do the Markov chains agree, and do they move?

Thresholds: split R-hat 1.01 and 100 effective draws per chain (Vehtari, Gelman, Simpson, Carpenter, Bürkner 2021,
https://doi.org/10.1214/20-BA1221); E-BFMI 0.3 (Betancourt 2016, https://arxiv.org/abs/1604.00695); divergences
(Betancourt 2017, https://arxiv.org/abs/1701.02434). A chain that stands still is looked for directly: R-hat is then
NaN and the ESS looks perfect.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import xarray as xr
from arviz_stats.base.array import array_stats
from numpy.typing import NDArray

from ppzoo.diagnostics.arviz import mcmc_numbers, scalars
from ppzoo.diagnostics.diagnosis import Diagnosis, Finding, Level

__all__ = ["diagnose_chains", "is_constant"]

R_HAT = 1.01
ESS_PER_CHAIN, ESS_ENOUGH = 100, 400
DIVERGENT_SHARE = 0.001
MAX_DEPTH_SHARE = 0.05
BFMI = 0.3
FEWEST_DRAWS = 4
DISTINCT_SHARE = 0.1


def diagnose_chains(tree: xr.DataTree) -> Diagnosis:
    """Judge Markov chains by their draws and by what the sampler recorded.

    * reject: non-finite draws; a stuck chain (fewer than draws / 10 distinct values of some parameter); R-hat > 1.01;
      bulk or tail ESS below 100 per chain (400 are enough for any number of chains); more than 0.1 % of divergences;
      fewer than 4 draws.
    * caution: any divergence; more than 5 % of a chain's draws at the greatest tree depth; E-BFMI < 0.3 in any chain;
      a single chain, which cannot show that it converged.

    Scalars that hold one value in every chain while others move (the corner of a Cholesky factor) are constants of
    the model, and left out.

    Args:
        tree: Groups ``posterior`` and ``sample_stats`` (``diverging``, ``reached_max_treedepth``, ``energy``, each
            ``(chain, draw)``; those that are absent are not judged).

    Returns:
        Findings, and the numbers ``r_hat`` (worst), ``ess_bulk`` and ``ess_tail`` (least), ``divergences``, ``bfmi``
        (least) and ``max_depth_share`` (worst chain); NaN where one could not be computed.
    """
    draws = scalars(tree)
    statistics = {name: values for name, values in scalars(tree, "sample_stats").items() if "[" not in name}
    numbers = dict.fromkeys(("r_hat", "ess_bulk", "ess_tail", "divergences", "bfmi", "max_depth_share"), math.nan)
    if not draws:
        return Diagnosis((Finding("note", "there is no parameter whose chains could be judged"),), numbers)
    chains, length = next(iter(draws.values())).shape
    if length < FEWEST_DRAWS:
        few = Finding("reject", "too few draws to judge a chain", f"{length} draws < {FEWEST_DRAWS}", "Draw more.")
        return Diagnosis((few,), numbers)
    finite = {name: values for name, values in draws.items() if np.isfinite(values).all()}
    real = scalars(tree, kinds="f")  # a discrete parameter has few distinct values without being stuck
    findings = [*_non_finite(draws), *_stuck({name: finite[name] for name in real if name in finite}), *_single(chains)]
    findings += _mixing(_moving(finite), chains, numbers)
    findings += _sampler(statistics, numbers)
    return Diagnosis(tuple(findings), numbers)


def _non_finite(draws: Mapping[str, NDArray[np.float64]]) -> Iterator[Finding]:
    bad = {name: int((~np.isfinite(values)).sum()) for name, values in draws.items()}
    named = [f"{name} ({count} draws)" for name, count in bad.items() if count]
    if named:
        remedy = "Look for a log probability without bounds, or run in float64."
        yield Finding("reject", "some draws are NaN or infinite", _listing(named), remedy)


def _stuck(draws: Mapping[str, NDArray[np.float64]]) -> Iterator[Finding]:
    found: dict[int, list[str]] = {}
    for name, values in (_moving(draws) or draws).items():
        for chain, row in enumerate(values):
            if len(np.unique(row)) < max(DISTINCT_SHARE * row.size, 2):
                found.setdefault(chain, []).append(name)
    if found:
        where = [f"chain {chain} ({_listing(names, most=3)})" for chain, names in found.items()]
        evidence = f"fewer than {DISTINCT_SHARE:.0%} of the draws are distinct in {_listing(where)}"
        remedy = "Lengthen the warm-up, start elsewhere, or look at the scale of the parameters."
        yield Finding("reject", "a chain is stuck", evidence, remedy)


def _single(chains: int) -> Iterator[Finding]:
    if chains == 1:
        yield Finding("caution", "one chain cannot show that it converged", "1 chain, no R-hat", "Run 4 or more.")


def _mixing(draws: Mapping[str, NDArray[np.float64]], chains: int, numbers: dict[str, float]) -> Iterator[Finding]:
    if not draws:
        return
    names = list(draws)
    measured = mcmc_numbers(np.stack(list(draws.values())))
    least = min(ESS_PER_CHAIN * chains, ESS_ENOUGH)
    remedy = "Run longer; if it does not help, reparameterise."
    r_hat = measured["r_hat"]
    if not np.isnan(r_hat).all():
        worst = int(np.nanargmax(r_hat))
        numbers["r_hat"] = float(r_hat[worst])
        if r_hat[worst] > R_HAT:
            evidence = f"R-hat {r_hat[worst]:.3f} > {R_HAT}, {_count(r_hat > R_HAT)}, worst {names[worst]}"
            yield Finding("reject", "the chains disagree", evidence, remedy)
    for key, kind in (("ess_bulk", "bulk"), ("ess_tail", "tail")):
        ess = measured[key]
        worst = int(np.nanargmin(ess))
        numbers[key] = float(ess[worst])
        if ess[worst] < least:
            evidence = f"{kind} ESS {ess[worst]:.0f} < {least}, {_count(ess < least)}, worst {names[worst]}"
            yield Finding("reject", "too few effective draws", evidence, remedy)


def _count(over: NDArray[np.bool_]) -> str:
    return f"{int(over.sum())} of {over.size} parameters"


def _sampler(statistics: Mapping[str, NDArray[np.float64]], numbers: dict[str, float]) -> Iterator[Finding]:
    if "diverging" in statistics:
        yield from _divergences(statistics["diverging"], numbers)
    if "reached_max_treedepth" in statistics:
        share = numbers["max_depth_share"] = float(statistics["reached_max_treedepth"].mean(1).max())
        if share > MAX_DEPTH_SHARE:
            evidence = f"{share:.0%} of a chain's draws > {MAX_DEPTH_SHARE:.0%}"
            remedy = "Slow, not wrong: rescale or reparameterise, or allow deeper trees."
            yield Finding("caution", "trajectories end at the greatest tree depth", evidence, remedy)
    energy = statistics.get("energy", np.zeros((0, 2)))
    energy = energy[np.isfinite(energy).all(1) & (np.ptp(energy, axis=1) > 0)]  # the others are stuck or not finite
    if len(energy):
        bfmi = numbers["bfmi"] = float(array_stats.bfmi(energy).min())
        if bfmi < BFMI:
            remedy = "The tails are heavy or a scale funnels: reparameterise, for instance not centred."
            yield Finding("caution", "the energy moves too slowly", f"E-BFMI {bfmi:.2f} < {BFMI}", remedy)


def _divergences(diverging: NDArray[np.float64], numbers: dict[str, float]) -> Iterator[Finding]:
    count = numbers["divergences"] = float(diverging.sum())
    share = count / diverging.size
    if count:
        compared = ">" if share > DIVERGENT_SHARE else "<="
        evidence = f"{count:.0f} of {diverging.size} draws, {share:.2%} {compared} {DIVERGENT_SHARE:.1%}"
        remedy = "Raise target_accept, or reparameterise where the draws crowd."
        level: Level = "reject" if share > DIVERGENT_SHARE else "caution"
        yield Finding(level, "trajectories diverged", evidence, remedy)


def _moving(draws: Mapping[str, NDArray[np.float64]]) -> dict[str, NDArray[np.float64]]:
    return {name: values for name, values in draws.items() if not is_constant(values)}


def is_constant(values: NDArray[np.float64]) -> bool:
    """One value in all chains, up to rounding in the type that the draws were made in."""
    single = np.array_equal(values, values.astype(np.float32), equal_nan=True)
    eps = float(np.finfo(np.float32 if single else np.float64).eps)
    return bool(np.ptp(values) <= 8 * eps * np.abs(values).max())


def _listing(items: Sequence[str], most: int = 5) -> str:
    more = f" and {len(items) - most} more" if len(items) > most else ""
    return ", ".join(items[:most]) + more
