"""Inference Gym: moments from long runs of Stan, and synthetic data.

Sountsov, Radul and contributors, *Inference Gym*, 2020, https://pypi.org/project/inference_gym. The programs of this
folder that belong to it restate its models in our own words. It gives means with their standard errors, and sds.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from tests.targets.target import Reference

_PREFIX, _MEAN, _ERROR, _SD = "IDENTITY_", "_MEAN", "_MEAN_STANDARD_ERROR", "_STANDARD_DEVIATION"


def observations(folder: Path, name: str) -> dict[str, Any]:
    """The literals of a synthetic data set, their names in lower case."""
    found = json.loads((folder / "inference_gym" / f"data_{name}.json").read_text(encoding="utf-8"))
    return {key.lower(): value for key, value in found.items()}


def moments(folder: Path, name: str, only: str = "") -> Reference:
    """The moments of a model by parameter, in the file's order.

    Args:
        folder: Of the shared data.
        name: Of the model.
        only: What to call the parameter of a model that has one, which the file gives no name.
    """
    found = json.loads((folder / "inference_gym" / f"ground_truth_{name}.json").read_text(encoding="utf-8"))
    stems = [key.removesuffix(_ERROR) for key in found if key.endswith(_ERROR)]
    names: list[str] = []
    rows: list[np.ndarray] = []
    for stem in stems:
        base = stem.removeprefix(_PREFIX.removesuffix("_")).removeprefix("_").lower() or only
        row = np.array([found[stem + suffix] for suffix in (_MEAN, _ERROR, _SD)], dtype=np.float64)
        names += [base] if row.ndim == 1 else [f"{base}[{i + 1}]" for i in range(row.shape[1])]
        rows.append(row.reshape(3, -1))
    mean, error, sd = np.concatenate(rows, axis=1)
    return Reference(tuple(names), mean, error, sd)
