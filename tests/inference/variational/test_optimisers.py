"""Both forms of an optimiser take the same steps."""

from __future__ import annotations

import pytest
import torch

from ppzoo.inference.variational.optimisers import OPTIMISERS


@pytest.mark.parametrize("name", OPTIMISERS)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_plain_operations_take_torchs_steps(name, dtype):
    optimiser = OPTIMISERS[name]
    noise = torch.Generator().manual_seed(0)
    theirs = torch.randn(7, generator=noise, dtype=torch.float64).to(dtype).requires_grad_()
    mine, moments = theirs.detach().clone(), (torch.zeros(7, dtype=dtype),) * optimiser.moments
    torchs = optimiser.of([theirs], 0.1)
    for t in range(1, 200):
        rate = 0.1 / t
        gradient = torch.randn(7, generator=noise, dtype=torch.float64).to(dtype)
        theirs.grad, torchs.param_groups[0]["lr"] = gradient, rate
        torchs.step()
        numbers = (torch.tensor(x, dtype=torch.float64) for x in (rate, t))
        mine, moments = optimiser.update(mine, gradient, moments, *numbers)
        tolerance = 1e-12 if dtype == torch.float64 else 2e-6
        torch.testing.assert_close(mine, theirs.detach(), rtol=tolerance, atol=tolerance)
