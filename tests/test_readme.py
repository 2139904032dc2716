"""What the README says holds: its commands, its code, its tables, its figures and its links."""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path
from types import ModuleType

import pytest
import typer

import ppzoo
from ppzoo.cli import app

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")
BASH = [block.replace("\\\n", " ") for block in re.findall(r"^```bash\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)]
PYTHON = re.findall(r"^```python\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)
LINKS = re.findall(r"\]\((?!https?:|#)([^)]+)\)", TEXT)
RECORDS = sorted((ROOT / "docs" / "records").glob("*.json"))
LARGEST_PICTURE = 150_000  # bytes


@pytest.fixture(scope="module")
def generator() -> ModuleType:
    """The script that writes the generated parts."""
    spec = importlib.util.spec_from_file_location("readme", ROOT / "benchmarks" / "readme.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def record(name: str) -> dict:
    return json.loads((ROOT / "docs" / "records" / f"{name}.json").read_text(encoding="utf-8"))


def test_set_up_is_exactly_two_commands():
    set_up = [block.strip() for block in BASH if "pip install" in block]
    assert set_up == [block.strip() for block in BASH[:2]]
    assert [block.count("\n") for block in set_up] == [0, 0]
    assert re.fullmatch(r"pip install -c constraints.txt \. && ppzoo compare eight_schools( --[\w-]+ \S+)*", set_up[0])
    assert set_up[1] == 'pip install -c constraints.txt ".[test]" && pytest'


def test_generated_parts_are_as_generated(generator: ModuleType):
    """Not so? Run ``python benchmarks/readme.py``."""
    found = dict(re.findall(r"<!-- begin (\w+) -->\n(.*?)\n<!-- end \1 -->", TEXT, re.DOTALL))
    assert found == generator.blocks()


def test_every_model_has_its_row():
    rows = re.findall(r"^\| `(\w+)` \| .*\]\(http", TEXT, re.MULTILINE)
    assert rows == ppzoo.list_models()


def test_the_main_job_was_recorded_with_the_command_that_is_shown(generator: ModuleType):
    found = record("eight_schools")
    assert found["command"] == generator.first_command()
    assert found["command"] in BASH[0]
    assert found["verdict"] in {"trust", "caution"}, "the first command exits with 0"
    assert any(line.startswith(f"verdict: {found['verdict']}. {found['sentence']}") for line in found["printed"])


@pytest.mark.parametrize("path", RECORDS, ids=lambda path: path.stem)
def test_a_record_says_how_it_was_made(path: Path):
    found = record(path.stem)
    assert {"command", "seconds", "machine", "versions"} <= found.keys()
    assert {"torch", "pyro-ppl", "numpy"} <= found["versions"].keys()


def test_the_figures_show_what_they_must():
    """The flow beats the mixture beyond doubt, the bound is above the ELBO, and modes were counted for three seeds."""
    vae, flow, gan = (record(name)["figures"] for name in ("vae_digits", "two_moons", "gan_ring"))
    assert flow["gain"] > 10 * flow["gain_se"]
    assert vae["bound"] > vae["elbo"]
    assert [run["seed"] for run in gan["runs"]] == [0, 1, 2]
    assert all(0 <= run["modes_covered"] <= run["modes"] == 8 for run in gan["runs"])


@pytest.mark.parametrize("link", sorted(set(LINKS)))
def test_a_relative_link_leads_somewhere(link: str):
    assert (ROOT / link).exists()


@pytest.mark.parametrize("path", sorted((ROOT / "docs").glob("*.png")), ids=lambda path: path.name)
def test_a_picture_is_shown_and_small(path: Path):
    assert f"docs/{path.name}" in TEXT
    assert path.stat().st_size < LARGEST_PICTURE


def test_every_verb_in_the_text_exists():
    verbs = set(typer.main.get_command(app).commands)
    named = set(re.findall(r"(?:^|&& |`)ppzoo ([a-z]+)", "\n".join([*BASH, TEXT]), re.MULTILINE))
    assert named <= verbs
    assert verbs <= named, "a verb that the README does not name"


def test_every_python_name_in_the_text_exists():
    named = set(re.findall(r"\bppzoo\.(\w+)", re.sub(r"^```text\n.*?^```", "", TEXT, flags=re.MULTILINE | re.DOTALL)))
    assert [name for name in sorted(named) if not hasattr(ppzoo, name)] == []
    methods = set(re.findall(r"`fit\.(\w+)\(", TEXT))
    assert [name for name in sorted(methods) if not hasattr(ppzoo.Fit, name)] == []


@pytest.mark.parametrize("code", PYTHON, ids=["own model", "zoo model"])
def test_the_code_runs(code: str, capsys: pytest.CaptureFixture[str]):
    assert sum(bool(line.strip()) for line in code.splitlines()) <= 10
    exec(compile(code, "README.md", "exec"), {})
    assert capsys.readouterr().out
