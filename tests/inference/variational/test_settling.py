"""A fit that still falls has not settled, one that does not has; the mean of its iterates and their agreement."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from ppzoo.inference.variational.course import WINDOW, Course
from ppzoo.inference.variational.settling import TOLERANCE, Settling, fall


def stopped(curve, windows=400, noise=1.0, seed=0, replicas=1):
    """After how many steps a run with this mean loss at each step is taken for settled; None if never."""
    rng = np.random.default_rng(seed)
    at = torch.zeros(replicas, 1)
    course = Course([at])
    settling = Settling([at], course, TOLERANCE)
    losses = np.stack([curve(np.arange(windows * WINDOW) * (1 + k)) for k in range(replicas)])
    losses += noise * rng.standard_normal(losses.shape)
    for w in range(1, windows + 1):
        course.add(losses[:, (w - 1) * WINDOW : w * WINDOW])
        if settling.look():
            return w * WINDOW
    return None


def test_what_falls_steadily_never_settles():
    """Five nats in every thousand steps, under noise of 10 nats a step: one run of forty is misled at first."""
    stops = [stopped(lambda t: -5e-3 * t, noise=10.0, seed=seed) for seed in range(40)]
    assert sum(steps is not None for steps in stops) <= 1


@pytest.mark.parametrize("half_life", [50, 300, 1000])
def test_what_falls_by_halves_settles_when_nothing_is_left(half_life):
    """From 100 nats above: 8 half-lives leave 0.4, and nobody waits longer than 25 or the noise allows."""
    steps = stopped(lambda t: 100 * 0.5 ** (t / half_life))
    assert 8 * half_life <= steps <= max(25 * half_life, 2000)


def test_all_replicas_have_to_settle():
    slow = stopped(lambda t: 100 * 0.5 ** (t / 1000))
    both = stopped(lambda t: 100 * 0.5 ** (t / 1000), replicas=2)  # the other is twice as fast
    assert both == pytest.approx(slow, rel=0.2)


def test_noise_alone_settles_once_its_mean_is_known():
    """With an sd of 4 the error of a difference of quarters is 4 sqrt(8 / T): a third of the tolerance at T = 5,700."""
    stops = [stopped(lambda t: 0.0 * t, noise=4.0, seed=seed) for seed in range(40)]
    assert None not in stops
    assert max(stops) < 5700


def test_skipped_steps_are_left_out():
    losses = np.linspace(100.0, 0.0, 4000)
    known = fall(losses)
    losses[::3] = math.nan
    assert fall(losses) == pytest.approx(known, rel=0.01)
    assert math.isinf(fall(np.full(4000, math.nan)))


def test_means_and_r_hat_are_those_of_the_last_two_quarters():
    """Held against the iterates themselves; replicas apart by their own spread have an R-hat of sqrt(1 + 1)."""
    rng = np.random.default_rng(1)
    iterates = rng.standard_normal((3, 200, 4))
    iterates[:, :50] += 100  # long forgotten
    iterates[:, :, 3] += np.array([-1.0, 0.0, 1.0])[:, None]
    at = torch.zeros(3, 4, dtype=torch.float64)
    course = Course([at])
    settling = Settling([at], course, 0.0)
    for w in range(200):
        at.copy_(torch.from_numpy(iterates[:, w]))
        course.add(np.zeros((3, WINDOW)))
        settling.look()
    half = settling._half()
    assert 80 <= half <= 100
    kept = iterates[:, half:]
    np.testing.assert_allclose(settling.means()[0].numpy(), kept.mean(1), atol=1e-12)
    ratio = 1 + kept.mean(1).var(0, ddof=1) / kept.var(1).mean(0)
    assert settling.r_hat() == pytest.approx(math.sqrt(ratio.max()), rel=1e-9)
    assert settling.r_hat() == pytest.approx(math.sqrt(2), abs=0.15)
    assert not settling.settled


@pytest.mark.parametrize("windows", [40, 46, 53, 61, 70, 80])
def test_at_the_first_looks_too_the_way_to_the_optimum_is_forgotten(windows):
    """A fit that begins far off, and has settled by the first look, ends where it was then."""
    at = torch.zeros(1, 1, dtype=torch.float64)
    course = Course([at])
    settling = Settling([at], course, TOLERANCE if windows == 40 else 0.0)
    for w in range(1, windows + 1):
        at.fill_(100.0 if w <= 18 else 3.0)
        course.add(np.full((1, WINDOW), 5.0))
        assert settling.look() == (windows == 40 == w)
    assert settling.means()[0].tolist() == [[3.0]]


def test_a_parameter_that_stands_still_has_no_say():
    at = torch.tensor([[1.0], [5.0]])
    course = Course([at])
    settling = Settling([at], course, 0.0)
    for _ in range(20):
        course.add(np.zeros((2, WINDOW)))
        settling.look()
    assert settling.r_hat() == 1.0
