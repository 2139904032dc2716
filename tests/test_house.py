"""The laws of the house that a linter does not know."""

from __future__ import annotations

import ast
import importlib
import inspect
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = sorted((ROOT / "ppzoo").rglob("*.py"))
TEXTS = sorted(
    path
    for folder in ("ppzoo", "tests", "examples", "benchmarks")
    for path in (ROOT / folder).rglob("*")
    if path.suffix in {".py", ".md", ".toml", ".html", ".css", ".txt"}
) + [ROOT / name for name in ("pyproject.toml", "constraints.txt", "README.md", "CONTRIBUTING.md", ".ci/run")]

# a source file whose tests live elsewhere: where, and why
TESTED_ELSEWHERE = {
    "contracts.py": ("tests/conformance", "protocols have no behaviour: every zoo model is held against them"),
}
MAXIMUM_LINES = 350
SWALLOWS = (ast.Pass, ast.Continue)


def _name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def _modules() -> list[str]:
    """Every module by its dotted name; packages by theirs."""
    return [".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") for path in SOURCES]


def _mirror(path: Path) -> Path:
    inner = path.relative_to(ROOT / "ppzoo")
    return ROOT / "tests" / inner.with_name(f"test_{inner.name}")


@pytest.mark.parametrize("path", [p for p in SOURCES if p.name != "__init__.py"], ids=_name)
def test_every_source_file_has_its_test_file(path: Path):
    inner = path.relative_to(ROOT / "ppzoo").as_posix()
    if inner in TESTED_ELSEWHERE:
        assert not _mirror(path).exists(), f"{inner} has a test file now: remove its row from TESTED_ELSEWHERE"
    else:
        assert _mirror(path).is_file(), f"write {_name(_mirror(path))}, or give a reason in TESTED_ELSEWHERE"


@pytest.mark.parametrize("inner", TESTED_ELSEWHERE)
def test_no_exemption_is_stale(inner: str):
    where, _ = TESTED_ELSEWHERE[inner]
    assert (ROOT / "ppzoo" / inner).is_file()
    assert (ROOT / where).exists()


def test_the_tree_is_never_deeper_than_family_and_file():
    deep = [_name(path) for path in SOURCES if len(path.relative_to(ROOT / "ppzoo").parts) > 3]
    assert deep == []


def test_there_is_no_junk_drawer():
    drawers = {"utils", "util", "common", "base", "helpers", "misc"}
    assert [_name(path) for path in SOURCES if drawers & set(path.with_suffix("").parts[len(ROOT.parts) :])] == []


@pytest.mark.parametrize("path", SOURCES, ids=_name)
def test_a_source_file_is_short_and_obeys(path: Path):
    text = path.read_text(encoding="utf-8")
    tree = ast.parse(text)
    assert ast.get_docstring(tree), "a file opens with what it is"
    assert text.count("\n") <= MAXIMUM_LINES
    asserts = [node.lineno for node in ast.walk(tree) if isinstance(node, ast.Assert)]
    assert asserts == [], "user errors are raised, never asserted"
    handlers = [node for node in ast.walk(tree) if isinstance(node, ast.ExceptHandler)]
    assert [h.lineno for h in handlers if h.type is None] == [], "no bare except"
    assert [h.lineno for h in handlers if _is_broad(h) and isinstance(h.body[0], SWALLOWS)] == [], "nothing swallowed"


def _is_broad(handler: ast.ExceptHandler) -> bool:
    return isinstance(handler.type, ast.Name) and handler.type.id in {"Exception", "BaseException"}


@pytest.mark.parametrize("name", _modules())
def test_every_public_name_says_what_it_is(name: str):
    try:
        module = importlib.import_module(name)
        values = {public: getattr(module, public) for public in getattr(module, "__all__", ())}
    except ModuleNotFoundError as error:
        if error.name not in {"torch", "pyro"}:  # the one installation without them is the torch-free leg of CI
            raise
        pytest.skip(f"{error.name} is not installed here")
    things = {public: value for public, value in values.items() if inspect.isclass(value) or inspect.isroutine(value)}
    silent = [public for public, value in things.items() if not _documented(value)]
    assert silent == [], "public names without a docstring of their own"


def _documented(value: object) -> bool:
    generated = f"{getattr(value, '__name__', '')}("  # what dataclass writes when nobody does
    doc = value.__dict__.get("__doc__") if inspect.isclass(value) else value.__doc__
    return bool(doc) and not str(doc).startswith(generated)


# one letter in brackets each, so that this file passes its own test
UNFINISHED = re.compile(r"\b(?:TO[D]O|FIX[M]E|XX[X])\b")
MACHINE = re.compile(r"(?<![\w.~<>/}\])*$-])/(?:home|root|tmp|work|Users|mnt)/\w")


@pytest.mark.parametrize("path", TEXTS, ids=_name)
def test_no_postponed_work_and_no_path_of_one_machine(path: Path):
    text = path.read_text(encoding="utf-8")
    assert UNFINISHED.findall(text) == []
    assert MACHINE.findall(text) == []


@pytest.mark.parametrize(
    "command",
    [
        ["import ppzoo"],
        ["import ppzoo.errors, ppzoo.checks, ppzoo.rng, ppzoo.contracts, ppzoo.zoo, ppzoo.cli, ppzoo.datasets"],
        ["import ppzoo; ppzoo.list_models()"],
        ["from ppzoo.cli import main; main()", "list"],
        ["from ppzoo.cli import main; main()", "--help"],
    ],
    ids=["import", "light modules", "list_models", "ppzoo list", "ppzoo --help"],
)
def test_looking_around_imports_nothing_heavy(command: list[str]):
    heavy = ("torch", "pyro", "xarray", "matplotlib", "pandas", "sklearn", "scipy", "arviz_base")
    code, *arguments = command
    probe = (
        "import sys\n"
        f"try:\n    {code}\n"
        "except SystemExit as stop:\n    assert not stop.code, stop.code\n"
        f"print('heavy:', *[name for name in {heavy!r} if name in sys.modules])"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", probe, *arguments], capture_output=True, text=True, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "heavy:"
