"""Plain Pyro programs for the rows of the bad-input table that no model of the zoo can show."""

from __future__ import annotations

import pyro
import pyro.distributions as dist


def poisson(x):
    rate = pyro.sample("rate", dist.Gamma(2.0, 1.0).expand([x.shape[1]]).to_event(1))
    with pyro.plate("row", len(x)):
        pyro.sample("x", dist.Poisson(rate).to_event(1), obs=x)


def bernoulli(x):
    p = pyro.sample("p", dist.Beta(1.0, 1.0).expand([x.shape[1]]).to_event(1))
    with pyro.plate("row", len(x)):
        pyro.sample("x", dist.Bernoulli(p).to_event(1), obs=x)


def categorical(y):
    weights = pyro.sample("weights", dist.Dirichlet(y.new_ones(3).double()))
    with pyro.plate("row", len(y)):
        pyro.sample("y", dist.Categorical(weights), obs=y)


def twice(x):
    a = pyro.sample("a", dist.Normal(0.0, 1.0))
    pyro.sample("a", dist.Normal(a, 1.0))
    with pyro.plate("row", len(x)):
        pyro.sample("x", dist.Normal(a, 1.0).expand([x.shape[1]]).to_event(1), obs=x)
