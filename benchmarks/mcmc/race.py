"""Runs in processes of their own, watched from outside: their time limit, their gate, who else used the machine."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from mcmc.gate import judge
from mcmc.posteriors import POSTERIORS
from mcmc.run import Floats, Settings

__all__ = ["judged", "run_once"]

BENCHMARKS = Path(__file__).parents[1]
BUSY = (0, 1, 2, 5, 6)  # fields of /proc/stat: user, nice, system, interrupts


def run_once(model: str, sampler: str, settings: Settings, limit: float) -> tuple[dict[str, Any], dict[str, Floats]]:
    """One run: its raw figures, and its draws (none where it failed to give any, and then ``failures`` says why)."""
    wanted = {"model": model, "sampler": sampler, "settings": asdict(settings)}
    run: dict[str, Any] = {"seed": settings.seed, "seconds": None, "sampling": None, "ess": None}
    with tempfile.TemporaryDirectory() as folder:
        began, busy, own = time.perf_counter(), _busy(), _own()
        command = [sys.executable, "-m", "mcmc.worker", json.dumps(wanted), folder]
        try:
            done = subprocess.run(command, cwd=BENCHMARKS, capture_output=True, text=True, timeout=limit, check=False)
        except subprocess.TimeoutExpired:
            return run | {"failures": [f"not done in {limit:.0f} s"], "others": None}, {}
        wall = time.perf_counter() - began
        run["cpu_seconds"] = _own() - own  # of the whole process: where others run beside it, steadier than a clock
        elsewhere = None if busy is None else max(0.0, _busy() - busy - run["cpu_seconds"])
        others = None if elsewhere is None else elsewhere / wall / (os.cpu_count() or 1)
        run["others"] = None if others is None else round(others, 3)
        if done.returncode:
            last = (done.stderr.strip() or "no word").splitlines()[-1]
            return run | {"failures": [f"stopped with exit code {done.returncode}: {last}"]}, {}
        run |= json.loads((Path(folder) / "run.json").read_text(encoding="utf-8"))
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


def _busy() -> Any:
    """Processor seconds of everybody since the machine started; ``None`` where the system does not tell."""
    path = Path("/proc/stat")
    if not path.is_file():
        return None
    fields = path.read_text(encoding="utf-8").split("\n", 1)[0].split()[1:]
    return sum(int(fields[i]) for i in BUSY) / os.sysconf("SC_CLK_TCK")


def _own() -> float:
    """Processor seconds of this process and of its children that have ended."""
    parts = (resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN))
    return sum(part.ru_utime + part.ru_stime for part in parts)
