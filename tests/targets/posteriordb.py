"""posteriordb: data and reference draws of Stan (10 chains of 1,000, thinned until nearly independent).

Magnusson, Bürkner and Vehtari, *posteriordb: a set of posteriors for Bayesian inference and probabilistic
programming*, 2023, https://github.com/stan-dev/posteriordb. The programs of this folder that belong to it restate its
Stan programs in our own words; flat means improper uniform on the constrained space.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from tests.targets.target import Reference, Target, Values, flatten, names_of, summarised, unchanged, unflatten


def columns(folder: Path, name: str) -> dict[str, Tensor]:
    """The data of a posterior, every entry in float64, ``()`` or ``(N, ...)``."""
    found = json.loads((folder / "posteriordb" / name / "data.json").read_text(encoding="utf-8"))
    return {key: torch.tensor(value, dtype=torch.float64) for key, value in found.items()}


def reference(folder: Path, name: str, transform: Callable[[Values], Values] = unchanged) -> Reference:
    """The draws of a posterior, summarised; ``transform`` for parameters whose moments say little."""
    with np.load(folder / "posteriordb" / name / "draws.npz", allow_pickle=False) as file:
        draws, names = file["draws"].astype(np.float64), tuple(str(n) for n in file["names"])
    if transform is not unchanged:
        values = transform(unflatten(draws, names))
        names = names_of({key: value[0, 0] for key, value in values.items()})
        draws = flatten(values, names)
    return summarised(draws, names)


def target(folder: Path, name: str, model: Callable[..., None], data: dict[str, Tensor]) -> Target:
    """A program whose latent sites are the reference's parameters."""
    return Target(name, model, data, reference(folder, name))
