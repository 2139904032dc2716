"""Whatever is wrong with a log is found and named, before its rows are handed out; memory stays flat."""

from __future__ import annotations

import os
import shutil
import tracemalloc
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ppzoo.errors import StorageError

torch = pytest.importorskip("torch")

from ppzoo.storage import drawlog_reading  # noqa: E402  # what follows needs torch
from ppzoo.storage.drawlog import DrawLog  # noqa: E402
from ppzoo.storage.drawlog_reading import read_draws  # noqa: E402
from ppzoo.storage.drawlog_record import Record, read_record, write_record  # noqa: E402
from ppzoo.storage.manifest import digest  # noqa: E402

CHAINS, DRAWS, HEADER = 2, 3, {"seed": 7}
FIELDS = {"q": (torch.float32, (2,)), "ok": (torch.bool, ())}
ROWS = {
    "q": torch.arange(1.0, 13.0).reshape(CHAINS, DRAWS, 2),
    "ok": torch.tensor([[True, False, True], [False, True, True]]),
}


def begin(path: Path) -> DrawLog:
    return DrawLog.create(path, FIELDS, chains=CHAINS, draws=DRAWS, header=HEADER)


def part(path: Path) -> Path:
    """A log with 1 and 2 of its 3 draws."""
    with begin(path) as log:
        log.append(ROWS, torch.tensor([1, 2]), {"x": torch.ones(2)}, {"step": 1})
    return path


def whole(path: Path) -> Path:
    """A finished log."""
    with begin(path) as log:
        log.append(ROWS, torch.tensor([3, 3]), {"x": torch.ones(2)}, {"step": 1})
        log.finish()
    return path


def files(log: Path) -> list[Path]:
    return sorted(path for path in log.rglob("*") if path.is_file())


def refusals(log: Path) -> list[str]:
    """What reading and resuming say."""
    messages = []
    for attempt in (read_draws, resumed):
        try:
            attempt(log)
        except StorageError as error:
            messages.append(str(error))
    return messages


def resumed(log: Path) -> None:
    with DrawLog.resume(log, HEADER).log:
        pass


def test_what_was_appended_is_read(tmp_path: Path) -> None:
    found = read_draws(part(tmp_path / "run"))
    assert (found.header, found.numbers, found.finished) == (HEADER, {"step": 1}, False)
    assert found.counts.tolist() == [1, 2]
    assert list(found.arrays) == list(FIELDS)
    for name, array in found.arrays.items():
        assert array.shape == (CHAINS, DRAWS, *FIELDS[name][1])
        for c, count in enumerate(found.counts):
            assert (array[c, :count] == ROWS[name][c, :count].numpy()).all()
    finished = read_draws(whole(tmp_path / "whole"))
    assert finished.finished
    assert all((finished.arrays[name] == ROWS[name].numpy()).all() for name in FIELDS)


@pytest.mark.parametrize("make", [part, whole])
def test_a_flip_in_any_byte_is_found_and_its_file_named(tmp_path: Path, make: Callable[[Path], Path]) -> None:
    """Every bit of a row: test_drawlog_rows.py; every bit of a manifest: test_manifest.py."""
    log = make(tmp_path / "run")
    untold = 0
    for path in files(log):
        data = path.read_bytes()
        for index in range(len(data)):
            flipped = bytearray(data)
            flipped[index] ^= 1 << index % 8
            path.write_bytes(flipped)
            messages = refusals(log)
            untold += not messages
            assert len(messages) in ((0, 2) if make is part and path.suffix == ".draws" else (2,)), (path, index)
            assert all(path.name in message for message in messages)
        path.write_bytes(data)
    assert refusals(log) == []
    unwritten = 3 if make is part else 0  # 2 draws of chain 0 and 1 of chain 1, of 8 + 1 bytes each
    assert untold == unwritten * 9


@pytest.mark.parametrize("make", [part, whole])
def test_every_truncation_and_every_extension_is_found(tmp_path: Path, make: Callable[[Path], Path]) -> None:
    log = make(tmp_path / "run")
    for path in files(log):
        data = path.read_bytes()
        lengths = range(0, len(data), 1 if path.suffix == ".draws" else 41)
        for wrong in [*(data[:length] for length in lengths), data + b"\0", data + data]:
            path.write_bytes(wrong)
            messages = refusals(log)
            assert len(messages) == 2
            assert all(path.name in message for message in messages)
        path.write_bytes(data)
    assert refusals(log) == []


def _missing_rows(log: Path) -> None:
    (log / "q.draws").unlink()


def _missing_state(log: Path) -> None:
    shutil.rmtree(log / "state")


def _missing_part_of_state(log: Path) -> None:
    (log / "state" / "progress.bin").unlink()


def _state_of_another(log: Path) -> None:
    other = part(log.with_name("other"))
    (other / "q.draws").write_bytes(bytes(range(48)))
    (other / "q.draws").replace(log / "q.draws")


def _exchanged(log: Path) -> None:
    (log / "q.draws").rename(log / "x")
    (log / "ok.draws").rename(log / "q.draws")
    (log / "x").rename(log / "ok.draws")


def _linked_rows(log: Path) -> None:
    (log / "q.draws").rename(log.parent / "elsewhere")
    (log / "q.draws").symlink_to("../elsewhere")


def _piped_rows(log: Path) -> None:
    (log / "q.draws").unlink()
    os.mkfifo(log / "q.draws")


def _huge_rows(log: Path) -> None:
    os.truncate(log / "q.draws", 2**40)


def _added(log: Path) -> None:
    (log / "extra.py").write_bytes(b"raise SystemExit")


def _added_to_state(log: Path) -> None:
    (log / "state" / "extra.py").write_bytes(b"raise SystemExit")


def _linked_state(log: Path) -> None:
    (log / "state").rename(log.parent / "aside")
    (log / "state" / "manifest.json").parent.mkdir()
    for path in (log.parent / "aside").iterdir():
        (log / "state" / path.name).symlink_to(path)


def _hostile_json(log: Path) -> None:
    (log / "state" / "manifest.json").write_bytes(b"[" * 10**6)


def _emptied(log: Path) -> None:
    shutil.rmtree(log)
    log.mkdir()


def _file(log: Path) -> None:
    shutil.rmtree(log)
    log.write_bytes(b"")


def _nowhere(log: Path) -> None:
    shutil.rmtree(log)


@pytest.mark.parametrize("make", [part, whole])
@pytest.mark.parametrize(
    ("plant", "message"),
    [
        (_missing_rows, "q.draws"),
        (_missing_state, "state': there is no such folder; expected a run folder"),
        (_missing_part_of_state, "progress.bin': is missing"),
        (_state_of_another, "q.draws': has been damaged or edited"),
        (_exchanged, "q.draws': has the wrong size; got 6 bytes; expected 48 bytes"),
        (_linked_rows, "q.draws"),
        (_piped_rows, "q.draws': is not a plain file; got p"),
        (_huge_rows, "q.draws': has the wrong size; got 1099511627776 bytes"),
        (_added, "holds files that are not part of the log; got 'extra.py'. Move them elsewhere."),
        (_added_to_state, "holds files that its manifest does not list; got 'extra.py'"),
        (_linked_state, "is not a plain file; got l"),
        (_hostile_json, "manifest.json': is not the JSON that ppzoo writes"),
        (_emptied, "state': there is no such folder"),
        (_file, "run': is not a folder; expected a draw log"),
        (_nowhere, "run': there is no such folder; expected a draw log. Check the path."),
    ],
)
def test_hostile_logs(
    tmp_path: Path, make: Callable[[Path], Path], plant: Callable[[Path], None], message: str
) -> None:
    log = make(tmp_path / "run")
    plant(log)
    before = sorted(tmp_path.rglob("*"))
    messages = refusals(log)
    assert len(messages) == 2
    assert all(message in said for said in messages)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_seal_is_the_sha256_of_each_file_whatever_the_checksums_say(tmp_path: Path) -> None:
    log = whole(tmp_path / "run")
    record = read_record(log)
    assert record.seal == {name: digest((log / f"{name}.draws").read_bytes()) for name in FIELDS}
    (log / "q.draws").write_bytes(bytes(48))
    sums = record.sums.copy()
    sums[0] = zlib.crc32(bytes(24))
    write_record(log, replace(record, sums=sums))
    messages = refusals(log)
    assert len(messages) == 2
    assert all("q.draws': has been damaged or edited; got SHA-256" in message for message in messages)
    write_record(log, replace(record, sums=sums, seal=None))
    assert refusals(log) == []


def test_a_link_to_a_log_is_read_and_never_written(tmp_path: Path) -> None:
    log = part(tmp_path / "run")
    (tmp_path / "latest").symlink_to("run")
    assert read_draws(tmp_path / "latest").counts.tolist() == [1, 2]
    with pytest.raises(StorageError, match="is a symbolic link"):
        DrawLog.resume(tmp_path / "latest", HEADER)
    assert refusals(log) == []


def test_reading_goes_on_beside_the_writer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An append between the record and its rows, the only order in which a reader could be misled."""
    genuine = drawlog_reading.read_record
    with begin(tmp_path / "run") as log:
        log.append(ROWS, torch.tensor([1, 2]), {}, {})

        def overtaken(folder: Path) -> Record:
            record = genuine(folder)
            log.append({name: rows + rows for name, rows in ROWS.items()}, torch.tensor([1, 1]), {}, {})
            return record

        monkeypatch.setattr(drawlog_reading, "read_record", overtaken)
        found = read_draws(tmp_path / "run")
        assert found.counts.tolist() == [1, 2]
        assert (found.arrays["q"][1, :2] == ROWS["q"][1, :2].numpy()).all()
        assert log.counts.tolist() == [2, 3]


def test_a_fault_of_the_disk_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = part(tmp_path / "run")

    def fail(*args: object) -> bytes:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "read", fail)
    with pytest.raises(StorageError, match=r"run': cannot read this folder; got Input/output error"):
        read_draws(log)


def peak(action: Callable[[], object]) -> int:
    """The most bytes that ``action`` held at one time; mapped files are no such bytes."""
    tracemalloc.start()
    try:
        action()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_reading_takes_no_memory_for_the_draws(tmp_path: Path) -> None:
    draws = 100_000
    rows = torch.ones(2, draws, 20, dtype=torch.float64)  # 32 MB
    for finished in (False, True):
        with DrawLog.create(
            tmp_path / f"{finished}", {"q": (torch.float64, (20,))}, chains=2, draws=draws, header={}
        ) as log:
            log.append({"q": rows}, torch.tensor([draws, draws]), {}, {})
            if finished:
                log.finish()
        assert peak(lambda finished=finished: read_draws(tmp_path / f"{finished}")) < 4 * 2**20
        assert isinstance(read_draws(tmp_path / f"{finished}").arrays["q"], np.ndarray)
