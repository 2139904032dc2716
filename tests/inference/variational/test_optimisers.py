"""Both forms of an optimiser take the steps that torch's own takes."""

from __future__ import annotations

import pytest
import torch

from ppzoo.inference.variational.optimisers import OPTIMISERS, InPlace, forget_traces

TORCHS = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW, "sgd": torch.optim.SGD}


@pytest.mark.parametrize("name", OPTIMISERS)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_both_take_torchs_steps(name, dtype):
    optimiser = OPTIMISERS[name]
    noise = torch.Generator().manual_seed(0)
    theirs = torch.randn(7, generator=noise, dtype=torch.float64).to(dtype).requires_grad_()
    mine, moments = theirs.detach().clone(), (torch.zeros(7, dtype=dtype),) * optimiser.moments
    there = theirs.detach().clone()
    in_place, torchs = InPlace(optimiser, [there]), TORCHS[name]([theirs], lr=0.1)
    for t in range(1, 200):
        rate = 0.1 / t
        gradient = torch.randn(7, generator=noise, dtype=torch.float64).to(dtype)
        theirs.grad, torchs.param_groups[0]["lr"] = gradient, rate
        torchs.step()
        in_place.step([gradient], rate)
        numbers = (torch.tensor(x, dtype=torch.float64) for x in (rate, t))
        mine, moments = optimiser.update(mine, gradient, moments, *numbers)
        tolerance = 1e-12 if dtype == torch.float64 else 2e-6
        torch.testing.assert_close(mine, theirs.detach(), rtol=tolerance, atol=tolerance)
        torch.testing.assert_close(there, theirs.detach(), rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("name", OPTIMISERS)
def test_what_has_no_gradient_stays(name):
    parameters = [torch.ones(2), torch.ones(3)]
    in_place = InPlace(OPTIMISERS[name], parameters)
    in_place.step([None, torch.ones(3)], 0.1)
    assert parameters[0].tolist() == [1.0, 1.0]
    in_place.step([torch.ones(2), None], 0.1)  # its first step: moments are corrected as for a first one
    torch.testing.assert_close(parameters[0], parameters[1][:2])


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("name", ["adam", "adamw"])
def test_traces_of_gradients_long_gone_are_forgotten(name, dtype):
    """One gradient, then none: no moment stays too small to have all its digits, and no parameter moves otherwise."""
    parameters = [torch.ones(3, dtype=dtype), torch.ones(3, dtype=dtype)]
    forgets, remembers = (InPlace(OPTIMISERS[name], [parameter]) for parameter in parameters)
    tiny = torch.finfo(dtype).tiny
    for t in range(10_000):
        gradient = [torch.tensor([0.0, 1e-3, 1.0], dtype=dtype) * (t == 0)]
        forgets.step(gradient, 0.1)
        remembers.step(gradient, 0.1)
        if t % 50 == 49:
            forgets.forget_traces()
        moments = torch.stack([value for name, value in forgets.state.items() if name.startswith("moment")])
        assert not bool(((moments != 0) & (moments.abs() < tiny)).any())
    left = remembers.state["moment 0 of 0"]
    assert bool(((left != 0) & (left.abs() < tiny)).any())  # that is what would be left
    assert torch.equal(*parameters)


def test_what_is_no_trace_is_kept():
    moments = [torch.tensor([1e-25, -1e-25, 0.0, 1e-35]), torch.tensor([1e-250, -1e-305], dtype=torch.float64)]
    forget_traces(moments)
    assert [moment.tolist() for moment in moments] == [[pytest.approx(1e-25), pytest.approx(-1e-25), 0, 0], [1e-250, 0]]
