"""Records of runs and of references as JSON: where they stand, and what they say of the machine."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

import ppzoo

__all__ = ["about", "cell", "folder", "read", "reference_path", "result_path", "write"]

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "benchmarks" / "results" / "mcmc"
PACKAGES = ("torch", "pyro-ppl", "numpy", "jax", "jaxlib", "numpyro", "pymc", "pytensor", "numba", "nutpie")
LOADED = 0.05  # share of the machine's processors that others may use beside a timing


def folder(device: str) -> Path:
    """Where the records of a device stand."""
    return RESULTS if device == "cpu" else RESULTS.with_name(f"{RESULTS.name}_{device}")


def result_path(model: str, chains: int, sampler: str, device: str = "cpu") -> Path:
    """Where the record of one cell stands."""
    return folder(device) / f"{model}-{chains}-{sampler}.json"


def reference_path(model: str) -> Path:
    """Where the moments of the long run stand."""
    return RESULTS / "references" / f"{model}.json"


def read(path: Path) -> dict[str, Any] | None:
    """A record, or ``None`` where there is none."""
    if not path.is_file():
        return None
    record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return record


def write(path: Path, record: dict[str, Any]) -> None:
    """Write a record, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_suffix(".part")
    beside.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    beside.replace(path)


def cell(model: str, chains: int, sampler: str, runs: list[dict[str, Any]]) -> dict[str, Any]:
    """The runs of one cell of the table, whether all passed, and whether others used the machine beside any."""
    shares = [run["others"] for run in runs]
    return {
        "model": model,
        "chains": chains,
        "sampler": sampler,
        "loaded_machine": any(share is None or share > LOADED for share in shares),
        "gate_passed": bool(runs) and not any(run["failures"] for run in runs),
        "runs": runs,
    }


def about(device: str = "cpu") -> dict[str, Any]:
    """Commit, hardware and versions."""
    return {
        "commit": _git("rev-parse", "HEAD"),
        "uncommitted_changes": bool(_git("status", "--porcelain", "--untracked-files=no", "--", "ppzoo")),
        "hardware": {
            "processor": _processor(),
            "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
            "system": f"{platform.system()} {platform.machine()}",
            "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS"),
            "device": torch.cuda.get_device_name() if device == "cuda" else "cpu",
        },
        "versions": {"python": platform.python_version(), "ppzoo": ppzoo.__version__, **_versions()},
    }


def _versions() -> dict[str, str]:
    found = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found


def _git(*words: str) -> str:
    done = subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=False)  # noqa: S607
    return done.stdout.strip()


def _processor() -> str:
    path = Path("/proc/cpuinfo")
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")
