"""The posteriors: their data and the sites that are compared. The models are in the three languages' own files."""

from __future__ import annotations

import csv
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["POSTERIORS", "Posterior"]

Data = dict[str, NDArray[Any]]
SHARED = Path(os.environ.get("PPZOO_DATA", Path(__file__).parents[3] / "shared" / "data"))
BAD = 2  # the credit that went wrong


@dataclass(frozen=True)
class Posterior:
    """A posterior.

    Attributes:
        summary: What it is, for the table.
        data: Reads the arguments of the models, as arrays by name.
        sites: Sites that are compared, by their name in every language.
        divergent: Share of divergent draws that is declared to be harmless here: the reference has them too.
        draws: Of all chains together, for an ESS that can pass the gate: more where chains move slowly.
        fewest: Draws of each chain however many chains there are, or nobody can tell whether the chains agree: of
            shorter ones R-hat is above 1.01 by their autocorrelation alone.
    """

    summary: str
    data: Callable[[], Data]
    sites: tuple[str, ...]
    divergent: float = 0.0
    draws: int = 20_000
    fewest: int = 200

    def draws_of_each(self, chains: int, of_all: int | None) -> int:
        """Kept draws per chain, for ``of_all`` draws together or, if not given, as many as this posterior needs.

        >>> POSTERIORS["radon"].draws_of_each(1024, None)
        400
        """
        return max(self.fewest, -(-(self.draws if of_all is None else of_all) // chains))


def eight_schools() -> Data:
    """Effects of coaching and their standard errors (Rubin 1981, https://doi.org/10.3102/10769986006004377)."""
    effects, errors = [28, 8, -3, 7, -1, 1, 18, 12], [15, 10, 16, 11, 9, 11, 10, 18]
    return {"y": np.array(effects, np.float64), "sigma": np.array(errors, np.float64)}


def german_credit() -> Data:
    """1,000 borrowers, 24 standardised numbers and ones (Hofmann 1994, https://doi.org/10.24432/C5NC77)."""
    with np.load(SHARED / "german_credit" / "german_credit_numeric.npz", allow_pickle=False) as file:
        X, y = file["X"].astype(np.float64), file["y"]
    X = (X - X.mean(0)) / X.std(0)
    return {"X": np.column_stack((X, np.ones(len(X)))), "bad": (y == BAD).astype(np.float64)}


def radon() -> Data:
    """919 houses in 85 counties of Minnesota (Gelman and Hill 2006, as in the R package HLMdiag)."""
    rows = _rows("radon_hlmdiag.csv")
    numbers = {name: np.array([float(row[name]) for row in rows]) for name in ("log.radon", "basement", "uranium")}
    county = np.array([int(row["county"]) for row in rows]) - 1
    uranium = np.array([numbers["uranium"][county == j].mean() for j in range(county.max() + 1)])
    return {"basement": numbers["basement"], "uranium": uranium, "county": county, "log_radon": numbers["log.radon"]}


def gaussian_process() -> Data:
    """30 of the 133 accelerations of a helmet, evenly spaced, standardised (Silverman 1985)."""
    rows = _rows("mcycle.csv")
    table = np.array([[float(row["times"]), float(row["accel"])] for row in rows])
    table = table[np.linspace(0, len(table) - 1, 30).round().astype(int)]
    table = (table - table.mean(0)) / table.std(0)
    return {"x": table[:, 0], "y": table[:, 1]}


def state_space() -> Data:
    """The flow of the Nile in its first 50 years, standardised (Cobb 1978)."""
    y = np.array([float(row["value"]) for row in _rows("nile.csv")])[:50]
    return {"y": (y - y.mean()) / y.std()}


def mixture() -> Data:
    """300 draws of 0.5 N(-3, 0.6) + 0.3 N(0, 0.8) + 0.2 N(3, 0.7), of NumPy's generator with seed 0."""
    rng = np.random.default_rng(0)
    k = rng.choice(3, 300, p=[0.5, 0.3, 0.2])
    return {"y": rng.normal(np.array([-3.0, 0.0, 3.0])[k], np.array([0.6, 0.8, 0.7])[k])}


def _rows(name: str) -> list[dict[str, str]]:
    with (SHARED / "classics" / name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


POSTERIORS = {
    "eight_schools": Posterior("eight schools, non-centred (10)", eight_schools, ("mu", "tau", "z"), 0.005),
    "german_credit": Posterior("German credit, logistic, 1,000 × 25 (25)", german_credit, ("weights",)),
    "radon": Posterior(
        "radon, 919 houses in 85 counties (90)",
        radon,
        ("mean", "slope", "floor", "spread", "scale", "effect"),
        0.001,
        draws=80_000,
        fewest=400,
    ),
    "gaussian_process": Posterior(
        "Gaussian process, 30 points (3)", gaussian_process, ("rho", "alpha", "scale"), 0.001
    ),
    "state_space": Posterior(
        "state space, 50 steps (53)",
        state_space,
        ("phi", "tau", "sigma", "x"),
        0.005,
        draws=60_000,
        fewest=300,
    ),
    "mixture": Posterior("mixture of 3 normals, 300 points (8)", mixture, ("weights", "first", "gaps", "scales")),
}
