"""``python -m ppzoo`` is ``ppzoo``: the same answers, the same errors, the same exit codes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PROGRAM = "import sys; sys.argv[0] = 'ppzoo'; from ppzoo.cli import main; main()"  # what the installed script does


@pytest.mark.parametrize(("arguments", "code"), [(["list", "schools", "--json"], 0), (["info", "eight_schols"], 2)])
def test_the_module_is_the_program(arguments: list[str], code: int):
    answers = [
        subprocess.run(
            [sys.executable, *way, *arguments],
            capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        for way in (["-m", "ppzoo"], ["-c", PROGRAM])
    ]  # fmt: skip
    assert [answer.returncode for answer in answers] == [code, code]
    assert answers[0].stdout == answers[1].stdout
    assert answers[0].stderr == answers[1].stderr
    assert (answers[0].stdout if code == 0 else answers[0].stderr) != ""
