"""A whole step refuses what is no function of tensors, and goes on from a snapshot."""

from __future__ import annotations

import pyro
import pyro.distributions as dist
import pytest
import torch

from ppzoo.inference.native import Unsupported
from ppzoo.inference.variational.together import Replayed
from ppzoo.isolation import isolated
from tests.inference.variational.plans import planned


@pytest.mark.parametrize(
    ("fn", "why"), [(lambda x: dist.Gamma(x, 1.0), "writes in place"), (dist.Poisson, "hangs on more than its shape")]
)
def test_draws_that_hang_on_what_is_trained_are_refused(fn, why):
    def model(x, y):
        slope = pyro.sample("slope", dist.Normal(0.0, 2.0))
        scale = pyro.sample("scale", dist.HalfNormal(1.0))
        pyro.sample("noise", fn(1.0 + scale), infer={"is_auxiliary": True})
        with pyro.plate("row", len(x)):
            pyro.sample("y", dist.Normal(slope * x, scale), obs=y)

    with isolated(seed=0, dtype=torch.float64):
        plan = planned(model=model)
        with pytest.raises(Unsupported, match=why):
            Replayed(plan, plan.step.graph)


def test_it_goes_on_from_a_snapshot():
    with isolated(seed=0, dtype=torch.float64):
        plan, other = planned(batch=4, replicas=2), planned(batch=4, replicas=2)
        whole, later = Replayed(plan, plan.step.graph), Replayed(other, other.step.graph)
        whole.advance(30)
        state = {name: value.clone() for name, value in whole.snapshot().items()}
        expected = whole.advance(20)
        later.restore(state)
        assert torch.equal(later.advance(20), expected)
    assert all(torch.equal(mine, theirs) for mine, theirs in zip(plan.parameters, other.parameters, strict=True))
