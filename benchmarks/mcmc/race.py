"""Runs in processes of their own, behind a gate."""

from __future__ import annotations

import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from harness.watched import watched

from mcmc.gate import judge
from mcmc.posteriors import POSTERIORS
from mcmc.run import Floats, Settings

__all__ = ["judged", "run_once"]


def run_once(model: str, sampler: str, settings: Settings, limit: float) -> tuple[dict[str, Any], dict[str, Floats]]:
    """One run: its raw figures, and its draws (none where it failed to give any, and then ``failures`` says why)."""
    wanted = {"model": model, "sampler": sampler, "settings": asdict(settings)}
    run: dict[str, Any] = {"seed": settings.seed, "seconds": None, "sampling": None, "ess": None}
    with tempfile.TemporaryDirectory() as folder:
        run |= watched("mcmc.worker", wanted, Path(folder), limit)
        if "failures" in run:
            return run, {}
        with np.load(Path(folder) / "draws.npz", allow_pickle=False) as file:
            return run, {site: file[site] for site in POSTERIORS[model].sites}


def judged(
    model: str, run: dict[str, Any], draws: dict[str, Floats], reference: dict[str, Any] | None
) -> dict[str, Any]:
    """The figures of a run with what speaks against it; ``reference`` is ``None`` while it is itself to become one."""
    if not draws:
        return run
    if run["needed"] is not None:
        run = run | {"needed": sum(run["needed"])}
    chains, kept = next(iter(draws.values())).shape[:2]
    share = run["divergences"] / (chains * kept)
    return run | vars(judge(draws, share if share > POSTERIORS[model].divergent else 0.0, reference))
