"""Strict JSON: what is written comes back equal, and what is doubtful is refused.

Floats keep every bit (shortest decimal that reads back to the same float). JSON has no word for NaN and the
infinities, so they are written as ``{"$float": "nan"}``, ``{"$float": "inf"}`` and ``{"$float": "-inf"}``; the bare
words ``NaN`` and ``Infinity``, which other parsers reject, are refused. Tuples come back as lists.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping

from ppzoo.errors import StorageError

__all__ = ["dump_json", "load_json"]

_FLOAT = "$float"
_WORDS = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}


def dump_json(value: object, *, name: str = "json") -> bytes:
    """``value`` as UTF-8 JSON, the same bytes for the same value.

    Args:
        value: None, bool, int, float, str, or lists, tuples and dicts (with text keys) of these.
        name: What the value is called in an error.

    Returns:
        Indented ASCII text that ends with a newline.

    Raises:
        StorageError: For any other type; the message names the place inside ``value``.

    Example:
        >>> dump_json({"lr": 0.1, "clip": float("inf")}).decode().split()
        ['{', '"lr":', '0.1,', '"clip":', '{', '"$float":', '"inf"', '}', '}']
    """
    try:
        return (json.dumps(_plain(value, name), indent=2, allow_nan=False) + "\n").encode("ascii")
    except (ValueError, RecursionError) as error:  # ValueError: an int beyond Python's limit of digits
        raise StorageError("cannot be written as JSON", argument=name, got=str(error)) from error


def load_json(data: bytes, *, name: str = "json") -> object:
    """The value that :func:`dump_json` wrote.

    Args:
        data: UTF-8 JSON.
        name: What the text is called in an error.

    Returns:
        None, bool, int, float, str, list or dict.

    Raises:
        StorageError: For text that is not JSON, repeats a key, names NaN or an infinity bare, or nests too deep.

    Example:
        >>> load_json(b'{"lr": 0.1, "clip": {"$float": "inf"}}')
        {'lr': 0.1, 'clip': inf}
    """
    try:
        value: object = json.loads(
            data.decode("utf-8"), object_pairs_hook=_pairs, parse_constant=_refuse_word, parse_float=_finite
        )
    except (ValueError, RecursionError) as error:
        raise StorageError(
            "is not the JSON that ppzoo writes", argument=name, got=str(error), remedy="The file is damaged or edited."
        ) from error
    return value


def _plain(value: object, where: str) -> object:
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else {_FLOAT: repr(float(value))}
    if isinstance(value, list | tuple):
        return [_plain(entry, f"{where}[{i}]") for i, entry in enumerate(value)]
    if isinstance(value, Mapping) and set(value) != {_FLOAT} and all(isinstance(key, str) for key in value):
        return {key: _plain(entry, f"{where}.{key}") for key, entry in value.items()}
    raise StorageError(
        "cannot be written as JSON",
        argument=where,
        got=f"{type(value).__name__} {value!r:.80}",
        expected=f"None, bool, int, float, str, or lists and dicts of these with text keys (not {_FLOAT!r} alone)",
        remedy="Convert it first, for example with .item() or .tolist().",
    )


def _pairs(pairs: list[tuple[str, object]]) -> object:
    value = dict(pairs)
    if len(value) != len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"the key {twice!r} twice")
    if set(value) != {_FLOAT}:
        return value
    word = value[_FLOAT]
    if not isinstance(word, str) or word not in _WORDS:
        raise ValueError(f"{word!r} as a float")
    return _WORDS[word]


def _refuse_word(word: str) -> float:
    raise ValueError(f"the bare word {word}")


def _finite(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise ValueError(f"{digits:.40}, beyond the range of a float")
    return number
