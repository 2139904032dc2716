"""An ArviZ tree as a NetCDF file, and back: values, types, coordinates, attributes, names.

NetCDF cannot hold every name that a Python dictionary can: characters it would cut or mistake (``/``, NUL, a name that
is only ``.``, the prefixes it keeps for itself) are written as ``%2F`` and the like, and turned back when read. All
other names, ``"$x"`` or ``"theta[1]"``, are kept as they are, so that other programs find them.

HDF5 can lead out of its file (external links and data, virtual datasets), round in circles (hard links) or claim far
more numbers than it holds (unwritten or compressed chunks). ppzoo writes none of these, and reads none.
"""

from __future__ import annotations

import io
import re
import threading
import warnings
from collections.abc import Callable
from typing import Any

import h5py
import xarray
from xarray.coders import CFTimedeltaCoder

from ppzoo.errors import StorageError

__all__ = ["load_datatree", "write_datatree"]

_UNSAFE = re.compile(r"[%/\0]|^\.$|^_(?=_|nc4_)")
_ESCAPE = re.compile(r"%([0-9A-F]{2})")
_DURATIONS = CFTimedeltaCoder(decode_via_units=False)  # "units": "s" of a user's variable is a label, not a type
_FILTERS = threading.Lock()
_PLACEHOLDER = "This is a netCDF dimension but not a netCDF variable"


def write_datatree(tree: xarray.DataTree, file: io.FileIO | io.BytesIO) -> None:
    """``tree`` as a NetCDF-4 file, uncompressed, variable by variable; the same bytes for equal trees.

    Args:
        tree: Groups of numbers, booleans, text and times. Its encoding (compression, fill values) is left out.
        file: Empty, open for reading and writing, without a buffer.

    Raises:
        StorageError: For values, names or attributes that NetCDF cannot hold.
        OSError: If the system reports a fault.
    """
    steady = _Steady(file)
    try:
        _renamed(tree, _escaped).to_netcdf(steady, engine="h5netcdf")
    except (ValueError, TypeError, AttributeError, KeyError, RuntimeError, OSError, NotImplementedError) as error:
        raise StorageError(
            "cannot be kept as NetCDF",
            argument="draws",
            got=str(error),
            expected="numbers, booleans, text or times, with attributes of these",
        ) from error
    finally:
        if steady.fault is not None:
            raise steady.fault


class _Steady(io.RawIOBase):
    """A file that tells its first fault afterwards: where a write fails, the HDF5 library ends the process."""

    def __init__(self, file: io.FileIO | io.BytesIO) -> None:
        super().__init__()
        self._file = file
        self.fault: OSError | None = None

    def readable(self) -> bool:
        return True

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def readinto(self, buffer: Any) -> int:
        return self._file.readinto(buffer)

    def write(self, data: Any) -> int:
        rest = memoryview(data).cast("B")
        size = len(rest)
        try:
            while rest and self.fault is None:
                rest = rest[self._file.write(rest) :]
        except OSError as error:
            self.fault = error
        return size

    def truncate(self, size: int | None = None) -> int:
        size = self.tell() if size is None else size
        try:
            return self._file.truncate(size)
        except OSError as error:
            self.fault = self.fault or error
            return size


def load_datatree(data: bytes) -> xarray.DataTree:
    """The tree that :func:`write_datatree` wrote, loaded whole: no file stays open.

    Args:
        data: The bytes of a NetCDF-4 file whose digest has been verified and whose author is trusted: the HDF5 library
            itself never ends on some crafted files. (A saved fit is read from safetensors, not from this file.)

    Raises:
        StorageError: For bytes that are not such a file, or that lead out of it. Damage inside the numbers is not seen
            here: the manifest of the folder finds it.
    """
    try:
        with h5py.File(io.BytesIO(data), "r") as file:
            _check_group(file, set())
        return _renamed(_opened(data), _unescaped)
    except StorageError:
        raise
    # What HDF5 and its readers raise on a damaged file depends on where the damage is.
    except (
        ValueError,
        TypeError,
        AttributeError,
        LookupError,
        ArithmeticError,
        RuntimeError,
        OSError,
        MemoryError,
    ) as error:
        raise StorageError("is not a NetCDF file of ppzoo", argument="draws", got=repr(error)) from error


def _opened(data: bytes) -> xarray.DataTree:
    # xarray adds a warnings filter whenever it decodes, and filters belong to the whole process: hence the lock.
    with (
        _FILTERS,
        warnings.catch_warnings(),
        xarray.open_datatree(io.BytesIO(data), engine="h5netcdf", decode_timedelta=_DURATIONS) as tree,
    ):
        return tree.load()


def _renamed(tree: xarray.DataTree, rename: Callable[[str], str]) -> xarray.DataTree:
    """A tree with every group, variable and dim renamed, without encodings."""
    groups = {}
    for node in tree.subtree:
        path = "/".join(rename(part) if part else part for part in node.path.split("/"))
        data = node.to_dataset(inherit=False).copy()
        data.encoding = {}  # xarray's drop_encoding() copies all numbers
        for variable in data.variables.values():
            variable.encoding = {}
        names = {name: rename(str(name)) for name in (*data.variables, *data.dims)}
        groups[path] = data.rename({old: new for old, new in names.items() if old != new})
    return xarray.DataTree.from_dict(groups)


def _escaped(name: str) -> str:
    return _UNSAFE.sub(lambda found: f"%{ord(found[0]):02X}", name) or "%"


def _unescaped(name: str) -> str:
    return "" if name == "%" else _ESCAPE.sub(lambda found: chr(int(found[1], 16)), name)


def _check_group(group: h5py.Group, seen: set[int]) -> None:
    """Every object lies in this file, once, and its numbers are all there."""
    for name in group:
        where = f"{group.name.rstrip('/')}/{name}"
        link = group.get(name, getlink=True)
        if not isinstance(link, h5py.HardLink):
            raise _hostile(where, f"a {type(link).__name__}")
        item = group[name]
        address = h5py.h5o.get_info(item.id).addr
        if address in seen:
            raise _hostile(where, "a second link to the same object")
        seen.add(address)
        if isinstance(item, h5py.Group):
            _check_group(item, seen)
        elif isinstance(item, h5py.Dataset):
            _check_dataset(item, where)
        else:
            raise _hostile(where, type(item).__name__)


def _check_dataset(dataset: h5py.Dataset, where: str) -> None:
    plan = dataset.id.get_create_plist()
    if dataset.is_virtual or plan.get_external_count():
        raise _hostile(where, "numbers kept in another file")
    if plan.get_nfilters():
        raise _hostile(where, "compressed numbers")
    label = dataset.attrs.get("NAME", b"")
    text = label.decode("utf-8", "replace") if isinstance(label, bytes) else str(label)
    if dataset.id.get_storage_size() < dataset.nbytes and not text.startswith(_PLACEHOLDER):
        raise _hostile(where, f"{dataset.nbytes} bytes of numbers, of which {dataset.id.get_storage_size()} are there")


def _hostile(where: str, got: str) -> StorageError:
    return StorageError(
        "is nothing that ppzoo writes into a NetCDF file",
        argument=f"{where!r:.200}",
        got=got,
        expected="groups and uncompressed numbers in this file",
        remedy="Do not use this file.",
    )
