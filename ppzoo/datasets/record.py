"""The record that every loader returns: arrays by argument name, with names, source, licence and splits.

No torch here: a record is NumPy, read-only, and says where it comes from.
"""

from __future__ import annotations

import html
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from ppzoo.checks import check_choice, check_seed
from ppzoo.errors import DataError
from ppzoo.rng import stream_seed

__all__ = ["Dataset", "split_rows"]


@dataclass(frozen=True, eq=False, repr=False)
class Dataset:
    """Arrays by the name of the argument they are for, rows first, and what is known about them.

    Args:
        name: What it is called, such as ``"digits"`` or ``"heights.csv"``.
        data: Argument name to array, rows first: ``{"x": (N, D), "y": (N,)}``. Copied and made read-only.
        columns: Argument name to the names of its columns, one per column, for those arrays that have names.
        coords: Plate name to the labels of the rows, such as ``{"school": ("A", ...)}``.
        description: One or two sentences.
        source: Who made or measured it, with a link.
        licence: Under which terms.
        splits: ``"train"`` and ``"test"`` to row indices, disjoint and covering; empty where rows do not match up.

    Raises:
        DataError: Where ``columns`` or ``coords`` do not fit the arrays.

    Example:
        >>> heights = Dataset("heights", {"x": np.array([[1.5], [1.8]])}, columns={"x": ("metres",)})
        >>> heights
        Dataset('heights': x (2, 1))
        >>> heights.data["x"].flags.writeable
        False
    """

    name: str
    data: Mapping[str, NDArray[np.generic]]
    columns: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    coords: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    description: str = ""
    source: str = ""
    licence: str = ""
    splits: Mapping[str, NDArray[np.int64]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "data", {name: _frozen(np.asarray(array)) for name, array in self.data.items()})
        object.__setattr__(self, "splits", {name: _frozen(np.asarray(rows)) for name, rows in self.splits.items()})
        object.__setattr__(self, "columns", {name: tuple(map(str, names)) for name, names in self.columns.items()})
        object.__setattr__(self, "coords", {name: tuple(map(str, labels)) for name, labels in self.coords.items()})
        for name, names in self.columns.items():
            if name not in self.data or self.data[name].shape[1:] != (len(names),):
                got = f"{len(names)} names for shape {self.shape.get(name)}"
                raise DataError("the column names do not fit the array", argument=name, got=got)
        for plate, labels in self.coords.items():
            if {len(labels)} != {len(array) for array in self.data.values()}:
                got = f"{len(labels)} labels for shapes {self.shape}"
                raise DataError("needs one label per row", argument=plate, got=got)

    @property
    def shape(self) -> dict[str, tuple[int, ...]]:
        """Shape of each array, by argument name."""
        return {name: array.shape for name, array in self.data.items()}

    def split(self, name: str) -> Dataset:
        """The rows of one split, as a record of its own.

        Args:
            name: ``"train"`` or ``"test"``.

        Raises:
            OptionError: Where there is no such split.

        Example:
            >>> digits = Dataset("a", {"x": np.arange(10.0)}, splits=split_rows(10, seed=0))
            >>> digits.split("train"), digits.split("test")
            (Dataset('a/train': x (8,)), Dataset('a/test': x (2,)))
        """
        rows = self.splits[check_choice("split", name, self.splits)]
        return replace(
            self,
            name=f"{self.name}/{name}",
            data={key: array[rows] for key, array in self.data.items()},
            coords={plate: tuple(labels[i] for i in rows) for plate, labels in self.coords.items()},
            splits={},
        )

    def __repr__(self) -> str:
        return f"Dataset({self.name!r}: {self._sizes()})"

    def _sizes(self) -> str:
        arrays = ", ".join(f"{name} {shape}" for name, shape in self.shape.items())
        splits = ", ".join(f"{name} {len(rows)}" for name, rows in self.splits.items())
        return f"{arrays}; {splits}" if splits else arrays

    def _repr_html_(self) -> str:
        columns = "; ".join(f"{name}: {_shortened(names)}" for name, names in self.columns.items())
        rows = {
            "arrays": self._sizes(),
            "columns": columns,
            "description": self.description,
            "source": self.source,
            "licence": self.licence,
        }
        cells = "".join(f"<tr><th>{key}</th><td>{html.escape(text)}</td></tr>" for key, text in rows.items() if text)
        return f"<table><caption>{html.escape(self.name)}</caption>{cells}</table>"


def split_rows(rows: int, *, seed: int) -> dict[str, NDArray[np.int64]]:
    """Row indices of an 80/20 split into ``"train"`` and ``"test"``, shuffled before the cut.

    Args:
        rows: How many rows there are.
        seed: Decides the shuffle, and nothing else does.

    Example:
        >>> {name: len(rows) for name, rows in split_rows(10, seed=0).items()}
        {'train': 8, 'test': 2}
    """
    order = np.random.default_rng(stream_seed(check_seed(seed), "datasets", "split")).permutation(rows)
    cut = round(0.8 * rows)
    return {"train": order[:cut], "test": order[cut:]}


def _frozen(array: NDArray[np.generic]) -> NDArray[np.generic]:
    copy = np.array(array, order="C")
    copy.setflags(write=False)
    return copy


def _shortened(names: tuple[str, ...], limit: int = 8) -> str:
    more = f", ... ({len(names)} in all)" if len(names) > limit else ""
    return ", ".join(name[:40] for name in names[:limit]) + more
