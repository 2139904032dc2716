"""Gradients that a sampler computes for each that its trajectories need: what waiting for other chains costs.

A run of ours counts all of its gradients, warm-up too. So a second run from the same seed, whose warm-up is the same
and whose draws are the fewest that there may be, is taken off it. What it computes for chains side by side in one
vector of the processor is counted lane by lane, idle ones too.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from mcmc.race import run_once
from mcmc.run import Settings
from ppzoo.errors import FitError
from ppzoo.inference.native.build import lanes

__all__ = ["counted", "with_idle_lanes"]

FEWEST = 4  # draws of each chain


def counted(model: str, sampler: str, settings: Settings, limit: float) -> dict[str, Any]:
    """``executed`` and ``needed`` gradients of the kept draws.

    Raises:
        FitError: If a run failed.
    """
    run = _run(model, sampler, settings, limit)
    if run["gradients"] is not None:
        return {"executed": run["gradients"], "needed": sum(run["needed"]), "idle_lanes": 0}
    few = _run(model, sampler, replace(settings, draws=FEWEST), limit)
    needed = np.array(run["needed"]) - np.array(few["needed"])
    executed = run["total"] - few["total"]
    idle = with_idle_lanes(needed, lanes()) - int(needed.sum()) if "Steps: machine code." in run["notes"] else 0
    return {"executed": executed + idle, "needed": int(needed.sum()), "idle_lanes": idle}


def with_idle_lanes(needed: Any, width: int) -> int:
    """Gradients ``(C,)`` of the chains if in groups of ``width`` all wait for the one with the most.

    >>> with_idle_lanes([3, 5, 2], 2)
    14
    """
    return width * sum(int(max(needed[i : i + width])) for i in range(0, len(needed), width))


def _run(model: str, sampler: str, settings: Settings, limit: float) -> dict[str, Any]:
    run, _ = run_once(model, sampler, settings, limit)
    if "failures" in run:
        raise FitError(run["failures"][0], argument=f"{model}, {settings.chains} chains, {sampler}")
    return run
