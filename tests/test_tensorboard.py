"""What a run tells TensorBoard is what TensorBoard reads; a run that goes on continues its curves."""

from __future__ import annotations

import pyro
import pyro.distributions as dist
import pytest
import torch

import ppzoo
from ppzoo import tensorboard
from ppzoo.errors import OptionError, StorageError
from ppzoo.inference.variational import training
from ppzoo.inference.variational.stepwise import Stepwise
from ppzoo.tensorboard import Events

events = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator", reason="no TensorBoard")

Y = torch.tensor([0.9, 1.1, 1.6], dtype=torch.float64)


def model(y):
    mu = pyro.sample("mu", dist.Normal(0.0, 1.0))
    with pyro.plate("row", len(y)):
        pyro.sample("y", dist.Normal(mu, 1.0), obs=y)


def read(folder):
    """Steps and values by name, as TensorBoard shows them."""
    found = events.EventAccumulator(str(folder), size_guidance={"scalars": 0})
    found.Reload()
    return {name: [(e.step, e.value) for e in found.Scalars(name)] for name in found.Tags()["scalars"]}


@pytest.fixture
def eager(monkeypatch):
    """Every figure is written."""
    monkeypatch.setattr(tensorboard, "_SECONDS", 0.0)


def test_loss_and_rate_of_every_window(eager, tmp_path):
    fit = ppzoo.fit(model, Y, steps=200, lr=0.02, schedule="constant", log_dir=tmp_path / "log")
    shown = read(tmp_path / "log")
    assert shown.keys() == {"svi/loss", "svi/rate"}
    assert [step for step, _ in shown["svi/loss"]] == [50, 100, 150, 200]
    means = fit.losses.reshape(4, 50).mean(1)
    assert [value for _, value in shown["svi/loss"]] == pytest.approx(means, rel=1e-6)
    assert [value for _, value in shown["svi/rate"]] == pytest.approx([0.02] * 4)


@pytest.mark.parametrize(
    ("method", "options", "names"),
    [
        ("nuts", {"chains": 2, "warmup": 50, "draws": 10}, {"nuts/warm-up step", "nuts/step", "nuts/divergences"}),
        ("map", {}, set()),
    ],
)
def test_other_methods_tell_what_their_progress_tells(method, options, names, eager, tmp_path):
    ppzoo.fit(model, Y, method=method, log_dir=tmp_path, **options)
    assert read(tmp_path).keys() == names


def test_a_run_that_goes_on_continues_its_curves(eager, tmp_path, monkeypatch):
    """It was stopped after a window that it had told but not kept; that window is there once."""
    monkeypatch.setattr(training, "_SECONDS", 0.0)
    options = {"steps": 250, "run_dir": tmp_path / "run", "log_dir": tmp_path / "log", "init": "data"}
    advance, windows = Stepwise.advance, []

    def stopping(self, steps):
        windows.append(None)
        if len(windows) == 4:
            raise OSError("the power is gone")
        if len(windows) == 3:
            monkeypatch.setattr(training, "_SECONDS", 1e9)
        return advance(self, steps)

    monkeypatch.setattr(Stepwise, "advance", stopping)
    with pytest.raises(OSError, match="power"):
        ppzoo.fit(model, Y, **options)
    assert [step for step, _ in read(tmp_path / "log")["svi/loss"]] == [50, 100, 150]
    monkeypatch.setattr(Stepwise, "advance", advance)
    fit = ppzoo.fit(model, Y, resume=True, **options)
    shown = read(tmp_path / "log")["svi/loss"]
    assert [step for step, _ in shown] == [50, 100, 150, 200, 250]
    assert [value for _, value in shown] == pytest.approx(fit.losses.reshape(5, 50).mean(1), rel=1e-6)


def test_figures_in_between_are_left_out_and_the_last_is_not(tmp_path, monkeypatch):
    monkeypatch.setattr(tensorboard, "_SECONDS", 1e9)
    with Events(tmp_path) as log:
        log._written = -1e18  # long ago
        for step in range(1, 6):
            log.add(step, {"loss": float(step)})
    assert read(tmp_path) == {"loss": [(1, 1.0), (5, 5.0)]}


def test_nothing_told_leaves_nothing_behind(tmp_path):
    with Events(tmp_path / "log"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_where_it_is_not_installed_it_says_how(monkeypatch):
    monkeypatch.setattr(tensorboard, "find_spec", lambda name: None)
    with pytest.raises(OptionError, match=r"log_dir: needs TensorBoard.*pip install \"ppzoo\[tensorboard\]\""):
        ppzoo.fit(model, Y, steps=50, log_dir="runs/log")


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("no folder", encoding="utf-8")
    with pytest.raises(StorageError, match=r"log_dir: cannot write events for TensorBoard; got .*file"):
        ppzoo.fit(model, Y, steps=50, log_dir=tmp_path / "file")
