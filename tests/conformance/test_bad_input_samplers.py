"""Bad input for the samplers, row by row of one table, each sampler, through the API and through the command line.

A row is refused before a chain moves, with an error that names the site or the argument, what came, what was expected
and what to do, and nothing is written; or it is taken, and the fit says what was found. A program may also fail where
only a chain gets to: then the error comes late, and is as plain. The fixture for every test holds that nothing global
has changed.
"""

from __future__ import annotations

import functools
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

torch = pytest.importorskip("torch")

import ppzoo  # noqa: E402  # the table needs torch
from ppzoo.cli import app  # noqa: E402
from ppzoo.cli_flags import METHOD  # noqa: E402
from ppzoo.errors import DataError, FitError, ModelError, OptionError, PPZooError, StorageError  # noqa: E402
from ppzoo.inference.mcmc.warmup import WarmUp  # noqa: E402
from tests.conformance import hostile  # noqa: E402

SAMPLERS = ("nuts", "hmc", "chees")
APPROXIMATIONS = ("map", "laplace", "pathfinder")
ALL = (*SAMPLERS, "mams")  # of which the last refuses one unknown number, as most programs here have
Y = (0.9, 1.1, 1.6, 0.4)
SHORT = {"chains": 8, "warmup": 20, "draws": 4}
NAN, INF = float("nan"), float("inf")


@dataclass(frozen=True, kw_only=True)
class Row:
    """A program, its data and the settings that are not the usual ones."""

    what: str
    program: str = "plain"
    y: tuple[float, ...] = Y
    settings: Mapping[str, Any] = field(default_factory=dict)
    methods: tuple[str, ...] = SAMPLERS


@dataclass(frozen=True, kw_only=True)
class Bad(Row):
    """Refused: patterns for the parts of the message; ``argument`` is the whole of it."""

    argument: str = "model"
    got: str
    expected: str = ""
    remedy: str = ""
    error: type[PPZooError] = ModelError
    late: bool = False  # only a chain finds out


@dataclass(frozen=True, kw_only=True)
class Fine(Row):
    """Taken: ``says`` is a pattern for the notes and the diagnosis."""

    says: str = ""
    diverges: bool = False


# the table ----------------------------------------------------------------------------------------------------------

NO_SITE = {"expected": "at least one pyro.sample without obs=", "remedy": "Put priors"}
FIXED = {"expected": "the same latent sites of the same shapes", "remedy": "discrete site or a mask"}
STEADY = {"expected": "a function of the data and the latent values alone", "remedy": "Draw by pyro.sample only"}
RUNS = {"expected": "a Pyro program that runs"}
COMES = "there in one run of the program and missing in another"
OTHER_SIZE = r"has shape \(\d,\) in one run and \(\d,\) in another"

BAD: list[Bad] = [
    Bad(what="nothing latent", program="nothing_latent", got="sites 'y'", **NO_SITE),
    Bad(what="only discrete sites", program="only_discrete", got="sites 'k', 'y'", **NO_SITE),
    Bad(what="only parameters", program="only_parameters", got="sites 'y'", **NO_SITE),
    Bad(what="only empty sites", program="only_empty", got=r"'z' of shape \(0,\)", expected="more than one value",
        remedy="sizes of the data"),
    Bad(what="a simplex of one", program="simplex_of_one", got=r"'weights' of shape \(1,\)",
        expected="more than one value", remedy="a simplex of one entry is 1"),
    Bad(what="an endless discrete site", program="endless", got="'k'", expected="finite discrete",
        remedy="Sum them out"),
    Bad(what="a subsampled plate", program="subsampled", got="subsample_size", remedy="batch_size"),
    Bad(what="an empty plate", program="empty_plate", got="size cannot be zero", **RUNS),
    Bad(what="two sites of one name", program="twice", got="named 'mu'", remedy="its own name", **RUNS),
    Bad(what="a generator", program="generator", got="a generator function", expected="runs its statements",
        remedy="Leave out yield"),
    Bad(what="a coroutine", program="coroutine", got="a coroutine function", expected="runs its statements",
        remedy="not async def"),
    Bad(what="a number for a name", program="number_for_a_name", got="3", expected="text",
        remedy=r'pyro.sample\("3"'),
    Bad(what="a program that raises", program="raises", got="RuntimeError: out of order", remedy="by hand", **RUNS),
    Bad(what="a site that comes and goes", program="comes_and_goes", argument="extra", got=COMES, **FIXED),
    Bad(what="a site that hangs on a value", program="hangs_on_a_value", argument="extra", got=COMES, **FIXED),
    Bad(what="a site of random size", program="random_size", argument="mu", got=OTHER_SIZE, **FIXED),
    Bad(what="a plate of random size", program="random_plate", argument="mu", got=OTHER_SIZE, **FIXED),
    Bad(what="a loop of random length", program="random_loop", argument=r"x\d", got=COMES, **FIXED),
    Bad(what="noise in the mean", program="noise_in_the_mean", argument="y", got=r"-\d.*, then -\d", **STEADY),
    Bad(what="changes its data", program="changes_its_data", argument="y|model", got=", then ", **STEADY),
    Bad(what="counts its calls", program="counts_its_calls", argument="drift", got=", then ", **STEADY),
    Bad(what="a scale below zero", program="negative_scale", got="parameter scale", remedy="left its range", **RUNS),
    Bad(what="a complex density", program="complex_density", got="j$", expected="real", remedy="real part"),
    Bad(what="raises where it is looked at", program="raises_near", got="ValueError: too large",
        expected="-inf where that is impossible", remedy=r"pyro\.factor"),
    Bad(what="raises where a chain gets to", program="raises_far", got="ValueError: too large",
        expected="-inf where that is impossible", remedy=r"pyro\.factor", late=True),
    Bad(what="no slope anywhere", program="no_slope", got=r"(?s)fine +latent.* finite\n.*broken .*NOT FINITE",
        expected="finite log density", remedy="Look at the sites", error=FitError),
    Bad(what="a negative count", program="poisson", y=(1.0, -2.0), argument="y", got=r"-2 at index \(1,\)",
        expected="Poisson data", remedy="whole numbers", error=DataError),
    Bad(what="classes for a Bernoulli", program="bernoulli", y=(3.0, 5.0, -2.0), argument="y", got=r"3 at .*\(3 such",
        expected="Bernoulli data", remedy="0 or 1", error=DataError),
    Bad(what="outside of an interval", program="interval", y=(0.2, 1.3), argument="y", got="1.3 at index",
        expected="Beta data", remedy="Check the data", error=DataError),
    Bad(what="NaN", y=(1.0, NAN), argument="y", got="nan at row 1", expected="finite", remedy="Drop", error=DataError),
    Bad(what="infinity", y=(1.0, -INF), argument="y", got="-inf at row 1", expected="finite", remedy="Replace",
        error=DataError),
]  # fmt: skip

WHOLE, REAL = "an int >= ", "a finite number, 0 < x"
BAD += [
    Bad(what=f"{option}={value}", settings={option: value}, methods=methods, argument=option,
        got=f"^{re.escape(repr(value))}$", expected=expected, error=OptionError)
    for option, values, expected, methods in (
        ("chains", (0, -1, 2.5, "four", 2**40), f"{WHOLE}1", ALL),
        ("chains", (7,), f"{WHOLE}8, for they learn", ("chees",)),
        ("warmup", (0, -1, 2.5, "long", 2**40), f"{WHOLE}20", ALL),
        ("draws", (0, -1, 3, 2.5, "many", 2**40), f"{WHOLE}4", ALL),
        ("thin", (0, -1, 2.5, "thin", 2**40), f"{WHOLE}1", ALL),
        ("chains_per_start", (0, -1, 2.5, "two"), f"{WHOLE}1", ALL),
        ("max_chains_per_batch", (0, -1, 2.5, "all"), f"{WHOLE}1", ALL),
        ("target_accept", (0, 1, -0.5, 1.5, NAN, "high"), f"{REAL} < 1", ALL),
        ("trajectory_length", (0, -1, INF, NAN, "long"), REAL, ("hmc", "mams")),
        ("max_tree_depth", (0, 21, 2.5), f"{WHOLE}1 and <= 20", ("nuts",)),
        ("adapt", ("together", 3), "'per_chain', 'pooled'", ("nuts", "hmc", "mams")),
        ("seed", (-1, 2**64, 1.5, "today"), f"{WHOLE}0 and <= {2**64 - 1}", ALL),
        ("init", ("priors",), "'pathfinder'", ALL),
    )
    for value in values
]  # fmt: skip

NOT_AN_OPTION = {"error": OptionError, "remedy": "^Known: 'adapt'|^Known: 'chains'"}
BAD += [
    Bad(what="init=3", settings={"init": 3}, argument="init", got="a int", expected="a fit of the same model",
        remedy="Fit it by SVI", error=OptionError),
    Bad(what="a group of chains that is incomplete", settings={"chains_per_start": 3}, methods=ALL,
        argument="chains_per_start", got="3 of 8 chains", expected="a divisor", error=OptionError),
    Bad(what="an option of another method", settings={"steps": 3}, argument="steps", got="3", **NOT_AN_OPTION),
    Bad(what="the tree of HMC", settings={"max_tree_depth": 3}, methods=("hmc", "mams", "chees"),
        argument="max_tree_depth", got="3", **NOT_AN_OPTION),
    Bad(what="resume without a folder", settings={"resume": True}, argument="resume", got="True without run_dir",
        remedy="run_dir", error=OptionError),
    Bad(what="a file for a folder", settings={"run_dir": "file"}, argument=".*/file'", got="", expected="a folder",
        remedy="another name", error=StorageError),
    Bad(what="a link for a folder", settings={"run_dir": "link"}, argument=".*/link'", got="a link to",
        expected="a folder", remedy="remove the link", error=StorageError),
    Bad(what="a folder of something else", settings={"run_dir": "full"}, argument=".*/full'", got="'kept.txt'",
        remedy="Choose another", error=StorageError),
    Bad(what="an unfinished run", settings={"run_dir": "begun"}, argument=".*/begun'", got="begun.unfinished",
        remedy="resume=True", error=StorageError),
    Bad(what="an unfinished run of nothing", settings={"run_dir": "begun", "resume": True},
        argument=r".*begun\.unfinished.*", got="", expected="a run folder", remedy="Check the path",
        error=StorageError),
]  # fmt: skip

FINE: list[Fine] = [
    Fine(what="one number, one chain, four draws", settings={"chains": 1}, methods=("nuts", "hmc")),
    Fine(what="five thousand chains", settings={"chains": 5000}),
    Fine(what="NaN in a part of the space", program="nan_beyond", settings={"draws": 40}, says="diverged",
         diverges=True),
    Fine(what="a singular matrix in a part", program="singular_beyond", settings={"draws": 40}, says="diverged",
         diverges=True),
    Fine(what="an improper posterior", program="improper", settings={"draws": 40}, says=r"\[reject\].*loose"),
    Fine(what="a parameter beside a site", program="parameter", says="s stay at the values they came with"),
    Fine(what="prints", program="prints"),
    Fine(what="changes a global that matters for nothing", program="remembers", says="Density: graph"),
    Fine(what="tensors of single precision", program="single_precision", says="Ran in float32"),
    Fine(what="an empty site beside another", program="empty_site"),
    Fine(what="a shape that depends on values", program="masked", says="one chain at a time, for want of"),
    Fine(what="a branch that depends on a value", program="reads_a_value", says="one chain at a time, for want of"),
]  # fmt: skip


# the tests ----------------------------------------------------------------------------------------------------------


def params(rows: list[Any]) -> list[Any]:
    return [pytest.param(row, method, id=f"{row.what}-{method}") for row in rows for method in row.methods]


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """A working folder with what a run could stumble over; its parent is for data."""
    here = tmp_path / "here"
    (here / "full").mkdir(parents=True)
    (here / "full" / "kept.txt").write_text("mine")
    (here / "file").write_text("mine")
    (here / "link").symlink_to(here / "full")
    (here / "begun.unfinished").mkdir()
    monkeypatch.chdir(here)
    return here


def listing(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


@pytest.fixture
def nothing_moves(monkeypatch) -> None:
    def begin(*_: Any) -> None:
        raise AssertionError("a chain moved")

    monkeypatch.setattr(WarmUp, "begin", begin)


def fit(row: Row, method: str, **more: Any) -> Any:
    settings = {**SHORT, "run_dir": "run", "progress": False, **row.settings, **more}
    if "resume" in row.settings and "run_dir" not in row.settings:
        del settings["run_dir"]
    return ppzoo.fit(getattr(hostile, row.program), np.array(row.y), method=method, **settings)


def command(row: Row, method: str, folder: Path) -> Any:
    np.savez(folder.parent / "data.npz", y=np.array(row.y))
    settings = {**SHORT, "run_dir": "run", **row.settings}
    if "resume" in row.settings and "run_dir" not in row.settings:
        del settings["run_dir"]
    arguments = ["fit", f"{hostile.__file__}:{row.program}", "--data", str(folder.parent / "data.npz")]
    arguments += ["--method", method, "--quiet", "--json"]
    for name, value in settings.items():
        if name == "resume":
            arguments.append("--resume")
        elif name in METHOD or name in ("seed", "run_dir"):
            arguments += [f"--{'out' if name == 'run_dir' else name.replace('_', '-')}", str(value)]
        else:
            arguments += ["--option", f"{name}={value}"]
    return CliRunner().invoke(app, arguments)


def assert_says(row: Bad, said: Mapping[str, str]) -> None:
    assert said["error"] == row.error.__name__, said
    assert re.fullmatch(row.argument, said["argument"], re.DOTALL), said
    for part in ("got", "expected", "remedy"):
        assert re.search(getattr(row, part), said[part]), (part, said)
    assert said["problem"]
    assert said["expected"] or said["remedy"]


def refusals(*, late: bool) -> list[Any]:
    return params([row for row in BAD if row.late is late])


@pytest.mark.parametrize(("row", "method"), refusals(late=False))
def test_the_api_refuses(row: Bad, method: str, folder: Path, nothing_moves: None):
    before = listing(folder)
    with pytest.raises(row.error) as caught:
        fit(row, method)
    assert_says(row, caught.value.as_dict())
    assert listing(folder) == before


@pytest.mark.parametrize(("row", "method"), refusals(late=False))
def test_the_command_line_refuses(row: Bad, method: str, folder: Path, nothing_moves: None):
    before = listing(folder)
    result = command(row, method, folder)
    assert result.exit_code == (1 if row.error is FitError else 2), result.stderr
    assert_says(row, json.loads(result.stdout))
    assert listing(folder) == before


@pytest.mark.parametrize("method", APPROXIMATIONS)
@pytest.mark.parametrize("row", [row for row in BAD if not row.settings and not row.late], ids=lambda row: row.what)
def test_approximations_refuse_the_same_programs(row: Bad, method: str, folder: Path):
    before = listing(folder)
    with pytest.raises(row.error) as caught:
        ppzoo.fit(getattr(hostile, row.program), np.array(row.y), method=method, run_dir="run")
    assert_says(row, caught.value.as_dict())
    assert listing(folder) == before


@pytest.mark.parametrize("method", APPROXIMATIONS)
@pytest.mark.parametrize("row", [row for row in FINE if row.program != "improper"], ids=lambda row: row.what)
def test_approximations_take_the_same_programs(row: Fine, method: str):
    found = ppzoo.fit(getattr(hostile, row.program), np.array(row.y), method=method)
    text = " ".join([*found.notes, str(found)])
    assert row.diverges or re.search(row.says, text, re.DOTALL), text
    assert all(bool(value.isfinite().all()) for value in found.draws().values())
    assert found.to_arviz()["posterior"].sizes["chain"] == 1


@pytest.mark.parametrize(("row", "method"), refusals(late=True))
def test_what_only_a_chain_finds_out_is_as_plain(row: Bad, method: str, folder: Path):
    before = listing(folder)
    with pytest.raises(row.error) as caught:
        fit(row, method)
    assert_says(row, caught.value.as_dict())
    result = command(row, method, folder)
    assert result.exit_code == 2
    assert_says(row, json.loads(result.stdout))
    assert listing(folder) == before


@pytest.mark.parametrize(("row", "method"), params(FINE))
def test_what_is_taken_says_what_was_found(row: Fine, method: str):
    found = fit(row, method, run_dir=None)
    text = " ".join([*found.notes, str(found.diagnose())])
    assert re.search(row.says, text, re.DOTALL), text
    divergences = int(found.outcome.statistics["diverging"].sum())
    assert divergences > 0 if row.diverges else divergences >= 0
    others = [value for name, value in found.outcome.draws.items() if name != "loose"]
    assert all(bool(value.isfinite().all()) for value in others)


def test_what_a_program_prints_is_not_the_answer(folder: Path):
    result = command(Fine(what="", program="prints"), "nuts", folder)
    assert result.exit_code == 3, result.stderr  # four draws are too few to trust
    assert json.loads(result.stdout)["method"] == "nuts"
    assert "noise" in result.stderr


# fits to start from -------------------------------------------------------------------------------------------------


@functools.cache
def other_fit(kind: str) -> Any:
    y = torch.tensor([[0.0], [1.0], [2.0], [3.5]])
    if kind == "exact":
        return ppzoo.fit(ppzoo.create_model("linear_regression"), {"x": y, "y": y[:, 0] + 1}, method="exact")
    if kind == "em":
        return ppzoo.fit(ppzoo.create_model("gmm", features=1, components=1), y, method="em")
    return ppzoo.fit(hostile.plain, np.array(Y), method="svi", steps=5, guide=kind)


@pytest.mark.parametrize("method", SAMPLERS)
@pytest.mark.parametrize("kind", ["exact", "em"])
def test_a_fit_of_another_model_is_no_start(kind: str, method: str, folder: Path, nothing_moves: None):
    before = listing(folder)
    row = Bad(what="", argument="init", got=r"draws of \{", expected=r"\{'mu': \(\)\}", remedy="Fit the same model")
    with pytest.raises(ModelError) as caught:
        fit(row, method, init=other_fit(kind))
    assert_says(row, caught.value.as_dict())
    assert listing(folder) == before


@pytest.mark.parametrize("method", SAMPLERS)
@pytest.mark.parametrize("init", [None, 3, ["prior"], {"mu": 0.0}, np.zeros(1), ppzoo.Fit, hostile.plain])
def test_what_is_no_fit_is_no_start(init: Any, method: str):
    with pytest.raises(OptionError, match=r"init: is no place to start from; got (a|the class) \w+; expected one of"):
        fit(Row(what=""), method, init=init)


def test_a_point_is_a_start_and_is_named():
    found = fit(Row(what=""), "nuts", run_dir=None, init=other_fit("delta"))
    assert any(note.startswith("The chains began at draws of <Fit of plain by svi") for note in found.notes)


@pytest.mark.skipif(hasattr(os, "geteuid") and os.geteuid() == 0, reason="root may write anywhere")
@pytest.mark.parametrize("method", SAMPLERS)
def test_a_folder_that_may_only_be_read(method: str, tmp_path: Path, nothing_moves: None):
    tmp_path.chmod(0o555)
    with pytest.raises(StorageError, match="cannot write this folder"):
        fit(Row(what=""), method, run_dir=tmp_path / "run")
    tmp_path.chmod(0o755)
