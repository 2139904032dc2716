"""Data: from a name, a file, an array or a DataFrame to one record, and from any of these to a model's arguments.

The letters of this family: ``x`` is a table of shape (N, D), rows first; ``y`` is what goes with each row, shape
(N,). Arrays are called like the arguments of the models that take them. A table read from a file or a DataFrame is
``x`` with its column names; there, whole-number and True/False columns of a mixed table also stand under their own
names, so that they can serve as counts and indices.

:class:`~ppzoo.datasets.record.Dataset` is the record that every loader returns: read-only arrays, names, source,
licence, and a split into train and test rows, shuffled by the seed before the cut. Loaders need NumPy only and
import what else they need when called; nothing here runs code from a file.

* ``record.py``: the record and its splits
* ``loaders.py``: the built-in data sets, one literal table
* ``tables.py``: ``.csv .npy .npz .parquet`` files, with what can be wrong with them
* ``frames.py``: DataFrames, one explicit rule per column type
* ``numeric.py``: anything array-like to a plain array of numbers, or an error that names the value
* ``arguments.py`` and ``tensors.py``: the one door through which data reach a model, as tensors

Example:
    >>> load_dataset("eight_schools").data["y"]
    array([28.,  8., -3.,  7., -1.,  1., 18., 12.])
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ppzoo.checks import check_seed, nearest
from ppzoo.errors import DataError

if TYPE_CHECKING:
    from ppzoo.datasets.record import Dataset

__all__ = ["list_datasets", "load_dataset"]


def load_dataset(source: Any, *, seed: int = 0) -> Dataset:
    """Load data into a record: arrays by argument name, names, source, licence, splits.

    Args:
        source: A name of :func:`list_datasets`; the path of a ``.csv``, ``.npy``, ``.npz`` or ``.parquet`` file; an
            array, tensor or DataFrame; or a record, which is returned as it is.
        seed: Decides the train and test rows, and the draws where the data are synthetic.

    Returns:
        The record; a file, array or DataFrame becomes ``x`` (an ``.npz`` file: its arrays by name).

    Raises:
        DataError: Where the name is unknown, or the file or array does not hold numbers.

    Example:
        >>> load_dataset("old_faithful")
        Dataset('old_faithful': x (272, 2); train 218, test 54)
    """
    from ppzoo.datasets.record import Dataset

    check_seed(seed)
    if isinstance(source, Dataset):
        return source
    if isinstance(source, str) and not _is_path(source):
        return _built_in(source, seed)
    if isinstance(source, str | os.PathLike):
        from ppzoo.datasets.tables import read_file

        return read_file(Path(source), seed=seed)
    from ppzoo.datasets.frames import is_frame, record_from_frame
    from ppzoo.datasets.tables import record_from_array

    if is_frame(source):
        return record_from_frame(source, seed=seed)
    return record_from_array(source, seed=seed)


def list_datasets() -> dict[str, str]:
    """Name and one line of every built-in data set, in alphabetical order; nothing is loaded.

    Example:
        >>> list_datasets()["eight_schools"]
        'effects of coaching in 8 schools, with their standard errors'
    """
    from ppzoo.datasets.loaders import DRAWN, FIXED

    lines = {name: line for table in (FIXED, DRAWN) for name, (_, line) in table.items()}
    return dict(sorted(lines.items()))


def _built_in(name: str, seed: int) -> Dataset:
    from dataclasses import replace

    import numpy as np

    from ppzoo.datasets.loaders import DRAWN, FIXED
    from ppzoo.datasets.record import split_rows
    from ppzoo.rng import stream_seed

    if name in FIXED:
        loader, line = FIXED[name]
        record = loader()
    elif name in DRAWN:
        draw, line = DRAWN[name]
        record = draw(np.random.default_rng(stream_seed(seed, "datasets", name)))
    else:
        raise DataError(
            "not a built-in data set, nor the path of a file",
            argument="dataset",
            got=repr(name),
            expected="a known name or a .csv, .npy, .npz or .parquet file",
            remedy=nearest(name, list_datasets()),
        )
    rows = len(next(iter(record.data.values())))
    return replace(record, description=line, splits=split_rows(rows, seed=seed))


def _is_path(text: str) -> bool:
    return "." in text or "/" in text or os.sep in text
