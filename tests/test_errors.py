"""One parent, few children, each also what Python programmers would catch; each message whole."""

from __future__ import annotations

import json
import pickle

import pytest

from ppzoo import errors
from ppzoo.errors import PPZooError

CHILDREN = {
    "DataError": ValueError,
    "OptionError": ValueError,
    "ModelError": TypeError,
    "NotFittedError": ValueError,
    "FitError": RuntimeError,
    "StorageError": OSError,
}


def test_the_family_is_complete():
    assert set(errors.__all__) == {"PPZooError", *CHILDREN}


@pytest.mark.parametrize(("name", "plain"), CHILDREN.items())
def test_each_child_is_also_a_plain_error(name, plain):
    kind = getattr(errors, name)
    error = kind("is wrong", argument="x", got=3, expected="a tensor", remedy="Pass one.")
    assert isinstance(error, PPZooError)
    assert isinstance(error, plain)
    assert str(error) == "x: is wrong; got 3; expected a tensor. Pass one."
    assert error.as_dict()["error"] == name


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "is wrong"),
        ({"argument": "x"}, "x: is wrong"),
        ({"got": 0}, "is wrong; got 0"),
        ({"got": ""}, "is wrong"),
        ({"expected": "y"}, "is wrong; expected y"),
        ({"remedy": "Do it."}, "is wrong. Do it."),
    ],
)
def test_parts_that_are_not_given_leave_no_trace(fields, message):
    assert str(PPZooError("is wrong", **fields)) == message


def test_as_dict_is_json():
    error = errors.OptionError("is wrong", argument="lr", got=float("nan"), expected="a number")
    assert json.loads(json.dumps(error.as_dict())) == {
        "error": "OptionError",
        "problem": "is wrong",
        "argument": "lr",
        "got": "nan",
        "expected": "a number",
        "remedy": "",
    }


@pytest.mark.parametrize("name", CHILDREN)
def test_an_error_survives_the_way_between_processes(name):
    error = getattr(errors, name)("is wrong", argument="x", got=3, remedy="Mend it.")
    again = pickle.loads(pickle.dumps(error))  # what process pools do with what a worker raises
    assert type(again) is type(error)
    assert str(again) == str(error)
    assert again.as_dict() == error.as_dict()
