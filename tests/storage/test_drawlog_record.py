"""A record comes back as it was written; one that was forged with care is refused all the same."""

from __future__ import annotations

import errno
import math
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ppzoo.errors import StorageError
from ppzoo.storage.drawlog_record import (
    STATE,
    Record,
    differences,
    plain_json,
    read_record,
    write_record,
)
from ppzoo.storage.drawlog_rows import Field
from ppzoo.storage.folder import read_folder, write_folder

FIELDS = (Field("q", "float64", (2,)), Field("lp", "float32", ()))
RECORD = Record(
    header={"seed": 2**64 - 1, "settings": {"step": math.inf}},
    fields=FIELDS,
    chains=3,
    draws=9,
    counts=np.array([9, 0, 4]),
    sums=np.array([[1, 0, 2**32 - 1], [3, 0, 4]]),
    numbers={"warmup": 100},
    state=b"any bytes",
)


def assert_same(got: Record, expected: Record) -> None:
    for name in ("header", "fields", "chains", "draws", "numbers", "state", "seal"):
        assert getattr(got, name) == getattr(expected, name)
    assert got.counts.tolist() == expected.counts.tolist()
    assert got.sums.tolist() == expected.sums.tolist()


def test_round_trip(tmp_path: Path) -> None:
    write_record(tmp_path, RECORD)
    assert_same(read_record(tmp_path), RECORD)
    assert not RECORD.complete
    assert [RECORD.size(field) for field in FIELDS] == [3 * 9 * 16, 3 * 9 * 4]
    sealed = replace(RECORD, counts=np.array([9, 9, 9]), seal={"q": "a" * 64, "lp": "b" * 64})
    write_record(tmp_path, sealed)
    assert_same(read_record(tmp_path), sealed)
    assert sealed.complete
    assert [path.name for path in tmp_path.iterdir()] == [STATE]


def forge(log: Path, changes: dict[str, object]) -> None:
    """A record with fields changed and every digest right, as a careful attacker would."""
    folder = read_folder(log / STATE)
    own = {name: value for name, value in folder.manifest.items() if name not in {"format", "format_version"}}
    content = {name: value for name, value in (own | changes).items() if name not in {"files", "sha256"}}
    write_folder(log / STATE, folder.files, content)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"log": "ppzoo-draws-2"}, "state': is not the record of a draw log; got 'ppzoo-draws-2'; expected 'ppzoo-dr"),
        ({"chains": 0}, "has no valid number of chains; got 0; expected a whole number from 1"),
        ({"chains": True}, "has no valid number of chains"),
        ({"chains": 3.0}, "has no valid number of chains"),
        ({"chains": 10**30}, "has a shape that no file can hold"),
        ({"chains": 4}, "progress.bin': has the wrong size"),
        ({"draws": -9}, "has no valid number of draws"),
        ({"draws": None}, "has no valid number of draws"),
        ({"draws": 10**30}, "has a shape that no file can hold"),
        ({"draws": 8}, "progress.bin': has numbers out of range; got 9 draws; expected 0 to 8 draws"),
        ({"header": []}, "has no header"),
        ({"numbers": None}, "has no numbers"),
        ({"fields": []}, "has no fields"),
        ({"fields": {}}, "has fields that a log cannot have"),
        ({"fields": {"q": {"type": "int8", "shape": []}}}, "progress.bin': has the wrong size"),
        ({"fields": {"q": 7, "lp": 8}}, "has a type that a draw log does not keep; got NoneType"),
        ({"fields": {"../q": {"type": "int8", "shape": []}}}, "not a plain file name"),
        ({"fields": {n: {"type": "int8", "shape": []} for n in "qQ"}}, "has fields that a log cannot have"),
        ({"fields": {"q": {"type": "int8", "shape": [10**40]}}}, "has a shape that no file can hold"),
        ({"fields": {"q": {"type": "object", "shape": []}}}, "does not keep; got object"),
        ({"seal": {"q": "a" * 64, "lp": "b" * 64}}, "is sealed before its end; got 0 draws; expected 9 draws"),
        ({"seal": {"q": "a" * 64}}, "has a seal that is not its own"),
        ({"seal": {"q": "a" * 64, "lp": 7}}, "has a seal that is not its own"),
        ({"seal": {"q": "", "lp": "", "x": ""}}, "has a seal that is not its own"),
        ({"seal": "yes"}, "has no seal"),
    ],
)
def test_a_forged_record_is_refused(tmp_path: Path, changes: dict[str, object], message: str) -> None:
    write_record(tmp_path, RECORD)
    forge(tmp_path, changes)
    with pytest.raises(StorageError) as caught:
        read_record(tmp_path)
    assert message in str(caught.value)


@pytest.mark.parametrize(("counts", "sums"), [([10, 0, 0], 0), ([-1, 0, 0], 0), ([0, 0, 0], -1), ([0, 0, 0], 2**32)])
def test_numbers_out_of_range_are_refused(tmp_path: Path, counts: list[int], sums: int) -> None:
    write_record(tmp_path, replace(RECORD, counts=np.array(counts), sums=np.full((2, 3), sums)))
    with pytest.raises(StorageError, match=r"progress\.bin': has numbers out of range"):
        read_record(tmp_path)


def test_a_folder_of_another_kind_is_refused(tmp_path: Path) -> None:
    write_folder(tmp_path / STATE, {"state.safetensors": b""}, {"log": "ppzoo-draws-1"})
    with pytest.raises(StorageError, match="is not the record of a draw log"):
        read_record(tmp_path)
    with pytest.raises(StorageError, match="there is no such folder"):
        read_record(tmp_path / "nowhere")


def test_differences_name_the_place_and_both_values() -> None:
    logged = {
        "seed": 1,
        "model": "a" * 200,
        "nuts": {"step": 0.1, "depth": 10},
        "flag": True,
        "none": None,
        "n": math.nan,
    }
    assert list(differences(logged, logged)) == []
    assert list(differences(logged, {**logged, "seed": 1.0})) == ["seed 1 in the log, 1.0 now"]
    assert list(differences(logged, {**logged, "flag": 1})) == ["flag True in the log, 1 now"]
    found = list(differences(logged, {"nuts": {"step": 0.2}, "new": [1], "flag": True, "none": None, "n": 0.0}))
    assert [text[:40] for text in found] == [
        "seed 1 in the log, nothing now",
        "model 'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"[:40],
        "nuts.step 0.1 in the log, 0.2 now",
        "nuts.depth 10 in the log, nothing now",
        "n nan in the log, 0.0 now",
        "new nothing in the log, [1] now",
    ]
    assert max(map(len, found)) < 120


def test_plain_json_is_what_will_be_read() -> None:
    given = {"pair": (1, 2), "clip": math.inf}
    assert plain_json(given, name="numbers") == {"pair": [1, 2], "clip": math.inf}
    for wrong in ([1], {1: 2}, {"x": object()}):
        with pytest.raises(StorageError, match="numbers"):
            plain_json(wrong, name="numbers")  # type: ignore[arg-type]


def test_what_the_system_reports_is_passed_on_and_the_old_record_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_record(tmp_path, RECORD)

    def full(handle: int, data: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        with pytest.raises(OSError, match="No space left") as caught:
            write_record(tmp_path, replace(RECORD, draws=10))
    assert type(caught.value) is OSError
    with pytest.raises(StorageError, match=r"manifest\.json: is too long"):
        write_record(tmp_path, replace(RECORD, numbers={"x": "y" * 2**20}))
    assert_same(read_record(tmp_path), RECORD)
