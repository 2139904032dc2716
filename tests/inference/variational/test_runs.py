"""A held run asks for the probability of the very draws that were made."""

from __future__ import annotations

import pyro
import pyro.distributions as dist
import torch

from ppzoo.datasets.arguments import Arguments
from ppzoo.inference.variational.runs import drawn, held, traces
from ppzoo.isolation import isolated

Y = torch.tensor([0.9, 1.1], dtype=torch.float64)
DATA = Arguments((Y,), {})
WHERE = torch.tensor([0.3, -0.4], dtype=torch.float64, requires_grad=True)


def model(y):
    mu = pyro.sample("mu", dist.Normal(0.0, 1.0))
    with pyro.plate("row", len(y)):
        k = pyro.sample("k", dist.Poisson(2.0))
        pyro.sample("y", dist.Normal(mu + k, 1.0), obs=y)


def guide(y):
    mu = pyro.sample("mu", dist.Normal(WHERE[0], WHERE[1].exp()))
    with pyro.plate("row", len(y)):
        pyro.sample("k", dist.Poisson(mu.exp()))


def test_a_run_has_the_statements_of_both_and_no_plates():
    with isolated(seed=0, dtype=torch.float64):
        run = traces(model, guide, DATA)
    assert list(drawn(run.model)) == ["mu", "k", "y"]
    assert list(drawn(run.guide)) == ["mu", "k"]
    assert drawn(run.model)["mu"]["value"] is drawn(run.guide)["mu"]["value"]
    assert run.model.log_prob_sum().requires_grad


def test_held_draws_are_the_same_and_move_with_no_parameter():
    with isolated(seed=0, dtype=torch.float64):
        free = traces(model, guide, DATA)
    with isolated(seed=0, dtype=torch.float64):
        run = held(model, guide, DATA)
    for name in ("mu", "k"):
        assert torch.equal(drawn(run.traces.guide)[name]["value"], drawn(free.guide)[name]["value"])
        torch.testing.assert_close(drawn(run.traces.guide)[name]["log_prob"], drawn(free.guide)[name]["log_prob"])
    leaf = drawn(run.traces.model)["mu"]["value"]
    assert leaf.is_leaf
    assert leaf.requires_grad
    torch.testing.assert_close(torch.autograd.grad(run.made["mu"], WHERE)[0][0], torch.ones((), dtype=torch.float64))
    joint = run.traces.model.log_prob_sum()
    assert torch.autograd.grad(joint, WHERE, allow_unused=True) == (None,)
