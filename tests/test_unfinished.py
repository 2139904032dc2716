"""A run that is stopped: what is on disk, that it goes on to the same draws, and what is refused."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pyro
import pyro.distributions as dist
import pytest
import torch

import ppzoo
from ppzoo.errors import ModelError, OptionError, StorageError
from ppzoo.inference.mcmc import engine
from ppzoo.inference.mcmc.machines import Native, Replayed
from ppzoo.storage import drawlog
from ppzoo.unfinished import digest_of

Y = torch.tensor([0.9, 1.1, 1.6, 0.4])
OPTIONS = {
    "nuts": {"chains": 5},
    "hmc": {"chains": 3, "thin": 2},
    "mams": {"chains": 4},
    "chees": {"chains": 9},
    "apart": {"method": "nuts", "chains": 3, "adapt": "per_chain"},
}


class StoppedError(Exception):
    """Stands for whatever kills a process."""


def model(y):
    mu = pyro.sample("mu", dist.Normal(0.0, 1.0))
    scale = pyro.sample("scale", dist.LogNormal(0.0, 0.5))
    with pyro.plate("row", len(y)):
        pyro.sample("y", dist.Normal(mu, scale), obs=y)


def fit(name="nuts", run_dir=None, *, resume=False, y=Y, seed=1, **options):
    options = {"method": name, "warmup": 40, "draws": 30, **OPTIONS[name], **options}
    return ppzoo.fit(model, y, seed=seed, run_dir=run_dir, resume=resume, **options)


def same(one, other):
    pairs = [(one.outcome.draws, other.outcome.draws), (one.outcome.statistics, other.outcome.statistics)]
    return all(list(a) == list(b) and all(torch.equal(a[name], b[name]) for name in a) for a, b in pairs)


@pytest.fixture
def eager(monkeypatch):
    """Every block and every look at the warm-up goes to disk, in small steps."""
    monkeypatch.setattr(engine, "_BLOCK_SECONDS", 0.0)
    monkeypatch.setattr(engine, "_STEPS", 4)
    monkeypatch.setattr(engine, "_SECONDS", 0.0)


def stop_after(calls, monkeypatch, error=StoppedError):
    def count(road):
        advance = road.advance

        def counted(self, chains, steps):
            left[0] -= 1
            if left[0] == 0:
                raise error
            return advance(self, chains, steps)

        monkeypatch.setattr(road, "advance", counted)

    left = [calls]
    count(Native)
    count(Replayed)
    return left


@pytest.mark.parametrize("name", OPTIONS)
def test_stopped_again_and_again_a_run_gives_the_same_draws(name, tmp_path, eager, monkeypatch):
    whole = fit(name)
    left = stop_after(0, monkeypatch)
    stops = 0
    for calls in (3, 25, 20, 15, 10, 9, 8, 7, 6, 5, 4, 10**9):
        left[0] = calls
        try:
            found = fit(name, tmp_path / "run", resume=True)
        except StoppedError:
            stops += 1
            assert sorted(path.name for path in tmp_path.iterdir()) in (["run.unfinished"], [])
        else:
            break
    assert stops >= 3
    assert same(found, whole)
    assert found.outcome.numbers["gradients"] == whole.outcome.numbers["gradients"]
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
    assert same(ppzoo.load(tmp_path / "run", model=model), whole)


def test_what_a_run_says_of_its_time_counts_all_of_it(tmp_path, eager, monkeypatch):
    left = stop_after(0, monkeypatch)
    clock = [0.0]

    def monotonic():
        clock[0] += 1.0
        return clock[0]

    monkeypatch.setattr(engine.time, "monotonic", monotonic)
    left[0] = 40
    with pytest.raises(StoppedError):
        fit(run_dir=tmp_path / "run")
    stopped = clock[0]
    left[0] = 10**9
    numbers = fit(run_dir=tmp_path / "run", resume=True).outcome.numbers
    assert numbers["seconds_warmup"] + numbers["seconds_draws"] > 0.8 * clock[0]
    assert stopped > 20


def test_a_run_that_is_not_stopped_leaves_only_its_folder(tmp_path):
    assert same(fit(run_dir=tmp_path / "run"), fit())
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_resume_begins_where_there_is_nothing(tmp_path):
    assert same(fit(run_dir=tmp_path / "run", resume=True), fit())


@pytest.fixture
def unfinished(tmp_path, eager, monkeypatch):
    """The folder of a run that was stopped among its draws."""
    with monkeypatch.context() as patch:
        stop_after(65, patch)
        with pytest.raises(StoppedError):
            fit(run_dir=tmp_path / "run")
    return tmp_path / "run"


def test_an_unfinished_run_is_not_overwritten(unfinished):
    with pytest.raises(StorageError, match=r"has an unfinished run beside it; got .*run\.unfinished.*resume=True"):
        fit(run_dir=unfinished)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"seed": 2}, "seed"),
        ({"chains": 6}, "chains"),
        ({"draws": 31}, "draws"),
        ({"y": Y + 1e-7}, "data"),
        ({"name": "hmc"}, "method"),
    ],
)
def test_another_run_does_not_go_on_with_it(unfinished, changed, message):
    with pytest.raises(StorageError, match=f"is the log of another run; got .*{message}"):
        fit(run_dir=unfinished, resume=True, **changed)


def test_a_program_that_was_edited_meanwhile_is_found_out(unfinished, monkeypatch):
    monkeypatch.setattr(dist.LogNormal, "log_prob", lambda self, x: dist.Normal(0.1, 0.5).log_prob(x.log()) - x.log())
    with pytest.raises(ModelError, match=r"model: is not the program that this run was begun with; got a log density"):
        fit(run_dir=unfinished, resume=True)


def test_damage_is_found_before_anything_is_drawn(unfinished):
    path = unfinished.with_name("run.unfinished") / "q.draws"
    content = bytearray(path.read_bytes())
    content[3] ^= 1
    path.write_bytes(content)
    with pytest.raises(StorageError, match="damaged"):
        fit(run_dir=unfinished, resume=True)


def test_a_full_disk_stops_the_run_and_loses_nothing(tmp_path, eager, monkeypatch):
    whole = fit()
    with monkeypatch.context() as patch:
        write, left = drawlog.write_record, [60]

        def full(*arguments):
            left[0] -= 1
            if left[0] == 0:
                raise OSError(28, "No space left on device")
            write(*arguments)

        patch.setattr(drawlog, "write_record", full)
        with pytest.raises(
            StorageError, match=r"got No space left on device.*Nothing that was appended before is lost"
        ):
            fit(run_dir=tmp_path / "run")
    assert same(fit(run_dir=tmp_path / "run", resume=True), whole)


def test_ctrl_c_gives_what_there_is_and_the_run_goes_on(tmp_path, eager, monkeypatch):
    whole = fit(draws=200)
    with monkeypatch.context() as patch:
        stop_after(150, patch, KeyboardInterrupt)
        part = fit(run_dir=tmp_path / "run", draws=200)
    found = part.outcome.statistics["lp"].shape[1]
    assert 4 <= found < 200
    assert torch.equal(part.outcome.draws["mu"], whole.outcome.draws["mu"][:, :found])
    assert f"after {found} of 200 draws; fit(..., resume=True) goes on" in str(part.diagnose())
    assert [path.name for path in tmp_path.iterdir()] == ["run.unfinished"]
    assert same(fit(run_dir=tmp_path / "run", resume=True, draws=200), whole)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "nuts", "resume": True}, "resume: needs the folder of the run; got True without run_dir"),
        ({"method": "nuts", "resume": "yes", "run_dir": "x"}, "resume: not a flag"),
        (
            {"method": "exact", "resume": True, "run_dir": "x"},
            "resume: cannot go on where a run was stopped; got True for",
        ),
    ],
)
def test_resume_where_it_means_nothing(options, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(OptionError, match=message):
        ppzoo.fit(model, Y, **options)
    assert list(tmp_path.iterdir()) == []


PROGRAMS = {
    "nuts": """
        import sys, torch, ppzoo
        from ppzoo.inference.mcmc import engine
        engine._BLOCK_SECONDS = 0.01
        found = ppzoo.fit(
            ppzoo.create_model("eight_schools"), ppzoo.load_dataset("eight_schools"), method="nuts", chains=8, seed=1,
            warmup=300, draws=3_000, run_dir=sys.argv[1], resume=True, progress=False,
        )
        print(ppzoo.unfinished.digest_of(found.outcome.draws | found.outcome.statistics))
    """,
    "svi": """
        import sys, torch, ppzoo
        from ppzoo.inference.variational import training
        training._SECONDS = 0.01
        found = ppzoo.fit(
            ppzoo.create_model("eight_schools"), ppzoo.load_dataset("eight_schools"), method="svi", seed=1, replicas=4,
            steps=60_000, run_dir=sys.argv[1], resume=True, progress=False,
        )
        losses = torch.from_numpy(found.losses)
        print(ppzoo.unfinished.digest_of(found.pair.state() | found.draws(9) | {"losses": losses}))
    """,
    "svi with a network": """
        import sys, torch, ppzoo
        from ppzoo.inference.variational import training
        training._SECONDS = 0.01
        found = ppzoo.fit(
            ppzoo.create_model("vae", features=64), ppzoo.load_dataset("digits"), method="svi", seed=1, batch_size=32,
            steps=500, run_dir=sys.argv[1], resume=True, progress=False,
        )
        losses = torch.from_numpy(found.losses)
        print(ppzoo.unfinished.digest_of(found.pair.state() | found.draws(2) | {"losses": losses}))
    """,
}


def killed(name: str, folder: Path, after: float, sign: signal.Signals = signal.SIGKILL) -> str:
    """What the program says, or nothing if it was killed ``after`` seconds of its draws being on disk."""
    program = textwrap.dedent(PROGRAMS[name])
    with subprocess.Popen([sys.executable, "-c", program, str(folder)], stdout=subprocess.PIPE, text=True) as process:
        unfinished = folder.with_name(f"{folder.name}.unfinished")
        while not unfinished.exists() and process.poll() is None:
            time.sleep(0.005)
        try:
            process.wait(after)
        except subprocess.TimeoutExpired:
            process.send_signal(sign)
        return process.communicate()[0].strip() if process.wait() == 0 else ""


def kill_and_resume(name: str, folder: Path, kills: int, seed: int) -> str:
    """The program's answer after so many kills at random instants."""
    generator = random.Random(seed)
    done = 0
    while done < kills:
        if answer := killed(name, folder, generator.uniform(0.0, 1.5)):
            return answer
        done += 1
    return killed(name, folder, 1e6)


@pytest.mark.parametrize("name", PROGRAMS)
def test_killed_at_random_instants_a_run_gives_the_same_bytes(name, tmp_path):
    expected = killed(name, tmp_path / "whole", 1e6)
    assert len(expected) == 64
    assert kill_and_resume(name, tmp_path / "run", 2, 0) == expected


@pytest.mark.reference
@pytest.mark.parametrize("name", PROGRAMS)
def test_killed_at_a_hundred_random_instants_runs_give_the_same_bytes(name, tmp_path):
    expected = killed(name, tmp_path / "whole", 1e6)
    assert [kill_and_resume(name, tmp_path / f"run{i}", 4, i) for i in range(25)] == [expected] * 25


def test_a_digest_tells_name_type_shape_and_value():
    base = {"y": torch.tensor([1.0, 2.0])}
    others = [{"x": base["y"]}, {"y": base["y"].double()}, {"y": base["y"][None]}, {"y": base["y"] + 1e-7}]
    assert len({digest_of(tensors) for tensors in (base, *others)}) == 5
    assert digest_of(base) == digest_of({"y": torch.tensor([1.0, 0.0, 2.0])[::2]})
