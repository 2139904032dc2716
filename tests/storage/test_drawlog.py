"""A log keeps what each chain delivers at its own pace, and goes on exactly where it stopped."""

from __future__ import annotations

import math
import os
import random
import tracemalloc
from pathlib import Path

import pytest

from ppzoo.errors import StorageError

torch = pytest.importorskip("torch")

from ppzoo.storage.drawlog import DrawLog  # noqa: E402  # what follows needs torch
from ppzoo.storage.folder import write_folder  # noqa: E402

CHAINS, DRAWS, BUFFER = 5, 23, 4
HEADER = {"seed": 7, "settings": {"target_accept": 0.8, "depth": 10}, "model": "5f1e"}
FIELDS = {
    "q": (torch.float64, (3,)),
    "lp": (torch.float32, ()),
    "diverging": (torch.bool, ()),
    "metric": (torch.float16, (2, 2)),
    "steps": (torch.int32, ()),
}


def truth() -> dict[str, torch.Tensor]:
    """All draws of all chains, (C, S, ...)."""
    generator = torch.Generator().manual_seed(1)
    return {
        name: (torch.randn(CHAINS, DRAWS, *shape, generator=generator) * 9).to(dtype)
        for name, (dtype, shape) in FIELDS.items()
    }


def create(path: Path) -> DrawLog:
    return DrawLog.create(path, FIELDS, chains=CHAINS, draws=DRAWS, header=HEADER)


def buffered(draws: dict[str, torch.Tensor], counts: list[int], fresh: list[int]) -> dict[str, torch.Tensor]:
    """What a sampler's buffer holds: its new rows first, noise behind them."""
    rows = {name: torch.ones(CHAINS, BUFFER, *value.shape[2:]).to(value.dtype) for name, value in draws.items()}
    for name, value in draws.items():
        for c, (count, n) in enumerate(zip(counts, fresh, strict=True)):
            rows[name][c, :n] = value[c, count : count + n]
    return rows


def names_in(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def test_chains_write_side_by_side_each_at_its_own_pace(tmp_path: Path) -> None:
    draws, draw, counts = truth(), random.Random(2), [0] * CHAINS
    with create(tmp_path / "run") as log:
        while min(counts) < DRAWS:
            fresh = [min(draw.randint(0, BUFFER), DRAWS - count) for count in counts]
            log.append(buffered(draws, counts, fresh), torch.tensor(fresh), {}, {})
            counts = [count + n for count, n in zip(counts, fresh, strict=True)]
            assert log.counts.tolist() == counts
            for name, array in log.read().items():
                for c, count in enumerate(counts):
                    assert (array[c, :count] == draws[name][c, :count].numpy()).all()
        log.finish()
        assert log.finished
        log.finish()
        arrays = log.read()
    for name, value in draws.items():
        assert (tmp_path / "run" / f"{name}.draws").read_bytes() == value.numpy().tobytes()
        assert arrays[name].shape == value.shape
        assert not arrays[name].flags.writeable


def test_resuming_gives_back_what_the_last_append_was_given(tmp_path: Path) -> None:
    state = {
        "x": torch.arange(15.0, dtype=torch.float64).reshape(CHAINS, 3).T,
        "rng": torch.tensor(9),
        "none": torch.zeros(0, 2),
    }
    numbers = {"step": 0.1, "warmup": [1, 2], "energy": math.inf, "window": None}
    create(tmp_path / "run").close()
    log, *nothing = DrawLog.resume(tmp_path / "run", HEADER)
    assert (nothing[0], nothing[1], nothing[2].tolist()) == ({}, {}, [0] * CHAINS)
    with log:
        log.append({}, torch.zeros(CHAINS, dtype=torch.int64), state, numbers)  # warm-up: only the state
        fresh = [0, 1, 2, 3, 4]
        log.append(buffered(truth(), [0] * CHAINS, fresh), torch.tensor(fresh), {}, {})
        log.append({}, torch.zeros(CHAINS, dtype=torch.int64), state, numbers)
    resumed = DrawLog.resume(tmp_path / "run", HEADER)
    with resumed.log:
        assert resumed.counts.tolist() == resumed.log.counts.tolist() == fresh
        assert resumed.numbers == numbers
        assert list(resumed.state) == list(state)
        assert all(torch.equal(resumed.state[name], value) for name, value in state.items())
        assert not resumed.log.finished


def test_a_finished_log_resumes_as_finished(tmp_path: Path) -> None:
    with DrawLog.create(tmp_path / "run", {"lp": (torch.float32, ())}, chains=1, draws=2, header={}) as log:
        log.append({"lp": torch.ones(1, 2)}, torch.tensor([2]), {"x": torch.ones(1)}, {"n": 1})
        log.finish()
        with pytest.raises(StorageError, match="is finished"):
            log.append({}, torch.tensor([0]), {}, {})
    log, state, numbers, counts = DrawLog.resume(tmp_path / "run", {})
    with log:
        assert log.finished
        assert (state, numbers, counts.tolist()) == ({"x": torch.ones(1)}, {"n": 1}, [2])
        log.finish()


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ({**HEADER, "seed": 8}, "got seed 7 in the log, 8 now. Resume with what it was begun with, or choose another"),
        ({**HEADER, "seed": 7.0}, "got seed 7 in the log, 7.0 now"),
        ({**HEADER, "model": "0000"}, "got model '5f1e' in the log, '0000' now"),
        ({**HEADER, "data": "ab"}, "got data nothing in the log, 'ab' now"),
        ({"seed": 7, "model": "5f1e"}, "got settings {'target_accept': 0.8, 'depth': 10} in the log, nothing now"),
        (
            {**HEADER, "seed": 1, "settings": {"target_accept": 0.9, "depth": 10}},
            "got seed 7 in the log, 1 now; settings.target_accept 0.8 in the log, 0.9 now",
        ),
    ],
)
def test_a_log_of_another_run_is_refused(tmp_path: Path, header: dict[str, object], message: str) -> None:
    create(tmp_path / "run").close()
    with pytest.raises(StorageError) as caught:
        DrawLog.resume(tmp_path / "run", header)
    assert f"'{tmp_path / 'run'}': is the log of another run; {message}" in str(caught.value)
    DrawLog.resume(tmp_path / "run", HEADER).log.close()


def test_a_new_log_is_whole_and_alone(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for path in (tmp_path / "a" / "b" / "run", tmp_path / "empty"):
        with create(path) as log:
            assert log.folder == path
            assert names_in(path) == {
                *(f"{name}.draws" for name in FIELDS),
                *("state", "state/manifest.json", "state/progress.bin", "state/state.safetensors"),
            }
        assert {entry.name for entry in path.parent.iterdir()} <= {"run", "a", "empty"}


def test_what_is_there_already_is_never_overwritten(tmp_path: Path) -> None:
    create(tmp_path / "log").close()
    write_folder(tmp_path / "fit", {"a.bin": b"1"}, {})
    (tmp_path / "file").write_text("mine")
    (tmp_path / "link").symlink_to("nowhere")
    before = names_in(tmp_path)
    for name, message in [
        ("log", "is not empty and will not be overwritten; got a folder with .* Resume it, choose another folder, or"),
        ("fit", "is not empty and will not be overwritten; got a folder with 'a.bin', 'manifest.json'. Choose another"),
        ("file", "is a file"),
        ("link", "is a symbolic link"),
        ("file/run", "cannot write this folder"),
    ]:
        with pytest.raises(StorageError, match=message):
            create(tmp_path / name)
    with pytest.raises(StorageError, match="is not a run folder of ppzoo and will not be overwritten"):
        write_folder(tmp_path / "log", {}, {})
    assert names_in(tmp_path) == before


def test_one_writer_at_a_time(tmp_path: Path) -> None:
    with create(tmp_path / "run") as log:
        for other in (lambda: create(tmp_path / "run"), lambda: DrawLog.resume(tmp_path / "run", HEADER)):
            with pytest.raises(StorageError, match=f"another process is writing here; got process {os.getpid()}"):
                other()
        log.close()
        log.close()
        DrawLog.resume(tmp_path / "run", HEADER).log.close()
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_a_refused_append_changes_nothing_and_the_log_goes_on(tmp_path: Path) -> None:
    draws, none = truth(), [0] * CHAINS
    rows = buffered(draws, none, [4] * CHAINS)
    with create(tmp_path / "run") as log:
        before = (tmp_path / "run" / "state" / "manifest.json").read_bytes()
        for wrong in (
            (rows, torch.tensor([24] * CHAINS), {}, {}),
            (rows, torch.tensor([5] * CHAINS), {}, {}),
            ({}, torch.tensor([1] * CHAINS), {}, {}),
            (rows, torch.tensor([4] * CHAINS), {"x": [1.0]}, {}),
            (rows, torch.tensor([4] * CHAINS), {}, {"x": object()}),
        ):
            with pytest.raises(StorageError):
                log.append(*wrong)  # type: ignore[arg-type]
        assert (tmp_path / "run" / "state" / "manifest.json").read_bytes() == before
        assert (tmp_path / "run" / "q.draws").read_bytes() == bytes(CHAINS * DRAWS * 24)
        log.append(rows, torch.tensor([4] * CHAINS), {}, {})
        assert log.counts.tolist() == [4] * CHAINS


def test_a_log_is_not_finished_before_its_end(tmp_path: Path) -> None:
    with create(tmp_path / "run") as log:
        log.append(buffered(truth(), [0] * CHAINS, [4, 4, 1, 4, 4]), torch.tensor([4, 4, 1, 4, 4]), {}, {})
        with pytest.raises(StorageError, match="is not complete; got a chain with 1 draws; expected 23 draws in each"):
            log.finish()
        assert not log.finished
    with pytest.raises(StorageError, match="is closed"):
        log.append({}, torch.zeros(CHAINS, dtype=torch.int64), {}, {})
    with pytest.raises(StorageError, match="is closed"):
        log.finish()


def test_damage_under_an_open_log_is_found_when_it_is_sealed(tmp_path: Path) -> None:
    with DrawLog.create(tmp_path / "run", {"lp": (torch.float32, ())}, chains=1, draws=2, header={}) as log:
        log.append({"lp": torch.ones(1, 2)}, torch.tensor([2]), {}, {})
        (tmp_path / "run" / "lp.draws").write_bytes(bytes(8))
        for attempt in (log.finish, log.read):
            with pytest.raises(StorageError, match=r"lp\.draws': has been damaged or edited"):
                attempt()


def test_the_same_run_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("first", "second"):
        with create(tmp_path / name) as log:
            log.append(buffered(truth(), [0] * CHAINS, [4] * CHAINS), torch.tensor([4] * CHAINS), {}, {"step": 1})
    first, second = (
        {path.name: path.read_bytes() for path in (tmp_path / name).rglob("*") if path.is_file()}
        for name in ("first", "second")
    )
    assert first == second


def test_rows_of_any_stride_and_with_gradients(tmp_path: Path) -> None:
    base = torch.arange(24.0).reshape(3, 4, 2)
    rows = torch.nn.Parameter(base).permute(2, 1, 0)[:, ::2]  # (2, 2, 3)
    with DrawLog.create(tmp_path / "run", {"q": (torch.float32, (3,))}, chains=2, draws=2, header={}) as log:
        log.append({"q": rows}, torch.tensor([2, 2]), {"p": torch.nn.Parameter(base)}, {})
        assert (log.read()["q"] == rows.detach().numpy()).all()


def test_an_append_takes_the_same_memory_however_long_the_log_is(tmp_path: Path) -> None:
    peaks = []
    for draws in (10, 10_000_000):  # the second: 2.4 GB of holes
        with DrawLog.create(
            tmp_path / str(draws), {"q": (torch.float64, (3,))}, chains=10, draws=draws, header={}
        ) as log:
            rows = {"q": torch.ones(10, 5, 3, dtype=torch.float64)}
            log.append(rows, torch.tensor([5] * 10), {}, {})
            tracemalloc.start()
            log.append(rows, torch.tensor([5] * 10), {}, {})
            peaks.append(tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()
    assert peaks[1] < peaks[0] + 10_000
