"""Two processes fit as one does: the same losses, one folder; who ends is named, and the job goes on from its state."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist

from ppzoo import processes
from ppzoo.errors import FitError, StorageError
from ppzoo.processes import ALONE, Processes, joined, own_device, restarted
from tests.processes.fits import FITS, REFUSED

SCRIPT = Path(__file__).parent / "processes" / "fits.py"
FLOAT32 = ("replicas", "a code of each row", "importance weights")
TORCHRUN = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
pytestmark = pytest.mark.skipif(not dist.is_available(), reason="torch was built without torch.distributed")


def run(*words: object, failing: bool = False) -> str:
    """What a command has said; a job that hangs is a failure."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(SCRIPT.parents[2])}
    done = subprocess.run(
        list(map(str, words)), env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert (done.returncode != 0) is failing, done.stderr
    return done.stderr


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    """By number of processes and rank, what each has told of its fits."""
    found = {}
    for command in ((sys.executable,), TORCHRUN):
        folder = tmp_path_factory.mktemp("job")
        run(*command, SCRIPT, folder)
        found |= {tuple(map(int, file.stem.split())): json.loads(file.read_text()) for file in folder.glob("*.json")}
        assert sorted(path.name for path in folder.iterdir() if path.suffix != ".json") == ["run"]
    assert sorted(found) == [(1, 0), (2, 0), (2, 1)]
    return found


@pytest.mark.parametrize("name", [*FITS, "saved"])
def test_losses_are_those_of_one_process(told, name):
    alone, first, second = (told[key][name] for key in ((1, 0), (2, 0), (2, 1)))
    assert first == second  # to the last bit
    tolerance = 1e-5 if name in FLOAT32 else 1e-12
    assert len(first["losses"]) == len(alone["losses"]) > 0
    np.testing.assert_allclose(first["losses"], alone["losses"], rtol=tolerance)
    assert any("rows divided among 2 processes" in note for note in first["notes"])


def test_each_has_read_what_the_first_has_saved(told):
    assert told[2, 0]["loaded"] == told[2, 1]["loaded"] == told[2, 0]["saved"]["losses"]


def test_numbers_of_their_own_have_the_same_mean(told):
    """Noise of a step hangs on the others' by the parameter's slow way alone, so an error is told in batches."""
    name = "numbers of its own"
    alone, first, second = (told[key][name] for key in ((1, 0), (2, 0), (2, 1)))
    assert first == second
    assert first["notes"][-1].startswith("Each process drew numbers of its own")
    ends = [np.asarray(each["losses"][200:]).reshape(20, 10).mean(1) for each in (alone, first)]
    error = np.hypot(*(end.std(ddof=1) / np.sqrt(len(end)) for end in ends))
    assert 0 < abs(ends[0].mean() - ends[1].mean()) < 4 * error


def test_batch_statistics_are_one_again_after_each_step(told):
    first, second = (told[key]["batch statistics"] for key in ((2, 0), (2, 1)))
    assert first == second
    assert first["learnt"] != told[1, 0]["batch statistics"]["learnt"]
    assert first["notes"][-1].startswith("What modules remember of batches is of each process's own rows")


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("a parameter of each row", "took every step with all rows: an automatic guide cannot follow"),
        ("weights of all rows", "took every step with all rows: objective='iwae' weighs all rows at once"),
        ("another method", "ran the whole fit."),
    ],
)
def test_what_cannot_be_divided_is_the_fit_of_one_process(told, name, why):
    alone, first, second = (told[key][name] for key in ((1, 0), (2, 0), (2, 1)))
    assert first == second
    assert first["notes"] == [*alone["notes"], first["notes"][-1]]
    assert first["notes"][-1].startswith(f"Each of the 2 processes {why}")
    assert (first["losses"], first["learnt"]) == (alone["losses"], alone["learnt"])


MESSAGES = {
    "other data": "OptionError: data: differs between the processes of a job; got in process 1 another",
    "another seed": "OptionError: seed: differs between the processes of a job",
    "small batches": "OptionError: batch_size: has fewer rows than there are processes",
    "a folder": "cannot write this folder",
}


@pytest.mark.parametrize(("name", "message"), [(name, MESSAGES[name]) for name in REFUSED])
def test_errors_reach_every_process(told, name, message):
    assert message in told[2, 0][name]
    assert message in told[2, 1][name]
    assert told[2, 0][name].split(":")[0] in ("OptionError", "StorageError")


def test_the_callers_process_group_is_used_and_no_other_left(told):
    for rank in (0, 1):
        assert told[2, rank]["left"]
        assert told[2, rank]["kept"]
        np.testing.assert_allclose(
            told[2, rank]["a group of the caller's"]["losses"], told[1, 0]["batches"]["losses"], rtol=1e-12
        )


def test_a_killed_process_is_named(tmp_path):
    said = run(*TORCHRUN, SCRIPT, tmp_path, "killed", failing=True)
    cause = said[said.index("Root Cause") :]
    assert "rank      : 1" in cause
    assert "Signal 9 (SIGKILL)" in cause
    assert (tmp_path / "run.unfinished").exists()


def test_a_job_that_is_started_again_goes_on_to_the_same_bytes(tmp_path):
    run(*TORCHRUN, "--max-restarts", "1", SCRIPT, tmp_path, "killed")
    stopped = [json.loads((tmp_path / f"killed {rank}.json").read_text()) for rank in (0, 1)]
    assert stopped[0] == stopped[1]
    assert stopped[0]["windows"] < 10  # of fifty steps: it has not begun anew
    (whole := tmp_path / "whole").mkdir()
    run(*TORCHRUN, SCRIPT, whole, "unharmed")
    assert json.loads((whole / "killed 0.json").read_text())["losses"] == stopped[0]["losses"]
    assert not (tmp_path / "run.unfinished").exists()


@pytest.mark.parametrize("size", [1, 2, 3, 7])
@pytest.mark.parametrize("rows", [7, 8, 100])
def test_shares_are_all_rows_once(size, rows):
    shares = [range(rows)[Processes(rank, size).share(rows)] for rank in range(size)]
    assert [row for share in shares for row in share] == list(range(rows))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_alone_there_is_nobody_to_ask():
    with joined("cpu") as found:
        assert found is ALONE
    assert (ALONE.first, ALONE.size, restarted(), own_device("cuda")) == (True, 1, False, "cuda")
    assert ALONE.by_first(lambda: b"told") == b"told"
    ALONE.check_alike({"data": "other"})
    with pytest.raises(StorageError):
        ALONE.first_does(refuse)


def refuse() -> None:
    raise StorageError("is full")


def test_a_group_that_breaks_names_who_does_not_answer(monkeypatch):
    """Of three, one is not there."""
    monkeypatch.setattr(processes, "_WAIT", processes.timedelta(seconds=0.1))
    store = dist.HashStore()
    store.set("there 1", "yes")

    def broken(*_, **__):
        raise RuntimeError("Connection closed by peer")

    monkeypatch.setattr(dist, "all_reduce", broken)
    with pytest.raises(FitError, match=r"has ended; got process 2 of 3 \(this is 0\)") as caught:
        Processes(0, 3, store=store).mean([torch.ones(2)])
    assert "closed by peer" in str(caught.value.__cause__)
    with pytest.raises(FitError, match="got one of 3"):
        Processes(0, 3).mean([torch.ones(2)])
