"""Progress on standard error: a bar on a terminal, plain lines where asked for, nothing else."""

from __future__ import annotations

import io
import itertools
import re
import sys
from types import MappingProxyType

import pyro
import pyro.distributions as dist
import pytest
import torch

import ppzoo
from ppzoo.progress import Progress


class Terminal(io.StringIO):
    def isatty(self):
        return True


def model(y):
    mu = pyro.sample("mu", dist.Normal(0.0, 1.0))
    with pyro.plate("row", len(y)):
        pyro.sample("y", dist.Normal(mu, 1.0), obs=y)


def run(total, show, figures=MappingProxyType({"loss": 3.0}), **options):
    with Progress(total, "svi", show, **options) as progress:
        for _ in range(total - options.get("done", 0)):
            progress.step(figures)


@pytest.fixture
def clock(monkeypatch):
    """Every look at the clock is two seconds after the one before."""
    ticks = itertools.count(step=2.0)
    monkeypatch.setattr("ppzoo.progress.time.monotonic", lambda: next(ticks))


def test_plain_lines_have_steps_speed_time_left_and_figures(clock, capsys):
    run(10, show=True)
    out, err = capsys.readouterr()
    lines = err.splitlines()
    assert out == ""
    assert lines[0] == "svi: 3/10, 0.5/s, 14 s left, loss 3"  # two seconds a step, a line every five seconds or more
    assert lines[-1] == "svi: 10/10, 0.5/s, 0 s left, loss 3"
    assert len(lines) == 4


def test_the_last_step_always_has_its_line(capsys):
    run(5, show=True, figures=None)
    assert re.fullmatch(r"svi: 5/5, [\d,.]+/s, 0 s left\n", capsys.readouterr().err)


def test_a_run_that_goes_on_has_the_speed_of_its_own_steps(clock, capsys):
    run(1000, show=True, done=990)
    assert capsys.readouterr().err.splitlines()[0] == "svi: 993/1000, 0.5/s, 14 s left, loss 3"


def test_figures_go_to_a_log_under_the_name_of_the_run():
    kept = []

    class Kept:
        def add(self, step, figures):
            kept.append((step, dict(figures)))

    with Progress(5, "nuts", show=False, log=Kept()) as progress:
        progress.reach(2, {"step": 0.5}, "warm-up")
        progress.reach(2, {"step": 0.7})  # nothing new
        progress.reach(4)
        progress.step({"step": 0.25, "divergences": 1})
    assert kept == [(2, {"nuts/warm-up step": 0.5}), (5, {"nuts/step": 0.25, "nuts/divergences": 1})]


@pytest.mark.parametrize("show", [None, False])
def test_nothing_without_a_terminal_unless_asked(show, clock, capsys):
    run(10, show=show)
    assert capsys.readouterr() == ("", "")


def test_a_bar_on_a_terminal(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    run(4, show=None, figures={"divergences": 1})
    assert "svi" in terminal.getvalue()
    assert "4/4" in terminal.getvalue()
    assert "divergences 1" in terminal.getvalue()
    assert "0:00:00" in terminal.getvalue()
    assert re.search(r"[\d,.]+/s", terminal.getvalue())


def test_no_bar_on_a_terminal_when_none_is_wanted(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    run(4, show=False)
    assert terminal.getvalue() == ""


def test_a_bar_ends_with_an_error(monkeypatch):
    monkeypatch.setattr(sys, "stderr", Terminal())
    with pytest.raises(ZeroDivisionError), Progress(4, "svi", None) as progress:
        progress.step({"loss": 1 / 0})
    run(2, show=None)  # another can start: rich allows one at a time


@pytest.mark.parametrize(
    ("method", "options", "figures"),
    [
        ("svi", {"steps": 5}, r"svi: 5/5, \S+/s, 0 s left, loss \S+, rate 0.0\d+\n"),
        ("nuts", {"chains": 1, "warmup": 20, "draws": 4}, r"nuts: 24/24, \S+/s, 0 s left, divergences 0, step \S+\n"),
        (
            "pyro-nuts",
            {"chains": 1, "warmup": 20, "draws": 4},
            r"24/24, \S+/s, 0 s left, chain 1, divergences 0, step \S+\n",
        ),
    ],
)
def test_a_fit_says_how_it_goes(method, options, figures, capsys):
    y = torch.tensor([0.1, 0.4])
    shown = ppzoo.fit(model, y, method=method, progress=True, **options)
    assert re.search(figures, capsys.readouterr().err)
    quiet = ppzoo.fit(model, y, method=method, progress=False, **options)
    assert capsys.readouterr() == ("", "")
    assert torch.equal(shown.draws(3)["mu"], quiet.draws(3)["mu"])
