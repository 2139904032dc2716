"""A command in a process of its own, watched from outside: its time limit, and who else used the machine."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

__all__ = ["LOADED", "watched"]

BENCHMARKS = Path(__file__).parents[1]
BUSY = (0, 1, 2, 5, 6)  # fields of /proc/stat: user, nice, system, interrupts
LOADED = 0.05  # share of the machine's processors that others may use beside a timing


def watched(module: str, wanted: dict[str, Any], folder: Path, limit: float) -> dict[str, Any]:
    """Run ``python -m module WANTED FOLDER``; what it leaves in ``run.json``, or ``failures`` that say why it did not.

    With it come ``cpu_seconds`` of the whole process, steadier than a clock where others run beside it, and the share
    of the machine's processors that ``others`` used meanwhile, None where the system does not tell.
    """
    began, busy, own = time.perf_counter(), _busy(), _own()
    command = [sys.executable, "-m", module, json.dumps(wanted), str(folder)]
    try:
        done = subprocess.run(command, cwd=BENCHMARKS, capture_output=True, text=True, timeout=limit, check=False)
    except subprocess.TimeoutExpired:
        return {"failures": [f"not done in {limit:.0f} s"], "others": None}
    wall = time.perf_counter() - began
    run: dict[str, Any] = {"cpu_seconds": _own() - own}
    elsewhere = None if busy is None else max(0.0, _busy() - busy - run["cpu_seconds"])
    others = None if elsewhere is None else elsewhere / wall / (os.cpu_count() or 1)
    run["others"] = None if others is None else round(others, 3)
    if done.returncode:
        last = (done.stderr.strip() or "no word").splitlines()[-1]
        return run | {"failures": [f"stopped with exit code {done.returncode}: {last}"]}
    found: dict[str, Any] = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    return run | found


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
