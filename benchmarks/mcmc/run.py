"""What a sampler is asked for and what it gives back."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

__all__ = ["Drawn", "Floats", "Settings", "gathered"]


@dataclass(frozen=True)
class Settings:
    """A run: chains, adapting draws per chain, kept draws per chain, seed, device; the rest is the sampler's default.

    Attributes:
        method: Which of ppzoo's samplers; nothing to the others.
    """

    chains: int
    warmup: int
    draws: int
    seed: int
    device: str = "cpu"
    method: str = ""


@dataclass(frozen=True)
class Drawn:
    """What a sampler gave.

    Attributes:
        draws: By site, ``(C, S, ...)``.
        seconds: From the data to the draws on the host: tracing, compilation, warm-up and sampling.
        sampling: Seconds of the kept draws alone, everything compiled and adapted; ``None`` where not measured.
        divergences: Among the kept draws.
        gradients: Executed for the kept draws, by lockstep's idle chains too; ``None`` where not counted alone.
        needed: Gradients in the trajectories of the kept draws, by chain; ``None`` where none are counted.
        total: Executed for everything, warm-up too; ``None`` where none are counted.
        notes: What was said about the road that was taken.
    """

    draws: dict[str, Floats]
    seconds: float
    sampling: float | None
    divergences: int
    gradients: int | None = None
    needed: list[int] | None = None
    total: int | None = None
    notes: list[str] = field(default_factory=list)


def gathered(draws: dict[str, Floats], sites: tuple[str, ...]) -> dict[str, Floats]:
    """The sites asked for; one that was sampled step by step, as ``x_0``, ``x_1``, ..., is stacked into ``x``."""
    found = {}
    for site in sites:
        steps = [name for name in draws if name.rpartition("_")[0] == site and name.rpartition("_")[2].isdigit()]
        if site in draws:
            found[site] = np.asarray(draws[site], dtype=np.float64)
        else:
            ordered = sorted(steps, key=lambda name: int(name.rpartition("_")[2]))
            found[site] = np.stack([np.asarray(draws[name], dtype=np.float64) for name in ordered], -1)
    return found
