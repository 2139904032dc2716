"""The fixture that watches global state sees each kind of leak, and no leak where there is none."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

pytest.importorskip("torch")

# one leak each: the test passes, its teardown must not
LEAKS = {
    "python RNG": "import random; random.random()",
    "numpy RNG": "import numpy; numpy.random.rand()",
    "torch RNG": "import torch; torch.rand(1)",
    "torch default dtype": "import torch; torch.set_default_dtype(torch.float64)",
    "torch grad mode": "import torch; torch.set_grad_enabled(False)",
    "torch validation flag": "import torch; torch.distributions.Distribution.set_default_validate_args(False)",
    "pyro parameter store": "import pyro, torch; pyro.param('w', torch.zeros(2))",
    "pyro settings": "import pyro; pyro.settings.set(module_local_params=True)",
    "pyro handler stack": "from pyro import poutine; poutine.trace().__enter__()",
    "numpy error state": "import numpy; numpy.seterr(all='ignore')",
    "warnings filters": "import warnings; warnings.simplefilter('ignore')",
    "signal handlers": "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)",
    "working directory": "import os; os.chdir(os.sep)",
    "environment": "import os; os.environ['PPZOO_LEAK'] = '1'",
    "matplotlib rcParams": "import matplotlib; matplotlib.rcParams['font.size'] = 33.0",
}
CLEAN = {
    "nothing": "pass",
    "own generator": "import torch; torch.rand(1, generator=torch.Generator().manual_seed(0))",
    "seeded": "import random, numpy, torch; random.random(), numpy.random.rand(), torch.rand(1)",
    "monkeypatched": "monkeypatch.setenv('PPZOO_LEAK', '1'); monkeypatch.chdir(tmp_path)",
}


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What pytest says about each snippet, run as a test in a process of its own: test name to message ("": passed)."""
    folder = tmp_path_factory.mktemp("leaks")
    shutil.copy(Path(__file__).with_name("conftest.py"), folder)
    fixtures = {"seeded": "seeded", "monkeypatched": "monkeypatch, tmp_path"}
    tests = [f"def test_{_slug(name)}({fixtures.get(name, '')}):\n    {code}" for name, code in (LEAKS | CLEAN).items()]
    text = "\n\n".join(["import matplotlib", *tests])
    (folder / "test_leaks.py").write_text(text)
    xml = folder / "outcomes.xml"
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--junitxml={xml}", "test_leaks.py"]
    subprocess.run(command, cwd=folder, env={**os.environ, "PYTEST_ADDOPTS": ""}, capture_output=True, check=False)
    return {
        case.attrib["name"]: "; ".join(child.attrib.get("message", "") for child in case if child.tag != "system-out")
        for case in ET.parse(xml).iter("testcase")
    }


def _slug(name: str) -> str:
    return name.replace(" ", "_")


@pytest.mark.parametrize("leak", LEAKS)
def test_a_leak_fails_its_test_and_is_named(leak: str, outcomes: dict[str, str]):
    assert f"global state changed: {leak}" in outcomes[f"test_{_slug(leak)}"]


@pytest.mark.parametrize("name", CLEAN)
def test_a_clean_test_passes(name: str, outcomes: dict[str, str]):
    assert outcomes[f"test_{_slug(name)}"] == ""
