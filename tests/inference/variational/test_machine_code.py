"""Machine code takes the steps that torch takes."""

from __future__ import annotations

import pytest
import torch

from ppzoo.inference.native import available
from ppzoo.inference.variational.machine_code import Native
from ppzoo.inference.variational.optimisers import OPTIMISERS
from ppzoo.inference.variational.stepwise import Stepwise
from tests.inference.variational.plans import trained

pytestmark = pytest.mark.skipif(available() is None, reason="no C compiler")

SETTINGS = {
    "plain": {},
    "clip": {"clip": 0.7},
    "batch": {"batch": 4},
    "replicas": {"replicas": 3, "batch": 2, "clip": 1.0},  # without, steps by sgd end nowhere
    "units": {"units": [3.0, 0.5, 1.0, 0.1], "clip": 0.7, "replicas": 2},
    "weight": {"weight": lambda t: min(1.0, t / 60), "batch": 4},
}


@pytest.mark.parametrize("optimiser", OPTIMISERS)
@pytest.mark.parametrize("options", SETTINGS.values(), ids=SETTINGS)
def test_machine_code_takes_torchs_steps(optimiser, options):
    """Draws, rates, moments, clipping and rows are the same, so all numbers are."""
    native = trained(Native, optimiser=optimiser, **options)
    plain = trained(Stepwise, optimiser=optimiser, **options)
    for mine, theirs in zip(native, plain, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-9, atol=1e-9)
    assert native[0].shape == (options.get("replicas", 1), 100)
    if "weight" in options:
        constant = trained(Native, optimiser=optimiser, **options | {"weight": None})
        assert not torch.allclose(native[1], constant[1], rtol=1e-3)
    if "units" in options:
        ones = trained(Native, optimiser=optimiser, **options | {"units": [1.0] * 4})
        none = trained(Native, optimiser=optimiser, **options | {"units": []})
        torch.testing.assert_close(ones, none, rtol=1e-9, atol=1e-9)
        assert not torch.allclose(native[1], none[1], rtol=1e-3)


def test_float32_stays_near_float64():
    _, wide = trained(Native, noisy=False)
    _, narrow = trained(Native, noisy=False, dtype=torch.float32)
    assert narrow.dtype == torch.float32
    torch.testing.assert_close(narrow.double(), wide, rtol=0, atol=1e-5)
