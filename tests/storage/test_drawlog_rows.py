"""Rows lie where the file says, and their checksums see every flipped byte."""

from __future__ import annotations

import os
import random
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from ppzoo.errors import StorageError
from ppzoo.storage.drawlog_rows import (
    Field,
    check_field,
    check_rows,
    make_rows,
    map_rows,
    open_rows,
    write_rows,
)
from ppzoo.storage.manifest import digest, digest_file

CHAINS, DRAWS = 3, 7
TYPES = ["float64", "float32", "float16", "int64", "int32", "int16", "int8", "uint8", "bool"]


@contextmanager
def opened(path: Path, size: int, *, writing: bool = False) -> Iterator[int]:
    handle = open_rows(path, size, writing=writing)
    try:
        yield handle
    finally:
        os.close(handle)


def numbers(field: Field, *shape: int) -> np.ndarray:
    raw = np.random.default_rng(5).integers(0, 2 if field.type == "bool" else 100, (*shape, *field.shape))
    return raw.astype(field.dtype)


def fill(path: Path, field: Field, truth: np.ndarray, *, pieces: int) -> tuple[np.ndarray, np.ndarray]:
    """Write ``truth`` (C, S, ...) in up to ``pieces`` unequal parts, S or fewer of each chain."""
    draw = random.Random(pieces)
    size = CHAINS * DRAWS * field.row
    make_rows(path, size)
    counts, sums = [0] * CHAINS, np.zeros(CHAINS, np.int64)
    with opened(path, size, writing=True) as handle:
        for _ in range(pieces):
            fresh = [min(draw.randint(0, 4), DRAWS - count) for count in counts]
            rows = np.zeros((CHAINS, max(*fresh, 1), *field.shape), field.dtype)
            for c, (count, n) in enumerate(zip(counts, fresh, strict=True)):
                rows[c, :n] = truth[c, count : count + n]
            write_rows(handle, field, DRAWS, rows, list(zip(counts, fresh, strict=True)), sums)
            counts = [count + n for count, n in zip(counts, fresh, strict=True)]
    return np.array(counts), sums


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("shape", [(), (1,), (2, 3)])
def test_the_file_is_the_array(tmp_path: Path, kind: str, shape: tuple[int, ...]) -> None:
    field = check_field("q", kind, shape, rows=CHAINS * DRAWS)
    truth = numbers(field, CHAINS, DRAWS)
    counts, sums = fill(tmp_path / field.file, field, truth, pieces=40)
    assert counts.tolist() == [DRAWS] * CHAINS
    assert (tmp_path / field.file).read_bytes() == truth.tobytes()
    assert sums.tolist() == [zlib.crc32(chain.tobytes()) for chain in truth]
    with opened(tmp_path / field.file, truth.nbytes) as handle:
        check_rows(handle, tmp_path / field.file, field, DRAWS, counts, sums)
        assert digest_file(handle) == digest(truth.tobytes())
        mapped = map_rows(handle, field, CHAINS, DRAWS)
    assert mapped.dtype == field.dtype
    assert (mapped == truth).all()
    with pytest.raises(ValueError, match="read-only"):
        mapped[0, 0] = 0


def test_the_bytes_are_little_endian_whatever_the_source(tmp_path: Path) -> None:
    field = check_field("q", "int32", (), rows=2)
    make_rows(tmp_path / "q", 8)
    with opened(tmp_path / "q", 8, writing=True) as handle:
        write_rows(handle, field, 2, np.array([[1, 258]], ">i4"), [(0, 2)], np.zeros(1, np.int64))
    assert (tmp_path / "q").read_bytes() == b"\1\0\0\0\2\1\0\0"


def test_short_writes_are_continued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    field = check_field("q", "float64", (2,), rows=CHAINS * DRAWS)
    truth, genuine = numbers(field, CHAINS, DRAWS), os.write
    monkeypatch.setattr(os, "write", lambda handle, data: genuine(handle, bytes(data)[:5]))
    fill(tmp_path / "q", field, truth, pieces=40)
    assert (tmp_path / "q").read_bytes() == truth.tobytes()


def test_a_flip_in_any_bit_that_counts_is_found_and_its_chain_named(tmp_path: Path) -> None:
    field = check_field("q", "int16", (2,), rows=CHAINS * DRAWS)
    truth, path = numbers(field, CHAINS, DRAWS), tmp_path / "q"
    counts, sums = fill(path, field, truth, pieces=2)
    assert 0 < counts.min() < counts.max() < DRAWS
    data = path.read_bytes()
    for place in range(len(data)):
        chain, row = divmod(place // field.row, DRAWS)
        for bit in range(8):
            flipped = bytearray(data)
            flipped[place] ^= 1 << bit
            path.write_bytes(flipped)
            with opened(path, len(data)) as handle:
                if row < counts[chain]:
                    with pytest.raises(StorageError, match=rf"damaged or edited; got CRC-32 .* of chain {chain};"):
                        check_rows(handle, path, field, DRAWS, counts, sums)
                else:
                    check_rows(handle, path, field, DRAWS, counts, sums)


def test_chains_exchanged_are_found(tmp_path: Path) -> None:
    field = check_field("q", "float64", (), rows=CHAINS * DRAWS)
    counts, sums = fill(tmp_path / "q", field, numbers(field, CHAINS, DRAWS), pieces=40)
    chains = np.frombuffer((tmp_path / "q").read_bytes()).reshape(CHAINS, DRAWS)
    (tmp_path / "q").write_bytes(chains[[1, 0, 2]].tobytes())
    with opened(tmp_path / "q", chains.nbytes) as handle, pytest.raises(StorageError, match="of chain 0"):
        check_rows(handle, tmp_path / "q", field, DRAWS, counts, sums)


def test_a_file_cut_short_while_it_is_read(tmp_path: Path) -> None:
    field = check_field("q", "float64", (), rows=CHAINS * DRAWS)
    counts, sums = fill(tmp_path / "q", field, numbers(field, CHAINS, DRAWS), pieces=40)
    with opened(tmp_path / "q", CHAINS * DRAWS * 8) as handle:
        os.truncate(tmp_path / "q", 60)
        with pytest.raises(StorageError, match="has the wrong size; got no more bytes within chain 1"):
            check_rows(handle, tmp_path / "q", field, DRAWS, counts, sums)


def test_a_new_file_takes_no_room(tmp_path: Path) -> None:
    make_rows(tmp_path / "q", 2**33)
    status = os.stat(tmp_path / "q")
    assert status.st_size == 2**33
    assert status.st_blocks * 512 < 2**20
    with pytest.raises(FileExistsError):
        make_rows(tmp_path / "q", 1)


def _shorter(path: Path) -> None:
    os.truncate(path, 7)


def _longer(path: Path) -> None:
    os.truncate(path, 9)


def _pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def _folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _link(path: Path) -> None:
    path.rename(path.with_name("elsewhere"))
    path.symlink_to("elsewhere")


def _missing(path: Path) -> None:
    path.unlink()


@pytest.mark.parametrize("writing", [False, True])
@pytest.mark.parametrize("plant", [_shorter, _longer, _pipe, _folder, _link, _missing])
def test_what_is_no_plain_file_of_its_size(tmp_path: Path, plant: object, writing: bool) -> None:
    assert callable(plant)
    make_rows(tmp_path / "q", 8)
    plant(tmp_path / "q")
    with pytest.raises(OSError, match=r"wrong size|plain file|symbolic links|Is a directory|No such file|No such dev"):
        open_rows(tmp_path / "q", 8, writing=writing)


@pytest.mark.parametrize(
    ("name", "kind", "shape", "message"),
    [
        ("../q", "float64", (), "'../q.draws': not a plain file name"),
        ("", "float64", (), "not a plain file name"),
        (7, "float64", (), "7: not a plain file name"),
        ("q", "complex64", (), "'q': has a type that a draw log does not keep; got complex64; expected one of float64"),
        ("q", "O", (), "does not keep"),
        ("q", None, (), "does not keep; got NoneType"),
        ("q", "float64", (2, 0), r"'q': has a shape that no file can hold; got \(2, 0\) for each of 4 rows"),
        ("q", "float64", (-1,), "has a shape"),
        ("q", "float64", (True,), "has a shape"),
        ("q", "float64", (2.0,), "has a shape"),
        ("q", "float64", "2", "has a shape"),
        ("q", "float64", None, "has a shape"),
        ("q", "float64", (2**58,), "has a shape"),
    ],
)
def test_what_cannot_be_a_field(name: object, kind: object, shape: object, message: str) -> None:
    with pytest.raises(StorageError, match=message):
        check_field(name, kind, shape, rows=4)
