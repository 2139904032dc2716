"""Programs that no sampler should be given, and some that look like it, for the table of bad input for samplers."""

from __future__ import annotations

import math
import random

import pyro
import pyro.distributions as dist
import torch
from torch.distributions import constraints

SINGLE = torch.ones(4, 1, dtype=torch.float32)
calls = []


def observe(mean, y, scale=1.0):
    with pyro.plate("row", len(y)):
        pyro.sample("y", dist.Normal(mean, scale), obs=y)


def plain(y):
    observe(pyro.sample("mu", dist.Normal(0.0, 1.0)), y)


# what there is to sample ------------------------------------------------------------------------------------------


def nothing_latent(y):
    observe(0.0, y)


def only_discrete(y):
    k = pyro.sample("k", dist.Categorical(torch.ones(3)))
    observe(k.to(y.dtype), y)


def only_parameters(y):
    observe(pyro.param("mu", torch.zeros(())), y)


def only_empty(y):
    pyro.sample("z", dist.Normal(0.0, 1.0).expand([0]).to_event(1))
    observe(0.0, y)


def simplex_of_one(y):
    observe(pyro.sample("weights", dist.Dirichlet(torch.ones(1)))[..., 0], y)


def endless(y):
    observe(pyro.sample("mu", dist.Normal(0.0, 1.0)) + pyro.sample("k", dist.Poisson(2.0)), y)


def subsampled(y):
    mu = pyro.sample("mu", dist.Normal(0.0, 1.0))
    with pyro.plate("row", len(y), subsample_size=2) as rows:
        pyro.sample("y", dist.Normal(mu, 1.0), obs=y[rows])


def empty_plate(y):
    with pyro.plate("none", 0):
        pyro.sample("z", dist.Normal(0.0, 1.0))
    plain(y)


def twice(y):
    pyro.sample("mu", dist.Normal(0.0, 1.0))
    plain(y)


def generator(y):
    yield plain(y)


async def coroutine(y):
    plain(y)


def number_for_a_name(y):
    observe(pyro.sample(3, dist.Normal(0.0, 1.0)), y)


def raises(y):
    raise RuntimeError("out of order")


# another program each time ----------------------------------------------------------------------------------------


def comes_and_goes(y):
    mean = pyro.sample("mu", dist.Normal(0.0, 1.0))
    observe(mean + pyro.sample("extra", dist.Normal(0.0, 1.0)) if random.random() < 0.5 else mean, y)


def hangs_on_a_value(y):
    mean = pyro.sample("mu", dist.Normal(0.0, 1.0))
    observe(mean + pyro.sample("extra", dist.Normal(0.0, 1.0)) if mean > 0 else mean, y)


def random_size(y):
    mu = pyro.sample("mu", dist.Normal(0.0, 1.0).expand([1 + int(torch.randint(3, ()))]).to_event(1))
    observe(mu.sum(), y)


def random_plate(y):
    with pyro.plate("some", 1 + int(torch.randint(3, ()))):
        mu = pyro.sample("mu", dist.Normal(0.0, 1.0))
    observe(mu.sum(), y)


def random_loop(y):
    x = torch.zeros(())
    for i in range(1 + int(torch.randint(4, ()))):
        x = pyro.sample(f"x{i}", dist.Normal(x, 1.0))
    observe(x, y)


def noise_in_the_mean(y):
    observe(pyro.sample("mu", dist.Normal(0.0, 1.0)) + torch.randn(()), y)


def changes_its_data(y):
    y.mul_(1.001)
    plain(y)


def counts_its_calls(y):
    calls.append(1)
    plain(y)
    pyro.factor("drift", torch.tensor(0.01 * len(calls)))


# densities that fail ----------------------------------------------------------------------------------------------


def poisson(y):
    rate = pyro.sample("rate", dist.Gamma(2.0, 1.0))
    with pyro.plate("row", len(y)):
        pyro.sample("y", dist.Poisson(rate), obs=y)


def bernoulli(y):
    p = pyro.sample("p", dist.Beta(2.0, 1.0))
    with pyro.plate("row", len(y)):
        pyro.sample("y", dist.Bernoulli(p), obs=y)


def interval(y):
    a = pyro.sample("a", dist.Gamma(2.0, 1.0))
    with pyro.plate("row", len(y)):
        pyro.sample("y", dist.Beta(a, 1.0), obs=y)


def negative_scale(y):
    observe(0.0, y, pyro.sample("scale", dist.Normal(-3.0, 0.1)))


def no_slope(y):
    fine, broken = (pyro.sample(name, dist.Normal(0.0, 1.0)) for name in ("fine", "broken"))
    observe(fine + torch.sqrt(broken - broken), y)  # its slope is infinity times zero


def complex_density(y):
    mu = pyro.sample("mu", dist.Normal(0.0, 1.0))
    pyro.factor("f", torch.complex(mu, mu))


def raises_near(y):
    mu = pyro.sample("mu", dist.Normal(0.0, 1e-3))
    if float(mu.detach()) > 0.5:
        raise ValueError("too large")
    observe(mu, y)


def raises_far(y):
    mu = pyro.sample("mu", dist.Normal(0.0, 5.0))
    if float(mu.detach()) > 1.2:
        raise ValueError("too large")
    observe(mu, y + 20)


# what is taken all the same ---------------------------------------------------------------------------------------


def nan_beyond(y):
    mu = pyro.sample("mu", dist.Normal(0.0, 1.0))
    pyro.factor("f", torch.where(mu > 1, math.nan, 0.0) * mu)
    observe(mu, y)


def singular_beyond(y):
    a = pyro.sample("a", dist.Normal(0.0, 1.0))
    swap = torch.tensor([[0.0, 1.0], [1.0, 0.0]])
    factor = torch.linalg.cholesky(torch.eye(2) + swap * a)  # none beyond 1
    pyro.sample("y", dist.MultivariateNormal(torch.zeros(2), scale_tril=factor), obs=y[:2])


def improper(y):
    pyro.sample("loose", dist.ImproperUniform(constraints.real, (), ()))
    plain(y)


def parameter(y):
    observe(pyro.sample("mu", dist.Normal(0.0, 1.0)), y, pyro.param("s", torch.ones(()), constraints.positive))


def prints(y):
    print("noise")
    plain(y)


def remembers(y):
    calls.append(1)
    plain(y)


def single_precision(y):
    mu = pyro.sample("mu", dist.Normal(0.0, 1.0).expand([1]).to_event(1))
    observe(SINGLE @ mu, y)


def empty_site(y):
    pyro.sample("z", dist.Normal(0.0, 1.0).expand([0]).to_event(1))
    plain(y)


def masked(y):
    mu = pyro.sample("mu", dist.Normal(0.0, 1.0).expand([4]).to_event(1))
    pyro.factor("f", mu[mu > 0].sum() / 10)  # a shape that depends on values
    pyro.sample("y", dist.Normal(mu, 1.0).to_event(1), obs=y)


def reads_a_value(y):
    mu = pyro.sample("mu", dist.Normal(0.0, 1.0))
    observe(mu if float(mu.detach()) > 0 else 2 * mu, y)
