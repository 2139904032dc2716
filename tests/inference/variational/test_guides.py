"""Guides by name, and guides that do not match."""

from __future__ import annotations

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer.autoguide import AutoDiagonalNormal, AutoNormal

import ppzoo
from ppzoo.errors import ModelError, OptionError
from ppzoo.inference.variational.guides import GUIDES

Y = torch.tensor([0.5, 1.5, 1.0])
JOINT = [name for name in GUIDES if name != "amortised"]  # which needs a latent site for each row


def model(y):
    a = pyro.sample("a", dist.Normal(0.0, 1.0))
    b = pyro.sample("b", dist.LogNormal(0.0, 1.0))
    with pyro.plate("row", len(y)):
        pyro.sample("y", dist.Normal(a, b), obs=y)


def fit(guide, steps=5):
    return ppzoo.fit(model, Y, guide=guide, steps=steps)


@pytest.mark.parametrize("guide", [AutoDiagonalNormal, AutoNormal(model), *JOINT], ids=["class", "instance", *JOINT])
def test_every_form_of_a_guide_fits(guide):
    assert set(fit(guide).draws(3)) >= {"a", "b"}


def regression(x, y):
    beta = pyro.sample("beta", dist.Normal(torch.zeros(3, dtype=x.dtype), 1.0).to_event(1))
    with pyro.plate("row", len(y)):
        pyro.sample("y", dist.Normal(x @ beta, 0.7), obs=y)


def collinear():
    """Two columns that say almost the same: the posterior's correlation of their slopes is -0.87."""
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(40, 3, generator=generator, dtype=torch.float64)
    x[:, 1] = 0.9 * x[:, 0] + 0.45 * x[:, 1]
    return x, x @ x.new_tensor([1.0, -1.0, 0.5]) + 0.7 * torch.randn(40, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("guide", ["normal", "mvn", "iaf", "spline", "structured"])
def test_a_correlated_posterior(guide):
    """Conjugate: precision I + X'X / s2. Mean field finds the mean, and 1 / precision_ii for a variance."""
    x, y = collinear()
    precision = torch.eye(3, dtype=torch.float64) + x.mT @ x / 0.7**2
    covariance = torch.linalg.inv(precision)
    mean = covariance @ x.mT @ y / 0.7**2
    if guide == "normal":
        covariance = torch.diag(1 / precision.diagonal())
    draws = ppzoo.fit(regression, (x, y), guide=guide, steps=6000, lr=0.02).draws(20_000)["beta"]
    whitened = torch.linalg.solve_triangular(torch.linalg.cholesky(covariance), (draws - mean).mT, upper=False)
    # standard errors of 20,000 draws: 0.007 and 0.01; the rest is left to the optimiser
    assert whitened.mean(1).abs().max() < 0.15
    assert (torch.cov(whitened) - torch.eye(3)).abs().max() < 0.15


def test_a_guide_instance_is_not_changed_and_keeps_its_model():
    guide = AutoNormal(model)
    before = guide.model
    fit(guide)
    assert guide.prototype_trace is None
    assert guide.model is before


def test_unknown_name():
    with pytest.raises(OptionError, match=r"guide: unknown guide; got 'nromal'.*Did you mean 'normal'"):
        fit("nromal")


def test_not_a_guide():
    with pytest.raises(OptionError, match=r"guide: is not a guide; got a int"):
        fit(3)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["a"], "misses site 'b'"),
        (["a", "b", "c"], "has extra site 'c'"),
        ([], "misses site 'a', 'b'"),
    ],
)
def test_missing_and_extra_sites(names, message):
    def guide(y):
        for name in names:
            pyro.sample(name, dist.LogNormal(0.0, 1.0))

    with pytest.raises(ModelError, match=message):
        fit(guide)


def test_a_guide_that_observes_is_refused():
    """With the model as its own guide the weights are constant and the loss is zero: the prior would be trusted."""
    with pytest.raises(ModelError, match=r"guide: observes data.*got obs= at site 'y'"):
        fit(model)


def test_a_guide_may_have_factors_and_deterministic_sites():
    def guide(y):
        a = pyro.sample("a", dist.Normal(0.0, 1.0))
        pyro.sample("b", dist.LogNormal(0.0, 1.0))
        pyro.deterministic("double", 2 * a)
        pyro.factor("jacobian", torch.tensor(0.0), has_rsample=True)

    assert set(fit(guide).draws(3)) >= {"a", "b"}


def test_another_shape():
    def guide(y):
        pyro.sample("a", dist.Normal(torch.zeros(2), 1.0).to_event(1))
        pyro.sample("b", dist.LogNormal(0.0, 1.0))

    with pytest.raises(ModelError, match=r"gives site 'a' another shape than the model; got shape \(2,\)"):
        fit(guide)


def supports(y):
    pyro.sample("scale", dist.HalfNormal(1.0))
    pyro.sample("share", dist.Beta(1.0, 1.0).expand([2]).to_event(1))
    pyro.sample("weights", dist.Dirichlet(torch.ones(3)))
    top = pyro.sample("top", dist.Gamma(2.0, 1.0))
    pyro.sample("below", dist.Uniform(0.0, top))
    pyro.sample("y", dist.Normal(0.0, 1.0).expand([len(y)]).to_event(1), obs=y)


GOOD = {
    "scale": lambda: dist.LogNormal(0.0, 1.0),
    "share": lambda: dist.Uniform(0.1, 0.2).expand([2]).to_event(1),
    "weights": lambda: dist.Dirichlet(torch.full((3,), 5.0)),
    "top": lambda: dist.TransformedDistribution(dist.Normal(0.0, 1.0), [dist.transforms.ExpTransform()]),
    "below": lambda: dist.Uniform(0.0, 0.1),
}


def guide_with(**other):
    def guide(y):
        for name, make in {**GOOD, **other}.items():
            pyro.sample(name, make())

    return guide


def test_supports_of_other_families_are_the_same_or_lie_inside():
    assert set(ppzoo.fit(supports, Y, guide=guide_with(), steps=3).draws(3)) >= set(GOOD)


def test_a_point_and_a_support_that_moves_are_no_mismatch():
    """Below an upper end that is itself latent nobody can say what is outside."""
    others = {"scale": lambda: dist.Delta(torch.tensor(0.7)), "below": lambda: dist.LogNormal(-9.0, 0.1)}
    assert set(ppzoo.fit(supports, Y, guide=guide_with(**others), steps=3).draws(3)) >= set(GOOD)


@pytest.mark.parametrize(
    ("site", "make", "got", "expected"),
    [
        ("scale", lambda: dist.Normal(9.0, 0.01), "Normal on Real", r"on GreaterThan.*as HalfNormal"),
        ("share", lambda: dist.Normal(0.5, 0.01).expand([2]).to_event(1), "Normal on Real", "on Interval.*as Beta"),
        ("share", lambda: dist.Gamma(1.0, 1.0).expand([2]).to_event(1), "Gamma on GreaterThan", "Interval"),
        ("weights", lambda: dist.Normal(torch.zeros(3), 1.0).to_event(1), "Normal on Real", "on Simplex"),
        ("scale", lambda: dist.Poisson(3.0), "Poisson", "as HalfNormal"),
        ("scale", lambda: dist.Delta(torch.tensor(-1.0)), "Delta", "as HalfNormal"),
    ],
)
def test_another_support(site, make, got, expected):
    message = rf"guide: can give site '{site}' values that the model rules out; got {got}.*{expected}.*LogNormal"
    with pytest.raises(ModelError, match=message):
        ppzoo.fit(supports, Y, guide=guide_with(**{site: make}), steps=3)


def some_rows(y):
    mu = pyro.sample("mu", dist.Normal(0.0, 1.0))
    with pyro.plate("row", len(y), subsample_size=2) as rows:
        pyro.sample("y", dist.Normal(mu, 1.0), obs=y[rows])


def given_rows(y, rows):
    mu = pyro.sample("mu", dist.Normal(0.0, 1.0))
    with pyro.plate("row", len(y), subsample=rows):
        pyro.sample("y", dist.Normal(mu, 1.0), obs=y[rows])


@pytest.mark.parametrize("batch_size", [None, 2])
@pytest.mark.parametrize(
    "guide",
    [None, *GUIDES, AutoNormal, AutoDiagonalNormal(some_rows)],
    ids=["default", *GUIDES, "class", "instance"],
)
def test_a_plate_that_takes_its_own_rows(guide, batch_size):
    """Pyro's guides put rows of their own in the place of the model's, and say nothing."""
    with pytest.raises(ModelError, match=r"model: takes some rows of plate 'row'.*subsample_size=2.*batch_size"):
        ppzoo.fit(some_rows, Y, guide=guide, steps=3, batch_size=batch_size)


@pytest.mark.parametrize("rows", [[0, 2], [2, 1, 0]], ids=["some", "in another order"])
def test_a_plate_that_is_given_its_rows(rows):
    with pytest.raises(ModelError, match=r"takes some rows of plate 'row'.*subsample=\.\.\..*batch_size"):
        ppzoo.fit(given_rows, (Y, torch.tensor(rows)), guide="normal", steps=3)
    ppzoo.fit(given_rows, (Y, torch.tensor([0, 1, 2])), guide="normal", steps=3)


def test_a_guide_function_may_follow_a_plate_that_takes_its_own_rows():
    def guide(y):
        pyro.sample("mu", dist.Normal(pyro.param("m", torch.tensor(0.0)), 1.0))

    assert len(ppzoo.fit(some_rows, Y, guide=guide, steps=3).draws(3)["mu"]) == 3


def test_an_automatic_guide_needs_something_to_guide():
    def observed_only(y):
        pyro.sample("y", dist.Normal(pyro.param("m", torch.tensor(0.0)), 1.0).expand([3]).to_event(1), obs=y)

    with pytest.raises(ModelError, match="no continuous latent site for a guide"):
        ppzoo.fit(observed_only, Y, guide="normal", steps=3)
    assert ppzoo.fit(observed_only, Y, steps=600, lr=0.05).parameters()["m"] == pytest.approx(1.0, abs=0.02)
