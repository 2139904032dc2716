"""The compiler is found, asked once, and leaves nothing behind; without one the road is closed."""

from __future__ import annotations

import ctypes
import os
import tempfile
from pathlib import Path

import pytest

from ppzoo.inference.native import Unsupported, available, build
from ppzoo.inference.native.build import fewest_lanes, lanes, load


def test_a_source_becomes_a_library_once(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    source = "double twice(double x) { return 2 * x; }"
    library = load(source)
    library.twice.restype, library.twice.argtypes = ctypes.c_double, [ctypes.c_double]
    assert library.twice(4.0) == 8.0
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setenv("CC", available())  # the same compiler by another road
    assert load(source) is library


def test_the_compiler_s_last_words_are_told(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with pytest.raises(Unsupported, match="undeclared"):
        load("int f(void) { return nothing; }")
    assert list(tmp_path.iterdir()) == []


def test_without_a_compiler_the_road_is_closed(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CC", raising=False)
    assert available() is None
    with pytest.raises(Unsupported, match="no C compiler"):
        load("int f;")


def test_a_compiler_that_fails_to_start_is_unsupported(tmp_path, monkeypatch):
    broken = tmp_path / "cc"
    broken.write_text("#!/nowhere\n")
    broken.chmod(0o755)
    monkeypatch.setenv("CC", str(broken))
    with pytest.raises(Unsupported, match="failed"):
        lanes()


def test_the_compiler_works_in_a_private_folder(tmp_path, monkeypatch):
    report = tmp_path / "modes"
    spy = tmp_path / "spy"
    look = f'for a in "$@"; do case "$a" in */native.so) stat -c %a "$(dirname "$a")" > {report};; esac; done'
    spy.write_text(f'#!/bin/sh\n{look}\nexec {available()} "$@"\n')
    spy.chmod(0o755)
    monkeypatch.setenv("CC", str(spy))
    load("int spied;")
    assert report.read_text().strip() == "700"


def test_lanes_are_a_power_of_two():
    assert lanes() in {2, 4, 8}


@pytest.mark.parametrize(
    ("chains", "threads", "wide", "expected"),
    [(1, 1, 8, 4), (4, 2, 8, 4), (8, 2, 8, 4), (9, 2, 8, 8), (8, 1, 8, 8), (64, 16, 8, 4), (4, 1, 2, 2), (99, 2, 4, 4)],
)
def test_few_chains_take_no_more_lanes_than_they_need(monkeypatch, chains, threads, wide, expected):
    monkeypatch.setattr(build, "lanes", lambda: wide)
    assert fewest_lanes(chains, threads) == expected
    assert Path(available()).is_absolute()
    assert os.access(available(), os.X_OK)
