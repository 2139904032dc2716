from __future__ import annotations

import io
import json
import os

import numpy as np
import pytest

from ppzoo.cli_output import (
    Answer,
    as_csv,
    as_npy,
    check_new_file,
    complain,
    give,
    plain_json,
    printable,
    write_file,
)
from ppzoo.errors import OptionError, StorageError


def test_a_json_answer_is_one_strict_document(capsys):
    give(Answer({"a": float("nan"), "b": [np.float64("inf"), np.int64(3)], "c": (True, None)}, "text"), as_json=True)
    out, err = capsys.readouterr()
    assert json.loads(out, parse_constant=pytest.fail) == {"a": None, "b": ["inf", 3], "c": [True, None]}
    assert err == ""


def test_plain_json_leaves_no_unknown_type():
    assert plain_json({1: np.float32(0.5), "k": object}) == {"1": 0.5, "k": "<class 'object'>"}


@pytest.mark.parametrize("name", ["[/x]", "\x1b[2J\x07", "a\rb", "\u202etxt", "\udcff"])
def test_a_name_from_a_file_cannot_steer_the_terminal(capsys, name):
    give(Answer({}, f"column {name}"), as_json=False)
    shown = capsys.readouterr().out
    assert shown.startswith("column ")
    assert all(c.isprintable() for c in shown.rstrip("\n"))
    assert ("[/x]" in shown) == (name == "[/x]")


def test_newlines_stay():
    assert printable("a\nb") == "a\nb"


def test_what_the_encoding_lacks_is_written_out(monkeypatch):
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr("sys.stdout", stream)
    give(Answer({}, "± σ"), as_json=False)
    assert stream.buffer.getvalue() == b"\\xb1 \\u03c3\n"


def test_an_error_is_a_line_and_a_document(capsys):
    error = OptionError("must be a number", argument="lr", got="'x'", expected="x > 0")
    complain(error.as_dict(), str(error), as_json=True)
    out, err = capsys.readouterr()
    assert err == "ppzoo: lr: must be a number; got 'x'; expected x > 0\n"
    assert json.loads(out) == {"status": "error", **error.as_dict()}


def test_rows_as_csv_and_npy():
    rows = np.arange(8.0).reshape(2, 2, 2)
    assert as_csv((), rows) == "x0,x1,x2,x3\n0.0,1.0,2.0,3.0\n4.0,5.0,6.0,7.0\n"
    assert as_csv(("a,b", "c"), rows[:, 0]).splitlines()[0] == '"a,b",c'
    assert (np.load(io.BytesIO(as_npy(rows)), allow_pickle=False) == rows).all()


def test_a_file_is_written_whole(tmp_path):
    target = tmp_path / "a.csv"
    write_file(target, b"1")
    write_file(target, b"2")
    assert target.read_bytes() == b"2"
    assert os.listdir(tmp_path) == ["a.csv"]


def test_a_failed_write_leaves_what_was_there(tmp_path, monkeypatch):
    target = tmp_path / "a.csv"
    target.write_bytes(b"old")

    def refuse(source, destination):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", refuse)
    with pytest.raises(StorageError, match=r"a\.csv.*cannot be written; got No space left"):
        write_file(target, b"new")
    assert target.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a.csv"]


def test_a_name_is_judged_before_any_work(tmp_path):
    (tmp_path / "there.py").write_text("")
    (tmp_path / "folder.py").mkdir()
    names = {
        "there.py": "exists already",
        "folder.py": "is a folder",
        "a.txt": "is not a name",
        "a\nb.py": "is not a name",
        "no/a.py": "does not exist",
    }
    for name, problem in names.items():
        with pytest.raises(StorageError, match=problem):
            check_new_file(str(tmp_path / name), suffixes=(".py",), force=False)
    assert check_new_file(str(tmp_path / "there.py"), suffixes=(".py",), force=True) == tmp_path / "there.py"
