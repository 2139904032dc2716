"""A graph of all replicas takes the steps that each would take alone."""

from __future__ import annotations

import pytest
import torch

from ppzoo.inference.variational.optimisers import OPTIMISERS
from ppzoo.inference.variational.stepwise import Stepwise
from ppzoo.inference.variational.together import Captured, Replayed
from tests.inference.variational.plans import trained
from tests.inference.variational.test_machine_code import SETTINGS


class Uncaptured(Captured):
    """All of a captured step but the capture itself, which takes a GPU; it runs once before, as there."""

    @staticmethod
    def _capture(function):
        function()
        return function


@pytest.mark.parametrize("kind", [Replayed, Uncaptured])
@pytest.mark.parametrize("optimiser", OPTIMISERS)
@pytest.mark.parametrize("options", SETTINGS.values(), ids=SETTINGS)
def test_all_at_once_takes_the_steps_of_each(kind, optimiser, options):
    """Draws, rates, moments, clipping and rows are the same, so all numbers are."""
    for mine, theirs in zip(
        trained(kind, optimiser=optimiser, **options),
        trained(Stepwise, optimiser=optimiser, **options),
        strict=True,
    ):
        torch.testing.assert_close(mine, theirs, rtol=1e-9, atol=1e-9)
