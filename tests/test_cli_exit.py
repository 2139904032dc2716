from __future__ import annotations

import json

import pytest
import typer
from typer.testing import CliRunner

from ppzoo.cli_exit import Verbs
from ppzoo.cli_flags import takes
from ppzoo.cli_output import Answer
from ppzoo.errors import DataError, FitError

ERRORS = {
    "data": DataError("is empty", argument="x", got="shape (0, 2)", expected="rows", remedy="Check it."),
    "fit": FitError("stayed non-finite", got="50 steps"),
    "bug": ZeroDivisionError("division\nby zero"),
    "stop": KeyboardInterrupt(),
}
app = typer.Typer(cls=Verbs, add_completion=False)


@app.command()
@takes()
def say(code: int = 0) -> Answer:
    print("noise of a file")
    return Answer({"x": 1}, "one", code)


@app.command()
@takes()
def fail(kind: str) -> None:
    raise ERRORS[kind]


def run(*arguments: str):
    return CliRunner().invoke(app, list(arguments))


@pytest.mark.parametrize("code", [0, 2, 3])
def test_an_answer_carries_its_exit_code(code):
    result = run("say", "--code", str(code))
    assert result.exit_code == code
    assert result.stdout == "one\n"


@pytest.mark.parametrize(("rank", "said"), [("0", "one\n"), ("1", "")])
def test_of_a_jobs_processes_the_first_answers(rank, said, monkeypatch):
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    monkeypatch.setenv("RANK", rank)
    result = run("say", "--code", "3")
    assert (result.stdout, result.exit_code) == (said, 3)


def test_nothing_but_the_answer_is_on_standard_output():
    result = run("say", "--json")
    assert json.loads(result.stdout) == {"x": 1}
    assert result.stderr == "noise of a file\n"


@pytest.mark.parametrize(("kind", "code"), [("data", 2), ("fit", 1), ("bug", 1), ("stop", 130)])
def test_every_error_is_one_line_and_an_exit_code(kind, code):
    result = run("fail", kind)
    assert result.exit_code == code
    assert result.stdout == ""
    assert result.stderr.startswith("ppzoo: ")
    assert result.stderr.count("\n") == 1
    document = json.loads(run("fail", kind, "--json").stdout)
    assert document["status"] == "error"
    assert document["problem"]


def test_a_bug_says_how_to_see_more():
    assert run("fail", "bug").stderr == (
        "ppzoo: failed unexpectedly: ZeroDivisionError: division by zero. Say --debug to see where.\n"
    )
    assert "Traceback" in run("fail", "bug", "--debug").stderr
    assert "Traceback" in run("fail", "data", "--debug").stderr


USAGE = [
    (["fail"], "Missing argument"),
    (["say", "--cod", "3"], "No such option"),
    (["say", "--code", "x"], "--code"),
    (["sai"], "No such command"),
    (["--nothing"], "No such option"),
    (["say", "--code"], "requires an argument"),
]


@pytest.mark.parametrize(("arguments", "message"), USAGE)
def test_a_usage_error_is_one_sentence_and_a_remedy(arguments, message):
    result = run(*arguments)
    assert result.stderr.endswith(" --help.\n")
    assert "?." not in result.stderr
    verb = f"ppzoo {arguments[0]}" if arguments[0] in {"say", "fail"} else "ppzoo"
    assert f"See {verb} --help." in result.stderr


@pytest.mark.parametrize(("arguments", "message"), USAGE)
def test_a_usage_error_is_the_users_input(arguments, message):
    result = run(*arguments)
    assert result.exit_code == 2
    assert message in result.stderr
    assert "--help" in result.stderr
    assert json.loads(run(*arguments, "--json").stdout)["error"] == "OptionError"
