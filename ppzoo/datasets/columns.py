"""What a table says about itself before any fit: too few rows, columns that tell nothing or nothing of their own.

None of it is an error at the door, for a prior or a network can make sense of such a table; a model that cannot
refuses it in its own check.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["table_notes"]

_WORK = 3e8  # multiplications that a look at dependent columns may cost
_NAMED = 5  # columns that are listed by name


def table_notes(name: str, x: Tensor, columns: Sequence[str] = ()) -> list[str]:
    """Notes on a table, one sentence each.

    A column is said to repeat others where its distance from the span of a constant and the columns before it is
    rounding error; in a table of more than ``3e8 / D^2`` rows nobody looks.

    Args:
        name: What to call the table.
        x: The table, ``(N, D)``; anything else has no notes.
        columns: Names of its columns.

    Example:
        >>> import torch
        >>> table_notes("x", torch.tensor([[1.0, 5.0, 2.0], [2.0, 5.0, 4.0], [3.0, 5.0, 6.0], [5.0, 5.0, 10.0]]))
        ['x: column 1 is constant: it tells a model nothing', 'x: column 2 is a copy or a linear combination of ...']
    """
    if x.dim() != 2 or x.numel() == 0:
        return []
    N, D = x.shape
    if N == 1:
        return [f"{name}: one row: the answer rests on the prior or the starting point"]
    notes = []
    if N < D:
        notes.append(
            f"{name}: fewer rows ({N}) than columns ({D}): a prior or few latent dimensions must make up for it"
        )
    if not x.is_floating_point():
        notes += _empty_rows(name, x)
    constant = (x == x[:1]).all(0)
    if bool(constant.any()):
        which = constant.nonzero().reshape(-1).tolist()
        notes.append(f"{name}: {_listed(which, columns, 'constant')}: {_it(which)} a model nothing")
    dependent = _dependent(x, [int(i) for i in (~constant).nonzero()])
    if dependent:
        rest = "of the columns before: their effects cannot be told apart"
        notes.append(f"{name}: {_listed(dependent, columns, 'a copy or a linear combination')} {rest}")
    return notes


def _empty_rows(name: str, x: Tensor) -> list[str]:
    empty = (x == 0).all(1)
    count = int(empty.sum())
    if not count or x.shape[1] == 1:
        return []
    return [f"{name}: {count} of {len(x)} rows hold zeros only, the first at row {int(empty.int().argmax())}"]


def _dependent(x: Tensor, varying: list[int]) -> list[int]:
    """Columns, of those that vary, that lie in the span of a constant and those before, by QR of unit columns."""
    import torch

    N, D = len(x), len(varying)
    if not 1 < D < N or N * D**2 > _WORK:
        return []
    rounding = torch.finfo(x.dtype if x.is_floating_point() else torch.float64).eps
    centred = x[:, varying].to("cpu", torch.float64)
    centred = centred - centred.mean(0)
    distance = torch.linalg.qr(centred / centred.norm(dim=0), mode="r").R.diagonal().abs()
    return [varying[i] for i in (distance < 1000 * rounding).nonzero().reshape(-1).tolist()]


def _listed(which: Sequence[int], columns: Sequence[str], what: str) -> str:
    names = [repr(columns[i]) if i < len(columns) else str(i) for i in which]
    if len(names) == 1:
        return f"column {names[0]} is {what}"
    more = " ..." if len(names) > _NAMED else ""
    return f"{len(names)} columns are {what} ({', '.join(names[:_NAMED])}{more})"


def _it(which: Sequence[int]) -> str:
    return "it tells" if len(which) == 1 else "they tell"
