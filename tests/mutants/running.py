"""Plants a bug in a copy of the source and its tests, and runs the tests that must see it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree as ET

from tests.mutants.mutant import Mutant

__all__ = ["PASSED", "ROOT", "Seen", "planted", "tried"]

ROOT = Path(__file__).parents[2]
COPIED = ("ppzoo", "tests", "pyproject.toml")
PASSED = "all tests passed"
SECONDS = 900  # for one bug: one that lets a run go on for ever is not caught
# a bug that does not run shows nothing of the tests
SLIPS = ("NameError", "AttributeError", "ImportError", "ModuleNotFoundError", "SyntaxError", "TypeError", "Unbound")


class Seen(NamedTuple):
    """The first test that failed, ``""`` where none did or the bug itself does not run, and what was said."""

    test: str
    why: str
    seconds: float


def tried(mutant: Mutant | None, tests: Sequence[str], *, reference: bool = False) -> Seen:
    """Run the tests on a copy with the bug in it (none: as it is).

    Raises:
        RuntimeError: If what the bug replaces is not there, or there twice.
    """
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder)
        for name in COPIED:
            if (ROOT / name).is_dir():
                shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(ROOT / name, copy / name)
        if mutant is not None:
            path = copy / "ppzoo" / mutant.file
            path.write_text(planted(mutant, path.read_text(encoding="utf-8")), encoding="utf-8")
        return _run(copy, tests, reference=reference)


def planted(mutant: Mutant, text: str) -> str:
    """The file's text with the bug.

    Raises:
        RuntimeError: If what it replaces is not there, or there twice.
    """
    if text.count(mutant.source) != 1:
        raise RuntimeError(f"{mutant.name}: {mutant.file} has its source text {text.count(mutant.source)} times")
    return text.replace(mutant.source, mutant.planted)


def _run(copy: Path, tests: Sequence[str], *, reference: bool) -> Seen:
    report = copy / "report.xml"
    options = [
        "-x",
        "-q",
        "-p",
        "no:cacheprovider",
        f"--junitxml={report}",
        *(["-m", "reference"] if reference else []),
    ]
    environment = {name: value for name, value in os.environ.items() if name not in ("CI", "PYTEST_ADDOPTS")}
    environment |= {"PYTHONPATH": str(copy), "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-m", "pytest", *options, *(f"tests/{test}" for test in tests)]
    began = time.monotonic()
    try:
        done = subprocess.run(
            command, cwd=copy, env=environment, capture_output=True, text=True, timeout=SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        return Seen("", f"no end after {SECONDS} s", SECONDS)
    seconds = time.monotonic() - began
    if done.returncode == 0:
        return Seen("", PASSED, seconds)
    failed = _first_failure(report) if done.returncode == 1 else None
    if failed is None:
        return Seen("", f"the tests do not run: {done.stdout[-2000:]}{done.stderr[-1000:]}", seconds)
    test, why = failed
    return Seen("", f"it does not run: {why}", seconds) if why.startswith(SLIPS) else Seen(test, why, seconds)


def _first_failure(report: Path) -> tuple[str, str] | None:
    for case in ET.parse(report).getroot().iter("testcase"):
        for kind in ("failure", "error"):
            for found in case.iter(kind):
                module = case.get("classname", "").removeprefix("tests.").replace(".", "/")
                return f"{module}.py::{case.get('name')}", found.get("message", "").split("\n")[0][:200]
    return None
