"""Dual averaging finds the step size of a known response; the metric of a normal is its variance."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch

from ppzoo.inference.mcmc.adaptation import DualAveraging, FisherMetric, windows

ONE = torch.ones(1, dtype=torch.float64)
SEEN = torch.tensor([True])


def test_dual_averaging_solves_for_the_target():
    """Acceptance exp(-step): the target 0.8 is met at step = -log 0.8."""
    tuner = DualAveraging.around(ONE)
    for _ in range(500):
        tuner.update(torch.exp(-torch.exp(tuner.log_step)), SEEN, 0.8)
    expected = -torch.log(torch.tensor(0.8, dtype=torch.float64))
    assert float(torch.exp(tuner.log_average)) == pytest.approx(float(expected), rel=0.05)


def test_groups_that_were_not_seen_keep_their_state():
    tuner = DualAveraging.around(torch.ones(2, dtype=torch.float64))
    tuner.update(torch.tensor([0.2, 0.9], dtype=torch.float64), torch.tensor([True, False]), 0.8)
    assert float(tuner.log_step[0]) < float(tuner.log_step[1])
    assert tuner.updates.tolist() == [1, 0]
    assert float(tuner.log_average[1]) == 0


def test_the_metric_of_a_normal_is_its_variance():
    """Gradients are -q / variance, so that the ratio of the two standard deviations is the variance, in any sample."""
    generator = torch.Generator().manual_seed(0)
    scales = torch.tensor([0.1, 1.0, 20.0], dtype=torch.float64)
    q = torch.randn(1, 2000, 3, generator=generator, dtype=torch.float64) * scales + 5
    metric = FisherMetric.at(torch.ones(1, 3, dtype=torch.float64))
    seen = torch.ones(1, 400, dtype=torch.bool)
    for part in q.split(400, 1):
        metric.add(part, -(part - 5) / scales**2, seen)
    torch.testing.assert_close(metric.means[0, 0], q[0].mean(0), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(metric.squares[0, 0], 1999 * q[0].var(0), rtol=1e-10, atol=0)
    metric.learn(SEEN)
    weight = 2000 / 2001  # of the window against the metric before
    torch.testing.assert_close(metric.inverse_mass[0], scales ** (2 * weight), rtol=1e-10, atol=0)
    assert float(metric.count) == 0


def test_rows_that_are_not_there_do_not_count():
    q = torch.tensor([[[1.0], [3.0], [99.0]]], dtype=torch.float64)
    metric = FisherMetric.at(torch.ones(1, 1, dtype=torch.float64))
    metric.add(q, -q, torch.tensor([[True, True, False]]))
    assert metric.means[0].flatten().tolist() == [2.0, -2.0]
    assert float(metric.squares[0, 0]) == 2.0


def test_a_window_without_movement_keeps_the_metric():
    metric = FisherMetric.at(torch.full((1, 1), 3.0, dtype=torch.float64))
    same = torch.ones(1, 10, 1, dtype=torch.float64)
    metric.add(same, same, torch.ones(1, 10, dtype=torch.bool))
    metric.learn(SEEN)
    assert float(metric.inverse_mass) == pytest.approx(3.0)


@pytest.mark.parametrize("warmup", [20, 21, 50, 100, 500, 1000, 10_000])
def test_windows_grow_and_leave_a_tenth(warmup):
    ends = windows(warmup)
    sizes = [b - a for a, b in pairwise([0, *ends])]
    assert ends[-1] == warmup - round(0.1 * warmup)
    assert all(size > 0 for size in sizes)
    assert all(later >= earlier for earlier, later in pairwise(sizes[:-1]))
