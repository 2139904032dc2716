"""What may go into a draw log: fields, counts and rows are checked before anything is written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ppzoo.checks import check_integer
from ppzoo.errors import StorageError
from ppzoo.storage.drawlog_record import Record, plain_json
from ppzoo.storage.drawlog_rows import Field, check_field
from ppzoo.storage.paths import some
from ppzoo.storage.tensors import dump_tensors

__all__ = ["check_counts", "check_new", "first_record"]

_MOST = 2**31 - 1  # chains, and draws of each


def first_record(
    fields: Mapping[str, tuple[torch.dtype, Sequence[int]]], chains: int, draws: int, header: Mapping[str, object]
) -> Record:
    """The record of a log with nothing in it: see :meth:`ppzoo.storage.drawlog.DrawLog.create`.

    Raises:
        OptionError: For numbers of chains or draws out of range.
        StorageError: For a field or header that cannot be kept.
    """
    rows = check_integer("chains", chains, maximum=_MOST) * check_integer("draws", draws, maximum=_MOST)
    kept = tuple(check_field(name, _name(dtype), shape, rows=rows) for name, (dtype, shape) in fields.items())
    if not kept or len({field.file.lower() for field in kept}) < len(kept):
        raise StorageError(
            "cannot be the fields of a log",
            argument="fields",
            got=some([field.name for field in kept]),
            expected="one or more, by names that differ in more than case",
        )
    return Record(
        header=plain_json(header, name="header"),
        fields=kept,
        chains=chains,
        draws=draws,
        counts=np.zeros(chains, np.int64),
        sums=np.zeros((len(kept), chains), np.int64),
        numbers={},
        state=dump_tensors({}),
    )


def check_counts(counts: Tensor, record: Record) -> NDArray[np.int64]:
    """``counts`` as an array (C,): how many draws of each chain are new.

    Raises:
        StorageError: When they are not whole numbers, one for each chain, for which there is room.
    """
    whole = not (counts.is_floating_point() or counts.is_complex() or counts.dtype is torch.bool)
    if not whole or counts.shape != (record.chains,):
        raise StorageError(
            "are not one for each chain",
            argument="counts",
            got=f"{_name(counts.dtype)} of shape {tuple(counts.shape)}",
            expected=f"whole numbers of shape {(record.chains,)}",
        )
    fresh = counts.numpy(force=True).astype(np.int64)
    wrong = (fresh < 0) | (fresh > record.draws - record.counts)
    if wrong.any():
        c = int(wrong.argmax())
        raise StorageError(
            "is out of range",
            argument=f"counts[{c}]",
            got=f"{fresh[c]} new draws after {record.counts[c]}",
            expected=f"at most {record.draws} draws in all",
        )
    return fresh


def check_new(
    rows: Mapping[str, Tensor], fresh: NDArray[np.int64], fields: Sequence[Field]
) -> dict[str, NDArray[np.generic]]:
    """The rows of each field as an array (C, B, ...), B being the most that any chain has to give.

    Raises:
        StorageError: When they are not the fields of the log, each (C, B or more, ...) of its type.
    """
    names, most = [field.name for field in fields], int(fresh.max())
    if set(rows) != set(names):
        raise StorageError("are not those of the log", argument="rows", got=some(list(rows)), expected=some(names))
    for field in fields:
        value = rows[field.name]
        fits = value.ndim == 2 + len(field.shape) and (value.shape[0], *value.shape[2:]) == (len(fresh), *field.shape)
        if not fits or value.shape[1] < most or _name(value.dtype) != field.type:
            raise StorageError(
                "does not fit its field",
                argument=f"rows[{field.name!r}]",
                got=f"{_name(value.dtype)} of shape {tuple(value.shape)}",
                expected=f"{field.type} of shape {(len(fresh), f'{most} or more', *field.shape)}".replace("'", ""),
            )
    return {name: rows[name][:, :most].numpy(force=True) for name in names}


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
