"""The table as a picture: effective draws per second against chains, a panel for each posterior."""

from __future__ import annotations

import io

from harness.records import read
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from mcmc.posteriors import POSTERIORS
from mcmc.records import result_path
from mcmc.samplers import SAMPLERS
from mcmc.tables import chain_counts, speed

__all__ = ["picture"]

# Okabe and Ito's colours, which people with any colour vision tell apart (https://jfly.uni-koeln.de/color/)
STYLES = {
    "ppzoo": ("#0072B2", "o"),
    "ppzoo-hmc": ("#56B4E9", "v"),
    "ppzoo-mams": ("#000000", "P"),
    "ppzoo-chees": ("#009E73", "^"),
    "pyro": ("#D55E00", "D"),
    "numpyro": ("#CC79A7", "s"),
    "nutpie": ("#E69F00", "X"),
}
DPI = 110
SMALL = 8


def picture(device: str = "cpu") -> bytes:
    """A PNG; solid lines count everything from data to draws, dotted ones the kept draws alone."""
    shown = {model: posterior.summary for model, posterior in POSTERIORS.items() if _speeds(model, device)}
    columns = min(3, max(1, len(shown)))
    rows = max(1, -(-len(shown) // columns))
    figure = Figure(figsize=(9.5, 1.4 + 2.3 * rows), layout="constrained")
    for panel, (model, summary) in enumerate(shown.items()):
        axes = figure.add_subplot(rows, columns, panel + 1)
        counts = chain_counts(model, device)
        loaded = [_lines(axes, model, name, device) for name in STYLES]
        axes.set_title(summary + (" ‡" if any(loaded) else ""), fontsize=SMALL + 1)
        axes.set_xscale("log", base=2)
        axes.set_yscale("log")
        axes.set_xticks(counts, [f"{chains:,}" for chains in counts], minor=False)
        axes.set_xlabel("chains", fontsize=SMALL)
        axes.tick_params(labelsize=SMALL)
        axes.grid(color="0.92")
        axes.spines[["top", "right"]].set_visible(False)
    figure.supylabel("effective draws per second", fontsize=SMALL + 1)
    there = [name for name in STYLES if any(name in _speeds(model, device) for model in shown)]
    handles = [Line2D([], [], color=STYLES[name][0], marker=STYLES[name][1]) for name in there]
    handles += [Line2D([], [], color="0.3"), Line2D([], [], color="0.3", linestyle=":")]
    labels = [*(SAMPLERS[name].title for name in there), "from data to draws", "kept draws alone"]
    figure.legend(handles, labels, loc="outside lower center", ncols=4, fontsize=SMALL, frameon=False)
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=DPI, metadata={"Software": None})
    return file.getvalue()


def _lines(axes: Axes, model: str, name: str, device: str) -> bool:
    """One sampler's two lines; whether others used the machine beside any of its runs."""
    colour, marker = STYLES[name]
    found = _speeds(model, device).get(name, {})
    alone = {chains: pair[1] for chains, (pair, _) in found.items() if pair[1] is not None}
    whole = [pair[0] for pair, _ in found.values()]
    axes.plot(list(found), whole, color=colour, marker=marker, markersize=5, linewidth=1.4)
    axes.plot(list(alone), list(alone.values()), color=colour, marker=marker, markersize=3, linewidth=1, linestyle=":")
    return any(loaded for _, loaded in found.values())


def _speeds(model: str, device: str) -> dict[str, dict[int, tuple[tuple[float, float | None], bool]]]:
    """By sampler and chains, where a run passed: its speeds, and whether others used the machine."""
    found: dict[str, dict[int, tuple[tuple[float, float | None], bool]]] = {}
    for name in STYLES:
        for chains in chain_counts(model, device):
            record = read(result_path(model, chains, name, device))
            pair = speed(record)
            if record is not None and pair is not None:
                found.setdefault(name, {})[chains] = (pair, record["loaded_machine"])
    return found
