"""What was typed, as what the API takes: options, data, models, guides and methods."""

from __future__ import annotations

import dataclasses
import inspect
import json
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ppzoo.checks import check_choice, check_matrix, nearest
from ppzoo.cli_card import model_options
from ppzoo.cli_file import UserFiles, is_file_object
from ppzoo.datasets import list_datasets, load_dataset
from ppzoo.errors import DataError, ModelError, NotFittedError, OptionError
from ppzoo.rng import stream_seed
from ppzoo.zoo import Card, create_model, list_models, model_card

if TYPE_CHECKING:
    import torch

    from ppzoo.datasets.record import Dataset
    from ppzoo.inference.outcome import Method

__all__ = [
    "check_comparable", "check_has_data", "check_is_fit", "floating_type", "make_methods", "make_model",
    "named_card", "parse_pairs", "parse_value", "read_data", "short_name",
]  # fmt: skip

_WORDS = {"True": True, "False": False, "None": None}


def parse_value(text: str) -> Any:
    """A typed value: a number, true or false, null, a list in brackets; anything else is text.

    Example:
        >>> [parse_value(text) for text in ("4", "1e-3", "true", "[64, 64]", "full", '"4"')]
        [4, 0.001, True, [64, 64], 'full', '4']
    """
    if text in _WORDS:
        return _WORDS[text]
    for read in (json.loads, float):
        try:
            return read(text)
        except (ValueError, RecursionError):
            continue
    return text


def parse_pairs(argument: str, pairs: Sequence[str]) -> dict[str, Any]:
    """``["features=4", "hidden=[64]"]`` as ``{"features": 4, "hidden": [64]}``.

    Raises:
        OptionError: If an entry has no ``=`` or a name comes twice.

    Example:
        >>> parse_pairs("--set", ["features=4", "decoder=gaussian"])
        {'features': 4, 'decoder': 'gaussian'}
    """
    values: dict[str, Any] = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        name = name.strip().replace("-", "_")
        if not equals or not name.isidentifier():
            raise OptionError("is not a setting", argument=argument, got=repr(pair), expected="NAME=VALUE")
        if name in values:
            raise OptionError("names one setting twice", argument=argument, got=repr(name), expected="each name once")
        values[name] = parse_value(text)
    return values


def read_data(model: str, source: str | None, target: str | None) -> Dataset | tuple[()]:
    """The data of a command: what ``--data`` names, else what the zoo model is shown on, else none.

    Args:
        model: Zoo name or ``file.py:object``.
        source: Name of a built-in data set, or a file.
        target: Column of the table that becomes ``y``; the others stay ``x``.

    Raises:
        DataError: If the data cannot be read, or have no such column.
        ModelError: If the zoo has no such model.
    """
    if not is_file_object(model):
        source = source if source is not None else named_card(model).data
    if source is not None:
        record = load_dataset(source)
        return record if target is None else _with_target(record, target)
    if target is not None:
        raise OptionError("needs a table", argument="--target", got=repr(target), expected="--data beside it")
    return ()


def _with_target(record: Dataset, target: str) -> Dataset:
    columns = record.columns.get("x", ())
    if target not in columns:
        raise DataError(
            "is not a column of the data", argument="--target", got=repr(target), remedy=nearest(target, columns)
        )
    i = columns.index(target)
    x = record.data["x"]
    kept = [k for k in range(len(columns)) if k != i]
    data = {name: array for name, array in record.data.items() if name not in ("x", target)}
    data["y"] = record.data.get(target, x[:, i])
    names = {name: found for name, found in record.columns.items() if name not in ("x", "y")}
    if kept:
        data["x"], names["x"] = x[:, kept], tuple(columns[k] for k in kept)
    return dataclasses.replace(record, data=data, columns=names)


def make_model(text: str, data: Dataset | tuple[()], options: dict[str, Any], *, seed: int, files: UserFiles) -> Any:
    """The model that ``text`` names; its option ``features`` is the number of columns of ``x`` unless it is given.

    Args:
        text: Zoo name or ``file.py:object``. An object that is a class is made with the options.
        data: The data, asked for their columns.
        options: From ``--set``.
        seed: Decides starting values.
        files: The user's files.

    Raises:
        ModelError: If there is no such model or object.
        OptionError: If an option is unknown, missing or outside its range.
    """
    if not is_file_object(text):
        required = [option.name for option in model_options(named_card(text)) if not option.default]
        return create_model(text, seed=seed, **_with_features(options, required, data))
    found = files.find(text, argument="model")
    if inspect.isclass(found):
        from ppzoo.isolation import random_state

        with random_state(stream_seed(seed, "create", found.__name__)):
            return _make_class(found, options, data)
    if options:
        raise OptionError(
            "only a class or a zoo model has options",
            argument="--set",
            got=repr(next(iter(options))),
            expected=f"none: {text} is a {type(found).__name__}",
        )
    return found


def _with_features(options: dict[str, Any], required: list[str], data: Dataset | tuple[()]) -> dict[str, Any]:
    """The options, ``features`` among them where it is required; a table is asked for before it is counted."""
    if "features" not in required or "features" in options or not data or "x" not in data.shape:
        return options
    import torch

    check_matrix("x", torch.empty(data.shape["x"], device="meta"))  # has a shape and no numbers
    return {"features": data.shape["x"][1], **options}


def _make_class(kind: type, options: dict[str, Any], data: Dataset | tuple[()]) -> Any:
    parameters = inspect.signature(kind).parameters
    required = [p.name for p in parameters.values() if p.default is p.empty and p.kind is not p.VAR_KEYWORD]
    options = _with_features(options, required, data)
    try:
        inspect.signature(kind).bind(**options)
    except TypeError as error:
        raise OptionError(
            f"cannot make a {kind.__name__}",
            argument="--set",
            got=str(error),
            expected=f"options of {kind.__name__}{inspect.signature(kind)}",
            remedy="Give each as --set NAME=VALUE.",
        ) from error
    return kind(**options)


def named_card(name: str) -> Card:
    """The card of a zoo model; where there is none, the error knows what else a name may have meant.

    Raises:
        ModelError: If there is no such model.
    """
    if name in list_models():
        return model_card(name)
    file, _, called = name.partition(":")
    if Path(f"{file}.py").is_file():
        remedy = f"Did you mean {file}.py:{called or 'model'}?"
    elif name in list_datasets():
        remedy = f"It is a data set: give a model, and --data {name}."
    else:
        remedy = nearest(name, list_models())
    expected = "a name of ppzoo list, or path/to/file.py:object"
    raise ModelError("is not in the zoo", argument="model", got=repr(name), expected=expected, remedy=remedy)


def check_has_data(program: Any, data: Dataset | tuple[()]) -> None:
    """Raise :class:`DataError` where a program needs data and there are none, or a ``y`` that a table does not name."""
    from ppzoo.datasets.signature import signature_of
    from ppzoo.inference.program import entry_point, has_method

    game = has_method(program, "critic_loss")
    required = signature_of(program.critic_loss if game else entry_point(program)).required
    if not data and required:
        raise DataError(
            "the model needs data",
            argument="--data",
            got="nothing",
            expected=f"the arguments {', '.join(required)}",
            remedy="Give --data a file, or a name of ppzoo list --datasets.",
        )
    columns = data.columns.get("x", ()) if data else ()
    if data and [name for name in required if name not in {*data.data, *columns}] == ["y"] and len(columns) > 1:
        raise DataError(
            "the model needs a response y, and the table names none",
            argument="--target",
            got="nothing",
            expected=f"one of the columns {', '.join(map(repr, columns[:8]))}{' ...' if len(columns) > 8 else ''}",
            remedy=f"Say which, as in --target {shlex.quote(columns[-1])}: the others stay in x.",
        )


def make_methods(names: Sequence[str], options: Mapping[str, Any]) -> dict[str, Method]:
    """Method values by name; each takes those of the options that it has.

    Raises:
        OptionError: If a method is unknown or named twice, or no method has an option.
    """
    from ppzoo.inference.methods import method_value

    if len(set(names)) < len(names):
        raise OptionError("names a method twice", argument="method", got=repr(",".join(names)))
    fields = {name: {field.name for field in dataclasses.fields(method_value(name, {}))} for name in names}  # type: ignore[arg-type]  # every method is a dataclass
    known = set().union(*fields.values())
    for option, value in options.items():
        if option not in known:
            raise OptionError(
                f"is not an option of method {' or '.join(map(repr, names))}",
                argument=option,
                got=repr(value),
                remedy=nearest(option, known),
            )
    return {
        name: method_value(name, {option: value for option, value in options.items() if option in fields[name]})
        for name in names
    }


def check_comparable(model: str) -> None:
    """Raise :class:`ModelError` for a zoo model without a posterior that both SVI and NUTS approximate.

    Its parameters have no prior, so each method has its own; or there is but one method.
    """
    if is_file_object(model):
        return
    cards = [model_card(name) for name in list_models()]
    comparable = [card.name for card in cards if {"svi", "nuts"} <= set(card.methods)]
    card = named_card(model)
    if model in comparable:
        return
    method = "" if card.methods[0] == "svi" else f" --method {card.methods[0]}"
    raise ModelError(
        "has no posterior that two methods share: its parameters are trained and have no prior",
        argument="model",
        got=f"{model!r}, fitted by {' or '.join(card.methods)}",
        expected=f"one of {', '.join(map(repr, comparable))}, or a program of your own (ppzoo new)",
        remedy=f"Fit it by itself, its verdict comes along: ppzoo fit {model}{method}",
    )


def floating_type(name: str | None) -> torch.dtype | None:
    """``"float32"`` or ``"float64"`` as torch's type."""
    if name is None:
        return None
    check_choice("dtype", name, ("float32", "float64"))
    import torch

    return {"float32": torch.float32, "float64": torch.float64}[name]


def check_is_fit(folder: str) -> None:
    """Raise :class:`NotFittedError` where a model or any other folder stands in place of the folder of a fit."""
    expected = "a folder that ppzoo fit --out has written"
    if Path(folder).is_dir():
        if not (Path(folder) / "manifest.json").exists():
            inside = sorted(path.parent.name for path in Path(folder).glob("*/manifest.json"))[:5]
            remedy = f"There are fits in it: {', '.join(inside)}." if inside else "Check the path."
            raise NotFittedError(
                "is a folder without a fit", argument="folder", got=repr(folder), expected=expected, remedy=remedy
            )
    elif folder in list_models() or is_file_object(folder):
        model = f"{folder}:model" if folder.endswith(".py") else folder
        raise NotFittedError(
            "is a model and not a fit",
            argument="folder",
            got=repr(folder),
            expected=expected,
            remedy=f"Fit it first: ppzoo fit {model} --out runs/{short_name(model)}",
        )


def short_name(model: str) -> str:
    """What a run folder is called after: the zoo name, or the file and its object.

    Example:
        >>> short_name("eight_schools"), short_name("models/mine.py:model")
        ('eight_schools', 'mine-model')
    """
    if not is_file_object(model):
        return model
    path, _, name = model.replace("\\", "/").rpartition("/")[2].partition(".py")
    return f"{path}-{name.lstrip(':')}"
