"""Values to tensors: what every argument goes through, whatever it came as.

Floating data keep their type (half precision is widened, with a note), integers become int64, True/False becomes
1/0. What comes out is a fresh copy on the device asked for, finite, not empty, without a gradient; what is no data
(a number, a string, a module) passes unchanged.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

from ppzoo.checks import nearest
from ppzoo.datasets.numeric import LARGEST_INTEGER, is_array_like, plain_array, refuse_large_integers
from ppzoo.errors import DataError, OptionError

if TYPE_CHECKING:
    import torch
    from torch import Tensor

__all__ = ["TOO_LARGE", "check_device", "check_dtype", "is_tensor", "plain_tensor", "to_tensors"]

TOO_LARGE = 1e18
"""From here on squares overflow float32; data this large are in the wrong unit."""


def to_tensors(
    values: Mapping[str, Any],
    *,
    columns: Mapping[str, Sequence[str]],
    dtype: torch.dtype | str | None = None,
    device: torch.device | str = "cpu",
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The values by name, arrays as tensors, and notes on what was changed.

    Args:
        values: Argument name to tensor, array, list or setting.
        columns: Argument name to column names, for messages.
        dtype: Floating type of floating data: float32 or float64; ``None`` keeps what comes.
        device: Where the tensors go.

    Raises:
        DataError: For NaN, infinities, values from 1e18 on, empty arrays, and what is not real numbers.
        OptionError: For a ``dtype`` or ``device`` that cannot be used.

    Example:
        >>> to_tensors({"y": [1.5, 2.0], "scale": 3}, columns={})
        ({'y': tensor([1.5000, 2.0000], dtype=torch.float64), 'scale': 3}, ())
    """
    import torch

    asked = check_dtype(dtype)
    place = check_device(device, doubles=asked == torch.float64)
    notes: list[str] = []
    arrays = {name: value for name, value in values.items() if is_tensor(value) or is_array_like(value)}
    tensors = {name: plain_tensor(name, value, notes) for name, value in arrays.items()}
    for name, tensor in tensors.items():
        _check_values(name, tensor, columns.get(name, ()))
    kinds = {tensor.dtype for tensor in tensors.values() if tensor.is_floating_point()}
    check_device(place, doubles=asked is None and torch.float64 in kinds)
    truth = asked or functools.reduce(torch.promote_types, kinds or {torch.get_default_dtype()})
    plain = dict(values)
    for name, tensor in tensors.items():
        kind = truth if tensor.dtype == torch.bool else tensor.dtype
        kind = asked if asked and tensor.is_floating_point() else kind
        plain[name] = tensor.to(device=place, dtype=kind)
    return plain, tuple(notes)


def is_tensor(value: object) -> bool:
    """Whether ``value`` is a torch tensor; torch is not imported for the question."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, torch.Tensor)


def plain_tensor(name: str, value: Any, notes: list[str]) -> Tensor:
    """Data as a fresh tensor of bool, int64, float32 or float64, where they are; missing values stay.

    Args:
        name: What to call them in errors.
        value: A tensor, array or list.
        notes: Takes a sentence for each change.

    Raises:
        DataError: Where they are not real numbers.
    """
    import torch

    tensor = _own_copy(name, value, notes) if is_tensor(value) else torch.from_numpy(plain_array(name, value))
    if tensor.dtype == torch.bool:
        notes.append(f"{name}: True/False became 1/0")
    elif tensor.is_floating_point() and tensor.dtype not in {torch.float32, torch.float64}:
        notes.append(f"{name}: {str(tensor.dtype).removeprefix('torch.')} was widened to float32")
        return tensor.to(torch.float32)
    return tensor


def check_dtype(dtype: object) -> torch.dtype | None:
    """``dtype`` as float32 or float64 (also by name), ``None`` for none; anything else is an :class:`OptionError`."""
    import torch

    known = {"float32": torch.float32, "float64": torch.float64}
    kind = known.get(dtype, dtype) if isinstance(dtype, str) else dtype
    if kind is None or kind in known.values():
        return kind  # type: ignore[return-value]  # one of the two types, or None
    raise OptionError(
        "not a floating type to compute in", argument="dtype", got=repr(dtype), expected="'float32' or 'float64'"
    )


def check_device(device: torch.device | str, *, doubles: bool = False) -> torch.device:
    """``device`` if it is one that this machine has.

    Args:
        device: ``"cpu"``, ``"cuda"``, ``"cuda:0"``, ``"mps"`` or a ``torch.device``.
        doubles: Whether float64 must work there.

    Raises:
        OptionError: Where it is unknown, absent, or cannot compute in float64.
    """
    import torch

    place = _device(device)
    available = {
        "cpu": 1,
        "cuda": torch.cuda.device_count() if torch.cuda.is_available() else 0,
        "mps": int(torch.backends.mps.is_available()),
    }
    if place.type == "mps" and doubles:
        _refuse_device(place, "cannot compute in float64", "Pass dtype=torch.float32, or use device='cpu'.")
    if (place.index or 0) >= available[place.type]:
        _refuse_device(place, "is not on this machine", "Use device='cpu'.")
    return place


def _device(device: object) -> torch.device:
    import torch

    try:
        place = torch.device(device) if isinstance(device, str | torch.device) else None
    except RuntimeError:  # an unknown word
        place = None
    if place is None or place.type not in {"cpu", "cuda", "mps"}:
        known = ["cpu", "cuda", "cuda:0", "mps"]
        _refuse_device(device, "not a device", nearest(device, known) if isinstance(device, str) else "Give a name.")
    return place


def _refuse_device(device: object, problem: str, remedy: str) -> NoReturn:
    expected = "'cpu', or a 'cuda' device that is there"
    raise OptionError(problem, argument="device", got=repr(str(device)), expected=expected, remedy=remedy)


def _own_copy(name: str, value: Tensor, notes: list[str]) -> Tensor:
    import torch

    if value.layout != torch.strided:
        _refuse(name, "is a sparse tensor", str(value.layout), f"Make it dense: pass {name}.to_dense().")
    if value.is_complex():
        _refuse(name, "is complex", str(value.dtype), "Pass the real and imaginary parts as columns.")
    if value.is_quantized:
        _refuse(name, "is quantized", str(value.dtype), f"Pass {name}.dequantize().")
    if value.requires_grad:
        notes.append(f"{name}: was detached from its graph; gradients do not flow back into the data")
    if not value.is_floating_point() and value.dtype not in {torch.bool, torch.int64}:
        value = _integers(name, value)
    tensor = value.detach().clone(memory_format=torch.contiguous_format)
    if tensor.dtype == torch.int64 and tensor.numel() and _largest(tensor) > LARGEST_INTEGER:
        refuse_large_integers(name, tensor.cpu().numpy())
    return tensor


def _largest(tensor: Tensor) -> int:
    low, high = tensor.aminmax()
    return max(-int(low), int(high))


def _integers(name: str, value: Tensor) -> Tensor:
    import torch

    if str(value.dtype) == "torch.uint64":  # torch cannot compare these
        return torch.from_numpy(plain_array(name, value.detach().cpu().numpy()))
    return value.to(torch.int64)


def _check_values(name: str, tensor: Tensor, columns: Sequence[str]) -> None:
    if tensor.numel() == 0:
        what = "rows" if tensor.shape[0] == 0 else "columns"
        _refuse(
            name,
            f"is empty: it has no {what}",
            f"shape {tuple(tensor.shape)}",
            "Check the filter or file it came from.",
            expected="at least one row and one column",
        )
    if not tensor.is_floating_point():
        return
    size = tensor.abs()
    if bool((size < TOO_LARGE).all()):
        return
    table = bool(columns)
    _refuse_where(
        name,
        tensor,
        tensor.isnan(),
        columns,
        "contains NaN",
        "Drop these rows (frame.dropna())." if table else "Drop these rows, or fill them in.",
    )
    _refuse_where(name, tensor, tensor.isinf(), columns, "contains infinity", "Replace or drop these rows.")
    _refuse_where(
        name, tensor, size >= TOO_LARGE, columns, "is too large to compute with", "Standardise it, or change the unit."
    )


def _refuse_where(name: str, tensor: Tensor, bad: Tensor, columns: Sequence[str], problem: str, remedy: str) -> None:
    if not bool(bad.any()):
        return
    where = [int(i) for i in bad.nonzero()[0]]
    value = f"{float(tensor[tuple(where)]):g}"
    if not where:
        _refuse(name, problem, value, remedy, expected="finite numbers")
    rows = int(bad.reshape(len(bad), -1).any(1).sum())
    place = f"row {where[0]}"
    if len(where) == 2 and where[1] < len(columns):
        place = f"column {columns[where[1]]!r}, {place}"
    elif len(where) > 1:
        place = f"index {tuple(where)}"
    got = f"{value} at {place} ({rows} of {len(bad)} rows affected)"
    _refuse(name, problem, got, remedy, expected=f"finite numbers below {TOO_LARGE:g}")


def _refuse(name: str, problem: str, got: str, remedy: str, *, expected: str = "real numbers") -> NoReturn:
    raise DataError(problem, argument=name, got=got, expected=expected, remedy=remedy)
