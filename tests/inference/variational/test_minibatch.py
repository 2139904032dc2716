"""The minibatch loss has the full data's expectation; what cannot be weighed is refused."""

from __future__ import annotations

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine

import ppzoo
from ppzoo.datasets.arguments import Arguments
from ppzoo.errors import ModelError, OptionError
from ppzoo.inference.program import Pair, trace_of
from ppzoo.inference.variational.minibatch import Minibatches
from ppzoo.isolation import isolated

X = torch.arange(12.0, dtype=torch.float64) / 10


def hierarchical(x):
    mu = pyro.sample("mu", dist.Normal(0.0, 1.0))
    with pyro.plate("row", len(x)):
        z = pyro.sample("z", dist.Normal(mu, 1.0))
        pyro.sample("x", dist.Normal(z, 0.5), obs=x)


def amortised(x):
    pyro.sample("mu", dist.Delta(torch.tensor(0.3, dtype=x.dtype)))
    with pyro.plate("row", len(x)):
        pyro.sample("z", dist.Delta(0.8 * x))


def log_joint(model, guide, data):
    return float(trace_of(poutine.replay(model, trace_of(guide, data)), data).log_prob_sum())


@pytest.mark.parametrize("batch", [1, 3, 4])
def test_mean_over_an_epoch_is_the_full_loss(batch):
    """Global and local sites, each batch of an epoch once: the mean is exact, not only in expectation."""
    pair = Pair(hierarchical, hierarchical, Arguments((X,), {}, {}, {}, ()), amortised)
    with isolated(seed=0, dtype=torch.float64):
        batches = Minibatches(pair, batch, 0)
        model, guide = batches.weighed(hierarchical), batches.weighed(amortised)
        parts = [log_joint(model, guide, batches.batch(t)) for t in range(batches.per_epoch)]
        assert sum(parts) / len(parts) == pytest.approx(log_joint(hierarchical, amortised, pair.data), rel=1e-12)


def test_rows_of_every_argument_go_together():
    y = X * 2
    seen = []

    def model(x, y, scale):
        with pyro.plate("row", len(x)):
            seen.append((x, y))
            pyro.sample("y", dist.Normal(2 * x, scale), obs=y)

    def guide(x, y, scale):
        """No latent site."""

    pair = Pair(model, model, Arguments((X, y), {"scale": torch.tensor(1.0)}, {}, {}, ()), guide)
    with isolated(seed=0, dtype=torch.float64):
        data = Minibatches(pair, 5, 0).batch(0)
    assert len(data.args[0]) == 5
    assert torch.equal(data.args[1], 2 * data.args[0])
    assert data.kwargs["scale"] == 1.0


def test_larger_than_the_data():
    with pytest.raises(OptionError, match=r"batch_size: is larger than the data; got 13; expected at most 12 rows"):
        ppzoo.fit(hierarchical, X, guide=amortised, batch_size=13)


def test_no_plate_over_the_rows():
    def model(x):
        mu = pyro.sample("mu", dist.Normal(0.0, 1.0))
        pyro.sample("x", dist.Normal(mu, 1.0).expand([len(x)]).to_event(1), obs=x)

    with pytest.raises(ModelError, match=r"no plate over the rows.*Add the plate"):
        ppzoo.fit(model, X, batch_size=4)


def test_an_automatic_guide_with_local_sites():
    with pytest.raises(ModelError, match=r'guide: an automatic guide cannot follow minibatches.*guide="amortised"'):
        ppzoo.fit(hierarchical, X, guide="normal", batch_size=4)
    assert ppzoo.fit(hierarchical, X, guide="amortised", batch_size=4, steps=3).draws(2)["z"].shape == (2, 12)


def test_a_guide_with_a_parameter_for_each_row():
    def guide(x):
        pyro.sample("mu", dist.Normal(0.0, 1.0))
        loc = pyro.param("loc", lambda: torch.zeros(len(x), dtype=x.dtype))
        with pyro.plate("row", len(x)):
            pyro.sample("z", dist.Normal(loc, 1.0))

    with pytest.raises(ModelError, match=r"guide: cannot follow minibatches.*amortised"):
        ppzoo.fit(hierarchical, X, guide=guide, batch_size=4)
    with pytest.raises(ModelError, match=r"guide: cannot follow minibatches"):
        ppzoo.fit(hierarchical, X, guide=guide, batch_size=1)
