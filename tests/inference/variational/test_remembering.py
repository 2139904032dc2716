"""A program that keeps something is told from one that does not."""

from __future__ import annotations

import functools
import itertools

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from pyro.infer.autoguide import AutoIAFNormal, AutoNormal
from torch import nn

from ppzoo.inference.variational.remembering import remembered
from ppzoo.isolation import isolated

TOTAL = [0]
TICKS = itertools.count()


def by_global():
    TOTAL[0] += 1


def by_iterator():
    next(TICKS)


def by_default(kept=[]):  # noqa: B006  # what it is about
    kept.append(1)


def by_attribute():
    by_attribute.calls = getattr(by_attribute, "calls", 0) + 1


def closure():
    calls = 0

    def count():
        nonlocal calls
        calls += 1

    return count


def through_another():
    by_global()


class Counting(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(2, 2)
        self.inner.calls = 0

    def model(self):
        self.inner.calls += 1


class Plain(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.BatchNorm1d(2)

    def model(self):
        return self.inner(torch.ones(3, 2))


@pytest.mark.parametrize(
    "program",
    [by_global, by_iterator, by_default, by_attribute, closure(), through_another, Counting().model],
    ids=lambda program: program.__qualname__,
)
def test_what_is_kept_is_seen(program):
    program()
    before = remembered(program)
    assert before == remembered(program)
    program()
    assert before != remembered(program)


def test_a_partial_shows_what_it_holds():
    kept = []
    program = functools.partial(kept.append, 1)
    before = remembered(program)
    assert before == remembered(program)


def test_a_flow_keeps_the_values_that_it_had_last_and_remembers_nothing():
    """Pyro's layers keep their last input, output and scales, and their inverse once it was asked for."""
    with isolated(seed=0):
        guide = AutoIAFNormal(lambda: pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1)), hidden_dim=[4])
        guide()
        before = remembered(guide)
        poutine.trace(guide).get_trace().compute_log_prob()
        assert before == remembered(guide)


@pytest.mark.parametrize(
    "program", [Plain().model, lambda: torch.zeros(3).add_(1), torch.sin, AutoNormal(lambda: None)]
)
def test_a_program_without_memory_has_none(program):
    """What is written into tensors is not meant: these are seen otherwise."""
    before = remembered(program)
    if not isinstance(program, AutoNormal):
        program() if program is not torch.sin else torch.sin(torch.zeros(1))
    assert before == remembered(program)
