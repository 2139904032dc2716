"""Single operations and machine code take steps alike; a replica's depend on its own number alone."""

from __future__ import annotations

import math

import pyro
import pytest
import torch

from ppzoo.inference.native import available
from ppzoo.inference.variational.machine_code import Native
from ppzoo.inference.variational.stepwise import Stepwise
from ppzoo.inference.variational.together import Replayed
from tests.inference.variational.plans import regression, trained

pytestmark = pytest.mark.skipif(available() is None, reason="no C compiler")


@pytest.mark.parametrize("kind", [Native, Stepwise, Replayed])
@pytest.mark.parametrize("batch", [None, 3])
def test_a_replica_does_not_see_the_others(kind, batch):
    one, place = trained(kind, batch=batch)
    three, places = trained(kind, batch=batch, replicas=3)
    five, more = trained(kind, batch=batch, replicas=5)
    assert torch.equal(one[0], three[0])
    assert torch.equal(place[:, 0], places[:, 0])
    assert torch.equal(three, five[:3])
    assert torch.equal(places, more[:, :3])
    assert len({tuple(row.tolist()) for row in five}) == 5  # each has draws of its own
    assert not torch.equal(trained(kind, batch=batch, seed=6)[0], one)


@pytest.mark.parametrize("kind", [Native, Stepwise, Replayed])
def test_a_bad_step_is_skipped_and_told(kind):
    """The row with the largest response has no loss: each epoch of six steps has one that changes nothing."""

    def model(x, y):
        regression(x, y)
        pyro.factor("bad", torch.where(y.max() > 2, math.nan, 0.0))

    losses, places = trained(kind, model=model, noisy=False, batch=1, optimiser="sgd", steps=96)
    assert torch.isnan(losses[0]).reshape(-1, 6).sum(1).tolist() == [1] * 16
    assert bool(torch.isfinite(places).all())
    clean, others = trained(kind, noisy=False, batch=1, optimiser="sgd", steps=96)
    assert not torch.isnan(clean).any()
    assert not torch.equal(places, others)
