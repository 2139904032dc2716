"""Where the records of samplers stand, and what one says of its cell of the table."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from harness.records import RESULTS as ALL
from harness.watched import LOADED

__all__ = ["RESULTS", "cell", "folder", "reference_path", "result_path"]

RESULTS = ALL / "mcmc"


def folder(device: str) -> Path:
    """Where the records of a device stand."""
    return RESULTS if device == "cpu" else RESULTS.with_name(f"{RESULTS.name}_{device}")


def result_path(model: str, chains: int, sampler: str, device: str = "cpu") -> Path:
    """Where the record of one cell stands."""
    return folder(device) / f"{model}-{chains}-{sampler}.json"


def reference_path(model: str) -> Path:
    """Where the moments of the long run stand."""
    return RESULTS / "references" / f"{model}.json"


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
