"""A run that is stopped anywhere goes on to the same bytes, on every road; Ctrl-C leaves the best there is."""

from __future__ import annotations

import threading

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import ppzoo
from ppzoo.errors import FitError, StorageError
from ppzoo.inference.native import available
from ppzoo.inference.variational import trainers, training
from ppzoo.inference.variational.machine_code import Native
from ppzoo.inference.variational.stepwise import Stepwise

X = torch.linspace(-1.0, 1.0, 12, dtype=torch.float64)
Y = 0.5 + 2 * X + 0.3 * torch.cos(9 * X)


class StoppedError(Exception):
    """Stands for whatever kills a process."""


def regression(x, y):
    level = pyro.sample("level", dist.Normal(0.0, 1.0))
    slope = pyro.sample("slope", dist.Normal(0.0, 1.0))
    with pyro.plate("row", len(x)):
        pyro.sample("y", dist.Normal(level + slope * x, 0.3), obs=y)


class Coded(nn.Module):
    """Codes of rows, and a network that remembers the batches it has seen."""

    def __init__(self):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(3)
            self.encoder = nn.Sequential(nn.Linear(2, 4), nn.BatchNorm1d(4), nn.Tanh(), nn.Linear(4, 1))

    def model(self, x, y):
        with pyro.plate("row", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("y", dist.Normal(z * x, 0.3), obs=y)

    def guide(self, x, y):
        pyro.module("coded", self)
        with pyro.plate("row", len(x)):
            pyro.sample("z", dist.Normal(self.encoder(torch.stack([x, y], 1))[:, 0], 0.3))


def python(x, y):
    """Its structure hangs on what is drawn, so it is no graph."""
    level = pyro.sample("level", dist.Normal(0.0, 1.0))
    with pyro.plate("row", len(x)):
        pyro.sample("y", dist.Normal(level if level > 0 else 2 * level, 0.3), obs=y)


ROADS = {
    "machine code": (regression, Native, {"steps": 600}),
    "machine code, replicas": (regression, Native, {"steps": 600, "replicas": 3, "batch_size": 5, "clip": 3.0}),
    "machine code, settling": (regression, Native, {"steps": "auto", "replicas": 3}),
    "traced graph": (regression, Stepwise, {"steps": 320, "replicas": 2}),
    "traced graph, batches": (Coded, Stepwise, {"steps": 320, "batch_size": 5}),
    "in units": (regression, Stepwise, {"steps": 320, "optimiser": "adamw", "guide": "normal"}),
    "the program itself": (python, Stepwise, {"steps": 320, "optimiser": "sgd", "lr": 1e-3}),
}


def fit(model, run_dir=None, *, resume=False, seed=1, **options):
    built = model() if isinstance(model, type) else model
    return ppzoo.fit(built, (X, Y), seed=seed, run_dir=run_dir, resume=resume, progress=False, **options)


def same(one, other):
    mine, theirs = one.pair.state(), other.pair.state()
    return (
        np.array_equal(one.losses, other.losses)
        and mine.keys() == theirs.keys()
        and all(torch.equal(mine[name], theirs[name]) for name in mine)
        and all(torch.equal(a, b) for a, b in zip(one.draws(5).values(), other.draws(5).values(), strict=True))
    )


def stopping(monkeypatch, kind, windows, error):
    """After so many windows, the next one fails when its work is done."""
    advance = kind.advance
    left = [windows]

    def once(self, steps):
        losses = advance(self, steps)
        left[0] -= 1
        if left[0] < 0:
            monkeypatch.setattr(kind, "advance", advance)
            raise error
        return losses

    monkeypatch.setattr(kind, "advance", once)


@pytest.fixture
def eager(monkeypatch):
    """Every window goes to disk."""
    monkeypatch.setattr(training, "_SECONDS", 0.0)


@pytest.mark.parametrize(("model", "kind", "options"), ROADS.values(), ids=ROADS)
def test_a_stopped_run_goes_on_to_the_same_bytes(model, kind, options, eager, tmp_path, monkeypatch):
    if kind is Native and available() is None:
        pytest.skip("no C compiler")
    for cost in ("_COMPILER", "_COMPILED_OPERATION"):  # it always pays, or never
        monkeypatch.setattr(trainers, cost, -1e6 if kind is Native else 1e6)
    whole = fit(model, **options)
    for windows in (2, 1):  # stopped twice
        stopping(monkeypatch, kind, windows, StoppedError())
        with pytest.raises(StoppedError):
            fit(model, tmp_path / "run", resume=windows == 1, **options)
        assert [path.name for path in tmp_path.iterdir()] == ["run.unfinished"]
    again = fit(model, tmp_path / "run", resume=True, **options)
    assert same(again, whole)
    assert whole.notes == again.notes
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
    assert same(ppzoo.load(tmp_path / "run", model=model() if isinstance(model, type) else model), whole)


def test_states_go_to_disk_once_in_a_while(tmp_path, monkeypatch):
    """Five seconds have not gone by: nothing is on disk, and a run that is stopped begins anew."""
    fit(regression, tmp_path / "whole", steps=320)
    assert [path.name for path in tmp_path.iterdir()] == ["whole"]
    stopping(monkeypatch, Stepwise, 3, StoppedError())
    with pytest.raises(StoppedError):
        fit(regression, tmp_path / "run", steps=320)
    assert [path.name for path in tmp_path.iterdir()] == ["whole"]


def test_ctrl_c_leaves_the_best_there_is_and_goes_on_later(eager, tmp_path, monkeypatch):
    whole = fit(regression, steps=320)
    stopping(monkeypatch, Stepwise, 4, KeyboardInterrupt())
    part = fit(regression, tmp_path / "run", steps=320)
    assert part.outcome.interrupted
    assert np.array_equal(part.losses, whole.losses[:200])
    assert part.outcome.numbers["steps"] == 200
    assert "after 200 steps; fit(..., resume=True) goes on" in str(part.diagnose())
    assert [path.name for path in tmp_path.iterdir()] == ["run.unfinished"]
    assert same(fit(regression, tmp_path / "run", resume=True, steps=320), whole)


def test_ctrl_c_before_there_is_anything(monkeypatch):
    stopping(monkeypatch, Stepwise, 0, KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        fit(regression, steps=320)


@pytest.mark.skipif(available() is None, reason="no C compiler")
def test_a_run_goes_on_by_the_road_it_came(eager, tmp_path, monkeypatch):
    stopping(monkeypatch, Stepwise, 2, StoppedError())
    with pytest.raises(StoppedError):
        fit(regression, tmp_path / "run", steps=320)
    monkeypatch.setattr(trainers, "_COMPILER", -1e6)
    with pytest.raises(StorageError, match="another way; got machine code here, traced graph there"):
        fit(regression, tmp_path / "run", resume=True, steps=320)


def test_another_run_is_refused(eager, tmp_path, monkeypatch):
    stopping(monkeypatch, Stepwise, 2, StoppedError())
    with pytest.raises(StoppedError):
        fit(regression, tmp_path / "run", steps=320)
    with pytest.raises(StorageError, match="lr"):
        fit(regression, tmp_path / "run", resume=True, steps=320, lr=0.02)


@pytest.mark.parametrize("source", ["disk", "loader"])
@pytest.mark.parametrize("replicas", [1, 2])
def test_rows_that_are_streamed_go_on_too(source, replicas, eager, tmp_path, monkeypatch):
    """From disk where they were left; a loader is gone through again, and draws what it drew."""
    np.save(tmp_path / "y.npy", Y.numpy())
    y = np.load(tmp_path / "y.npy", mmap_mode="r")
    loader = DataLoader(TensorDataset(X, Y), batch_size=5, shuffle=True)
    data = (X, y) if source == "disk" else loader
    options = {"steps": 320, "replicas": replicas, "progress": False, "seed": 1}
    options |= {"batch_size": 5} if source == "disk" else {}
    whole = ppzoo.fit(regression, data, **options)
    folder = tmp_path / "run"
    stopping(monkeypatch, Stepwise, 3, StoppedError())
    with pytest.raises(StoppedError):
        ppzoo.fit(regression, data, run_dir=folder, **options)
    again = ppzoo.fit(regression, data, run_dir=folder, resume=True, **options)
    assert same(again, whole)
    assert ppzoo.load(folder, model=regression).pair.data.total == 12


def test_ctrl_c_leaves_no_thread(tmp_path, monkeypatch):
    np.save(tmp_path / "y.npy", Y.numpy())
    data = (X, np.load(tmp_path / "y.npy", mmap_mode="r"))
    stopping(monkeypatch, Stepwise, 3, KeyboardInterrupt())
    stopped = ppzoo.fit(regression, data, batch_size=5, steps=320, progress=False)
    assert stopped.outcome.interrupted
    assert [thread.name for thread in threading.enumerate() if thread.name.startswith("ppzoo")] == []


def test_a_streamed_batch_that_fails_is_told():
    def bad(x, y):
        level = pyro.sample("level", dist.Normal(0.0, 1.0))
        with pyro.plate("row", len(x)):
            pyro.sample("y", dist.LogNormal(level, 1.0, validate_args=False), obs=y - 9)  # all are negative

    with pytest.raises(FitError, match=r"step \d+, on a batch of \d rows: site 'y' of the model has log"):
        ppzoo.fit(bad, DataLoader(TensorDataset(X, Y), batch_size=5), steps=100, progress=False)
