"""A tree comes back identical, whatever its names; files that lead elsewhere are refused."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import xarray
from numpy.typing import NDArray

from ppzoo.errors import StorageError
from ppzoo.storage.netcdf import load_datatree, write_datatree

NAMES = [
    "theta", "$x[1]", "$\\frac{", "é", "日本", " lead", "trail ", "a.b", ".hidden", ".", "..", "a b", "\n", "[x]", "%",
    "%2F", "100%", "__values__", "__", "_nc4_non_coord_x", "_private", "x\x00y", "", "phony_dim_0", "name", "x" * 300,
]  # fmt: skip


def tree_of(**groups: xarray.Dataset) -> xarray.DataTree:
    return xarray.DataTree.from_dict(dict(groups))


def dumped(tree: xarray.DataTree) -> bytes:
    file = io.BytesIO()
    write_datatree(tree, file)
    return file.getvalue()


def small_tree() -> xarray.DataTree:
    draws = np.random.default_rng(1).normal(size=(2, 3, 2))
    posterior = xarray.Dataset(
        {"theta": (("chain", "draw", "school"), draws), "$tau": (("chain", "draw"), draws[..., 0] > 0)},
        coords={"chain": [0, 1], "draw": [0, 1, 2], "school": ["A", "é\n"]},
        attrs={"made_by": "ppzoo", "version": 1, "rate": 0.5},
    )
    return tree_of(posterior=posterior, observed_data=xarray.Dataset({"y": (("school",), [1.5, np.nan])}))


def test_round_trip_is_identical_and_reproducible() -> None:
    tree = small_tree()
    data = dumped(tree)
    loaded = load_datatree(data)
    assert loaded.identical(tree)
    assert dumped(tree) == data == dumped(loaded)


def test_a_file_of_the_system_holds_the_same_bytes(tmp_path: Path) -> None:
    with (tmp_path / "x.nc").open("x+b", buffering=0) as file:
        write_datatree(small_tree(), file)
    assert (tmp_path / "x.nc").read_bytes() == dumped(small_tree())


@pytest.mark.parametrize("limit", [0, 500, 100_000])
def test_on_a_full_disk_the_process_lives(tmp_path: Path, limit: int) -> None:
    """A kernel that lets no file grow: no function is replaced."""
    code = (
        "import os, resource, sys, numpy, xarray\n"
        "from ppzoo.storage.netcdf import write_datatree\n"
        "tree = xarray.DataTree.from_dict({'p': xarray.Dataset({'x': ('d', numpy.zeros(100_000))})})\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]),) * 2)\n"
        "file = open(sys.argv[1], 'x+b', buffering=0)\n"
        "try:\n    write_datatree(tree, file)\n"
        "except OSError as error:\n    os.write(1, f'{type(error).__name__} {error.errno}'.encode())\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, "-c", code, str(tmp_path / "x.nc"), str(limit)]
    done = subprocess.run(command, stdout=subprocess.PIPE, env=environment, check=True)
    assert done.stdout == b"OSError 27"


@pytest.mark.parametrize(
    "values",
    [
        np.array([True, False]),
        np.array([1.5, np.nan, np.inf, -np.inf, -0.0, 5e-324]),
        np.array([1.5, np.nan], dtype=np.float32),
        np.array([2**63 - 1, -(2**63)]),
        np.array([2**64 - 1], dtype=np.uint64),
        np.array([-128, 127], dtype=np.int8),
        np.array(["", "a", "é日"]),
        np.array(["2020-01-01", "NaT"], dtype="datetime64[ns]"),
        np.array([3, 5], dtype="timedelta64[s]"),
        np.zeros(0),
        np.zeros(0, dtype=bool),
        np.zeros((2, 0, 3)),
        np.array(7),
        np.array(True),
        np.array("text"),
        np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        np.arange(8.0)[::-2],
        np.array([1.0, 2.0], dtype=">f8"),
    ],
    ids=lambda values: f"{values.dtype}{values.shape}",
)
def test_values_and_types(values: NDArray[Any]) -> None:
    dims = tuple(f"d{i}" for i in range(values.ndim))
    loaded = load_datatree(dumped(tree_of(posterior=xarray.Dataset({"x": (dims, values)}))))
    got = np.asarray(loaded["posterior"].to_dataset()["x"])
    assert got.dtype == values.dtype.newbyteorder("=")
    assert got.shape == values.shape
    assert got.tobytes() == values.astype(got.dtype).tobytes()


@pytest.mark.parametrize("name", NAMES)
def test_awkward_names(name: str) -> None:
    other = name + "2"
    data = xarray.Dataset({name: (("row", other), np.ones((2, 3)))}, coords={other: ["a", "b", "ü"]})
    tree = tree_of(p=data, bare=xarray.Dataset({"x": ((name,), np.ones(2))}))
    assert load_datatree(dumped(tree)).identical(tree)


def test_a_dim_with_a_slash() -> None:
    # xarray itself refuses a slash in the name of a variable of a tree
    tree = tree_of(p=xarray.Dataset({"x": (("a/b", "%2F"), np.ones((2, 3)))}))
    assert load_datatree(dumped(tree)).identical(tree)


def test_awkward_groups() -> None:
    tree = xarray.DataTree.from_dict(
        {f"/p/{name}": small_tree()["posterior"] for name in ("$x", "_nc4_non_coord_x", "%")}
    )
    assert load_datatree(dumped(tree)).identical(tree)


def test_random_tables() -> None:
    rng = np.random.default_rng(5)
    for _ in range(10):
        shape = tuple(rng.integers(0, 5, size=rng.integers(0, 4)))
        columns = {f"v{i}": (tuple(f"d{j}" for j in range(len(shape))), rng.normal(size=shape)) for i in range(4)}
        tree = tree_of(posterior=xarray.Dataset(columns), empty=xarray.Dataset())
        assert load_datatree(dumped(tree)).identical(tree)


def test_a_unit_is_only_a_label() -> None:
    tree = tree_of(p=xarray.Dataset({"x": (("d",), [1, 2], {"units": "seconds"})}))
    assert load_datatree(dumped(tree)).identical(tree)


def test_compression_of_an_opened_file_is_dropped() -> None:
    tree = tree_of(p=xarray.Dataset({"x": ((("d"),), np.zeros(1000))}))
    plain = dumped(tree)
    tree["p"]["x"].encoding = {"zlib": True, "complevel": 9, "dtype": "float32"}
    assert dumped(tree) == plain


@pytest.mark.parametrize(
    "data",
    [
        xarray.Dataset({"x": (("d",), np.array([object()]))}),
        xarray.Dataset({"x": 1}, attrs={"a": {"nested": 1}}),
        xarray.Dataset({"x": 1}, attrs={"a": None}),
        xarray.Dataset({"\ud800": 1}),
    ],
)
def test_what_netcdf_cannot_hold(data: xarray.Dataset) -> None:
    with pytest.raises(StorageError, match="cannot be kept as NetCDF"):
        dumped(tree_of(p=data))


@pytest.mark.parametrize("data", [b"", b"CDF\x01", b"\x89HDF\r\n\x1a\n", b"\x80\x04\x95", bytes(5000)])
def test_not_netcdf(data: bytes) -> None:
    with pytest.raises(StorageError, match="is not a NetCDF file"):
        load_datatree(data)


def test_truncated() -> None:
    data = dumped(small_tree())
    for length in range(0, len(data), 97):
        with pytest.raises(StorageError):
            load_datatree(data[:length])


def _external_link(file: h5py.File, secret: Path) -> None:
    file["x"] = h5py.ExternalLink(str(secret), "/x")


def _soft_link(file: h5py.File, secret: Path) -> None:
    file["x"] = h5py.SoftLink("/elsewhere")


def _loop(file: h5py.File, secret: Path) -> None:
    group = file.create_group("a")
    group["b"] = group


def _external_data(file: h5py.File, secret: Path) -> None:
    file.create_dataset("x", (4,), "u1", external=[(str(secret), 0, 4)])


def _virtual(file: h5py.File, secret: Path) -> None:
    layout = h5py.VirtualLayout((2,), "f8")
    layout[:] = h5py.VirtualSource(str(secret), "x", (2,))
    file.create_virtual_dataset("x", layout)


def _bomb(file: h5py.File, secret: Path) -> None:
    file.create_dataset("x", (2**44,), "f8", chunks=(1024,))


def _compressed(file: h5py.File, secret: Path) -> None:
    file.create_dataset("x", data=np.zeros(10**6), compression="gzip")


def _named_type(file: h5py.File, secret: Path) -> None:
    file["x"] = np.dtype("f8")


@pytest.mark.parametrize(
    "plant", [_external_link, _soft_link, _loop, _external_data, _virtual, _bomb, _compressed, _named_type]
)
def test_files_that_lead_elsewhere(tmp_path: Path, plant: Callable[[h5py.File, Path], None]) -> None:
    secret = tmp_path / "secret.h5"
    with h5py.File(secret, "w") as file:
        file["x"] = [1.0, 2.0]
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        plant(file, secret)
    with pytest.raises(StorageError, match="is nothing that ppzoo writes into a NetCDF file"):
        load_datatree(buffer.getvalue())
