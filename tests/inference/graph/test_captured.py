"""A launch does what the function did, on what its tensors hold now."""

from __future__ import annotations

import pytest
import torch

from ppzoo.inference.graph.captured import captured

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")


def test_a_launch_works_on_what_is_there_now():
    total, x = torch.zeros(3, device="cuda"), torch.arange(3.0, device="cuda")
    launch = captured(lambda: total.add_(x))
    assert total.tolist() == [0.0, 1.0, 2.0]  # it ran once, to be captured
    x.mul_(10)
    launch()
    launch()
    assert total.tolist() == [0.0, 21.0, 42.0]


def test_what_waits_for_the_device_is_refused():
    x = torch.ones(2, device="cuda")
    with pytest.raises(RuntimeError):
        captured(lambda: x.mul_(float(x.sum())))
