"""One writer at a time, between threads and processes; a dead writer holds nothing."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from ppzoo.errors import StorageError
from ppzoo.storage import lock, swap
from ppzoo.storage.folder import check_writable, read_folder, write_folder
from ppzoo.storage.lock import folder_lock

HOLDER = """
import sys
from pathlib import Path
from ppzoo.storage.lock import folder_lock
with folder_lock(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_lock_excludes_and_ends_with_its_block(tmp_path: Path) -> None:
    target = tmp_path / "run"
    for _ in range(2):
        with (
            folder_lock(target),
            pytest.raises(StorageError, match=f"another process is writing here; got process {os.getpid()}"),
            folder_lock(target),
        ):
            pytest.fail("both hold the lock")
        assert list(tmp_path.iterdir()) == []
    with folder_lock(target), folder_lock(tmp_path / "other"):
        pass


def test_a_lock_ends_with_an_error(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), folder_lock(tmp_path / "run"):
        raise KeyboardInterrupt
    with folder_lock(tmp_path / "run"):
        pass


def test_a_users_own_lock_file_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "run.lock").write_text("of a package manager")
    write_folder(tmp_path / "run", {}, {})
    assert (tmp_path / "run.lock").read_text() == "of a package manager"


def test_two_threads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = write_folder(tmp_path / "run", {"a.bin": b"old"}, {})
    entered, leave, genuine = threading.Event(), threading.Event(), swap.replace

    def slow(*arguments: Any) -> None:
        entered.set()
        assert leave.wait(60)
        genuine(*arguments)

    monkeypatch.setattr(swap, "replace", slow)
    first = threading.Thread(target=write_folder, args=(target, {"a.bin": b"first"}, {}))
    first.start()
    assert entered.wait(60)
    with pytest.raises(StorageError, match="another process is writing here"):
        write_folder(target, {"a.bin": b"second"}, {})
    with pytest.raises(StorageError, match="another process is writing here"):
        check_writable(target)
    assert read_folder(target).files == {"a.bin": b"old"}
    leave.set()
    first.join()
    assert read_folder(target).files == {"a.bin": b"first"}


def test_another_process_and_its_death(tmp_path: Path) -> None:
    target = write_folder(tmp_path / "run", {"a.bin": b"old"}, {})
    command = [sys.executable, "-c", HOLDER, str(target)]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(StorageError, match=f"got process {holder.pid}. Wait until it has finished"):
            write_folder(target, {}, {})
        holder.kill()
    assert (tmp_path / ".run.ppzoo.lock").read_text() == str(holder.pid)
    write_folder(target, {"a.bin": b"new"}, {})
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_a_lock_file_removed_before_it_is_locked_is_made_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, genuine, calls = tmp_path / ".run.ppzoo.lock", fcntl.flock, []

    def late(handle: int, operation: int) -> None:
        calls.append(operation)
        if len(calls) == 1:
            path.unlink()  # what the last holder does between our opening and our locking
        genuine(handle, operation)

    monkeypatch.setattr(fcntl, "flock", late)
    with folder_lock(tmp_path / "run"):
        assert path.exists()
    assert len(calls) == 2


def test_a_lock_that_is_a_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("mine")
    (tmp_path / ".run.ppzoo.lock").symlink_to("mine")
    with pytest.raises(StorageError, match="cannot write this folder"):
        write_folder(tmp_path / "run", {}, {})
    assert (tmp_path / "mine").read_text() == "mine"


def test_where_there_is_no_flock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "_take", lock._create)
    target = write_folder(tmp_path / "run", {}, {})
    with folder_lock(target), pytest.raises(StorageError, match=r"if it was killed, delete '\.run\.ppzoo\.lock'"):
        write_folder(target, {}, {})
    write_folder(target, {}, {"seed": 2})
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
