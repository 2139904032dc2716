"""The one door through which data reach a model: any data, one function, its arguments as tensors.

* a tensor, array, list or DataFrame is the one positional argument; a tuple the positional arguments, ``()`` none
* a dict holds the keyword arguments
* a record, or the name or path of one, goes by name: the function takes the arrays that it names
* the columns of a table go by name, one each, where the function names them; ``x`` then takes the other columns
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, NoReturn, Protocol

from ppzoo.datasets import load_dataset
from ppzoo.datasets.columns import table_notes
from ppzoo.datasets.frames import column_array, is_frame, is_series, record_from_frame
from ppzoo.datasets.numeric import is_array_like
from ppzoo.datasets.record import Dataset
from ppzoo.datasets.signature import Signature, signature_of
from ppzoo.datasets.tensors import is_tensor, to_tensors
from ppzoo.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterator

    import torch

__all__ = ["Arguments", "Place", "Source", "arguments_for", "real_numbers"]

Place = int | str  # of an argument: its position, or its name where it is given by name


class Source(Protocol):
    """Rows that are read while a fit goes on."""

    @property
    def rows(self) -> int:
        """How many there are, N."""

    @property
    def size(self) -> int:
        """Rows of a batch, B; its last one may have fewer where batches are not ``regular``."""

    @property
    def per_epoch(self) -> int:
        """Batches of a pass."""

    @property
    def regular(self) -> bool:
        """Whether all batches have as many rows."""

    @property
    def threaded(self) -> bool:
        """Whether they may be read by another thread than that of the fit."""

    @property
    def notes(self) -> tuple[str, ...]:
        """What a user should know of them."""

    def batches(self, like: Arguments, seed: int, replica: int, first: int = 0) -> Iterator[Arguments]:
        """The batches of the first step and those after it without end, in the types and places of ``like``."""

    def once(self, like: Arguments) -> Iterator[Arguments]:
        """Every row once, in parts; nothing where a pass does not give every row."""


@dataclass(frozen=True, eq=False)
class Arguments:
    """What a model is called with, and what is known about it.

    Args:
        args: Positional arguments: tensors, and settings as they came.
        kwargs: Keyword arguments.
        columns: Argument name to the names of its columns.
        coords: Plate name to the labels of its rows.
        notes: What was changed on the way and what stands out in a table, one sentence each.
        source: Where all rows come from, where the arguments hold only some of them.
    """

    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    columns: dict[str, tuple[str, ...]] = field(default_factory=dict)
    coords: dict[str, tuple[str, ...]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    source: Source | None = None

    @property
    def rows(self) -> int:
        """The number of rows: entries of the longest array; 0 without any."""
        return max((len(value) for value in self.tensors() if value.dim()), default=0)

    def tensors(self) -> list[torch.Tensor]:
        """The tensors among the arguments, positional ones first."""
        return [value for value in (*self.args, *self.kwargs.values()) if is_tensor(value)]

    def named(self) -> dict[str, Any]:
        """All arguments by name, positional ones as ``arg0``, ``arg1`` and so on."""
        return {f"arg{i}": value for i, value in enumerate(self.args)} | self.kwargs

    @property
    def total(self) -> int:
        """The number of rows that there are, whether or not the arguments hold them."""
        return self.rows if self.source is None else self.source.rows

    def by_rows(self, value: Any) -> bool:
        """Whether an argument has an entry for each row, along its first axis."""
        return is_tensor(value) and value.dim() > 0 and len(value) == self.rows

    def take(self, index: torch.Tensor) -> Arguments:
        """The same with these rows only, ``index`` of shape ``(B,)``."""

        def take(value: Any) -> Any:
            return value[index.to(value.device)] if self.by_rows(value) else value

        return replace(
            self, args=tuple(map(take, self.args)), kwargs={name: take(v) for name, v in self.kwargs.items()}
        )

    def at(self, place: Place) -> Any:
        """The argument at a position, or of a name."""
        return self.args[place] if isinstance(place, int) else self.kwargs[place]

    def filled(self, values: Mapping[Place, Any]) -> Arguments:
        """The same with other values at some places."""
        return replace(
            self,
            args=tuple(values.get(i, value) for i, value in enumerate(self.args)),
            kwargs={name: values.get(name, value) for name, value in self.kwargs.items()},
        )


def arguments_for(
    function: Callable[..., Any],
    data: Any,
    *,
    dtype: torch.dtype | str | None = None,
    device: torch.device | str = "cpu",
) -> Arguments:
    """The arguments with which ``function`` is called on ``data``, checked and as tensors.

    Args:
        function: A function, bound method, partial, callable object, or module (its ``forward``).
        data: A tensor, array, list, DataFrame, tuple, dict, record, name or path, as the module says above.
        dtype: Floating type of floating data, float32 or float64; ``None`` keeps what comes. Integers stay int64.
        device: Where the tensors go.

    Returns:
        The arguments. Tensors are fresh copies: nothing that the model does reaches the caller's data.

    Raises:
        DataError: Where the data do not fit the function, or hold anything but finite real numbers.
        OptionError: Where ``dtype`` or ``device`` cannot be used.

    Example:
        >>> def model(y, sigma): ...
        >>> arguments = arguments_for(model, "eight_schools")
        >>> arguments.args[1]
        tensor([15., 10., 16., 11.,  9., 11., 10., 18.], dtype=torch.float64)
        >>> arguments.coords["school"]
        ('A', 'B', 'C', 'D', 'E', 'F', 'G', 'H')
    """
    signature = signature_of(function)
    given = _given(signature, data)
    signature.check_complete(given.values, remedy=given.remedy)
    plain = {name: _unwrapped(name, value, given) for name, value in given.values.items()}
    values, notes = to_tensors(plain, columns=given.columns, dtype=dtype, device=device)
    by_keyword = given.keywords
    tables = [(name, value) for name, value in values.items() if is_tensor(value)]
    found = [note for name, table in tables for note in table_notes(name, table, given.columns.get(name, ()))]
    return Arguments(
        args=tuple(value for name, value in values.items() if name not in by_keyword),
        kwargs={name: value for name, value in values.items() if name in by_keyword},
        columns=given.columns,
        coords=given.coords,
        notes=(*given.notes, *notes, *found),
    )


def real_numbers(arguments: Arguments, like: Mapping[str, Any] | None = None) -> Arguments:
    """The same with integers as float64, for a function of real numbers; a note says so where there were any.

    Args:
        arguments: Arguments, as they came.
        like: Earlier arguments by name, positional ones first: integers follow the type of those that are floating.

    Example:
        >>> arguments = real_numbers(arguments_for(lambda x: ..., [[1, 2], [3, 5]]))
        >>> arguments.args[0].dtype, arguments.notes
        (torch.float64, ('integers were taken as real numbers',))
    """
    import torch

    changed: list[str] = []

    def real(name: str, value: Any) -> Any:
        if not is_tensor(value) or value.is_floating_point():
            return value
        kind = torch.float64 if value.device.type != "mps" else torch.float32
        if like is not None:
            before: Any = like.get(name)
            if not is_tensor(before) or not before.is_floating_point():
                return value
            kind = before.dtype
        changed.append(name)
        return value.to(kind)

    names = [*like] if like is not None else []
    names += [f"arg{i}" for i in range(len(names), len(arguments.args))]
    args = tuple(real(name, value) for name, value in zip(names, arguments.args, strict=False))
    kwargs = {name: real(name, value) for name, value in arguments.kwargs.items()}
    notes = (*arguments.notes, "integers were taken as real numbers") if changed else arguments.notes
    return replace(arguments, args=args, kwargs=kwargs, notes=notes)


@dataclass
class _Given:
    """Values by argument name, in order; those in ``keywords`` are given by keyword."""

    values: dict[str, Any]
    keywords: frozenset[str] = frozenset()
    columns: dict[str, tuple[str, ...]] = field(default_factory=dict)
    coords: dict[str, tuple[str, ...]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    remedy: str = "Pass a tuple with one entry per argument, or a dict by name."


def _given(signature: Signature, data: Any) -> _Given:
    if isinstance(data, str | os.PathLike):
        data = load_dataset(data)
    if is_frame(data):
        data = record_from_frame(data, argument=signature.names[0] if signature.names else "data")
    if isinstance(data, Dataset):
        return _by_name(signature, data)
    if isinstance(data, Mapping):
        signature.check_keywords(list(data))
        return _Given(dict(data), frozenset(data))
    if isinstance(data, tuple):
        return _Given(signature.by_position(data))
    if not (is_tensor(data) or is_array_like(data)) or getattr(data, "shape", None) == ():
        _refuse_data(data)
    return _Given(signature.by_position((data,)))


def _by_name(signature: Signature, record: Dataset) -> _Given:
    columns = record.columns.get("x", ())
    named = [name for name in signature.names if name in columns]
    others = [column for column in columns if column not in named]
    notes: list[str] = []
    if named and "x" in signature.names and "x" not in columns:
        values = _arrays(signature, record) | {name: _column(record, name) for name in named}
        kept = [columns.index(column) for column in others]
        values["x"] = record.data["x"][:, kept]
        notes += [f"x: all columns but {', '.join(named)}, which went by name", *_truth_notes("x", record, others)]
        found = {"x": tuple(others)}
    elif named and named != ["x"] and set(signature.required) <= set(named):
        values = {name: _column(record, name) for name in named}
        notes.append(f"{', '.join(named)}: columns of the table, taken by name")
        found = {}
    else:
        values = _arrays(signature, record)
        notes += _truth_notes("x", record, columns)
        found = {name: record.columns[name] for name in values if name in record.columns}
        name = _slot_for_the_whole(signature, values)
        if name:
            source = _main(record)
            values[name] = record.data[source]
            found |= {name: record.columns[source]} if source in record.columns else {}
    remedy = f"{record.name} has {', '.join(record.data)}: name the arguments so, or pass a dict."
    return _arranged(signature, _Given(values, frozenset(), found, dict(record.coords), notes, remedy))


def _slot_for_the_whole(signature: Signature, values: Mapping[str, Any]) -> str:
    """The one argument that takes the main array although it has another name; empty where there is none."""
    if not signature.names and not signature.star:
        signature.by_position((values,))  # raises: it takes no data
    if len(signature.required) == 1 and signature.required[0] not in values:
        return signature.required[0]
    return "" if signature.required or values else (*signature.names, f"{signature.star}[0]")[0]


def _arrays(signature: Signature, record: Dataset) -> dict[str, Any]:
    return {name: record.data[name] for name in signature.names if name in record.data}


def _arranged(signature: Signature, given: _Given) -> _Given:
    """By position as far as the names come without a gap, by keyword from there on."""
    leading = 0
    while leading < len(signature.positional) and signature.positional[leading] in given.values:
        leading += 1
    first = signature.positional[:leading]
    rest = [name for name in given.values if name not in first]
    given.values = {name: given.values[name] for name in (*first, *rest)}
    given.keywords = frozenset(name for name in rest if name in signature.keyword)
    return given


def _main(record: Dataset) -> str:
    if "x" in record.data or len(record.data) == 1:
        return "x" if "x" in record.data else next(iter(record.data))
    raise DataError(
        "it is not clear which array the model's one argument is",
        argument="data",
        got=f"{record.name} with {', '.join(record.data)}",
        remedy="Name the arguments of the model like the arrays, or pass one of them.",
    )


def _column(record: Dataset, name: str) -> Any:
    if name in record.data and name != "x":  # kept beside the table in its own type
        return record.data[name]
    return record.data["x"][:, record.columns["x"].index(name)]


def _unwrapped(name: str, value: Any, given: _Given) -> Any:
    """A DataFrame or column as an array, its names kept; anything else as it is."""
    if isinstance(value, Dataset):
        remedy = f"Pass one of its arrays, such as dataset.data[{next(iter(value.data))!r}], or the record alone."
        raise DataError("is a whole record", argument=name, got=repr(value), expected="an array", remedy=remedy)
    if is_series(value):
        return column_array(name, value)
    if not is_frame(value):
        return value
    record = record_from_frame(value, argument=name)
    given.columns[name] = record.columns["x"]
    given.notes.extend(_truth_notes(name, record, record.columns["x"]))
    return record.data["x"]


def _truth_notes(name: str, record: Dataset, columns: Sequence[str]) -> list[str]:
    truths = [c for c in columns if c in record.data and record.data[c].dtype.kind == "b"]
    return [f"{name}: True/False became 1/0 in {', '.join(map(repr, truths))}"] if truths else []


def _refuse_data(data: Any) -> NoReturn:
    raise DataError(
        "these are no data",
        argument="data",
        got=f"{data!r:.40} ({type(data).__name__})",
        expected="an array, tensor, list, DataFrame, tuple, dict, record, or the name or path of a data set",
        remedy="Settings go beside the data in a tuple or dict; a model without data takes (). A loader is for svi.",
    )
