"""Sums over discrete sites are those of Pyro for the same draws, and recorded."""

from __future__ import annotations

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from pyro.infer import TraceEnum_ELBO, config_enumerate

import ppzoo
from ppzoo.datasets.arguments import Arguments
from ppzoo.errors import ModelError
from ppzoo.inference.program import sites_of, trace_of
from ppzoo.inference.variational.objectives import elbo, terms
from ppzoo.inference.variational.summing import summing_traces
from ppzoo.isolation import isolated

Y = torch.tensor([0.9, 1.1, 1.6, 0.4, 2.5, -0.3], dtype=torch.float64)
WHERE = torch.tensor([0.3, -0.4], dtype=torch.float64, requires_grad=True)
KEPT = torch.tensor([True, False, True, True, True, False])


def mixture(y):
    loc = pyro.sample("loc", dist.Normal(0.0, 2.0))
    with pyro.plate("row", len(y)):
        k = pyro.sample("k", dist.Categorical(torch.tensor([0.2, 0.3, 0.5], dtype=torch.float64)))
        pyro.sample("y", dist.Normal(loc + k, 1.0), obs=y)


def masked(y):
    loc = pyro.sample("loc", dist.Normal(0.0, 2.0))
    with pyro.plate("row", len(y)), poutine.mask(mask=KEPT):
        k = pyro.sample("k", dist.Bernoulli(0.3))
        pyro.sample("y", dist.Normal(loc + k, 1.0), obs=y)


def switch(y):
    """One site for all rows, one for each, which hangs on it."""
    loc = pyro.sample("loc", dist.Normal(0.0, 2.0))
    g = pyro.sample("g", dist.Bernoulli(0.3))
    with pyro.plate("row", len(y)):
        k = pyro.sample("k", dist.Bernoulli(0.2 + 0.5 * g))
        pyro.sample("y", dist.Normal(loc + 2 * k - g, 1.0), obs=y)


def nested(y):
    """A plate in a plate: a class of each group, and of each of its members."""
    loc = pyro.sample("loc", dist.Normal(0.0, 2.0))
    with pyro.plate("group", 3, dim=-1):
        c = pyro.sample("c", dist.Bernoulli(0.4))
        with pyro.plate("member", 2, dim=-2):
            k = pyro.sample("k", dist.Bernoulli(0.1 + 0.6 * c))
            pyro.sample("y", dist.Normal(loc + k + 2 * c, 1.0), obs=y.reshape(2, 3))


def chain(y):
    loc = pyro.sample("loc", dist.Normal(0.0, 2.0))
    k = 0.0
    for i in pyro.markov(range(len(y))):
        k = pyro.sample(f"k{i}", dist.Bernoulli(0.2 + 0.6 * torch.as_tensor(k)))
        pyro.sample(f"y{i}", dist.Normal(loc + k, 1.0), obs=y[i])


def weighed(y):
    """As a minibatch of two rows in three is weighed."""
    loc = pyro.sample("loc", dist.Normal(0.0, 2.0))
    with pyro.plate("row", len(y)), poutine.scale(scale=1.5):
        k = pyro.sample("k", dist.Bernoulli(0.3))
        pyro.sample("y", dist.Normal(loc + 2 * k, 1.0), obs=y)


def guide(_):
    pyro.sample("loc", dist.Normal(WHERE[0], WHERE[1].exp()))


def sites_of_run(model):
    return list(sites_of(trace_of(model, Arguments((Y,), {}))))


@pytest.mark.parametrize("model", [mixture, masked, switch, nested, chain, weighed])
def test_the_elbo_is_pyros_for_the_same_draws(model):
    marked = config_enumerate(model, "parallel")
    depth = 2 if model is nested else 1
    with isolated(seed=1, dtype=torch.float64):
        theirs = TraceEnum_ELBO(max_plate_nesting=depth).differentiable_loss(marked, guide, Y)
    with isolated(seed=0, dtype=torch.float64):
        sites = sites_of_run(model)
    with isolated(seed=1, dtype=torch.float64):
        runs = [summing_traces(marked, guide, Arguments((Y,), {}), sites)]
    for analytic in (True, False):
        torch.testing.assert_close(
            elbo([terms(run, analytic=analytic) for run in runs]).value, theirs.detach(), rtol=1e-12, atol=0
        )
    (expected,) = torch.autograd.grad(theirs, WHERE)
    (found,) = torch.autograd.grad(elbo([terms(run, analytic=False) for run in runs]).surrogate, WHERE)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)


def test_a_discrete_site_that_the_guide_draws_is_left_to_it():
    def drawing(y):
        guide(y)
        pyro.sample("g", dist.Bernoulli(torch.tensor(1.0, dtype=torch.float64)))

    with isolated(seed=0, dtype=torch.float64):
        run = summing_traces(config_enumerate(switch, "parallel"), drawing, Arguments((Y,), {}), sites_of_run(switch))
    loc = run.model.nodes["loc"]["value"]
    parts = torch.stack([dist.Normal(loc + 2 * k - 1, 1.0).log_prob(Y) for k in (0, 1)])
    expected = (parts + torch.tensor([[0.3], [0.7]], dtype=torch.float64).log()).logsumexp(0).sum()
    assert run.summed.sites == {"k", "y"}
    torch.testing.assert_close(run.summed.value, expected)


def test_weights_that_differ_are_refused():
    with pytest.raises(ModelError, match=r"differently.*'g' with 1; site 'k' with 3; site 'y' with 3.*batch_size"):
        ppzoo.fit(switch, Y, method="svi", guide="normal", batch_size=2, steps=5, progress=False)


@pytest.mark.parametrize("batch_size", [None, 3])
def test_steps_are_recorded(batch_size):
    fit = ppzoo.fit(mixture, Y, method="svi", batch_size=batch_size, steps=20_000, progress=False)
    assert "the program itself" not in fit.notes[0]
