"""Tensors come back bit for bit, whatever their type, stride, memory and name."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from safetensors.torch import save
from torch import Tensor

from ppzoo.errors import StorageError
from ppzoo.storage.tensors import dump_tensors, load_tensors, write_tensors

TYPES = [
    torch.float64,
    torch.float32,
    torch.float16,
    torch.bfloat16,
    torch.complex64,
    torch.int64,
    torch.int32,
    torch.int16,
    torch.int8,
    torch.uint8,
    torch.bool,
]


def assert_same(got: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    assert list(got) == list(expected)
    for name, tensor in expected.items():
        assert got[name].dtype == tensor.dtype
        assert got[name].shape == tensor.shape
        plain = tensor.detach().resolve_conj().contiguous().reshape(-1)
        assert torch.equal(got[name].reshape(-1).view(torch.uint8), plain.view(torch.uint8))


@pytest.mark.parametrize("dtype", TYPES, ids=str)
@pytest.mark.parametrize("shape", [(), (0,), (1,), (3, 0, 2), (2, 3)])
def test_types_and_shapes(dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    values = torch.randn((2, *shape), generator=torch.Generator().manual_seed(2)) * 3
    assert_same(load_tensors(dump_tensors({"x": values[0].to(dtype)})), {"x": values[0].to(dtype)})


def test_special_values_keep_their_bits() -> None:
    special = torch.tensor([float("nan"), float("inf"), -0.0, 5e-324], dtype=torch.float64)
    assert_same(load_tensors(dump_tensors({"x": special})), {"x": special})


def test_views_shared_memory_and_gradients() -> None:
    base = torch.arange(24.0).reshape(4, 6)
    tensors = {
        "base": base,
        "same": base,
        "transposed": base.T,
        "strided": base[::2, 1::3],
        "expanded": base[:1].expand(5, 6),
        "conjugate": torch.tensor([1 + 2j]).conj(),
        "parameter": torch.nn.Parameter(base + 1),
    }
    loaded = load_tensors(dump_tensors(tensors))
    assert_same(loaded, tensors)
    loaded["base"].zero_()
    assert_same({"same": loaded["same"]}, {"same": base})
    assert not loaded["parameter"].requires_grad


@pytest.mark.parametrize(
    "name", ["", "layer.weight", "a/b", "$x", "\u65e5\u672c", "x\x00y", "\n", "theta[1]", "x" * 9999, "0"]
)
def test_names(name: str) -> None:
    tensors = {name: torch.ones(2), "other": torch.zeros(1)}
    assert_same(load_tensors(dump_tensors(tensors)), tensors)


def test_random_tables_keep_their_order_and_bytes() -> None:
    draw, generator = random.Random(4), torch.Generator().manual_seed(4)
    assert load_tensors(dump_tensors({})) == {}
    for _ in range(20):
        names = draw.sample([f"site_{i}" for i in range(30)], k=draw.randint(0, 8))
        tensors = {
            name: (torch.randn(draw.randint(0, 4), draw.randint(0, 3), generator=generator) * 9).to(draw.choice(TYPES))
            for name in names
        }
        data = dump_tensors(tensors)
        assert_same(load_tensors(data), tensors)
        assert dump_tensors(load_tensors(data)) == data


def test_a_file_is_what_a_dump_is(tmp_path: Path) -> None:
    base = torch.arange(24.0).reshape(4, 6)
    tensors = {"b": base, "a": base, "part": base[1:3], "across": base.T, "n": torch.ones((), dtype=torch.int64)}
    write_tensors(tensors, tmp_path / "x")
    assert (tmp_path / "x").read_bytes() == dump_tensors(tensors)
    with pytest.raises(StorageError, match="'x': is not a dense tensor"):
        write_tensors({"x": torch.eye(2).to_sparse()}, tmp_path / "y")


def test_a_fault_of_the_system_is_told_as_one(tmp_path: Path) -> None:
    """A kernel that lets no file grow: no function is replaced."""
    code = (
        "import resource, sys, torch\n"
        "from pathlib import Path\n"
        "from ppzoo.storage.tensors import write_tensors\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
        "try:\n    write_tensors({'x': torch.zeros(100_000)}, Path(sys.argv[1]))\n"
        "except OSError as error:\n    print(type(error).__name__, error.errno == 27)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, "-c", code, str(tmp_path / "x")]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
    assert done.stdout == "OSError True\n"


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({"x": [1.0]}, "'x': is not a dense tensor; got list"),
        ({"x": torch.eye(2).to_sparse()}, "'x': is not a dense tensor; got Tensor torch.sparse_coo"),
        ({"x": torch.ones(2, device="meta")}, "'x': is not a dense tensor"),
        ({"x": torch.ones(2, dtype=torch.complex128)}, "'x': has a type that safetensors lacks; got torch.complex128"),
        ({"__metadata__": torch.ones(2)}, "cannot be the name of a tensor"),
        ({"\ud800": torch.ones(2)}, "cannot be the name of a tensor"),
        ({7: torch.ones(2)}, "7: cannot be the name of a tensor"),
    ],
)
def test_what_cannot_be_kept(tensors: dict[str, Tensor], message: str) -> None:
    with pytest.raises(StorageError, match=message):
        dump_tensors(tensors)


def header(text: bytes, numbers: bytes = b"") -> bytes:
    return len(text).to_bytes(8, "little") + text + numbers


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x80\x04\x95\x00.",
        b"PK\x03\x04" + bytes(100),
        (2**63).to_bytes(8, "little") + b"{}",
        header(b"{}"),
        header(b"[]"),
        header(b"{" * 10**5),
        header(b'{"x":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}', bytes(4)),
        header(b'{"x":{"dtype":"F32","shape":[99999999999999],"data_offsets":[0,8]}}', bytes(8)),
        header(b'{"x":{"dtype":"OBJ","shape":[2],"data_offsets":[0,8]}}', bytes(8)),
        header(
            b'{"__metadata__":{"ppzoo_order":"[\\"y\\"]"},"x":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}', b"1"
        ),
        header(b'{"__metadata__":{"ppzoo_order":"[[]]"}}'),
        header(b'{"__metadata__":{"ppzoo_order":"["}}'),
        save({"x": torch.ones(2)}),
    ],
)
def test_what_dump_did_not_write(data: bytes) -> None:
    with pytest.raises(StorageError):
        load_tensors(data)


def test_truncated_at_every_byte() -> None:
    data = dump_tensors({"x": torch.arange(3.0), "y": torch.ones((), dtype=torch.int64)})
    for length in range(len(data)):
        with pytest.raises(StorageError):
            load_tensors(data[:length])
