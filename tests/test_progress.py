"""Progress on standard error: a bar on a terminal, plain lines where asked for, nothing else."""

from __future__ import annotations

import io
import itertools
import sys

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


def run(total, show, figures="loss 3"):
    with Progress(total, "svi", show) as progress:
        for _ in range(total):
            progress.step(figures)


@pytest.fixture
def clock(monkeypatch):
    """Every look at the clock is two seconds after the one before."""
    ticks = itertools.count(step=2.0)
    monkeypatch.setattr("ppzoo.progress.time.monotonic", lambda: next(ticks))


def test_plain_lines_have_steps_time_left_and_figures(clock, capsys):
    run(10, show=True)
    out, err = capsys.readouterr()
    lines = err.splitlines()
    assert out == ""
    assert lines[0] == "svi: 3/10, 14 s left loss 3"  # two seconds a step, a line every five seconds or more
    assert lines[-1] == "svi: 10/10, 0 s left loss 3"
    assert len(lines) == 4


def test_the_last_step_always_has_its_line(capsys):
    run(5, show=True, figures="")
    assert capsys.readouterr().err == "svi: 5/5, 0 s left\n"


@pytest.mark.parametrize("show", [None, False])
def test_nothing_without_a_terminal_unless_asked(show, clock, capsys):
    run(10, show=show)
    assert capsys.readouterr() == ("", "")


def test_a_bar_on_a_terminal(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    run(4, show=None, figures="divergences 1")
    assert "svi" in terminal.getvalue()
    assert "4/4" in terminal.getvalue()
    assert "divergences 1" in terminal.getvalue()
    assert "0:00:00" in terminal.getvalue()


def test_no_bar_on_a_terminal_when_none_is_wanted(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    run(4, show=False)
    assert terminal.getvalue() == ""


def test_a_bar_ends_with_an_error(monkeypatch):
    monkeypatch.setattr(sys, "stderr", Terminal())
    with pytest.raises(ZeroDivisionError), Progress(4, "svi", None) as progress:
        progress.step(str(1 / 0))
    run(2, show=None)  # another can start: rich allows one at a time


@pytest.mark.parametrize(
    ("method", "options", "figures"),
    [
        ("svi", {"steps": 5}, "svi: 5/5, 0 s left loss "),
        ("nuts", {"chains": 1, "warmup": 20, "draws": 4}, "nuts: 24/24, 0 s left divergences 0, step "),
        ("pyro-nuts", {"chains": 1, "warmup": 20, "draws": 4}, "24/24, 0 s left chain 1, divergences 0, step "),
    ],
)
def test_a_fit_says_how_it_goes(method, options, figures, capsys):
    y = torch.tensor([0.1, 0.4])
    shown = ppzoo.fit(model, y, method=method, progress=True, **options)
    assert figures in capsys.readouterr().err
    quiet = ppzoo.fit(model, y, method=method, progress=False, **options)
    assert capsys.readouterr() == ("", "")
    assert torch.equal(shown.draws(3)["mu"], quiet.draws(3)["mu"])
