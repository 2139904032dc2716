"""Which loss is taken for which pair, and what is refused."""

from __future__ import annotations

import pyro
import pyro.distributions as dist
import pytest
import torch

import ppzoo
from ppzoo.errors import ModelError

Y = torch.tensor([0.9, 1.1, 1.6, 0.4])


def conjugate(y):
    mu = pyro.sample("mu", dist.Normal(0.0, 1.0))
    with pyro.plate("row", len(y)):
        pyro.sample("y", dist.Normal(mu, 1.0), obs=y)


def rows(y):
    with pyro.plate("row", len(y)):
        z = pyro.sample("z", dist.Normal(0.0, 1.0))
        pyro.sample("y", dist.Normal(z, 1.0), obs=y)


def counts(y):
    with pyro.plate("row", len(y)):
        z = pyro.sample("z", dist.Poisson(2.0))
        pyro.sample("y", dist.Normal(z, 1.0), obs=y)


def counts_guide(y):
    rate = pyro.param("rate", torch.tensor(0.5))
    with pyro.plate("row", len(y)):
        pyro.sample("z", dist.Poisson(rate.exp()))


def noisy_guide(y):
    scale = torch.rand(()) + 1
    with pyro.plate("row", len(y)):
        pyro.sample("z", dist.Normal(pyro.param("loc", torch.tensor(0.0)), scale))


def mixed(y):
    conjugate(y)
    with pyro.plate("other", 2):
        pyro.sample("k", dist.Bernoulli(0.5))


@pytest.mark.parametrize(
    ("model", "options", "message"),
    [
        (
            counts,
            {"objective": "dreg", "guide": counts_guide},
            r"cannot be differentiated; got sites 'z'.*rsample",
        ),
        (conjugate, {"objective": "dreg", "guide": "delta"}, r"on a point.*got sites 'mu' with objective='dreg'"),
        (conjugate, {"objective": "wake-sleep", "guide": "delta"}, "on a point"),
        (conjugate, {"objective": "dreg", "guide": "iaf"}, r"only while it makes it; got a flow with objective='dreg'"),
        (conjugate, {"objective": "wake-sleep", "guide": "spline"}, "density is known everywhere"),
        (rows, {"objective": "wake-sleep", "guide": noisy_guide}, r"random beside its draws.*pyro\.sample alone"),
        (conjugate, {"objective": "iwae", "batch_size": 2}, r"rows share.*Leave batch_size out"),
        (mixed, {"objective": "iwae"}, "discrete sites to sum out.*got sites 'k'"),
        (mixed, {"beta": 2.0}, r"whose terms have no weight of their own; got sites 'k' with beta=2;"),
        (mixed, {"anneal": 5}, "got sites 'k' with beta=1 and anneal"),
        (counts, {}, "does not draw discrete sites that cannot be summed out; got misses sites 'z'"),
    ],
)
def test_what_has_no_weights_is_refused(model, options, message):
    with pytest.raises(ModelError, match=message):
        ppzoo.fit(model, Y, method="svi", particles=2, steps=10, progress=False, **options)


def mixture(y):
    loc = pyro.sample("loc", dist.Normal(0.0, 3.0))
    with pyro.plate("row", len(y)):
        k = pyro.sample("k", dist.Bernoulli(0.4))
        pyro.sample("y", dist.Normal(loc + 2 * k, 1.0), obs=y)


def enumerating(y):
    pyro.sample("loc", dist.Normal(pyro.param("at", torch.tensor(0.0)), 0.5))
    with pyro.plate("row", len(y)):
        pyro.sample("k", dist.Bernoulli(pyro.param("p", torch.tensor(0.0)).sigmoid()), infer={"enumerate": "parallel"})


def drawing(y):
    pyro.sample("loc", dist.Normal(pyro.param("at", torch.tensor(0.0)), 0.5))
    with pyro.plate("row", len(y)):
        pyro.sample("k", dist.Bernoulli(pyro.param("p", torch.tensor(0.0)).sigmoid()))


def rough(y):
    pyro.sample("loc", dist.Poisson(pyro.param("at", torch.tensor(0.0)).exp()))


def rough_mixture(y):
    loc = pyro.sample("loc", dist.Poisson(2.0))
    with pyro.plate("row", len(y)):
        k = pyro.sample("k", dist.Bernoulli(0.4))
        pyro.sample("y", dist.Normal(loc + 2 * k, 1.0), obs=y)


@pytest.mark.parametrize(
    ("model", "guide", "note"),
    [
        (mixture, None, ""),
        (mixture, drawing, ""),
        (mixture, enumerating, "The ELBO is Pyro's, for the guide enumerates sites itself."),
        (rough_mixture, rough, "The ELBO is Pyro's, for the guide draws what cannot be differentiated, beside"),
    ],
    ids=["summed", "drawn", "enumerated", "rough"],
)
def test_discrete_sites_go_the_way_that_the_notes_say(model, guide, note):
    fit = ppzoo.fit(model, Y, method="svi", guide=guide, steps=20, progress=False)
    notes = [told for told in fit.notes[1:] if told != "Starts near the posterior, by Pathfinder."]
    assert (notes[0] if notes else "").startswith(note)
    assert len(notes) == bool(note)
    assert ("the program itself" in fit.notes[0]) == bool(note)
