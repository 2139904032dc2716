"""Tensors as bytes and back, through safetensors: every bit, type, shape and name, in order; no code.

safetensors keeps tensors sorted by type and name, so the order of the names is kept beside them as metadata.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save, save_file
from torch import Tensor

from ppzoo.errors import StorageError
from ppzoo.storage.text import dump_json, load_json

__all__ = ["dump_tensors", "load_tensors", "write_tensors"]

_METADATA = "__metadata__"
_ORDER = "ppzoo_order"
_FAULT = re.compile(r"os error (\d+)")  # how safetensors tells what the system says


def dump_tensors(tensors: Mapping[str, Tensor]) -> bytes:
    """``tensors`` as a safetensors file.

    Args:
        tensors: Dense tensors by name, of any real type, shape, stride and device; tensors that share memory are kept
            one by one. Names are any Unicode text but ``"__metadata__"``.

    Returns:
        The bytes of the file, the same for equal tensors in the same order.

    Raises:
        StorageError: For an entry that is not a dense tensor, a type that safetensors lacks (complex128), or a name
            that is not text in UTF-8.

    Example:
        >>> load_tensors(dump_tensors({"layer.weight": torch.eye(2).T}))
        {'layer.weight': tensor([[1., 0.],
                [0., 1.]])}
    """
    with _refusing(tensors) as metadata:
        return save({name: _plain(tensor) for name, tensor in tensors.items()}, metadata)


def write_tensors(tensors: Mapping[str, Tensor], path: Path) -> None:
    """As :func:`dump_tensors`, into a new file: only tensors that must be laid out anew are copied.

    Raises:
        StorageError: As :func:`dump_tensors`.
        OSError: If the system reports a fault.
    """
    with _refusing(tensors) as metadata:
        save_file(_apart(tensors), path, metadata)


@contextmanager
def _refusing(tensors: Mapping[str, Tensor]) -> Iterator[dict[str, str]]:
    """The metadata to keep beside tensors that safetensors can hold."""
    for name, tensor in tensors.items():
        _check(name, tensor)
    try:
        yield {_ORDER: dump_json(list(tensors), name="names").decode()}
    except (SafetensorError, KeyError, ValueError) as error:
        if fault := _FAULT.search(str(error)):
            raise OSError(int(fault[1]), os.strerror(int(fault[1]))) from error
        raise StorageError("cannot be kept as safetensors", argument="tensors", got=repr(error)) from error


def load_tensors(data: bytes) -> dict[str, Tensor]:
    """The tensors that :func:`dump_tensors` wrote, on the CPU, each with memory of its own.

    Args:
        data: The bytes of a safetensors file.

    Raises:
        StorageError: For bytes whose structure is damaged. Damage inside the numbers is not seen here: the manifest of
            the folder finds it.
    """
    try:
        loaded = load(data)
    except (SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise StorageError("is not a safetensors file", argument="tensors", got=repr(error)) from error
    names = _names(data)
    if sorted(names) != sorted(loaded):
        raise StorageError("is not a safetensors file of ppzoo", argument="tensors", got="names that do not match")
    return {name: loaded[name] for name in names}


def _names(data: bytes) -> list[str]:
    """The names in the order of the dump: a safetensors file is its header's length, its header (JSON), the numbers."""
    header = load_json(data[8 : 8 + int.from_bytes(data[:8], "little")], name="safetensors header")
    metadata = header.get(_METADATA) if isinstance(header, dict) else None
    order = metadata.get(_ORDER) if isinstance(metadata, dict) else None
    names = load_json(order.encode(), name="names") if isinstance(order, str) else None
    if isinstance(names, list) and all(isinstance(name, str) for name in names):
        return names
    raise StorageError("is not a safetensors file of ppzoo", argument="tensors", got="no order of names")


def _check(name: object, tensor: object) -> None:
    if not isinstance(name, str) or name == _METADATA or not _is_utf8(name):
        raise StorageError("cannot be the name of a tensor", argument=f"{name!r:.80}", expected="text in UTF-8")
    if not isinstance(tensor, Tensor) or tensor.layout is not torch.strided or tensor.is_meta:
        raise StorageError(
            "is not a dense tensor",
            argument=repr(name),
            got=f"{type(tensor).__name__} {getattr(tensor, 'layout', '')}",
            expected="a dense tensor",
            remedy="Use .to_dense() or torch.as_tensor().",
        )
    if tensor.dtype is torch.complex128:
        raise StorageError(
            "has a type that safetensors lacks",
            argument=repr(name),
            got=str(tensor.dtype),
            remedy="Keep its real and imaginary parts: torch.view_as_real().",
        )


def _is_utf8(name: str) -> bool:
    try:
        return bool(name.encode("utf-8")) or not name
    except UnicodeEncodeError:
        return False


def _plain(tensor: Tensor) -> Tensor:
    """A copy on the CPU with memory of its own, contiguous, lazy conjugation and negation carried out."""
    return _dense(tensor).clone(memory_format=torch.contiguous_format)


def _apart(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors as they are, copied where one lies in the memory of another."""
    seen: set[int] = set()
    apart = {}
    for name, tensor in tensors.items():
        dense = _dense(tensor)
        memory = dense.untyped_storage().data_ptr()
        apart[name] = dense.clone() if memory in seen else dense
        seen.add(memory)
    return apart


def _dense(tensor: Tensor) -> Tensor:
    return tensor.detach().resolve_conj().resolve_neg().cpu().contiguous()
