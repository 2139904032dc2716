"""An encoder against the posterior of each row in closed form, and what it needs of a model."""

from __future__ import annotations

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.nn import PyroModule, PyroParam
from torch import nn

import ppzoo
from ppzoo.datasets.arguments import Arguments
from ppzoo.errors import ModelError
from ppzoo.inference.program import trace_of
from ppzoo.inference.start import near_zero
from ppzoo.inference.variational.amortised import Amortised
from ppzoo.isolation import isolated

X = 5**0.5 * torch.randn(200, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def conjugate(x):
    """z given x: normal with mean 0.8 x and variance 0.8. x: normal with variance 5."""
    with pyro.plate("row", len(x)):
        z = pyro.sample("z", dist.Normal(0.0, 2.0))
        pyro.sample("x", dist.Normal(z, 1.0), obs=x)


def hierarchical(x):
    with pyro.plate("group", 3):
        pyro.sample("level", dist.Normal(0.0, 1.0))
    scale = pyro.sample("scale", dist.HalfNormal(1.0))
    rows = pyro.plate("row", len(x), dim=-2)
    with rows:
        weights = pyro.sample("weights", dist.Dirichlet(torch.ones(3)))
        with pyro.plate("column", 2, dim=-1):
            z = pyro.sample("z", dist.LogNormal(0.0, scale))
            pyro.sample("x", dist.Normal(z * weights[..., 0], 1.0), obs=x)


def rows_of(x):
    return Arguments((x,), {}, {}, {}, ())


@pytest.fixture(scope="module", params=[None, 20], ids=["all rows", "minibatches"])
def fit(request):
    return ppzoo.fit(conjugate, X, guide="amortised", batch_size=request.param, steps=5000, dtype=torch.float64)


def test_the_exact_posterior_of_every_row(fit):
    """Standard errors of 4,000 draws are 0.014 and 0.01; the rest is left to the optimiser."""
    z = fit.draws(4000)["z"]
    off = (z.mean(0) - 0.8 * X) / 0.8**0.5
    assert off.square().mean().sqrt() < 0.1
    assert (z.std(0) / 0.8**0.5 - 1).abs().max() < 0.15


def test_the_elbo_is_the_log_evidence(fit):
    """What is lost, nats per row; 1,000 losses of 20 rows have a standard error of 0.003 each."""
    evidence = float(dist.Normal(0.0, 5**0.5).log_prob(X).sum())
    assert -0.01 < (evidence + fit.losses[-1000:].mean()) / len(X) < 0.01


def test_steps_are_recorded_and_rows_judged(fit):
    assert fit.notes[0] in ("Steps: machine code.", "Steps: traced graph.")
    assert fit.diagnose().verdict in ("trust", "caution")


def test_new_rows_have_a_posterior_without_a_fit(fit):
    """A replicate of a row: mean 0.8 x, variance 1.8; 20,000 draws of each."""
    new = X.new_tensor([-4.0, 0.0, 3.0])
    again = fit.predict(new, draws=20_000)["x"]
    assert again.shape == (20_000, 3)
    assert torch.allclose(again.mean(0), 0.8 * new, atol=0.25)
    assert torch.allclose(again.var(0), torch.tensor(1.8, dtype=torch.float64), rtol=0.2)


def test_with_a_global_site_it_is_the_best_of_mean_field():
    """mu ~ N(0, 25), z ~ N(mu, 1), x ~ N(z, 1): exact means, and 1 / precision for variances, 1 / 40.04 and 1 / 2."""

    def model(x):
        mu = pyro.sample("mu", dist.Normal(0.0, 5.0))
        with pyro.plate("row", len(x)):
            z = pyro.sample("z", dist.Normal(mu, 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    x = 3 + 2**0.5 * X[:40] / 5**0.5
    mu = x.sum() / 2 / (40 / 2 + 1 / 25)
    draws = ppzoo.fit(model, x, guide="amortised", batch_size=10, steps=5000).draws(4000)
    assert abs(draws["mu"].mean() - mu) * 40.04**0.5 < 0.3
    assert draws["mu"].std() * 40.04**0.5 == pytest.approx(1, abs=0.15)
    assert ((draws["z"].mean(0) - (mu + x) / 2) * 2**0.5).square().mean().sqrt() < 0.15
    assert ((draws["z"].std(0) * 2**0.5 - 1).abs() < 0.2).all()


def test_every_site_begins_at_its_start_in_its_own_shape():
    data = torch.randn(5, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    with isolated(seed=0, dtype=torch.float64), torch.no_grad():
        guide = Amortised(hierarchical, near_zero)
        first, second = (trace_of(guide, rows_of(data)) for _ in range(2))
        few = trace_of(guide, rows_of(data[:4]))
        shapes = {"level": (3,), "scale": (), "weights": (5, 1, 3), "z": (5, 2)}
        for name, shape in shapes.items():
            assert tuple(first.nodes[name]["value"].shape) == shape
            assert not torch.equal(first.nodes[name]["value"], second.nodes[name]["value"])
            normal = first.nodes[name]["fn"].base_dist
            while hasattr(normal, "base_dist"):
                normal = normal.base_dist
            assert torch.allclose(normal.scale, torch.tensor(0.1))
            assert (normal.loc.abs() <= 0.1).all()
        assert tuple(few.nodes["z"]["value"].shape) == (4, 2)
        assert tuple(few.nodes["level"]["value"].shape) == (3,)
        assert [frame.name for frame in few.nodes["z"]["cond_indep_stack"]] == ["row", "column"]


def test_density_of_a_row_is_that_of_its_own_data():
    """The encoder sees no other row: changing one changes the guide there alone."""
    with isolated(seed=0, dtype=torch.float64), torch.no_grad():
        guide = Amortised(conjugate, near_zero)
        guide(X)
        for parameter in guide.parameters():
            parameter.add_(torch.randn_like(parameter))
        other = X.clone()
        other[3] += 1
        one, two = (trace_of(guide, rows_of(x)).nodes["z"]["fn"].base_dist for x in (X, other))
        assert (one.loc != two.loc).nonzero().flatten().tolist() == [3]
        assert (one.scale != two.scale).nonzero().flatten().tolist() == [3]


class Decoder(PyroModule):
    """A model with a network and a parameter of its own."""

    def __init__(self):
        super().__init__()
        self.net = PyroModule[nn.Linear](1, 2)
        self.scale = PyroParam(torch.tensor(1.0), constraint=dist.constraints.positive)

    def forward(self, x):
        with pyro.plate("row", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(1), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(self.net(z), self.scale).to_event(1), obs=x)


def test_a_module_is_trained_with_its_guide_and_belongs_to_the_model_alone():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = Decoder()
    fit = ppzoo.fit(model, X.reshape(100, 2), guide="amortised", steps=200, batch_size=10, replicas=2)
    assert fit.losses[-20:].mean() < fit.losses[:20].mean()
    assert not any("net" in name or "_model" in name for name in fit.pair.state() if name.startswith("guide."))
    assert fit.notes[1].startswith("The best of 2 replicas")


def no_local(x):
    mu = pyro.sample("mu", dist.Normal(0.0, 1.0))
    with pyro.plate("row", len(x)):
        pyro.sample("x", dist.Normal(mu, 1.0), obs=x)


def closed_over():
    conjugate(X)


@pytest.mark.parametrize(
    ("model", "data", "got"),
    [(no_local, X, r"200 rows of 1 numbers.*'mu' of shape \(\)"), (closed_over, (), "0 rows of 0 numbers.*'z'")],
)
def test_without_rows_or_sites_of_rows(model, data, got):
    with pytest.raises(ModelError, match=rf"guide: has no latent site for each row.*{got}.*as an argument"):
        ppzoo.fit(model, data, guide="amortised", steps=3)
