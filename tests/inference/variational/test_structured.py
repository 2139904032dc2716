"""Gaussian posteriors that the structure holds exactly, and where the structure comes from."""

from __future__ import annotations

import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.nn import PyroModule, PyroParam

import ppzoo
from ppzoo.inference.start import near_zero
from ppzoo.inference.variational.structured import Structured
from ppzoo.isolation import isolated

Y = torch.tensor([1.0, 3.0, -2.0, 0.5, 4.0], dtype=torch.float64)
SIGMA = torch.tensor([1.0, 0.5, 2.0, 1.0, 1.5], dtype=torch.float64)
DESIGN = torch.randn(5, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def groups(y, sigma):
    mu = pyro.sample("mu", dist.Normal(0.0, 5.0))
    with pyro.plate("group", len(y)):
        theta = pyro.sample("theta", dist.Normal(mu, 1.5))
        pyro.sample("y", dist.Normal(theta, sigma), obs=y)


def two_of_each_row(y):
    with pyro.plate("row", len(y)):
        u = pyro.sample("u", dist.Normal(y.new_zeros(2), 1.0).to_event(1))
        v = pyro.sample("v", dist.Normal(0.0, 2.0))
        pyro.sample("y", dist.Normal(u.sum(-1) + v, 0.5), obs=y)


def coefficients_in_a_plate(x, y):
    with pyro.plate("column", x.shape[1]):
        beta = pyro.sample("beta", dist.Normal(0.0, 1.0))
    with pyro.plate("row", len(y)):
        pyro.sample("y", dist.Normal(x @ beta, 0.5), obs=y)


def normal_of(prior, design, noise):
    """Posterior precision and evidence of ``y = design z + noise`` with ``z`` of the precision ``prior``."""
    precision = prior + design.mT @ torch.diag(1 / noise**2) @ design
    marginal = design @ torch.linalg.inv(prior) @ design.mT + torch.diag(noise**2)
    return precision, float(dist.MultivariateNormal(torch.zeros(5, dtype=torch.float64), marginal).log_prob(Y))


def precision_of_groups():
    """Of mu and the five theta."""
    prior = torch.eye(6, dtype=torch.float64) / 1.5**2
    prior[0, 0] = 1 / 5**2 + 5 / 1.5**2
    prior[0, 1:] = prior[1:, 0] = -1 / 1.5**2
    return prior


EYE = torch.eye(5, dtype=torch.float64)
HALF = torch.full((5,), 0.5, dtype=torch.float64)
GAUSSIAN = {
    "groups": (groups, (Y, SIGMA), precision_of_groups(), torch.cat([torch.zeros(5, 1), EYE], 1), SIGMA),
    "two of each row": (
        two_of_each_row,
        Y,
        torch.diag(torch.cat([torch.ones(10), torch.full((5,), 0.25)])).double(),
        torch.cat([EYE, EYE, EYE], 1),
        HALF,
    ),
    "coefficients in a plate": (
        coefficients_in_a_plate,
        (DESIGN, Y),
        torch.eye(3, dtype=torch.float64),
        DESIGN,
        HALF,
    ),
}


@pytest.mark.parametrize("case", GAUSSIAN)
def test_a_gaussian_posterior_is_held_and_mean_field_loses_what_it_must(case):
    """Mean field loses (sum log P_ii - log det P) / 2 nats of a Gaussian with precision P; measured to 0.05."""
    model, data, prior, design, noise = GAUSSIAN[case]
    precision, evidence = normal_of(prior, design, noise)
    must = float(precision.diagonal().log().sum() - torch.linalg.slogdet(precision).logabsdet) / 2
    lost = {}
    for guide in ("normal", "structured"):
        fit = ppzoo.fit(model, data, guide=guide, steps=5000, lr=0.02)
        lost[guide] = evidence + float(fit.losses[-1000:].mean())
    assert must > 0.2
    assert lost["normal"] == pytest.approx(must, abs=0.05 + 0.1 * must)
    assert lost["structured"] == pytest.approx(0, abs=0.06)


def shapes(model, *data):
    latent = {groups: ["mu", "theta"], two_of_each_row: ["u", "v"], coefficients_in_a_plate: ["beta"]}[model]
    with isolated(seed=0, dtype=torch.float64):
        guide = Structured(model, latent, near_zero)
        guide(*data)
        return {name: tuple(parameter.shape) for name, parameter in guide.named_parameters()}


def test_what_is_coupled_is_what_the_program_couples():
    found = shapes(groups, Y, SIGMA)
    assert found["deps.theta.mu.weight"] == (5, 1)
    assert found["conds.theta.scale_tril_unconstrained"] == (5, 1, 1)  # independent, given mu
    found = shapes(two_of_each_row, Y)
    assert found["deps.v.u.weight"] == (5, 1, 2)  # by rows, though u and v meet in y alone
    assert found["conds.u.scale_tril_unconstrained"] == (5, 2, 2)
    assert shapes(coefficients_in_a_plate, DESIGN, Y)["scale_trils.beta_unconstrained"] == (3, 3)  # across the plate


def test_the_guide_begins_at_its_start_without_dependence():
    with isolated(seed=0, dtype=torch.float64), torch.no_grad():
        guide = Structured(two_of_each_row, ["u", "v"], near_zero)
        draws = [guide(Y) for _ in range(2000)]
        z = torch.stack([torch.cat([draw["u"].flatten(), draw["v"]]) for draw in draws])
    assert (z.mean(0).abs() < 0.1 + 5 * 0.1 / 2000**0.5).all()
    assert torch.allclose(z.std(0), torch.tensor(0.1, dtype=torch.float64), rtol=0.1)  # 6 standard errors
    assert (torch.corrcoef(z.mT) - torch.eye(15)).abs().max() < 6 / 2000**0.5


def test_eight_schools_where_mean_field_must_choose_a_scale():
    """Centred: the schools hang on their mean. 0.4 nats, standard error 0.05."""
    model = ppzoo.create_model("eight_schools", centred=True)
    fits = [ppzoo.fit(model, "eight_schools", guide=guide, steps=8000) for guide in ("normal", "structured")]
    normal, structured = (-float(fit.losses[-2000:].mean()) for fit in fits)
    assert structured - normal > 0.2
    assert fits[1].notes[0] == "Steps: machine code."


class Module(PyroModule):
    """With an improper site, a point, and a parameter of its own."""

    def __init__(self):
        super().__init__()
        self.scale = PyroParam(torch.tensor(1.0), constraint=dist.constraints.positive)

    def forward(self, y):
        mu = pyro.sample("mu", dist.ImproperUniform(dist.constraints.real, (), ()))
        with pyro.plate("row", len(y)):
            z = pyro.sample("z", dist.LogNormal(mu, self.scale))
            pyro.sample("y", dist.Normal(z, 1.0), obs=y)


def test_a_module_with_an_improper_site_and_replicas():
    fit = ppzoo.fit(Module(), Y, guide="structured", steps=200, replicas=3)
    assert all(math.isfinite(loss) for loss in fit.losses)
    assert fit.notes[0] in ("Steps: machine code.", "Steps: traced graph of all replicas.")
    assert [name for name in fit.pair.state() if "scale" in name and name.startswith("model.")] == [
        "model.scale_unconstrained"
    ]
    assert fit.draws(3)["z"].shape == (3, 5)
