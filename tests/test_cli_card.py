from __future__ import annotations

import inspect
from importlib import import_module

import pytest

from ppzoo.cli_card import model_options
from ppzoo.zoo import list_models, model_card


@pytest.mark.parametrize("name", list_models())
def test_the_options_read_are_those_of_the_constructor(name):
    pytest.importorskip("torch")
    module, _, attribute = model_card(name).path.partition(":")
    parameters = inspect.signature(getattr(import_module(module), attribute)).parameters
    options = model_options(model_card(name))
    assert [option.name for option in options] == list(parameters)
    for option in options:
        default = parameters[option.name].default
        assert option.default == ("" if default is inspect.Parameter.empty else repr(default))
        assert option.doc, f"{name} does not say what {option.name} is"
