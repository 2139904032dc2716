"""The built-in data sets: small files of this package, tables of scikit-learn, and draws from a seed.

Each function returns a record without splits; :func:`ppzoo.load_dataset` adds the one-line description of the table
below and the splits. Column names never equal an argument name, so that ``x`` always means the whole table.
"""

from __future__ import annotations

import csv
import math
import warnings
from collections.abc import Callable
from importlib.resources import files
from typing import Any

import numpy as np

from ppzoo.datasets.record import Dataset

__all__ = ["DRAWN", "FIXED"]

_FACTS = "facts, no licence needed"
_POSTERIORDB = "posteriordb, https://github.com/stan-dev/posteriordb"
_UCI = "https://archive.ics.uci.edu/dataset"
_OURS = "Apache-2.0, drawn by this package"


def eight_schools() -> Dataset:
    """``y`` and ``sigma`` (8,), by school."""
    names, rows = _file("eight_schools")
    numbers = np.array([row[1:] for row in rows], dtype=np.float64)
    return Dataset(
        "eight_schools",
        dict(zip(names[1:], numbers.T, strict=True)),
        coords={"school": tuple(row[0] for row in rows)},
        source="Rubin (1981), Journal of Educational Statistics 6:377, https://doi.org/10.3102/10769986006004377",
        licence=_FACTS,
    )


def old_faithful() -> Dataset:
    """``x`` (272, 2): eruptions and waiting, in minutes."""
    names, rows = _file("old_faithful")
    return Dataset(
        "old_faithful",
        {"x": np.array(rows, dtype=np.float64)},
        columns={"x": names},
        source="Azzalini and Bowman (1990), Applied Statistics 39:357, https://doi.org/10.2307/2347385",
        licence=_FACTS,
    )


def galaxies() -> Dataset:
    """``x`` (82, 1): velocity in 1000 km/s."""
    names, rows = _file("galaxies")
    return Dataset(
        "galaxies",
        {"x": np.array(rows, dtype=np.float64) / 1000},
        columns={"x": names},
        source="Roeder (1990), JASA 85:617, https://doi.org/10.2307/2289993, as in R's MASS: "
        "the 78th value is 26.690 there and 26.960 in the paper",
        licence=_FACTS,
    )


def kidiq() -> Dataset:
    """``x`` (434, 2): the mother's high school and IQ; ``y`` (434,): the child's score."""
    names, rows = _file("kidiq")
    numbers = np.array(rows, dtype=np.float64)
    return Dataset(
        "kidiq",
        {"x": numbers[:, 1:], "y": numbers[:, 0]},
        columns={"x": names[1:]},
        source=f"Gelman and Hill (2007), Data Analysis Using Regression, chapter 3; {_POSTERIORDB}",
        licence="BSD-3-Clause (posteriordb)",
    )


def digits() -> Dataset:
    """``x`` (1797, 64): pixels in [0, 1], row by row; ``y`` (1797,): the digit."""
    bunch = _sklearn("load_digits")
    return _labelled("digits", bunch, scale=16.0, source=f"Alpaydin and Kaynak (1998), {_UCI}/80")


def breast_cancer() -> Dataset:
    """``x`` (569, 30): shapes of cell nuclei; ``y`` (569,): 0 malignant, 1 benign."""
    return _labelled(
        "breast_cancer",
        _sklearn("load_breast_cancer"),
        source=f"Wolberg, Mangasarian, Street and Street (1993), {_UCI}/17",
    )


def wine() -> Dataset:
    """``x`` (178, 13): chemical analysis; ``y`` (178,): the grower."""
    return _labelled("wine", _sklearn("load_wine"), source=f"Aeberhard and Forina (1992), {_UCI}/109")


def iris() -> Dataset:
    """``x`` (150, 4): lengths in cm; ``y`` (150,): the species."""
    return _labelled("iris", _sklearn("load_iris"), source=f"Fisher (1936), {_UCI}/53")


def diabetes() -> Dataset:
    """``x`` (442, 10): columns centred, each with unit sum of squares; ``y`` (442,): progression after a year."""
    bunch = _sklearn("load_diabetes")
    return Dataset(
        "diabetes",
        {"x": bunch.data, "y": bunch.target},
        columns={"x": tuple(bunch.feature_names)},
        source="Efron, Hastie, Johnstone and Tibshirani (2004), Annals of Statistics 32:407, "
        "https://doi.org/10.1214/009053604000000067",
        licence="none stated; comes with scikit-learn (BSD-3-Clause)",
    )


def swiss_roll(rng: np.random.Generator) -> Dataset:
    """``x`` (1500, 3): ``(t cos t, h, t sin t)`` plus noise of sd 0.1; ``y`` (1500,): the angle ``t``."""
    t = 1.5 * math.pi * (1 + 2 * rng.random(1500))
    x = np.stack([t * np.cos(t), 21 * rng.random(1500), t * np.sin(t)], axis=1)
    return _drawn("swiss_roll", x + 0.1 * rng.standard_normal(x.shape), t, source="after Tenenbaum (2000)")


def two_moons(rng: np.random.Generator) -> Dataset:
    """``x`` (2000, 2): two half circles of radius 1 plus noise of sd 0.05; ``y`` (2000,): which of them."""
    y = rng.permutation(np.repeat([0, 1], 1000))
    t = math.pi * rng.random(2000)
    x = np.where(y[:, None] == 0, np.stack([np.cos(t), np.sin(t)], 1), np.stack([1 - np.cos(t), 0.5 - np.sin(t)], 1))
    return _drawn("two_moons", x + 0.05 * rng.standard_normal(x.shape), y, source="as in scikit-learn's make_moons")


def ring_of_gaussians(rng: np.random.Generator) -> Dataset:
    """``x`` (4000, 2): 8 Gaussians of sd 0.02 on a ring of radius 2; ``y`` (4000,): which of them."""
    y = rng.permutation(np.repeat(np.arange(8), 500))
    angle = 2 * math.pi * y / 8
    x = 2 * np.stack([np.cos(angle), np.sin(angle)], axis=1) + 0.02 * rng.standard_normal((4000, 2))
    return _drawn("ring_of_gaussians", x, y, source="Metz et al. (2017), https://arxiv.org/abs/1611.02163")


FIXED: dict[str, tuple[Callable[[], Dataset], str]] = {
    "breast_cancer": (breast_cancer, "569 tumours by 30 shapes of cell nuclei, malignant or benign"),
    "diabetes": (diabetes, "442 patients by 10 standardised measures, and the progression of the disease"),
    "digits": (digits, "1797 handwritten digits of 8 by 8 pixels, scaled to [0, 1]"),
    "eight_schools": (eight_schools, "effects of coaching in 8 schools, with their standard errors"),
    "galaxies": (galaxies, "velocities of 82 galaxies, in 1000 km/s"),
    "iris": (iris, "150 flowers by 4 lengths, of 3 species"),
    "kidiq": (kidiq, "test scores of 434 children, with high school and IQ of their mothers"),
    "old_faithful": (old_faithful, "272 eruptions of a geyser: how long, and the wait for the next, in minutes"),
    "wine": (wine, "178 wines by 13 chemical measures, of 3 growers"),
}
"""Name to loader and one line, for data that are what they are."""

DRAWN: dict[str, tuple[Callable[[np.random.Generator], Dataset], str]] = {
    "ring_of_gaussians": (ring_of_gaussians, "4000 draws from 8 narrow Gaussians on a ring of radius 2"),
    "swiss_roll": (swiss_roll, "1500 points on a rolled-up sheet in 3 dimensions"),
    "two_moons": (two_moons, "2000 points on two interleaved half circles"),
}
"""Name to loader and one line, for data drawn from a generator."""


def _file(name: str) -> tuple[tuple[str, ...], list[list[str]]]:
    text = files("ppzoo.datasets").joinpath("files", f"{name}.csv").read_text(encoding="utf-8")
    header, *rows = csv.reader(text.splitlines())
    return tuple(header), rows


def _sklearn(function: str) -> Any:
    with warnings.catch_warnings():  # scikit-learn adds filters at its first import
        import sklearn.datasets as tables

        return getattr(tables, function)()


def _labelled(name: str, bunch: Any, *, scale: float = 1.0, source: str) -> Dataset:
    return Dataset(
        name,
        {"x": bunch.data.astype(np.float64) / scale, "y": bunch.target.astype(np.int64)},
        columns={"x": tuple(bunch.feature_names)},
        source=source,
        licence="CC BY 4.0",
    )


def _drawn(name: str, x: np.ndarray, y: np.ndarray, *, source: str) -> Dataset:
    columns = tuple(f"x{i}" for i in range(x.shape[1]))
    return Dataset(name, {"x": x, "y": y}, columns={"x": columns}, source=source, licence=_OURS)
