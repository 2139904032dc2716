from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from math import lgamma
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import ppzoo
from ppzoo.cli import app
from ppzoo.zoo import list_models

ROOT = Path(__file__).parents[1]
SHORT = ["--steps", "60", "--quiet"]
CHAINS = ["--chains", "2", "--warmup", "30", "--draws", "30", "--quiet"]

COIN = """
import pyro
import pyro.distributions as dist
import torch
from pyro.nn import PyroModule

print("noise")

class Coin(PyroModule):
    def __init__(self, *, features, prior=1.0):
        super().__init__()
        self.features, self.prior = features, prior

    def model(self, x):
        p = pyro.sample("p", dist.Beta(x.new_full((self.features,), self.prior), 1.0).to_event(1))
        with pyro.plate("row", len(x)):
            pyro.sample("x", dist.Bernoulli(p).to_event(1), obs=x)

    def sample(self, n):
        return torch.arange(n * 2.0).reshape(n, 2)

coin = Coin(features=2)
twin = Coin(features=2, prior=2)

def program(x):
    coin.model(x)

def impossible(x):
    a = pyro.sample("a", dist.Normal(0.0, 1.0))
    with pyro.plate("row", len(x)):
        pyro.sample("x", dist.Normal((0 * a).sqrt(), 1.0).expand([1, 2]).to_event(1), obs=x)  # its slope is infinite
"""


def run(*arguments: object):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty working folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def coin(here):
    """A file with a model of its own, and a table."""
    pytest.importorskip("torch")
    (here / "coin.py").write_text(COIN)
    (here / "throws.csv").write_text("[/x],\x1b[2J\n" + "1.0,0\n0,1.0\n1,1\n1,0\n" * 5)
    return here


@pytest.mark.parametrize(
    "arguments", [["--help"], ["list"], ["info", "eight_schools"], ["--version"], ["fit", "--help"], []]
)
def test_looking_around_in_a_fresh_process_imports_nothing_heavy(arguments):
    probe = (
        "import sys\nfrom ppzoo.cli import main\n"
        "try:\n    main()\nexcept SystemExit as stop:\n    assert not stop.code\n"
        "print([n for n in ('torch', 'pyro', 'xarray', 'pandas', 'sklearn', 'matplotlib') if n in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", probe, *arguments],
        capture_output=True, text=True, check=True, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.stdout.splitlines()[-1] == "[]"
    assert done.stderr == ""


def test_list_and_info():
    assert [row["name"] for row in json.loads(run("list", "--json").stdout)] == list_models()
    assert "eight_schools" in run("list", "schools").stdout
    assert json.loads(run("list", "nothing*", "--json").stdout) == []
    assert "kidiq" in run("list", "--datasets", "kid*").stdout
    card = json.loads(run("info", "eight_schools", "--json").stdout)
    assert card["methods"] == ["nuts", "svi"]
    assert card["options"][0]["name"] == "centred"
    assert "centred: bool = False" in run("info", "eight_schools").stdout
    assert "encoder_network: nn.Module | None = None, in Python only" in run("info", "vae").stdout
    assert "``" not in run("info", "vae").stdout
    assert run("list", "digits").stdout == "no model is called like 'digits'; a data set is: digits\n"
    assert run("list", "--datasets", "vae").stdout == "no data set is called like 'vae'; a model is: vae\n"
    assert run("list", "foo").stdout == "no model is called like 'foo'\n"
    assert run("--version").stdout == f"ppzoo {ppzoo.__version__}\n"


def test_new_writes_a_file_that_runs_as_it_stands(here):
    assert run("new", "mine.py").exit_code == 0
    pytest.importorskip("torch")
    sites = json.loads(run("check", "mine.py:model", "--data", "kidiq", "--json").stdout)
    assert sites["ok"]
    assert [site["name"] for site in sites["sites"]] == ["intercept", "noise", "slope", "y"]
    arguments = ["fit", "mine.py:model", "--data", "kidiq", "--guide", "mine.py:guide", "--json", "--lr", "0.05"]
    fit = run(*arguments, "--steps", "300", "--allow-unconverged", "--quiet")
    assert fit.exit_code == 0
    slope = json.loads(fit.stdout)["summary"]["slope[1]"]
    # least squares says 0.564, with a standard error of 0.06
    assert slope["mean"] == pytest.approx(0.564, abs=0.25)


def test_new_does_not_overwrite(here):
    (here / "mine.py").write_text("precious")
    result = run("new", "mine.py")
    assert result.exit_code == 2
    assert "exists already" in result.stderr
    assert (here / "mine.py").read_text() == "precious"
    assert run("new", "mine.py", "--force").exit_code == 0
    assert (here / "mine.py").read_text().startswith("# A model of your own")


def test_check_exits_with_2_where_inference_could_not_start(coin):
    ready = run("check", "coin.py:coin", "--data", "throws.csv")
    assert ready.exit_code == 0
    assert "coin: ready" in ready.stdout.lower()
    assert json.loads(run("check", "coin.py:impossible", "--data", "throws.csv", "--json").stdout)["status"] == "fail"
    assert run("check", "coin.py:impossible", "--data", "throws.csv").exit_code == 2


def test_fit_diagnose_and_sample_of_a_saved_fit(coin, monkeypatch):
    common = ["--model", "coin.py:twin", "--json"]
    fit = run("fit", "coin.py:Coin", "--data", "throws.csv", "--set", "prior=2", "--out", "runs/a", "--json", *SHORT)
    document = json.loads(fit.stdout)
    assert document["status"] in {"ok", "warn", "fail"}
    assert fit.exit_code == (3 if document["status"] == "fail" else 0)
    assert set(document["summary"]) == {"p[0]", "p[1]"}
    result = run("diagnose", "runs/a", *common)
    diagnosed, diagnosed_code = json.loads(result.stdout), result.exit_code
    assert diagnosed["diagnosis"]["verdict"] == document["diagnosis"]["verdict"]
    drawn = json.loads(run("sample", "runs/a", "-n", "3", *common).stdout)
    assert drawn == {"shape": [3, 2], "columns": ["[/x]", "\x1b[2J"], "sample": [[0, 1], [2, 3], [4, 5]]}
    assert run("sample", "runs/a", "--model", "coin.py:coin", "-n", "1").stdout == "[/x],\\x1b[2J\n0.0,1.0\n"
    assert run("sample", "runs/a", *common, "--out", "x.npy").exit_code == 0
    assert np.load("x.npy", allow_pickle=False).shape == (16, 2)
    assert run("sample", "runs/a", *common, "--out", "x.npy").exit_code == 2
    assert run("sample", "runs/a", *common, "--out", "x.npy", "--force").exit_code == 0
    monkeypatch.chdir(coin / "runs" / "a")
    assert run("diagnose", ".", "--model", "../../coin.py:twin", "--json").exit_code == diagnosed_code
    monkeypatch.chdir(coin)
    without = run("diagnose", "runs/a")
    assert without.exit_code == 2
    assert "StorageError" in without.stderr
    assert "--model file.py:object" in without.stderr


def test_a_saved_fit_is_weighed(coin):
    """Beta(1, 1) and 10 of 15 heads in one column: the evidence is that of the Beta function, twice."""
    common = ["coin.py:coin", "--data", "throws.csv", "--quiet"]
    assert run("fit", *common, "--method", "laplace", "--out", "runs/a").exit_code in (0, 3)
    result = run("fit", *common, "--method", "importance", "--proposal", "runs/a", "--json", "--draws", "500")
    numbers = json.loads(result.stdout)["diagnosis"]["numbers"]
    heads = np.loadtxt("throws.csv", delimiter=",", skiprows=1).sum(0)
    exact = sum(lgamma(h + 1) + lgamma(21 - h) - lgamma(22) for h in heads)
    assert abs(numbers["log_evidence"] - exact) < 4 * numbers["log_evidence_error"]
    without = run("fit", *common, "--method", "importance")
    assert without.exit_code == 2
    assert "proposal: is needed" in without.stderr


def test_a_program_that_cannot_be_sampled_says_what_can_be_done(coin):
    fitted = run("fit", "coin.py:program", "--data", "throws.csv", "--out", "runs/b", *SHORT)
    assert fitted.exit_code in (0, 3)
    result = run("sample", "runs/b", "--model", "coin.py:program")
    assert result.exit_code == 2
    assert "cannot sample" in result.stderr
    assert "predict" in result.stderr


def test_the_seed_decides_the_answer(coin):
    def mean(seed: int) -> float:
        result = run("fit", "coin.py:coin", "--data", "throws.csv", "--seed", seed, "--json", *SHORT)
        return json.loads(result.stdout)["summary"]["p[0]"]["mean"]

    assert mean(1) != mean(2)


def test_compare_exits_with_3_where_the_answer_is_not_to_be_trusted(coin):
    arguments = ["compare", "coin.py:coin", "--data", "throws.csv", *SHORT, *CHAINS, "--json"]
    result = run(*arguments)
    document = json.loads(result.stdout)
    assert (result.exit_code, document["verdict"], document["status"]) == (3, "reject", "fail")
    assert set(document["methods"]) == {"svi", "nuts"}
    assert document["folder"] == "runs/coin-coin-compare"
    assert json.loads((coin / document["folder"] / "summary.json").read_text())["sentence"] == document["sentence"]
    again = run(*arguments[:-1], "--allow-unconverged")
    assert again.exit_code == 0
    assert document["sentence"] in again.stdout
    assert "runs/coin-coin-compare" in again.stdout


def test_calibrate_exits_with_3_where_a_method_does_not_find_the_truth(coin):
    """One step from the prior's median leaves the guide there; 20 truths see that."""
    short = ["--steps", 1, "--option", "init=data", "--quiet"]
    arguments = ["calibrate", "coin.py:coin", "--data", "throws.csv", "--replicates", 20, *short]
    found = run(*arguments, "--json")
    document = json.loads(found.stdout)
    assert found.exit_code == 3, found.stdout
    assert (document["status"], document["replicates"], document["method"]) == ("fail", 20, "svi")
    assert document["quantities"]["p[1]"].keys() >= {"bias", "cover95"}
    plain = run(*arguments, "--allow-unconverged")
    assert plain.exit_code == 0
    assert "20 truths from the prior" in plain.stdout
    few = run("calibrate", "eight_schools", "--replicates", "3")
    assert few.exit_code == 2


def test_progress_goes_to_standard_error(coin):
    result = run("fit", "coin.py:coin", "--data", "throws.csv", "--steps", "60")
    assert re.search(r"svi: 60/60, [\d,]+/s, 0 s left, loss [\d.]+, rate [\d.e-]+\n", result.stderr)
    assert "svi: 60/60" not in result.stdout
    assert run("fit", "coin.py:coin", "--data", "throws.csv", *SHORT).stderr == "noise\n"


WRONG = {
    "fit nothing": (["ModelError: model: is not in the zoo", "Known:"], "model"),
    "fit coin.py:cion --data throws.csv": (["has no 'cion'", "Did you mean 'coin'"], "model"),
    "fit absent.py:model": (["no such file"], "model"),
    "fit coin.py:coin": (["the model needs data", "expected the arguments x"], "--data"),
    "fit coin.py:coin --data absent.csv": (["absent.csv"], None),
    "fit coin.py:coin --data throw": (["not a built-in data set"], "dataset"),
    "fit coin.py:coin --data throws.csv --set prior=2": (["only a class"], "--set"),
    "fit coin.py:Coin --data throws.csv --set pior=2": (["unexpected keyword argument 'pior'"], "--set"),
    "fit eight_schools --set centered=true": (["is not an option", "Did you mean 'centred'"], "centered"),
    "fit eight_schools --set centred=1": (["got 1", "expected True or False"], "centred"),
    "fit eight_schools --lr 0": (["got 0", "expected a finite number, 0 < x"], "lr"),
    "fit eight_schools --lr nan": (["got nan"], "lr"),
    "fit eight_schools --steps 2.5": (["got 2.5", "expected an int >= 1"], "steps"),
    "fit eight_schools --steps x": (["got 'x'", "expected an int >= 1"], "steps"),
    "fit eight_schools --chains 4": (["is not an option of method 'svi'"], "chains"),
    "fit eight_schools --method nust": (["Did you mean 'nuts'"], "method"),
    "fit eight_schools --method nuts --chains 0": (["got 0"], "chains"),
    "fit eight_schools --method nuts --target-accept 1.5": (["got 1.5"], "target_accept"),
    "fit eight_schools --method exact": (["has no closed-form answer"], "model"),
    "fit eight_schools --option steps=5 --steps 6": (["is given twice"], "steps"),
    "fit eight_schools --option stesp=5": (["Did you mean 'steps'"], "stesp"),
    "fit eight_schools --guide norml": (["Did you mean 'normal'"], "guide"),
    "fit eight_schools --guide coin.py:gide": (["has no 'gide'"], "guide"),
    "fit eight_schools --seed -1": (["got -1"], "seed"),
    "fit eight_schools --seed a": (["got 'a'"], "seed"),
    "fit eight_schools --dtype float16": (["got 'float16'"], "dtype"),
    "fit eight_schools --data kidiq": ([], None),
    "compare eight_schools --methods svi": (["too few to compare", "--methods svi,nuts"], "--methods"),
    "compare vae": (["fitted by svi", "ppzoo fit vae"], "model"),
    "compare gan --methods adversarial,svi": (["ppzoo fit gan --method adversarial"], "model"),
    "compare ppca --methods exact,svi": (["its parameters are trained and have no prior"], "model"),
    "compare nothing": (["is not in the zoo"], "model"),
    "compare coin.py:coin": (["the model needs data"], "--data"),
    "compare eight_schools --methods svi,nuts --tolerance 1": (["No such option"], "--tolerance"),
    "compare eight_schools --out coin.py": (["is a file"], None),
    "diagnose absent": ([], None),
    "diagnose .": (["is a folder without a fit"], "folder"),
    "fit throws": (["expected a name of ppzoo list"], "model"),
    "fit linear_regression --data throws.csv": (["the table names none", "'[/x]'"], "--target"),
    "sample absent -n 0": (["got 0"], "n"),
    "sample absent --out x.pkl": (["is not a name for this file", ".npy or .csv"], "'x.pkl'"),
}


@pytest.mark.parametrize("command", WRONG)
def test_wrong_input_exits_with_2_says_what_is_wrong_and_writes_nothing(coin, command):
    before = sorted(coin.rglob("*"))
    parts, argument = WRONG[command]
    result = run(*command.split(), "--json")
    assert result.exit_code == 2, result.stderr
    document = json.loads(result.stdout)
    assert document["status"] == "error"
    assert all(part in result.stderr for part in parts), result.stderr
    assert argument in (None, document["argument"])
    assert sorted(coin.rglob("*")) == before


def test_ctrl_c_is_one_plain_line(coin, monkeypatch):
    from ppzoo.inference.variational.svi import SVI

    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(SVI, "run", interrupt)
    result = run("fit", "eight_schools", "--out", "runs/a")
    assert (result.exit_code, result.stdout, result.stderr) == (130, "", "ppzoo: interrupted\n")
    assert not (coin / "runs").exists()


def test_more_parameters_than_fit_a_screen_are_cut_and_counted(coin, monkeypatch):
    monkeypatch.setattr("ppzoo.cli._ROWS", 1)
    shown = run("fit", "coin.py:coin", "--data", "throws.csv", *SHORT).stdout
    assert "p[0]" in shown
    assert not [line for line in shown.splitlines() if line.startswith("p[1]")]
    assert "(1 more: see --json)" in shown


def test_a_name_from_a_file_does_not_reach_the_terminal_raw(coin):
    result = run("fit", "coin.py:coin", "--data", "throws.csv", "--target", "\x1b[2J", *SHORT)
    assert "\x1b" not in result.stdout + result.stderr
