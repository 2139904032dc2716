"""Some rows stand for all where all would take long; what they cannot show is looked at in all, or refused."""

from __future__ import annotations

import pyro
import pyro.distributions as dist
import pytest
import torch

import ppzoo
from ppzoo.datasets.arguments import Arguments
from ppzoo.errors import DataError, ModelError
from ppzoo.inference import rows
from ppzoo.inference.program import Pair
from ppzoo.inference.rows import check_on_some, fewer_rows, plates_over_rows, some_rows, watched
from ppzoo.isolation import isolated

X = torch.arange(40.0)


@pytest.fixture
def large(monkeypatch):
    """Forty numbers are many."""
    monkeypatch.setattr(rows, "_MODEST", 10)


def counted(sizes):
    def model(x):
        sizes.append(len(x))
        rate = pyro.sample("rate", dist.Gamma(2.0, 1.0))
        with pyro.plate("row", len(x)):
            pyro.sample("x", dist.Poisson(rate), obs=x)

    return model


def pair_of(model, *args):
    return Pair(model, model, Arguments(args, {}))


def test_some_rows_are_spread_over_all():
    data = Arguments((X, torch.ones(3)), {"y": X * 2})
    some, fewer = some_rows(data, 4), fewer_rows(data, 4)
    assert some.args[0].tolist() == [0, 8, 16, 24, 32]
    assert fewer.args[0].tolist() == [39, 29, 19, 9]
    assert len(some.args[1]) == 3
    assert torch.equal(some.kwargs["y"], 2 * some.args[0])
    assert some_rows(data, None) is some_rows(data, 40) is data


def test_a_fit_runs_the_program_on_all_rows_when_it_is_asked_for_them_and_not_before(large):
    sizes = []
    fit = ppzoo.fit(counted(sizes), X, batch_size=4, steps=60, progress=False)
    assert max(sizes) == 5
    assert "Before the first step the program was run on 5 of 40 rows." in fit.notes
    fit.diagnose()
    assert max(sizes) == 40


@pytest.mark.parametrize("wrong", [-1.0, 0.5])
def test_an_observation_in_a_row_that_was_not_run_is_seen(large, wrong):
    x = X.clone()
    x[17] = wrong
    with pytest.raises(DataError, match=r"x: lies outside the support.*at index \(17,\) \(1 such\)"):
        ppzoo.fit(counted([]), x, batch_size=4, steps=2)


def test_what_is_observed_otherwise_is_run_on_all_rows(large):
    def model(x):
        rate = pyro.sample("rate", dist.Gamma(2.0, 1.0))
        with pyro.plate("row", len(x)):
            pyro.sample("y", dist.Exponential(rate), obs=x + 0.5)

    x = torch.where(X == 23, -1.0, X)
    with pytest.raises(DataError, match=r"y: lies outside the support.*at index \(23,\)"):
        ppzoo.fit(model, x, batch_size=4, steps=2)


def test_a_support_of_each_row_is_not_that_of_all(large):
    def model(n, y):
        p = pyro.sample("p", dist.Beta(1.0, 1.0))
        with pyro.plate("row", len(y)):
            pyro.sample("y", dist.Binomial(n, p), obs=y)

    with isolated(seed=0, validate=True):
        pair = pair_of(model, X + 1, X)
        assert watched(pair)[0] == {}
        assert check_on_some(pair, 4) == ()
        with pytest.raises(DataError, match=r"y: lies outside"):
            check_on_some(pair_of(model, X + 1, X + (X == 22) * 2), 4)


def test_what_a_site_observes_as_it_is(large):
    def model(x, y):
        with pyro.plate("row", len(x)):
            pyro.sample("x", dist.Normal(0.0, 1.0), obs=x)
            pyro.sample("y", dist.Normal(0.0, 1.0), obs=2 * y)

    with isolated(seed=0, validate=True):
        found, others = watched(pair_of(model, X, X.clone()))
    assert [(place, site.name) for place, site in found.items()] == [(0, "x")]
    assert others == ["y"]


def test_plates_that_follow_the_rows():
    def model(x):
        pyro.sample("mu", dist.Normal(0.0, 1.0))
        with pyro.plate("five", 5, dim=-1), pyro.plate("row", len(x), dim=-2):
            pyro.sample("x", dist.Normal(0.0, 1.0), obs=x[:, None].expand(-1, 5))

    data = Arguments((X,), {})
    with isolated(seed=0):
        assert plates_over_rows(Pair(model, model, data), 4) == {"row"}


def test_a_site_whose_size_hangs_on_the_rows_outside_of_the_plate():
    def model(x):
        groups = int(x.max()) + 1
        with pyro.plate("group", groups):
            a = pyro.sample("a", dist.Normal(0.0, 1.0))
        with pyro.plate("row", len(x)):
            pyro.sample("x", dist.Normal(a[x.long()], 1.0), obs=x)

    with pytest.raises(ModelError, match=r"a: changes its shape with the rows.*functools\.partial"):
        ppzoo.fit(model, X, batch_size=4, steps=2)
