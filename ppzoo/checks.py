"""Checks at the door: each names the argument, what it got, what was expected, and what to do.

The option checks need no torch; the data checks work on tensors and read only.
"""

from __future__ import annotations

import difflib
import math
import numbers
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

from ppzoo.errors import DataError, OptionError

if TYPE_CHECKING:
    from torch import Tensor

__all__ = [
    "check_binary",
    "check_chains_per_start",
    "check_choice",
    "check_columns",
    "check_counts",
    "check_flag",
    "check_integer",
    "check_matrix",
    "check_positive",
    "check_reach",
    "check_real",
    "check_rows",
    "check_seed",
    "check_unit_interval",
    "check_varies",
    "check_vector",
    "check_widths",
    "nearest",
]


def nearest(name: str, names: Iterable[str]) -> str:
    """The known name most like ``name``, as a sentence to put into a remedy.

    Example:
        >>> nearest("nust", ["svi", "nuts"])
        "Did you mean 'nuts'? Known: 'nuts', 'svi'."
    """
    known = sorted(names)
    close = difflib.get_close_matches(name, known, n=1) or [other for other in known if other.lower() == name.lower()]
    listing = f"Known: {', '.join(map(repr, known))}." if known else "None is known."
    return f"Did you mean {close[0]!r}? {listing}" if close else listing


def check_choice(argument: str, value: object, choices: Iterable[str]) -> str:
    """``value`` if it is one of ``choices``, else :class:`OptionError` with the nearest one."""
    known = sorted(choices)
    if isinstance(value, str) and value in known:
        return value
    raise OptionError(
        "not one of the known names",
        argument=argument,
        got=repr(value),
        expected=f"one of {', '.join(map(repr, known))}",
        remedy=nearest(value, known) if isinstance(value, str) else "Give a name.",
    )


def check_flag(argument: str, value: object) -> bool:
    """``value`` if it is a bool, else :class:`OptionError`."""
    if isinstance(value, bool):
        return value
    raise OptionError("not a flag", argument=argument, got=repr(value), expected="True or False")


def check_integer(argument: str, value: object, *, minimum: int = 1, maximum: int | None = None, why: str = "") -> int:
    """``value`` as an int within ``[minimum, maximum]``; floats, strings and bools are refused, ``why`` says why.

    Example:
        >>> check_integer("chains", 4)
        4
        >>> check_integer("chains", 0)
        Traceback (most recent call last):
        ppzoo.errors.OptionError: chains: must be a whole number in range; got 0; expected an int >= 1
    """
    expected = f"an int >= {minimum}" + (f" and <= {maximum}" if maximum is not None else "")
    expected += f", {why}" if why else ""
    whole = isinstance(value, numbers.Integral) and not isinstance(value, bool)
    if not whole or int(value) < minimum or (maximum is not None and int(value) > maximum):  # type: ignore[call-overload]  # whole: it is Integral
        raise OptionError("must be a whole number in range", argument=argument, got=repr(value), expected=expected)
    return int(value)  # type: ignore[call-overload, no-any-return]  # it is Integral here


def check_chains_per_start(value: object, chains: int) -> int:
    """``value`` as an int that divides the number of chains.

    Example:
        >>> check_chains_per_start(3, 8)
        Traceback (most recent call last):
        ppzoo.errors.OptionError: chains_per_start: leaves a group incomplete; got 3 of 8 chains; expected a divisor ...
    """
    each = check_integer("chains_per_start", value)
    if chains % each:
        got, expected = f"{each} of {chains} chains", "a divisor of the number of chains"
        raise OptionError("leaves a group incomplete", argument="chains_per_start", got=got, expected=expected)
    return each


def check_real(
    argument: str,
    value: object,
    *,
    above: float = -math.inf,
    below: float = math.inf,
    at_least: float | None = None,
) -> float:
    """``value`` as a finite float with ``above < value < below`` (or ``at_least <= value``)."""
    bounds = [f"{at_least:g} <= x" if at_least is not None else f"{above:g} < x" if above > -math.inf else "x"]
    expected = f"a finite number, {bounds[0]}{f' < {below:g}' if below < math.inf else ''}"
    real = isinstance(value, numbers.Real) and not isinstance(value, bool)
    number = float(value) if real else math.nan  # type: ignore[arg-type]  # real: it is Real
    low = number >= at_least if at_least is not None else number > above
    if not (math.isfinite(number) and low and number < below):
        raise OptionError("must be a number in range", argument=argument, got=repr(value), expected=expected)
    return number


def check_widths(argument: str, value: object) -> tuple[int, ...]:
    """``value`` as the widths of hidden layers: a list or tuple of ints >= 1, empty for none.

    Example:
        >>> check_widths("hidden", [64, 64])
        (64, 64)
        >>> check_widths("hidden", 64)
        Traceback (most recent call last):
        ppzoo.errors.OptionError: hidden: must be the widths of the layers; got 64; expected a list of ints. ...
    """
    if not isinstance(value, list | tuple):
        remedy = f"Write ({value},) for one hidden layer." if isinstance(value, int) else "Give one int per layer."
        raise OptionError(
            "must be the widths of the layers",
            argument=argument,
            got=repr(value),
            expected="a list of ints",
            remedy=remedy,
        )
    return tuple(check_integer(argument, width) for width in value)


def check_seed(value: object) -> int:
    """``value`` as a seed: an int in ``[0, 2**64)``."""
    return check_integer("seed", value, minimum=0, maximum=2**64 - 1)


def check_matrix(argument: str, x: Tensor, *, columns: int | None = None) -> None:
    """A table ``(N, D)`` of real numbers with at least one row and one column (``D == columns`` if given)."""
    _check_real_tensor(argument, x)
    expected = f"shape (rows, {'columns' if columns is None else columns})"
    if x.dim() != 2:
        remedy = {
            0: "Pass a table, one row per observation.",
            1: f"Use {argument}.reshape(-1, 1) for one column or {argument}.reshape(1, -1) for one row.",
        }.get(x.dim(), f"Flatten each observation: {argument}.reshape(len({argument}), -1).")
        _refuse(argument, "must have two dimensions", f"shape {tuple(x.shape)}", expected, remedy)
    if x.shape[0] == 0 or x.shape[1] == 0:
        some = "at least one row and one column"
        _refuse(argument, "is empty", f"shape {tuple(x.shape)}", some, "Check the filter or file it came from.")
    if columns is not None and x.shape[1] != columns:
        _refuse(
            argument,
            f"has {x.shape[1]} columns, but the model is made for {columns}",
            f"shape {tuple(x.shape)}",
            expected,
            f"Pass the same columns, or create the model with features={x.shape[1]}.",
        )


def check_vector(argument: str, x: Tensor, *, length: int | None = None, like: str = "") -> None:
    """A vector ``(N,)`` of real numbers, not empty (``N == length`` if given, the length of ``like``)."""
    _check_real_tensor(argument, x)
    expected = "shape (rows,)" if length is None else f"shape ({length},)" + (f", as {like}" if like else "")
    if x.dim() != 1:
        remedy = f"Use {argument}.reshape(-1)." if x.dim() == 2 and 1 in x.shape else "Pass one number per observation."
        _refuse(argument, "must have one dimension", f"shape {tuple(x.shape)}", expected, remedy)
    if x.shape[0] == 0:
        _refuse(argument, "is empty", f"shape {tuple(x.shape)}", expected, "Check the filter or file it came from.")
    if length is not None and x.shape[0] != length:
        _refuse(
            argument, "has the wrong length", f"shape {tuple(x.shape)}", expected, "Pass one entry per observation."
        )


def check_rows(argument: str, x: Tensor, *, minimum: int, why: str) -> None:
    """At least ``minimum`` rows; ``why`` completes "needed because"."""
    if x.shape[0] < minimum:
        _refuse(
            argument,
            "has too few rows",
            f"{x.shape[0]} row{'' if x.shape[0] == 1 else 's'}",
            f"at least {minimum} rows, {why}",
            "Add data or ask for a smaller model.",
        )


def check_varies(argument: str, x: Tensor, *, columns: Sequence[str] = (), each: bool = True) -> None:
    """Rows differ; with ``each``, no column is constant (its scale would be zero)."""
    constant = (x == x[:1]).all(0)
    if bool(constant.all()):
        _refuse(argument, "all rows are identical", f"{x.shape[0]} equal rows", "rows that differ", "Check the data.")
    if each and bool(constant.any()):
        where = [_column(int(i), columns) for i in constant.nonzero().reshape(-1)[:5]]
        _refuse(argument, "has a constant column", ", ".join(where), "columns that vary", "Drop these columns.")


def check_positive(argument: str, x: Tensor) -> None:
    """Every entry is greater than zero."""
    _check_entries(
        argument,
        x,
        x > 0,
        "must be positive",
        "values > 0",
        "Check signs and units: zero means a value known exactly.",
    )


def check_reach(argument: str, x: Tensor, *, option: str, scale: float) -> None:
    """Every column has a root mean square below ``5 * scale``, where ``scale`` is a prior's, set by ``option``.

    Further out the prior, not the data, would decide the answer.
    """
    size = x.square().mean(0).sqrt().max().item()
    if not size <= 5 * scale:
        _refuse(
            argument,
            "lies far from the prior",
            f"a column with root mean square {size:.4g}",
            f"at most {5 * scale:g}, for {option}={scale:g}",
            f"Standardise it: (x - x.mean(0)) / x.std(0), or create the model with {option}={size:.2g}.",
        )


def check_unit_interval(argument: str, x: Tensor) -> None:
    """Every entry lies in ``[0, 1]``."""
    remedy = (
        "Divide by 255 first: these look like 8-bit pixels."
        if float(x.min()) >= 0 and 16 < float(x.max()) <= 255
        else "Rescale the data, or use a Gaussian decoder or likelihood."
    )
    _check_entries(argument, x, (x >= 0) & (x <= 1), "must lie in the unit interval", "0 <= x <= 1", remedy)


def check_binary(argument: str, x: Tensor) -> None:
    """Every entry is 0 or 1."""
    _check_entries(
        argument,
        x,
        (x == 0) | (x == 1),
        "must be binary",
        "0 or 1",
        "Binarise the data, or use a likelihood for real values.",
    )


def check_counts(argument: str, x: Tensor) -> None:
    """Every entry is a whole number, zero or more."""
    _check_entries(
        argument, x, (x >= 0) & (x == x.round()), "must be counts", "whole numbers >= 0", "Pass raw counts, not rates."
    )


def check_columns(argument: str, got: Sequence[str], expected: Sequence[str]) -> None:
    """Column names are those seen at the fit, in the same order."""
    if not got or not expected or tuple(got) == tuple(expected):
        return
    unseen = [name for name in got if name not in expected]
    missing = [name for name in expected if name not in got]
    detail = "; ".join(
        f"{label}: {', '.join(map(repr, names[:5]))}"
        for label, names in (("unseen at fit", unseen), ("missing", missing))
        if names
    )
    _refuse(
        argument,
        "columns differ from those of the fit",
        detail or "the same columns in another order",
        f"columns {', '.join(map(repr, expected[:5]))}{' ...' if len(expected) > 5 else ''}",
        "Select the columns by name, in the order of the fit.",
    )


def _check_real_tensor(argument: str, x: Any) -> None:
    if not hasattr(x, "is_complex"):
        _refuse(argument, "holds no numbers", type(x).__name__, "an array", "Pass an array, tensor or DataFrame.")
    if x.is_complex():
        _refuse(argument, "is complex", str(x.dtype), "real numbers", "Pass the real and imaginary parts as columns.")


def _check_entries(argument: str, x: Tensor, good: Tensor, problem: str, expected: str, remedy: str) -> None:
    if bool(good.all()):
        return
    bad = (~good).nonzero()
    where = tuple(int(i) for i in bad[0])
    _refuse(argument, problem, f"{x[where].item():g} at index {where} ({len(bad)} such)", expected, remedy)


def _column(index: int, columns: Sequence[str]) -> str:
    return f"column {columns[index]!r}" if index < len(columns) else f"column {index}"


def _refuse(argument: str, problem: str, got: str, expected: str, remedy: str) -> NoReturn:
    raise DataError(problem, argument=argument, got=got, expected=expected, remedy=remedy)
