"""One fit of rows on disk, or of the same rows in memory, in a process of its own: ``python -m svi.streamed``."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import torch
from mcmc.footprint import peak

import ppzoo

__all__ = ["COLUMNS", "logistic", "main", "write"]

COLUMNS, AT_ONCE = 8, 100_000


def logistic(x: torch.Tensor, y: torch.Tensor) -> None:
    """Logistic regression, standard normal priors."""
    w = pyro.sample("w", dist.Normal(x.new_zeros(COLUMNS), 1.0).to_event(1))
    with pyro.plate("row", len(x)):
        pyro.sample("y", dist.Bernoulli(logits=x @ w), obs=y)


def write(folder: Path, rows: int, seed: int) -> None:
    """``x.npy`` and ``y.npy`` of so many rows, some at a time."""
    rng, weights = np.random.default_rng(seed), np.linspace(-1, 1, COLUMNS)
    shapes = {"x": (rows, COLUMNS), "y": (rows,)}
    files = {n: np.lib.format.open_memmap(folder / f"{n}.npy", "w+", np.float32, shape) for n, shape in shapes.items()}
    for begin in range(0, rows, AT_ONCE):
        x = rng.normal(size=(min(AT_ONCE, rows - begin), COLUMNS))
        files["x"][begin : begin + len(x)] = x
        files["y"][begin : begin + len(x)] = rng.random(len(x)) < 1 / (1 + np.exp(-x @ weights))


def main(spec: str, folder: Path) -> None:
    """Fit as the JSON ``{"rows", "batch", "steps", "seed", "where"}`` says; leaves ``run.json``."""
    wanted = json.loads(spec)
    mode = "r" if wanted["where"] == "disk" else None
    data = {name: np.load(folder / f"{name}.npy", mmap_mode=mode) for name in ("x", "y")}
    if mode is None:
        data = {name: torch.from_numpy(value) for name, value in data.items()}
    before = peak()
    options: dict[str, Any] = {"batch_size": wanted["batch"], "steps": wanted["steps"], "seed": wanted["seed"]}
    fit = ppzoo.fit(logistic, data, method="svi", guide="normal", progress=False, **options)
    steps = fit.outcome.numbers["seconds_steps"]
    found = {
        "before": before,
        "peak": peak(),
        "setup": fit.seconds - steps,
        "step": steps / wanted["steps"],
        "error": float((fit.draws(1000)["w"].mean(0) - torch.linspace(-1, 1, COLUMNS)).abs().max()),
        "road": next(note for note in fit.notes if note.startswith("Steps")),
    }
    (folder / "run.json").write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
