"""Which fits start near the posterior, which cannot, and that replicas start apart."""

from __future__ import annotations

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer.autoguide import AutoNormal
from torch import nn

import ppzoo
from ppzoo.datasets.arguments import Arguments
from ppzoo.errors import OptionError
from ppzoo.inference.outcome import Run
from ppzoo.inference.program import Pair
from ppzoo.inference.start import prior_median
from ppzoo.inference.variational.replicas import begin
from ppzoo.isolation import isolated

Y = torch.tensor([0.9, 1.1, 1.6, 0.4, -0.3, 2.2])
NEAR = "Starts near the posterior, by Pathfinder."


def conjugate(y):
    mu = pyro.sample("mu", dist.Normal(0.0, 1.0))
    with pyro.plate("row", len(y)):
        pyro.sample("y", dist.Normal(mu, 1.0), obs=y)


def with_a_parameter(y):
    scale = pyro.param("scale", torch.tensor(1.0), constraint=dist.constraints.positive)
    mu = pyro.sample("mu", dist.Normal(0.0, 1.0))
    with pyro.plate("row", len(y)):
        pyro.sample("y", dist.Normal(mu, scale), obs=y)


def own(y):
    pyro.sample("mu", dist.Normal(pyro.param("m", torch.tensor(0.0)), 0.4))


CANNOT = {
    "its own": ({"guide": own}, "the guide has a start of its own"),
    "a point": ({"guide": "delta"}, "the guide has a start of its own"),
    "an instance": ({"guide": AutoNormal(conjugate, init_loc_fn=prior_median)}, "the guide has a start of its own"),
    "a batch": ({"batch_size": 3}, "rows come in batches"),
    "a parameter": ({"model": with_a_parameter}, "the model has parameters that are no latent sites"),
}


@pytest.mark.parametrize(("settings", "why"), CANNOT.values(), ids=CANNOT)
def test_what_cannot_start_near_the_posterior_starts_as_ever(settings, why):
    settings = {"steps": 5} | settings
    model = settings.pop("model", conjugate)
    assert NEAR not in ppzoo.fit(model, Y, **settings).notes
    with pytest.raises(OptionError, match=f"init: cannot .*{why}"):
        ppzoo.fit(model, Y, init="pathfinder", **settings)


@pytest.mark.parametrize("guide", [None, "normal", AutoNormal, "mvn", "lowrank", "structured"])
def test_guides_by_name_start_there(guide):
    assert NEAR in ppzoo.fit(conjugate, Y, guide=guide, steps=5).notes
    assert NEAR not in ppzoo.fit(conjugate, Y, guide=guide, steps=5, init="data").notes


def test_its_first_loss_is_its_last():
    """Mean-field holds this posterior, so the fit is done when it starts: -log p(y) is the loss of every draw."""
    y = Y.double()
    covariance = torch.eye(6, dtype=torch.float64) + 1
    evidence = float(dist.MultivariateNormal(torch.zeros(6, dtype=torch.float64), covariance).log_prob(y))
    fit = ppzoo.fit(conjugate, y, guide="normal", steps=1)
    assert fit.losses[0] == pytest.approx(-evidence, abs=1e-6)
    assert abs(ppzoo.fit(conjugate, y, guide="normal", steps=1, init="data").losses[0] + evidence) > 0.1


def test_where_pathfinder_fails_the_fit_says_so():
    """A program that draws outside of its sites has no density, and an ELBO all the same."""

    def noisy(y):
        mu = pyro.sample("mu", dist.Normal(0.0, 1.0))
        with pyro.plate("row", len(y)):
            pyro.sample("y", dist.Normal(mu + 0.1 * torch.randn(()), 1.0), obs=y)

    with pytest.raises(ppzoo.errors.ModelError):
        ppzoo.fit(noisy, Y, steps=5, init="pathfinder")
    (note,) = (note for note in ppzoo.fit(noisy, Y, steps=5).notes if "Pathfinder" in note)
    assert note.startswith("Starts at the median of the prior; Pathfinder could not start: ")


def test_replicas_start_at_other_modes():
    """Two modes far apart: paths of several replicas end in both, and each replica stays in its own."""

    def two(y):
        x = pyro.sample("x", dist.Normal(0.0, 10.0))
        with pyro.plate("row", len(y)):
            pyro.sample("y", dist.Normal(x.abs(), 1.0), obs=y)

    with isolated(seed=0, dtype=torch.float64):
        pair = Pair(two, two, Arguments((8 + Y.double(),), {}))
        begun = begin(pair, Run(0, torch.float64, torch.device("cpu"), None), "normal", None, 6)
    ends = begun.parameters[0].abs()  # units of the first replica are those of all
    assert ends.shape == (6,)
    assert begun.placed
    assert float((ends - 8.83).abs().max()) < 0.2
    assert len(set(begun.parameters[0].sign().tolist())) == 2


def test_a_parameter_whose_memory_is_not_in_rows():
    class Own(nn.Module):
        def __init__(self):
            super().__init__()
            self.loc = nn.Parameter(torch.zeros(3, 2).T)

        def model(self, y):
            mu = pyro.sample("mu", dist.Normal(torch.zeros(2, 3), 1.0).to_event(2))
            with pyro.plate("row", len(y)):
                pyro.sample("y", dist.Normal(mu.sum(), 1.0), obs=y)

        def guide(self, y):
            pyro.sample("mu", dist.Normal(self.loc, 0.3).to_event(2))

    fit = ppzoo.fit(Own(), Y, steps=20_000, lr=0.05)
    assert fit.notes == ("Steps: machine code.",)
    assert float(fit.draws(4000)["mu"].sum((1, 2)).mean()) == pytest.approx(6 * float(Y.sum()) / 37, abs=0.1)
