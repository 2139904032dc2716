"""Every method keeps the protocol."""

from __future__ import annotations

import pytest

from ppzoo.inference.methods import METHODS, method_value
from ppzoo.inference.outcome import Outcome


@pytest.mark.parametrize("name", METHODS)
def test_methods_keep_the_protocol(name):
    method = method_value(name, {})
    assert isinstance(method.prefers_float64, bool)
    assert isinstance(method.needs_guide, bool)
    assert callable(method.run)
    assert callable(method.check_model)


def test_outcomes_share_nothing():
    assert Outcome().statistics is not Outcome().statistics
