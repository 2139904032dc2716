"""A run loses at most what was not yet appended: under every fault of the disk, interrupted and killed at any instant.

The run is a chain that needs its own state to go on, its random numbers counted by chain and draw, and the numbers of
draws per append uneven. However often it is stopped, in the end its folder has the bytes of a run that never was.
"""

from __future__ import annotations

import errno
import json
import os
import random
import runpy
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ppzoo.errors import StorageError

torch = pytest.importorskip("torch")

from ppzoo.storage.drawlog import DrawLog  # noqa: E402  # what follows needs torch
from ppzoo.storage.drawlog_reading import read_draws  # noqa: E402

HARNESS = runpy.run_path(str(Path(__file__).with_name("test_swap.py")))
Fault, fail_with = HARNESS["Fault"], HARNESS["fail_with"]

CHAINS, BUFFER, WARMUP, HEADER = 3, 3, 1, {"seed": 11}
SHORT, LONG = 2, 12  # draws of each chain
FIELDS = {"q": (torch.float64, (2,)), "diverging": (torch.bool, ())}
CALLS = ("open", "write", "fsync", "mkdir", "rename", "ftruncate", "lseek", "read")


def philox(*counter: int) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(key=HEADER["seed"], counter=[*counter, 0, 0]))


def sample(folder: Path, draws: int) -> None:
    """Run until done: from the beginning, or from where the log stands."""
    if not folder.exists():
        DrawLog.create(folder, FIELDS, chains=CHAINS, draws=draws, header=HEADER).close()
    log, state, numbers, counts = DrawLog.resume(folder, HEADER)
    with log:
        x = state["x"].numpy() if state else np.zeros((CHAINS, 2))
        step = numbers.get("step", 0)
        assert isinstance(step, int)
        while (counts < draws).any():
            fresh = [0 if step < WARMUP else int(philox(step, c).integers(BUFFER + 1)) for c in range(CHAINS)]
            fresh = [min(n, draws - count) for n, count in zip(fresh, counts.tolist(), strict=True)]
            rows = {
                "q": torch.full((CHAINS, BUFFER, 2), step, dtype=torch.float64),
                "diverging": torch.ones(CHAINS, BUFFER) > 0,
            }
            for c, n in enumerate(fresh):
                for i in range(n):
                    x[c] = 0.9 * x[c] + philox(c, int(counts[c]) + i).normal(size=2)
                    rows["q"][c, i] = torch.from_numpy(x[c])
                    rows["diverging"][c, i] = bool(x[c, 0] > 1)
            step += 1
            log.append(rows, torch.tensor(fresh), {"x": torch.from_numpy(x)}, {"step": step})
            counts = log.counts
        log.finish()


def contents(folder: Path) -> dict[str, bytes]:
    """All files of a log but for what a writer who was stopped in tidying up has left beside them."""
    files = (path for path in folder.rglob("*") if path.is_file() and ".ppzoo." not in str(path.relative_to(folder)))
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def uninterrupted(folder: Path, draws: int) -> dict[str, bytes]:
    sample(folder, draws)
    return contents(folder)


def standing(folder: Path, whole: dict[str, bytes]) -> int:
    """How many draws a stopped log has, all of them those of the whole one."""
    if not folder.exists():
        return 0
    found = read_draws(folder)
    for name, array in found.arrays.items():
        expected = np.frombuffer(whole[f"{name}.draws"], array.dtype).reshape(array.shape)
        assert all((array[c, :n] == expected[c, :n]).all() for c, n in enumerate(found.counts))
    return int(found.counts.sum())


@pytest.fixture
def unsynced(monkeypatch: pytest.MonkeyPatch) -> None:
    """Syncs take nearly all the time, and neither a fault nor the death of a process asks whether they were done."""
    monkeypatch.setattr(os, "fsync", lambda handle: None)


def interrupt(name: str) -> None:
    raise KeyboardInterrupt


@pytest.mark.usefixtures("unsynced")
@pytest.mark.parametrize(
    ("happen", "raised", "message"),
    [
        (fail_with(errno.ENOSPC), StorageError, os.strerror(errno.ENOSPC)),
        (fail_with(errno.EIO), StorageError, os.strerror(errno.EIO)),
        (interrupt, KeyboardInterrupt, ""),
    ],
    ids=["ENOSPC", "EIO", "Ctrl-C"],
)
def test_a_fault_in_any_call_is_told_and_the_run_resumes(
    tmp_path: Path, happen: Callable[[str], None], raised: type[BaseException], message: str
) -> None:
    whole = uninterrupted(tmp_path / "whole", SHORT)
    stood = []
    for at in range(1, 2000):
        folder = tmp_path / str(at) / "run"
        fault, told = Fault(at, happen, names=CALLS), None
        with fault.installed():
            try:
                sample(folder, SHORT)
            except raised as error:
                told = error
        if fault.count < at:
            break
        if told is not None:
            assert message in str(told)
            assert raised is KeyboardInterrupt or str(folder) in str(told)
            stood.append(standing(folder, whole))
        sample(folder, SHORT)
        assert contents(folder) == whole
    assert len(stood) > 150
    assert stood == sorted(stood)
    assert {0, CHAINS * SHORT} < set(stood)


def test_what_was_left_in_the_middle_takes_no_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = {"q": torch.ones(CHAINS, 1, 2, dtype=torch.float64), "diverging": torch.ones(CHAINS, 1) > 0}
    one = torch.ones(CHAINS, dtype=torch.int64)
    with DrawLog.create(tmp_path / "run", FIELDS, chains=CHAINS, draws=3, header=HEADER) as log:
        log.append(rows, one, {}, {"step": 1})
        with monkeypatch.context() as patch:
            patch.setattr(os, "write", lambda handle, data: fail_with(errno.ENOSPC)("write"))
            with pytest.raises(StorageError) as caught:
                log.append(rows, one, {}, {"step": 2})
        assert str(caught.value) == (
            f"'{tmp_path / 'run'}': cannot append to this log; got No space left on device. Nothing that was appended "
            "before is lost: free space or mend the disk, then resume."
        )
        for attempt in (lambda: log.append(rows, one, {}, {}), log.finish):
            with pytest.raises(StorageError, match=r"was left in the middle of an append.* Resume it"):
                attempt()
    resumed = DrawLog.resume(tmp_path / "run", HEADER)
    with resumed.log as log:
        assert (resumed.counts.tolist(), resumed.numbers) == ([1, 1, 1], {"step": 1})
        log.append(rows, one, {}, {"step": 2})


def test_a_real_limit_of_the_system(tmp_path: Path) -> None:
    """The kernel itself refuses the rows of the last chain: no function is replaced."""
    code = (
        "import pathlib, resource, sys, torch\n"
        "from ppzoo.storage.drawlog import DrawLog\n"
        "rows = {'q': torch.ones(9, 100, 100, dtype=torch.float64)}\n"
        "some, all = torch.tensor([1] * 9), torch.tensor([99] * 9)\n"
        "fields = {'q': (torch.float64, (100,))}\n"
        "with DrawLog.create(sys.argv[1], fields, chains=9, draws=100, header={}) as log:\n"
        "    log.append(rows, some, {}, {'step': 1})\n"
        "    resource.setrlimit(resource.RLIMIT_FSIZE, (700_000, 700_000))\n"
        "    try:\n        log.append(rows, all, {}, {'step': 2})\n"
        "    except OSError as error:\n        print(type(error).__name__, error)\n"
    )
    done = run_python(code, str(tmp_path / "run"))
    assert done.startswith(f"StorageError '{tmp_path / 'run'}': cannot append to this log; got File too large")
    log, _, numbers, counts = DrawLog.resume(tmp_path / "run", {})
    log.close()
    assert (numbers, counts.tolist()) == ({"step": 1}, [1] * 9)


def test_everything_is_synced_before_it_is_relied_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a power cut may undo cannot be seen from here; the order of the calls can."""
    if not Path("/proc/self/fd").exists():
        pytest.skip("needs /proc to tell which file a handle stands for")
    said: list[str] = []
    fsync, rename = os.fsync, os.rename

    def logged_fsync(handle: int) -> None:
        said.append("sync " + Path(os.readlink(f"/proc/self/fd/{handle}")).name)
        fsync(handle)

    def logged_rename(source: Path, goal: Path) -> None:
        said.append(f"{source.name} -> {goal.name}")
        rename(source, goal)

    monkeypatch.setattr(os, "fsync", logged_fsync)
    monkeypatch.setattr(os, "rename", logged_rename)
    parts = [f"sync {name}" for name in ("state.safetensors", "progress.bin", "manifest.json", ".state.ppzoo.new")]
    rows = {"q": torch.ones(CHAINS, 1, 2, dtype=torch.float64), "diverging": torch.ones(CHAINS, 1) > 0}
    with DrawLog.create(tmp_path / "a" / "run", FIELDS, chains=CHAINS, draws=3, header=HEADER) as log:
        assert said == [
            f"sync {tmp_path.name}",
            *("sync q.draws", "sync diverging.draws"),
            *(*parts, ".state.ppzoo.new -> state", "sync .run.ppzoo.new"),
            *(".run.ppzoo.new -> run", "sync a"),
        ]
        committed = [*parts, "state -> .state.ppzoo.old", ".state.ppzoo.new -> state", "sync run"]
        for counts, synced in ([1, 0, 0], ["sync q.draws", "sync diverging.draws"]), ([0, 0, 0], []):
            said.clear()
            log.append(rows, torch.tensor(counts), {}, {})
            assert said == [*synced, *committed]


def run_python(code: str, *arguments: str) -> str:
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", code, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def call_here(name: str, work: Path) -> Any:
    """What the function ``name`` of this file prints, called in a process that may fork."""
    code = f"import pathlib, runpy, sys\nrunpy.run_path({__file__!r})[{name!r}](pathlib.Path(sys.argv[1]))"
    return json.loads(run_python(code, str(work)))


def forked(action: Callable[[], object]) -> int:
    child = os.fork()
    if child == 0:
        code = 1
        try:
            action()
            code = 0
        finally:
            os._exit(code)
    return child


def ended(child: int) -> bool:
    """Whether the child was killed; if not, it ended well."""
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code in (0, -signal.SIGKILL)
    return code != 0


def killed_at_every_call(work: Path) -> None:
    """Kill a run before its first call of the system, its second, ...; print what then stands, and if it is mended."""
    os.fsync = lambda handle: None  # a kill is no power cut: what was written is there, synced or not
    whole = uninterrupted(work / "whole", SHORT)
    outcomes = []
    for at in range(1, 2000):
        folder = work / str(at) / "run"

        def killed(at: int = at, folder: Path = folder) -> None:
            with Fault(at, lambda name: os.kill(os.getpid(), signal.SIGKILL)).installed():
                sample(folder, SHORT)

        if not ended(forked(killed)):
            break
        stood = standing(folder, whole)
        sample(folder, SHORT)
        outcomes.append((stood, contents(folder) == whole, [path.name for path in folder.parent.iterdir()]))
    print(json.dumps(outcomes))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_killed_at_every_call(tmp_path: Path) -> None:
    outcomes = call_here("killed_at_every_call", tmp_path)
    stood = [stood for stood, _, _ in outcomes]
    assert len(outcomes) > 150
    assert stood == sorted(stood)
    assert {0, CHAINS * SHORT} < set(stood)
    assert all(mended for _, mended, _ in outcomes)
    assert all(around == ["run"] for _, _, around in outcomes)


def killed_at_random(work: Path) -> None:
    """Kill 100 runs by the clock, some of them again and again; print how often, and whether they are mended."""
    os.fsync = lambda handle: None  # as above
    draw = random.Random(4)
    whole = uninterrupted(work / "whole", LONG)
    began = time.perf_counter()
    assert not ended(forked(lambda: sample(work / "timed", LONG)))
    lasts = time.perf_counter() - began
    outcomes = []
    for run in range(100):
        folder, attempt, kills = work / f"{run}" / "run", 0, 0
        while not kills:  # a run that was faster than its killer is none of the 100
            attempt += 1
            folder = work / f"{run}" / f"{attempt}" / "run"
            kills += killed_after(lasts * draw.random() / attempt, folder)
        while draw.random() < 0.5:
            standing(folder, whole)
            kills += killed_after(lasts * draw.random(), folder)
        stood = standing(folder, whole)
        sample(folder, LONG)
        outcomes.append((kills, stood, contents(folder) == whole))
    print(json.dumps(outcomes))


def killed_after(seconds: float, folder: Path) -> bool:
    child = forked(lambda: sample(folder, LONG))
    time.sleep(seconds)
    os.kill(child, signal.SIGKILL)  # not yet waited for, so still there
    return ended(child)


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_killed_at_a_hundred_random_instants(tmp_path: Path) -> None:
    """The instants are random in the run, not in the test: what must hold, holds for any."""
    outcomes = call_here("killed_at_random", tmp_path)
    assert len(outcomes) == 100
    assert all(kills > 0 and mended for kills, _, mended in outcomes)
