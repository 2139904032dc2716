"""JSON comes back equal, to the last bit of a float."""

from __future__ import annotations

import math
import random
import struct

import pytest

from ppzoo.errors import StorageError
from ppzoo.storage.text import dump_json, load_json


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        0,
        2**70,
        -0.0,
        0.1,
        5e-324,
        1.7976931348623157e308,
        math.inf,
        -math.inf,
        "",
        "\u00e9 \u65e5 \x00 \ud800 </script> \\u00e9",
        [],
        {},
        {"": [1, [2.0, {"$x": None}]], "z": 1, "a": 2},
        {"$float": 1, "other": 2},
    ],
)
def test_round_trip(value: object) -> None:
    back = load_json(dump_json(value))
    assert back == value
    assert type(back) is type(value)
    assert dump_json(back) == dump_json(value)


def test_nan_signs_and_order() -> None:
    back = load_json(dump_json([math.nan, -0.0]))
    assert isinstance(back, list)
    assert math.isnan(back[0])
    assert math.copysign(1, back[1]) == -1
    assert list(load_json(dump_json({"z": 1, "a": 2})) or {}) == ["z", "a"]  # type: ignore[call-overload]  # a dict
    assert load_json(dump_json((1, 2))) == [1, 2]


def test_random_floats_keep_every_bit() -> None:
    draw = random.Random(11)
    numbers = [struct.unpack("<d", draw.randbytes(8))[0] for _ in range(2000)]
    back = load_json(dump_json(numbers))
    assert isinstance(back, list)
    for number, read in zip(numbers, back, strict=True):
        assert struct.pack("<d", number) == struct.pack("<d", read) or (math.isnan(number) and math.isnan(read))


def nested(depth: int) -> object:
    value: object = 0
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"a": [1, object()]}, r"settings.a\[1\]: cannot be written as JSON; got object"),
        ({1: 2}, "settings: cannot be written as JSON"),
        ({"$float": "nan"}, "cannot be written as JSON"),
        (b"x", "got bytes"),
        ({1, 2}, "got set"),
        (1j, "got complex"),
        ([10**5000], "cannot be written as JSON"),
        (nested(10**4), "cannot be written as JSON"),
    ],
)
def test_what_json_cannot_hold(value: object, message: str) -> None:
    with pytest.raises(StorageError, match=message):
        dump_json(value, name="settings")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "nan",
        "NaN",
        "[Infinity]",
        "-Infinity",
        "1e999",
        "'a'",
        '{"a": 1, "a": 1}',
        '{"a": {"b": 1, "b": 2}}',
        '{"$float": "1"}',
        '{"$float": 1}',
        "1 2",
        "[1,]",
        "// comment",
        '"\n"',
        "\ufeff1",
        "[" * 10**5,
        "1" * 5000,
    ],
)
def test_what_is_not_strict_json(text: str) -> None:
    with pytest.raises(StorageError, match="settings: is not the JSON that ppzoo writes"):
        load_json(text.encode(), name="settings")


def test_what_is_not_text() -> None:
    with pytest.raises(StorageError, match="settings: is not the JSON that ppzoo writes"):
        load_json(b'"\xff"', name="settings")
