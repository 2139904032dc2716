from __future__ import annotations

import dataclasses
import inspect
import re
from typing import Any

import pytest

from ppzoo.cli_flags import DATA, METHOD, takes


def test_only_what_was_given_is_passed_on():
    @takes(DATA)
    def verb(model: str, **given: Any) -> Any:
        return model, given

    names = list(inspect.signature(verb).parameters)
    assert names == ["model", *DATA, "json", "debug"]
    everything = dict.fromkeys(names) | {"model": "", "json": True, "data": "", "set": []}
    assert verb(**everything) == ("", {"data": ""})


def test_every_flag_is_an_option_of_the_methods_that_its_help_names():
    pytest.importorskip("torch")
    from ppzoo.inference.methods import METHODS, method_value

    fields = {name: {field.name for field in dataclasses.fields(method_value(name, {}))} for name in METHODS}
    for name, kind in METHOD.items():
        if name != "option":
            having = {method for method, known in fields.items() if name in known} - {"pyro-nuts"}
            named = set(
                re.findall(
                    r"\b(svi|nuts|hmc|mams|chees|laplace|pathfinder|importance|em|adversarial)\b",
                    kind.__metadata__[0].help,
                )
            )
            assert named == having or name == "guide"
            assert having, f"no method has {name}"
