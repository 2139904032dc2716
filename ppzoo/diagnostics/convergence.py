"""Do the Markov chains agree, and do they move?

Thresholds: split R-hat 1.01 and 100 effective draws per chain (Vehtari, Gelman, Simpson, Carpenter, Bürkner 2021,
https://doi.org/10.1214/20-BA1221); E-BFMI 0.3 (Betancourt 2016, https://arxiv.org/abs/1604.00695); divergences
(Betancourt 2017, https://arxiv.org/abs/1701.02434). A chain that stands still is looked for directly: R-hat is then
NaN or infinite and the ESS looks perfect. Every chain is held against the others, and named where it fails: among a
thousand, R-hat would average it away.

R-hat of many short chains exceeds 1.01 though they are right (see :mod:`ppzoo.diagnostics.rhat`). Above it the chains
may still be excused, parameter by parameter:

* by nested R-hat, at most ``sqrt(1 + 1 / M + 1e-4)``, where 4 or more groups of M >= 50 chains started from one point
  each: at 50 its threshold is 1.01;
* else, from 32 chains on, by lasting R-hat, at most 1.01 with two standard errors added.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from ppzoo.checks import check_chains_per_start
from ppzoo.diagnostics.arviz import scalars
from ppzoo.diagnostics.chains import MANY, Outlier, few_values, longest_stay, outlying_chains, usual_stay
from ppzoo.diagnostics.diagnosis import Diagnosis, Finding
from ppzoo.diagnostics.ess import ess_bulk, ess_tail
from ppzoo.diagnostics.ranks import FEWEST_DRAWS, Floats, Ranked, blocks
from ppzoo.diagnostics.rhat import lasting_rhat, nested_rhat, nested_threshold, rhat
from ppzoo.diagnostics.sampler import DIVERGENT_SHARE, diagnose_sampler, listing, numbered

__all__ = ["DIVERGENT_SHARE", "diagnose_chains", "is_constant"]

R_HAT = 1.01
ESS_PER_CHAIN, ESS_ENOUGH = 100, 400
DISTINCT_SHARE = 0.1
STARTS, CHAINS_PER_START = 4, 50

Names = NDArray[np.str_]


def diagnose_chains(tree: xr.DataTree, *, chains_per_start: int = 1) -> Diagnosis:
    """Judge Markov chains by their draws and by what the sampler recorded.

    * reject: non-finite draws; a stuck chain (fewer than draws / 10 distinct values of some parameter, or one state
      repeated for a tenth of the draws and longer than rejections explain); a chain that stays away from the others;
      R-hat > 1.01 that short chains do not excuse; bulk or tail ESS below 100 per chain (400 are enough for any number
      of chains); more than 0.1 % of divergences, or more in one chain than that explains; fewer than 4 draws.
    * caution: any divergence; more than 5 % of a chain's draws at the greatest tree depth; E-BFMI < 0.3 in any chain;
      a single chain, which cannot show that it converged.

    Chains that fail are named by their numbers, from 0. Scalars that hold one value in every chain while others move
    (the corner of a Cholesky factor) are constants of the model, and left out. So is what is discrete, and functions
    of it, beside anything continuous: the chains move among continuous values, and discrete ones are drawn afterwards,
    independently given these. Where all is discrete, R-hat and ESS judge it.

    Args:
        tree: Groups ``posterior`` and ``sample_stats`` (``diverging``, ``reached_max_treedepth``, ``energy``, each
            ``(chain, draw)``; those that are absent are not judged).
        chains_per_start: How many chains in a row started from one point, the next as many from another.

    Returns:
        Findings, and the numbers ``r_hat`` (worst), ``ess_bulk`` and ``ess_tail`` (least), ``divergences``, ``bfmi``
        (least) and ``max_depth_share`` (worst chain); NaN where one could not be computed.

    Raises:
        OptionError: If ``chains_per_start`` does not divide the number of chains.
    """
    continuous = scalars(tree, continuous=True)
    draws = continuous or scalars(tree)
    numbers = dict.fromkeys(("r_hat", "ess_bulk", "ess_tail", "divergences", "bfmi", "max_depth_share"), math.nan)
    if not draws:
        return Diagnosis((Finding("note", "there is no parameter whose chains could be judged"),), numbers)
    chains, length = next(iter(draws.values())).shape
    check_chains_per_start(chains_per_start, chains)
    if length < FEWEST_DRAWS:
        few = Finding("reject", "too few draws to judge a chain", f"{length} draws < {FEWEST_DRAWS}", "Draw more.")
        return Diagnosis((few,), numbers)
    names, x = np.array(list(draws)), np.stack(list(draws.values()))
    finite = np.isfinite(x).all((1, 2))
    moving = finite & ~np.array([is_constant(values) for values in x])
    watched = finite & np.full(len(names), bool(continuous))  # what is discrete repeats itself, though it moves
    judged = watched & moving if (watched & moving).any() else watched
    stuck, still = _stuck(names[judged], _rows(x, judged))
    findings = [*_non_finite(names, x), *still, *_constants(names, watched, moving), *_single(chains)]
    if moving.any():
        measured = _measure(names[moving], _rows(x, moving), chains_per_start)
        apart = [found for found in measured.outliers if found.chain not in stuck]
        findings += [*_disagreement(measured, numbers), *_apart(apart, measured.names, chains)]
        findings += _too_few(measured, min(ESS_PER_CHAIN * chains, ESS_ENOUGH), numbers)
    return Diagnosis((*findings, *diagnose_sampler(tree, numbers)), numbers)


def _rows(x: Floats, which: NDArray[np.bool_]) -> Floats:
    return x if which.all() else x[which]


def _non_finite(names: Names, x: Floats) -> Iterator[Finding]:
    bad = (~np.isfinite(x)).sum(2)
    if bad.any():
        draws = [f"{name} ({count} draws)" for name, count in zip(names, bad.sum(1), strict=True) if count]
        evidence = f"{listing(draws)}, in {numbered(np.flatnonzero(bad.any(0)))}"
        remedy = "Look for a log probability without bounds, or run in float64."
        yield Finding("reject", "some draws are NaN or infinite", evidence, remedy)


def _constants(names: Names, continuous: NDArray[np.bool_], moving: NDArray[np.bool_]) -> Iterator[Finding]:
    """A variable that holds one value throughout may be meant so, or too large for the steps of its type."""
    of = np.array([name.partition("[")[0] for name in names])
    still = [str(name) for name in dict.fromkeys(of[continuous]) if not moving[of == name].any()]
    if still and moving.any():
        yield Finding(
            "note", "taken for constants of the model, and not judged", f"{listing(still)}: one value throughout"
        )


def _stuck(names: Names, x: Floats) -> tuple[set[int], list[Finding]]:
    """Chains that hardly move, and those that stood still for long."""
    if not len(x):
        return set(), []
    length = x.shape[2]
    few = few_values(x, max(DISTINCT_SHARE * length, 2))
    stuck = np.flatnonzero(few.any(0))
    findings = []
    if len(stuck):
        only = (f" ({listing(names[row], most=3)})" if not row.all() else "" for row in few[:, stuck].T)
        where = [f"chain {chain}{parameters}" for chain, parameters in zip(stuck, only, strict=True)]
        share = f"{len(stuck)} of {few.shape[1]} chains"
        evidence = f"fewer than {DISTINCT_SHARE:.0%} of the draws are distinct in {share}: {listing(where)}"
        remedy = "Lengthen the warm-up, start elsewhere, or look at the scale of the parameters."
        findings.append(Finding("reject", "a chain is stuck", evidence, remedy))
    stays, shares = longest_stay(x)
    stays[stuck] = 0
    asleep = np.flatnonzero(stays >= max(usual_stay(shares, length), DISTINCT_SHARE * length))
    if len(asleep):
        where = [f"chain {chain} ({stays[chain]} of {length} draws)" for chain in asleep[np.argsort(-stays[asleep])]]
        remedy = "Raise target_accept, or look for a place that trajectories cannot leave."
        findings.append(Finding("reject", "a chain stood still for long", f"one state in {listing(where)}", remedy))
    return {*stuck.tolist(), *asleep.tolist()}, findings


def _single(chains: int) -> Iterator[Finding]:
    if chains == 1:
        yield Finding("caution", "one chain cannot show that it converged", "1 chain, no R-hat", "Run 4 or more.")


@dataclass
class _Measured:
    """Numbers of K parameters, each ``(K,)``, and the chains that stay away from the others.

    ``excuse`` is the R-hat that tells whether the chains are merely short, by its name ``by``: NaN where none can.
    """

    names: Names
    r_hat: Floats
    ess_bulk: Floats
    ess_tail: Floats
    excuse: Floats
    by: str = ""
    limit: float = math.nan
    outliers: list[Outlier] = field(default_factory=list)


def _measure(names: Names, x: Floats, chains_per_start: int) -> _Measured:
    """Everything that needs the draws sorted, a few parameters at a time."""
    k, chains, _ = x.shape
    found = _Measured(names, *np.full((4, k), np.nan))
    starts = np.arange(chains) // chains_per_start
    if chains_per_start >= CHAINS_PER_START and chains // chains_per_start >= STARTS:
        found.by, found.limit = "nested", nested_threshold(chains_per_start)
    elif chains >= MANY:
        found.by, found.limit = "lasting", R_HAT
    for block in blocks(x):
        ranked = Ranked(x[block])
        found.r_hat[block] = rhat(ranked)
        found.ess_bulk[block] = ess_bulk(ranked)
        found.ess_tail[block] = ess_tail(ranked)
        if found.by:
            found.excuse[block] = nested_rhat(ranked, starts) if found.by == "nested" else lasting_rhat(ranked)
        apart = outlying_chains(ranked, tests=k * chains)
        found.outliers += [replace(outlier, parameter=block.start + outlier.parameter) for outlier in apart]
    return found


def _disagreement(measured: _Measured, numbers: dict[str, float]) -> Iterator[Finding]:
    r_hat = measured.r_hat
    if np.isnan(r_hat).all():
        return
    numbers["r_hat"] = float(np.nanmax(r_hat))
    excused = (r_hat > R_HAT) & (measured.excuse <= measured.limit)
    unexcused = (r_hat > R_HAT) & ~excused
    if unexcused.any():
        worst = int(np.where(unexcused, r_hat, 0).argmax())
        evidence = f"R-hat {r_hat[worst]:.3f} > {R_HAT}, {_count(unexcused)}, worst {measured.names[worst]}"
        remedy = "Run longer; if it does not help, reparameterise."
        yield Finding("reject", "the chains disagree", evidence, remedy)
    if excused.any():
        worst = int(np.where(excused, r_hat, 0).argmax())
        told = f"{measured.by} R-hat {measured.excuse[worst]:.4f} <= {measured.limit:.4f}"
        evidence = f"R-hat {r_hat[worst]:.3f} > {R_HAT}, {_count(excused)}, worst {measured.names[worst]}, but {told}"
        yield Finding("note", "the chains are short, not at odds", evidence)


def _apart(outliers: Sequence[Outlier], names: Names, chains: int) -> Iterator[Finding]:
    worst: dict[int, Outlier] = {}
    for found in sorted(outliers, key=lambda found: (found.spread, -abs(found.offset))):
        worst.setdefault(found.chain, found)
    if worst:
        far = sorted(worst.values(), key=lambda found: -abs(found.offset))
        where = [f"chain {found.chain} ({names[found.parameter]} {found})" for found in far]
        what = "a chain stays away from the others" if len(far) == 1 else "some chains stay away from the others"
        remedy = "Another mode, or a place that is hard to leave: look at it alone, start elsewhere, or reparameterise."
        yield Finding("reject", what, f"{len(far)} of {chains}: {listing(where)}", remedy)


def _too_few(measured: _Measured, least: int, numbers: dict[str, float]) -> Iterator[Finding]:
    for key, kind, ess in (("ess_bulk", "bulk", measured.ess_bulk), ("ess_tail", "tail", measured.ess_tail)):
        if np.isnan(ess).all():
            continue
        worst = int(np.nanargmin(ess))
        numbers[key] = float(ess[worst])
        if ess[worst] < least:
            evidence = f"{kind} ESS {ess[worst]:.0f} < {least}, {_count(ess < least)}, worst {measured.names[worst]}"
            remedy = "Run longer; if it does not help, reparameterise."
            yield Finding("reject", "too few effective draws", evidence, remedy)


def _count(over: NDArray[np.bool_]) -> str:
    return f"{int(over.sum())} of {over.size} parameters"


def is_constant(values: Floats) -> bool:
    """One value in all chains, up to rounding in the type that the draws were made in."""
    low, high = float(values.min()), float(values.max())
    largest = max(abs(low), abs(high))
    if high - low > 8 * float(np.finfo(np.float32).eps) * largest:
        return False
    single = np.array_equal(values, values.astype(np.float32), equal_nan=True)
    return high - low <= 8 * float(np.finfo(np.float32 if single else np.float64).eps) * largest
