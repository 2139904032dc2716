"""What the sampler recorded about its own steps: divergences, trajectories cut short, energies that crawl.

Divergences and E-BFMI: Betancourt 2017, https://arxiv.org/abs/1701.02434, and 2016, https://arxiv.org/abs/1604.00695.
Each is judged for all chains together and for each by itself: a single chain of a thousand that diverges throughout has
no share in the total.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy.stats import binom

from ppzoo.diagnostics.arviz import scalars
from ppzoo.diagnostics.chains import FALSE_ALARM, bfmi
from ppzoo.diagnostics.diagnosis import Finding, Level
from ppzoo.diagnostics.ranks import Floats

__all__ = ["BFMI", "DIVERGENT_SHARE", "MAX_DEPTH_SHARE", "diagnose_sampler", "listing", "numbered"]

DIVERGENT_SHARE = 0.001
MAX_DEPTH_SHARE = 0.05
BFMI = 0.3

_DEEP = 10  # draws of one chain at the greatest depth: fewer are chance in a short one


def diagnose_sampler(tree: xr.DataTree, numbers: dict[str, float]) -> Iterator[Finding]:
    """Judge ``diverging``, ``reached_max_treedepth`` and ``energy`` of a tree, each ``(chain, draw)`` and optional.

    Args:
        tree: With a group ``sample_stats``.
        numbers: Gets ``divergences`` (how many), ``max_depth_share`` (of the worst chain), ``bfmi`` (least).

    Returns:
        The findings, which name the chains.
    """
    statistics = {name: values for name, values in scalars(tree, "sample_stats").items() if "[" not in name}
    if "diverging" in statistics:
        yield from _divergences(statistics["diverging"], numbers)
    if "reached_max_treedepth" in statistics:
        yield from _depths(statistics["reached_max_treedepth"], numbers)
    if "energy" in statistics:
        yield from _energies(statistics["energy"], numbers)


def _divergences(diverging: Floats, numbers: dict[str, float]) -> Iterator[Finding]:
    count = numbers["divergences"] = float(diverging.sum())
    share = count / diverging.size
    remedy = "Raise target_accept, or reparameterise where the draws crowd."
    if count:
        compared = ">" if share > DIVERGENT_SHARE else "<="
        evidence = f"{count:.0f} of {diverging.size} draws, {share:.2%} {compared} {DIVERGENT_SHARE:.1%}"
        level: Level = "reject" if share > DIVERGENT_SHARE else "caution"
        yield Finding(level, "trajectories diverged", evidence, remedy)
    of_chain = diverging.sum(1)
    chains, length = diverging.shape
    often = np.flatnonzero(of_chain > binom.isf(FALSE_ALARM / chains, length, DIVERGENT_SHARE))
    if len(often) and share <= DIVERGENT_SHARE:
        where = [f"chain {c} ({of_chain[c]:.0f} of {length} draws)" for c in often[np.argsort(-of_chain[often])]]
        yield Finding("reject", "a chain diverged again and again", listing(where), remedy)


def _depths(deepest: Floats, numbers: dict[str, float]) -> Iterator[Finding]:
    shares = deepest.mean(1)
    numbers["max_depth_share"] = float(shares.max())
    deep = np.flatnonzero((shares > MAX_DEPTH_SHARE) & (deepest.sum(1) >= _DEEP))
    remedy = "Slow, not wrong: rescale or reparameterise, or allow deeper trees."
    what = "trajectories end at the greatest tree depth"
    if deepest.mean() > MAX_DEPTH_SHARE:
        yield Finding("caution", what, f"{deepest.mean():.0%} of the draws > {MAX_DEPTH_SHARE:.0%}", remedy)
    elif len(deep):
        evidence = f"up to {shares[deep].max():.0%} of a chain's draws > {MAX_DEPTH_SHARE:.0%}, in {numbered(deep)}"
        yield Finding("caution", what, evidence, remedy)


def _energies(energy: Floats, numbers: dict[str, float]) -> Iterator[Finding]:
    usable = np.flatnonzero(np.isfinite(energy).all(1) & (energy.max(1) > energy.min(1)))  # the others are stuck
    if not len(usable):
        return
    found = bfmi(energy[usable])
    numbers["bfmi"] = float(found.min())
    if found.min() < BFMI:
        where = f", in {numbered(usable[found < BFMI])}" if len(found) == len(usable) else ", of all chains together"
        remedy = "The tails are heavy or a scale funnels: reparameterise, for instance not centred."
        yield Finding("caution", "the energy moves too slowly", f"E-BFMI {found.min():.2f} < {BFMI}{where}", remedy)


def numbered(chains: NDArray[np.intp]) -> str:
    """Chains by their numbers, from 0.

    Example:
        >>> numbered(np.array([3])), numbered(np.arange(9))
        ('chain 3', '9 chains: 0, 1, 2, 3, 4 and 4 more')
    """
    return f"chain {chains[0]}" if len(chains) == 1 else f"{len(chains)} chains: {listing(map(str, chains))}"


def listing(items: Iterable[str], most: int = 5) -> str:
    """The first few of many.

    Example:
        >>> listing(["a", "b", "c"], most=2)
        'a, b and 1 more'
    """
    shown = list(items)
    more = f" and {len(shown) - most} more" if len(shown) > most else ""
    return ", ".join(shown[:most]) + more
