"""Pictures of posteriors as PNG: plain arrays in, bytes out.

Figures are made as objects, never through ``pyplot``: no window, no global figure, no setting is touched. Names come
from users and are shown as they are, not as mathematics. The colours are those of Okabe and Ito, which people with
any colour vision tell apart (https://jfly.uni-koeln.de/color/).
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence

import numpy as np
from arviz_stats.base.array import array_stats
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, get_font
from matplotlib.text import Text
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray
from scipy.stats import rankdata

__all__ = ["density", "elbo_curve", "forest", "marginals", "trace_and_rank"]

Draws = Mapping[str, NDArray[np.float64]]

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#F0E442", "#000000")
DPI = 130
SMALL, MIDDLE = 8, 9
LONGEST_NAME = 28
FOREST_ROWS, PANELS, TRACES, CHAINS = 40, 16, 6, 8
BINS, BLOCKS = 20, 100


def forest(methods: Mapping[str, Draws]) -> bytes:
    """Median, 50 % and 89 % equal-tailed interval of every parameter, one line per method.

    Args:
        methods: Method to parameter to draws of any shape; the parameters shown are the first 40 of the first method.

    Returns:
        A PNG file.
    """
    names = list(next(iter(methods.values())))[:FOREST_ROWS]
    step = 0.8 / len(methods)
    figure = Figure(figsize=(7, 1.3 + len(names) * max(0.3, 0.16 * len(methods))), layout="constrained")
    axes = figure.add_subplot()
    for i, (method, draws) in enumerate(methods.items()):
        for row, name in enumerate(names):
            if name not in draws or not np.isfinite(draws[name]).all():
                continue
            y = row + step * (i - (len(methods) - 1) / 2)
            low, left, middle, right, high = np.quantile(draws[name], [0.055, 0.25, 0.5, 0.75, 0.945])
            axes.plot([low, high], [y, y], color=_colour(i), linewidth=1.2, solid_capstyle="butt")
            axes.plot([left, right], [y, y], color=_colour(i), linewidth=3.2, solid_capstyle="butt")
            axes.plot(middle, y, marker="o", markersize=4.5, color="white", markeredgecolor=_colour(i))
        axes.plot([], [], color=_colour(i), linewidth=3.2, label=_shown(method))
    axes.set_yticks(range(len(names)), [_shown(name) for name in names])
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.set_xlabel("value: median, 50 % and 89 % intervals", fontsize=MIDDLE)
    axes.grid(axis="x", color="0.92")
    _finish(axes)
    _legend(figure)
    return _png(figure)


def marginals(methods: Mapping[str, Draws]) -> bytes:
    """The marginal posterior density of each parameter, the methods laid over each other.

    Args:
        methods: Method to parameter to draws of any shape; the panels are the first 16 parameters of the first method.

    Returns:
        A PNG file.
    """
    names = list(next(iter(methods.values())))[:PANELS]
    columns = min(4, len(names))
    rows = -(-len(names) // columns)
    figure = Figure(figsize=(max(2.5 * columns, 5), 0.6 + max(1.9 * rows, 2.8)), layout="constrained")
    for panel, name in enumerate(names):
        axes = figure.add_subplot(rows, columns, panel + 1)
        for i, (method, draws) in enumerate(methods.items()):
            if name in draws:
                _density(axes, draws[name].reshape(-1), _colour(i), _shown(method))
        axes.set_title(_shown(name), fontsize=MIDDLE)
        axes.set_yticks([])
        axes.set_ylim(bottom=0)
        axes.xaxis.set_major_locator(MaxNLocator(4))
        _finish(axes)
    _legend(figure)
    return _png(figure)


def elbo_curve(losses: Mapping[str, NDArray[np.float64]]) -> bytes:
    """The loss of each step and the medians of 100 blocks of steps, on a scale that shows the end.

    Args:
        losses: Method to negative ELBO in nats, one entry for each step; entries that are not finite are left out.

    Returns:
        A PNG file.
    """
    figure = Figure(figsize=(7, 3.6), layout="constrained")
    axes = figure.add_subplot()
    lows, highs = [], []
    for i, (method, values) in enumerate(losses.items()):
        steps = np.flatnonzero(np.isfinite(values)) + 1
        finite = values[np.isfinite(values)]
        if not finite.size:
            continue
        blocks = np.array_split(np.arange(finite.size), min(finite.size, BLOCKS))
        centres = [steps[block].mean() for block in blocks]
        medians = [np.median(finite[block]) for block in blocks]
        axes.plot(steps, finite, color=_colour(i), linewidth=0.5, alpha=0.35)
        axes.plot(centres, medians, color=_colour(i), linewidth=1.6, label=_shown(method))
        lows.append(min(np.quantile(finite, 0.005), *medians))
        highs.append(np.quantile(finite[finite.size // 20 :], 0.99))  # the first steps would flatten the rest
    if lows and max(highs) > min(lows):
        margin = 0.05 * (max(highs) - min(lows))
        axes.set_ylim(min(lows) - margin, max(highs) + margin)
    axes.set_xlabel("step", fontsize=MIDDLE)
    axes.set_ylabel("loss: negative ELBO (nats)", fontsize=MIDDLE)
    axes.grid(color="0.92")
    _finish(axes)
    _legend(figure)
    return _png(figure)


def trace_and_rank(draws: Draws) -> bytes:
    """Each chain over time, and how its draws rank among those of all chains: flat bars mean that the chains agree.

    Vehtari et al. 2021, section 4.3 (https://doi.org/10.1214/20-BA1221).

    Args:
        draws: Parameter to draws ``(chain, draw)``; the first 6 are shown, and of
            more than 8 chains those 8 whose ranks are the most uneven.

    Returns:
        A PNG file.
    """
    names = list(draws)[:TRACES]
    figure = Figure(figsize=(8.5, 0.5 + 1.7 * len(names)), layout="constrained")
    for row, name in enumerate(names):
        values = draws[name]
        shown, shares, edges = _uneven(values)
        trace = figure.add_subplot(len(names), 2, 2 * row + 1)
        rank = figure.add_subplot(len(names), 2, 2 * row + 2)
        for i, chain in enumerate(values[shown]):
            trace.plot(np.arange(chain.size), chain, color=_colour(i), linewidth=0.5, alpha=0.8)
        _ranks(rank, shares, edges)
        few = "" if len(shown) == len(values) else f" (the {len(shown)} most uneven of {len(values)} chains)"
        trace.set_title(_shown(name), fontsize=MIDDLE, loc="left")
        rank.set_title(f"ranks{few}", fontsize=MIDDLE, loc="left")
        if row == len(names) - 1:
            trace.set_xlabel("draw (one colour for each chain)", fontsize=MIDDLE)
            rank.set_xlabel("rank among all draws (dashed: an even share)", fontsize=MIDDLE)
        for axes in (trace, rank):
            _finish(axes)
    return _png(figure)


def density(draws: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Kernel density of the draws, corrected at both ends so that nothing leaks over a bound.

    Draws farther from the middle 99 % than half its width are left out, for a few would stretch the grid for all.

    Args:
        draws: Any shape; draws that are not finite are left out.

    Returns:
        Grid and density, in units of 1 / draw; empty where the draws are all equal or none is finite.
    """
    finite = draws[np.isfinite(draws)]
    low, high = np.quantile(finite, [0.005, 0.995]) if finite.size else (0.0, 0.0)
    width = high - low
    if width <= 1e-12 * max(abs(low), abs(high)):
        return np.zeros(0), np.zeros(0)
    unit = (finite - low) / width  # squares of huge draws would overflow
    grid, heights, _ = array_stats.kde(unit[np.abs(unit - 0.5) <= 1])
    return low + width * np.asarray(grid), np.asarray(heights) / width


def _density(axes: Axes, values: NDArray[np.float64], colour: str, label: str) -> None:
    x, y = density(values)
    if x.size:
        axes.plot(x, y, color=colour, linewidth=1.5, label=label)
        axes.fill_between(x, y, color=colour, alpha=0.12, linewidth=0)
    else:
        axes.axvline(float(np.mean(values)), color=colour, label=label)  # all draws are equal


def _uneven(values: NDArray[np.float64]) -> tuple[NDArray[np.intp], NDArray[np.float64], NDArray[np.float64]]:
    """The chains to show, each one's counts of ranks in units of an even share, and the edges of the bins."""
    ranks = rankdata(values, method="average").reshape(values.shape)
    edges = np.linspace(0, values.size, BINS + 1)
    shares = np.array([np.histogram(chain, edges)[0] for chain in ranks]) / (values.shape[1] / BINS)
    stray = np.abs(shares - 1).sum(1)
    shown = np.sort(np.argsort(-stray, kind="stable")[:CHAINS])
    return shown, shares[shown], edges


def _ranks(axes: Axes, shares: NDArray[np.float64], edges: NDArray[np.float64]) -> None:
    for i, share in enumerate(shares):
        axes.stairs(np.minimum(share, 1.9) + 2 * i, edges, baseline=2 * i, color=_colour(i), fill=True, alpha=0.5)
        axes.axhline(2 * i + 1, color="0.3", linewidth=0.8, linestyle="--")
    axes.set_ylim(0, 2 * len(shares))
    axes.set_yticks([])


def _colour(i: int) -> str:
    return COLOURS[i % len(COLOURS)]


def _shown(name: str) -> str:
    """``name``, shortened in the middle; what the font cannot draw is written as its escape."""
    font = get_font(findfont(FontProperties()))
    drawn = "".join(c if font.get_char_index(ord(c)) else c.encode("unicode_escape").decode() for c in name)
    half = LONGEST_NAME // 2 - 1
    return drawn if len(drawn) <= LONGEST_NAME else f"{drawn[:half]}…{drawn[-half:]}"


def _finish(axes: Axes) -> None:
    axes.tick_params(labelsize=SMALL)
    axes.spines[["top", "right"]].set_visible(False)
    _plain([child for child in axes.get_children() if isinstance(child, Text)])  # the titles
    _plain([axes.xaxis.label, axes.yaxis.label, *axes.get_yticklabels()])


def _legend(figure: Figure) -> None:
    """One legend for all panels, above them, in as many columns as fit."""
    handles, labels = figure.axes[0].get_legend_handles_labels()
    longest = max(map(len, labels), default=0)
    columns = int(figure.get_figwidth() * 12 / (longest + 7))
    legend = figure.legend(
        handles, labels, loc="outside upper left", ncols=max(columns, 1), fontsize=MIDDLE, frameon=False
    )
    _plain(legend.texts)


def _plain(texts: Sequence[Text]) -> None:
    for text in texts:
        text.set_parse_math(False)


def _png(figure: Figure) -> bytes:
    """The figure as a file without time stamp or version: the same numbers give the same bytes."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI, metadata={"Software": None})
    return buffer.getvalue()
