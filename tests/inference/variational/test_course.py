"""The best state of each replica comes back where it is clearly better; runs without a finite loss are stopped."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from ppzoo.inference.variational.course import WINDOW, Course

RNG = np.random.default_rng


def block(*means, noise=0.1, steps=WINDOW, seed=0):
    return np.asarray(means)[:, None] + noise * RNG(seed).standard_normal((len(means), steps))


def test_the_best_state_of_each_replica_comes_back():
    at = torch.zeros(2, 3)
    course = Course([at])
    for t, means in enumerate([(5.0, 5.0), (2.0, 1.0), (0.0, 9.0)]):  # the second is at its best earlier
        at.fill_(t)
        course.add(block(*means))
    course.restore_best()
    assert at.tolist() == [[2.0] * 3, [1.0] * 3]
    assert course.losses.shape == (2, 3 * WINDOW)


def test_the_luckiest_window_is_not_the_best_state():
    """Pure noise around a constant loss: the last parameters stay, though some window had a lower mean."""
    at = torch.zeros(1)
    course = Course([at])
    for t in range(20):
        at.fill_(t)
        course.add(block(0.0, noise=1.0, seed=t))
    course.restore_best()
    assert at.item() == 19


def test_a_last_window_that_is_cut_short_counts_with_the_one_before():
    at = torch.zeros(1)
    course = Course([at])
    course.add(block(1.0))
    course.add(block(2.0, steps=10, noise=0.0))
    assert course.recent()[0][0] == pytest.approx((40 * course.losses[0, 10:50].mean() + 10 * 2.0) / 50)


def test_losses_since_a_window():
    course = Course([torch.zeros(2)])
    for steps in (WINDOW, WINDOW, 10):
        course.add(block(1.0, 2.0, steps=steps, seed=steps))
    assert np.array_equal(course.since(WINDOW), course.losses[:, WINDOW:])
    assert np.array_equal(course.since(0), course.losses)


def test_skipped_steps_do_not_count():
    course = Course([torch.zeros(1)])
    losses = block(3.0)
    losses[0, ::2] = math.nan
    course.add(losses)
    assert course.recent()[0][0] == pytest.approx(losses[0, 1::2].mean())


def test_too_many_in_a_row():
    course = Course([torch.zeros(2)])
    bad = block(1.0, 1.0, steps=25)
    bad[0] = math.nan
    course.add(bad)
    course.add(bad)  # the other replica goes on
    both = np.full((2, 25), math.nan)
    course.add(both)
    assert not course.stuck
    course.add(both)
    assert course.stuck


def test_there_is_no_going_back_before_every_replica_has_a_window():
    at = torch.zeros(2)
    course = Course([at])
    bad = block(1.0, 1.0)
    bad[0] = math.nan
    course.add(bad)
    at.fill_(7.0)
    assert not course.go_back()
    assert at.tolist() == [7.0, 7.0]
    course.add(block(5.0, 5.0))
    at.fill_(9.0)
    assert course.go_back()
    assert at.tolist() == [7.0, 0.0]


def test_without_parameters_there_are_losses():
    course = Course([])
    course.add(block(2.0))
    course.restore_best()
    assert course.recent()[0][0] == pytest.approx(2.0, abs=0.1)
