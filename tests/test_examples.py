"""Every example runs, in quick mode, and shows what its text claims."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "examples"
SCRIPTS = [
    "01_your_own_model.py",
    "02_svi_versus_mcmc.py",
    "03_posterior_diagnostics.py",
    "04_vae_digits.py",
    "05_flow_two_moons.py",
    "06_gan_ring.py",
    "07_two_divergences.py",
]


def run(script: str, folder: Path) -> str:
    """What the script prints in quick mode, with every warning an error."""
    command = [sys.executable, "-W", "error", str(EXAMPLES / script), str(folder / "out"), "--quick"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONHASHSEED": "0"}
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, encoding="utf-8", check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def figures(folder: Path, name: str) -> dict:
    assert (folder / "out" / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    return json.loads((folder / "out" / f"{name}.json").read_text(encoding="utf-8"))


def test_every_example_is_in_this_file():
    assert sorted(path.name for path in EXAMPLES.glob("*.py")) == SCRIPTS


@pytest.mark.parametrize("script", SCRIPTS)
def test_an_example_is_narrated(script: str):
    """A script to be read: it says how it is run, and a tenth of it or more is narration."""
    text = (EXAMPLES / script).read_text(encoding="utf-8")
    assert f"python examples/{script}" in text
    lines = [line for line in text.splitlines() if line.strip()]
    assert sum(line.startswith("#") for line in lines) >= 0.1 * len(lines)


def test_your_own_model(tmp_path: Path):
    printed = run("01_your_own_model.py", tmp_path)
    assert "model: ready" in printed
    assert re.search(r"^slope\[1\] +0\.\d+", printed, re.MULTILINE)
    assert printed.count("90 % in") == 3
    assert list(tmp_path.iterdir()) == [], "it writes nothing"


@pytest.mark.slow
def test_svi_versus_mcmc(tmp_path: Path):
    """The sd of mean-field is half of what it should be, far above the 30 % at which a comparison rejects."""
    printed = run("02_svi_versus_mcmc.py", tmp_path)
    assert "verdict: reject. Do not use normal's intervals: against nuts, the worst of 3 parameters" in printed
    assert printed.splitlines()[-1].startswith("normal: reject; mvn: ")
    predicted = float(re.search(r"mean-field should find (\d\.\d+)", printed)[1])
    assert 0.3 < predicted < 0.6


@pytest.mark.slow
def test_posterior_diagnostics(tmp_path: Path):
    printed = run("03_posterior_diagnostics.py", tmp_path)
    headings = ("centred\n-------\nverdict: reject\n", "non-centred\n-----------\nverdict: ")
    assert all(text in printed for text in (*headings, "svi, centred: ", "nats in all"))
    assert re.search(r"^theta\[H\] ", printed, re.MULTILINE), "labels of the data are labels of the summary"


def test_vae_digits(tmp_path: Path):
    """In a few epochs it learns little; the bound is above the ELBO up to Monte Carlo error."""
    printed = run("04_vae_digits.py", tmp_path)
    found = figures(tmp_path, "vae_digits")
    assert f"{found['elbo']:.1f}" in printed
    assert f"{found['bound']:.1f}" in printed
    assert found["bound"] > found["elbo"] - 0.5


def test_flow_two_moons(tmp_path: Path):
    """Even a hundred steps beat two Gaussians, by far more than the error of the difference."""
    printed = run("05_flow_two_moons.py", tmp_path)
    found = figures(tmp_path, "two_moons")
    assert f"{found['flow']:.3f}" in printed
    assert found["gain"] > 10 * found["gain_se"]
    assert found["gain"] == pytest.approx(found["flow"] - found["mixture"], abs=1e-9)


def test_gan_ring(tmp_path: Path):
    printed = run("06_gan_ring.py", tmp_path)
    (found,) = figures(tmp_path, "gan_ring")["runs"]
    assert found["modes"] == 8
    assert 0 <= found["modes_covered"] <= 8
    assert f"verdict: {found['verdict']}" in printed


def test_two_divergences(tmp_path: Path):
    """Of a Gaussian the one has the sds of each number given the other, the other those of each by itself."""
    printed = run("07_two_divergences.py", tmp_path)
    inside, covering, exact = figures(tmp_path, "two_divergences")["figures"].values()
    correlation = float(re.search(r"intercept and slope: (-0\.\d+)", printed)[1])
    for what, value in exact.items():
        assert inside[what] == pytest.approx(value * (1 - correlation**2) ** 0.5, rel=0.1)
        assert covering[what] == pytest.approx(value, rel=0.2)
    assert inside["KL[Q | P]"] < covering["KL[Q | P]"]
    assert covering["KL[P | Q]"] < inside["KL[P | Q]"]
