"""What is fitted: the data, and the settings that all share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from mcmc.posteriors import SHARED, radon
from numpy.typing import NDArray

__all__ = ["PROBLEMS", "Problem", "Settings", "Trained"]

PIXELS, ROWS = 784, 20_000


@dataclass(frozen=True)
class Problem:
    """A model with its guide.

    Attributes:
        summary: What it is, for the table.
        data: Reads the arguments of the model, as arrays by name.
        batch: Rows of a step; all if None.
        steps: Of a run.
        rate: Adam's, the same at each step.
        target: A loss that all reach, in nats per row: how long it takes is measured.
        model: Its name among those of the MCMC benchmark, if it is one of these.
        flow: Width of the network of an inverse autoregressive flow that is the guide; else it is a mean field.
        hidden: Of a VAE, the width of its two networks.
        latents: Of a VAE, the length of a code.
    """

    summary: str
    data: Callable[[], dict[str, NDArray[Any]]]
    batch: int | None
    steps: int
    rate: float
    target: float
    model: str = ""
    flow: int = 0
    hidden: int = 0
    latents: int = 0


@dataclass(frozen=True)
class Settings:
    """A run: its seed, how many steps it takes, and on which device."""

    seed: int
    steps: int
    device: str = "cpu"


@dataclass(frozen=True)
class Trained:
    """What training gave.

    Attributes:
        setup: Seconds from the data to the first step: tracing and compilation.
        seconds: Of all steps.
        losses: Of each step, in nats per row.
        notes: What was said about the road that was taken.
    """

    setup: float
    seconds: float
    losses: list[float]
    notes: list[str]


def digits() -> dict[str, NDArray[Any]]:
    """The first binarised digits of Larochelle and Murray (2011)."""
    with np.load(SHARED / "binarized_mnist" / "binarized_mnist_packed.npz", allow_pickle=False) as file:
        return {"x": np.unpackbits(file["train"][:ROWS], axis=1)[:, :PIXELS].astype(np.float32)}


def houses() -> dict[str, NDArray[Any]]:
    """Radon in Minnesota, in single precision."""
    return {name: x.astype(np.float32) if x.dtype == np.float64 else x for name, x in radon().items()}


PROBLEMS = {
    "vae_400": Problem("VAE 784-400-20, batch 128", digits, 128, 1000, 1e-3, 150.0, hidden=400, latents=20),
    "vae_64": Problem("VAE 784-64-20, batch 128", digits, 128, 2000, 1e-3, 150.0, hidden=64, latents=20),
    "radon": Problem("radon, 919 houses, mean field", houses, None, 5000, 1e-2, 1.2, "radon"),
    "radon_flow": Problem("radon, 919 houses, a flow (IAF)", houses, None, 5000, 3e-3, 1.25, "radon", flow=182),
}
