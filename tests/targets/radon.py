"""Radon in houses, by county, of Inference Gym. N houses, J counties.

    log_radon_n ~ N(w_1 log_uranium_n + w_2 floor_n + w_3 floor_by_county_n + effect_(county_n), scale)
    effect_j ~ N(mean, spread),  mean ~ N(0, 1),  w_i ~ N(0, 1)

Gelman and Hill, *Data Analysis Using Regression and Multilevel/Hierarchical Models*, 2006. Inference Gym's own copy of
the data is not here: the rows are posteriordb's, which has ln(activity + 0.1) and ln(uranium + 0.1) where Inference Gym
has ln(max(activity, 0.1)) and ln(uranium); houses measured above the first floor are left out.
"""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import torch
from torch import Tensor

from tests.targets import inference_gym
from tests.targets.target import Target

_ADDED = 0.1
_INDIANA = slice(1507, 3421)  # rows of that state in the national table, which names none
# Inference Gym numbers counties by the alphabet, posteriordb's rows do so but for a few: from position, to position
_MINNESOTA_MOVES = ((41, 44), (66, 69))  # McLeod stands before Mahnomen, St Louis before Scott
_INDIANA_MOVES = ((16, 14), (45, 43), (70, 73))  # De Kalb, La Porte and St Joseph, where a blank sorts first


def uniform_scales(
    log_uranium: Tensor, floor: Tensor, floor_by_county: Tensor, county: Tensor, log_radon: Tensor
) -> None:
    """Spread and scale ~ Uniform(0, 100)."""
    spread = pyro.sample("county_effect_scale", dist.Uniform(0.0, 100.0))
    scale = pyro.sample("log_radon_scale", dist.Uniform(0.0, 100.0))
    _houses(torch.stack((log_uranium, floor, floor_by_county), -1), county, log_radon, spread, scale)


def half_normal_scales(
    log_uranium: Tensor, floor: Tensor, floor_by_county: Tensor, county: Tensor, log_radon: Tensor
) -> None:
    """Spread and scale ~ HalfNormal(1)."""
    spread = pyro.sample("county_effect_scale", dist.HalfNormal(1.0))
    scale = pyro.sample("log_radon_scale", dist.HalfNormal(1.0))
    _houses(torch.stack((log_uranium, floor, floor_by_county), -1), county, log_radon, spread, scale)


def _houses(X: Tensor, county: Tensor, log_radon: Tensor, spread: Tensor, scale: Tensor) -> None:
    mean = pyro.sample("county_effect_mean", dist.Normal(0.0, 1.0))
    weight = pyro.sample("weight", dist.Normal(0.0, 1.0).expand([3]).to_event(1))
    with pyro.plate("county", int(county.max()) + 1):
        effect = pyro.sample("county_effect", dist.Normal(mean, spread))
    with pyro.plate("house", len(log_radon)):
        pyro.sample("log_radon", dist.Normal(X @ weight + effect[county], scale), obs=log_radon)


def radon(folder: Path, name: str) -> Target:
    """One of the two states, with one of the two priors, as the name says."""
    model = half_normal_scales if name.endswith("_halfnormal") else uniform_scales
    houses = _minnesota(folder) if "minnesota" in name else _indiana(folder)
    return Target(name, model, houses, inference_gym.moments(folder, name))


def _minnesota(folder: Path) -> dict[str, Tensor]:
    return _houses_of(_table(folder, "radon_mn"), slice(None), _MINNESOTA_MOVES)


def _indiana(folder: Path) -> dict[str, Tensor]:
    return _houses_of(_table(folder, "radon_all"), _INDIANA, _INDIANA_MOVES)


def _table(folder: Path, name: str) -> dict[str, Any]:
    with gzip.open(folder / "posteriordb_data_only" / f"{name}.json.gz", "rt", encoding="utf-8") as file:
        found: dict[str, Any] = json.load(file)
    return found


def _houses_of(table: dict[str, Any], rows: slice, moves: tuple[tuple[int, int], ...]) -> dict[str, Tensor]:
    floor, uppm, activity = (np.array(table[key])[rows] for key in ("floor_measure", "log_uppm", "log_radon"))
    _, first, county = np.unique(np.array(table["county_idx"])[rows], return_index=True, return_inverse=True)
    order = np.argsort(first).tolist()
    for start, end in moves:
        order.insert(end, order.pop(start))
    county = np.argsort(order)[county]
    keep = floor <= 1
    floor, county = floor[keep], county[keep]
    columns = {
        "log_uranium": np.log(np.exp(uppm[keep]) - _ADDED),
        "floor": floor,
        "floor_by_county": (np.bincount(county, floor) / np.bincount(county))[county],
        "log_radon": np.log(np.maximum((np.exp(activity[keep]) - _ADDED).round(1), 0.1)),
    }
    return {"county": torch.tensor(county)} | {k: torch.tensor(v, dtype=torch.float64) for k, v in columns.items()}
