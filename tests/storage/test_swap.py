"""A folder is written whole or not at all: under every fault of the disk, and killed at every instant."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ppzoo.errors import StorageError
from ppzoo.storage import swap
from ppzoo.storage.folder import check_writable, read_folder, write_folder

OLD = {"a.bin": b"old" * 50, "gone.bin": b"x"}
NEW = {"a.bin": b"new" * 70, "more.bin": b"", "z.bin": bytes(99)}
CALLS = ("open", "write", "fsync", "mkdir", "rename", "unlink", "rmdir", "ftruncate", "close")


class Fault:
    """Replaces functions of ``os``; the call number ``at`` among them does what ``happen`` says."""

    def __init__(self, at: int, happen: Callable[[str], None], *, names: tuple[str, ...] = CALLS) -> None:
        self.at, self.happen, self.names, self.count = at, happen, names, 0

    def wrap(self, name: str, genuine: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            self.count += 1
            if self.count != self.at:
                return genuine(*args, **kwargs)
            if name == "write":
                genuine(args[0], bytes(args[1])[: len(args[1]) // 2])  # half of it reaches the disk
            self.happen(name)
            return genuine(*args, **kwargs)

        return wrapped

    @contextlib.contextmanager
    def installed(self) -> Iterator[None]:
        genuine = {name: getattr(os, name) for name in self.names}
        try:
            for name in self.names:
                setattr(os, name, self.wrap(name, genuine[name]))
            yield
        finally:
            for name in self.names:
                setattr(os, name, genuine[name])


def fail_with(code: int) -> Callable[[str], None]:
    def fail(name: str) -> None:
        raise OSError(code, os.strerror(code), name)

    return fail


def litter(parent: Path) -> list[str]:
    return [path.name for path in parent.iterdir() if path.name != "run"]


def attempt(target: Path) -> bool:
    """Whether NEW was written; if not, a :class:`StorageError` named the folder."""
    message = ""
    try:
        write_folder(target, NEW, {"seed": 2})
    except StorageError as error:
        message = str(error)
    assert not message or str(target) in message
    return not message


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO], ids=errno.errorcode.get)
@pytest.mark.parametrize("before", [OLD, None], ids=["replacing", "first"])
def test_a_fault_in_any_call_leaves_the_old_folder(tmp_path: Path, code: int, before: dict[str, bytes] | None) -> None:
    target, refused, written = tmp_path / "run", 0, False
    for at in range(1, 200):
        shutil.rmtree(target, ignore_errors=True)
        if before is not None:
            write_folder(target, before, {"seed": 1})
        fault = Fault(at, fail_with(code), names=("open", "write", "fsync", "mkdir", "rename", "ftruncate"))
        with fault.installed():
            written = attempt(target)
        if written:
            assert read_folder(target).files == NEW
        elif before is not None:
            assert read_folder(target).files == before
        else:
            assert not target.exists()
        if fault.count < at:
            break
        refused += not written
        # a fault while the replaced folder is deleted, after the new one is in place, leaves that for the next writer
        assert litter(tmp_path) == [] or (written and litter(tmp_path) == [".run.ppzoo.old"])
        write_folder(target, NEW, {})
        assert litter(tmp_path) == []
    assert refused >= 15
    assert written


def test_a_fault_in_cleaning_up_loses_nothing(tmp_path: Path) -> None:
    target = tmp_path / "run"
    for at in range(1, 50):
        write_folder(target, OLD, {})
        fault = Fault(at, fail_with(errno.EIO), names=("unlink", "rmdir"))
        with fault.installed():
            written = attempt(target)
        assert read_folder(target).files == (NEW if written else OLD)
        write_folder(target, OLD, {})
        assert litter(tmp_path) == []
        if fault.count < at:
            break
    assert at > 4


def test_two_faults_in_a_row_still_leave_a_whole_folder(tmp_path: Path) -> None:
    """Not even the way back is open: readers find the old folder aside, and the next writer puts it back."""
    target = write_folder(tmp_path / "run", OLD, {})
    genuine, calls = os.rename, []

    def rename(source: Path, goal: Path) -> None:
        calls.append(source)
        if len(calls) > 1:
            raise OSError(errno.EIO, "Input/output error", str(source))
        genuine(source, goal)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "rename", rename)
        with pytest.raises(StorageError, match="cannot write this folder"):
            write_folder(target, NEW, {})
    assert not target.exists()
    assert read_folder(target).files == OLD
    with pytest.raises(StorageError, match="names are taken"):
        write_folder(target, NEW, {"files": 1})
    assert read_folder(target).files == OLD
    check_writable(target)
    assert target.exists()
    assert litter(tmp_path) == []


def test_made_parents_go_again_after_a_fault(tmp_path: Path) -> None:
    for at in range(1, 100):
        fault = Fault(at, fail_with(errno.ENOSPC), names=("open", "write", "fsync", "mkdir", "rename"))
        with fault.installed():
            if attempt(tmp_path / "a" / "b" / "run"):
                break
        assert list(tmp_path.iterdir()) == []
    assert at > 15


def test_short_writes_are_continued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    genuine = os.write
    monkeypatch.setattr(os, "write", lambda handle, data: genuine(handle, bytes(data)[:7]))
    assert read_folder(write_folder(tmp_path / "run", NEW, {})).files == NEW


def test_a_real_limit_of_the_system(tmp_path: Path) -> None:
    """The kernel itself refuses to let a file grow: no function is replaced."""
    code = (
        "import resource, sys\n"
        "from ppzoo.storage.folder import write_folder\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
        "try:\n    write_folder(sys.argv[1], {'big.bin': bytes(200_000)}, {})\n"
        "except OSError as error:\n    print(type(error).__name__, error)\n"
    )
    write_folder(tmp_path / "run", OLD, {})
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, "-c", code, str(tmp_path / "run")]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
    assert done.stdout.startswith(f"StorageError '{tmp_path / 'run'}': cannot write this folder; got File too large")
    assert read_folder(tmp_path / "run").files == OLD
    assert litter(tmp_path) == []


def test_an_interrupt_cleans_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_folder(tmp_path / "run", OLD, {})

    def interrupt(handle: int) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", interrupt)
        with pytest.raises(KeyboardInterrupt):
            write_folder(tmp_path / "run", NEW, {})
    assert read_folder(tmp_path / "run").files == OLD
    assert litter(tmp_path) == []


def test_leftovers_that_are_links_are_not_followed(tmp_path: Path) -> None:
    kept = write_folder(tmp_path / "kept", OLD, {})
    for kind in ("new", "old"):
        (tmp_path / f".run.ppzoo.{kind}").symlink_to("kept")
    write_folder(tmp_path / "run", NEW, {})
    assert read_folder(kept).files == OLD
    assert sorted(litter(tmp_path)) == ["kept"]


def test_everything_is_synced_before_it_is_relied_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a power cut may undo cannot be seen from here; the order of the calls can."""
    log: list[str] = []
    fsync, rename = os.fsync, os.rename

    def logged_fsync(handle: int) -> None:
        log.append("sync " + Path(os.readlink(f"/proc/self/fd/{handle}")).name)
        fsync(handle)

    def logged_rename(source: Path, goal: Path) -> None:
        log.append(f"{source.name} -> {goal.name}")
        rename(source, goal)

    target = write_folder(tmp_path / "run", OLD, {})
    if not Path("/proc/self/fd").exists():
        pytest.skip("needs /proc to tell which file a handle stands for")
    monkeypatch.setattr(os, "fsync", logged_fsync)
    monkeypatch.setattr(os, "rename", logged_rename)
    write_folder(target, NEW, {})
    assert log == [
        *(f"sync {name}" for name in (*NEW, "manifest.json", ".run.ppzoo.new")),
        "run -> .run.ppzoo.old",
        ".run.ppzoo.new -> run",
        f"sync {tmp_path.name}",
    ]


def test_a_file_system_that_cannot_sync_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", fail_with(errno.EINVAL))
    swap.sync_folder(tmp_path)
    monkeypatch.setattr(os, "fsync", fail_with(errno.EIO))
    with pytest.raises(OSError, match="Input/output error"):
        swap.sync_folder(tmp_path)


def killed_at_every_instant(work: Path, *, replacing: bool) -> None:
    """Kill a writer before its first call, its second, ...; print what readers and the next writer then find."""
    outcomes = []
    for at in range(1, 500):
        target = work / str(at) / "run"
        if replacing:
            write_folder(target, OLD, {"seed": 1})
        else:
            target.parent.mkdir()
        child = os.fork()
        if child == 0:
            with Fault(at, lambda _: os.kill(os.getpid(), signal.SIGKILL)).installed():
                write_folder(target, NEW, {"seed": 2})
            os._exit(0)
        killed = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
        try:
            found = {str(OLD): "old", str(NEW): "new"}[str(read_folder(target).files)]
        except StorageError as error:
            found = error.problem
        write_folder(target, {"next.bin": b"next"}, {})
        whole = list(read_folder(target).files) == ["next.bin"] and litter(target.parent) == []
        outcomes.append((found, whole))
        if not killed:
            break
    print(json.dumps(outcomes))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("replacing", [True, False])
def test_killed_at_every_instant(tmp_path: Path, replacing: bool) -> None:
    code = (
        "import pathlib, runpy, sys\n"
        f"run = runpy.run_path({__file__!r})['killed_at_every_instant']\n"
        f"run(pathlib.Path(sys.argv[1]), replacing={replacing})"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, "-c", code, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    outcomes = json.loads(done.stdout)
    before = "old" if replacing else "there is no such folder"
    assert len(outcomes) >= (30 if replacing else 20)
    assert all(whole for _, whole in outcomes)
    found = [found for found, _ in outcomes]
    turn = found.index("new")
    assert found == [before] * turn + ["new"] * (len(found) - turn)
    assert 0 < turn < len(found)
