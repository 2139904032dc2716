"""Methods by name and by value are the same; unknown words name the nearest right one."""

from __future__ import annotations

from importlib import import_module

import pytest

from ppzoo.errors import OptionError
from ppzoo.inference.mcmc.pyro_nuts import PyroNUTS
from ppzoo.inference.mcmc.samplers import NUTS
from ppzoo.inference.methods import METHODS, method_value


def test_a_name_with_options_is_the_value():
    assert method_value("nuts", {"chains": 2, "draws": 10}) == NUTS(chains=2, draws=10)
    value = NUTS(chains=3)
    assert method_value(value, {}) is value


@pytest.mark.parametrize("name", METHODS)
def test_every_row_of_the_table(name):
    module, _, attribute = METHODS[name].partition(":")
    kind = getattr(import_module(module), attribute)
    assert kind.name == name
    assert isinstance(method_value(name, {}), kind)
    assert kind.__doc__


def test_pyros_kernel_keeps_its_own_name():
    assert type(method_value("pyro-nuts", {})) is PyroNUTS


@pytest.mark.parametrize(
    ("method", "options", "message"),
    [
        ("nust", {}, "method: unknown method; got 'nust'. Did you mean 'nuts'"),
        ("nuts", {"chain": 4}, "chain: is not an option of method 'nuts'; got 4. Did you mean 'chains'"),
        ("nuts", {"guide": "normal"}, "guide: is not an option of method 'nuts'"),
        (NUTS(), {"chains": 4}, "options belong inside the method value"),
        (3, {}, "method: is not a method; got a int"),
    ],
)
def test_unknown_words(method, options, message):
    with pytest.raises(OptionError, match=message):
        method_value(method, options)
