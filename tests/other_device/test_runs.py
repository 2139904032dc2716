"""What runs on a GPU runs on any device beside the CPU: no tensor is left behind on the other one."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from torch.utils import cpp_extension

from tests.other_device.runs import NAME, RUNS

HERE = Path(__file__).parent
COMPILER = shutil.which("c++")


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    """Of all runs, in a process of their own."""
    library = tmp_path_factory.mktemp("device") / "device.so"
    libraries = [f"-L{path}" for path in cpp_extension.library_paths()]
    subprocess.run(
        [COMPILER, "-shared", "-fPIC", "-std=c++20", "-O0", "-w", HERE / "device.cpp"]
        + [f"-I{path}" for path in cpp_extension.include_paths()]
        + ["-o", library, *libraries, "-lc10", "-ltorch", "-ltorch_cpu"],
        check=True,
    )
    command = [sys.executable, "-W", "ignore", HERE / "runs.py", library]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)


@pytest.mark.skipif(COMPILER is None, reason="no C++ compiler on this machine")
@pytest.mark.parametrize("name", RUNS)
def test_a_run_gives_the_same_draws_there(outcomes, name):
    outcome = outcomes[name]
    assert "error" not in outcome, outcome["error"]
    assert outcome["devices"] == [NAME]
    rounding = 1e-12  # of sums over memory that may be aligned otherwise there
    if name == "svi as one graph":
        assert outcome["notes"][0] == "Steps: CUDA graphs."
    assert outcome["gap"] <= (3e-5 if name.startswith("svi") else rounding)  # in float32, and without a fused optimiser
