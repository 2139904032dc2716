"""Real NVP: an invertible map, its Jacobian, a density that integrates to one, and one that learns two moons."""

from __future__ import annotations

import copy

import pyro
import pytest
import torch
from pyro import poutine
from pyro.infer import Trace_ELBO
from sklearn.datasets import make_moons
from sklearn.mixture import GaussianMixture
from torch.distributions import ComposeTransform

from ppzoo.contracts import Checked, Density, Guided
from ppzoo.errors import DataError, OptionError
from ppzoo.models.flow.realnvp import RealNVP


def _flow(features: int, layers: int = 6) -> RealNVP:
    """A float64 flow bent well away from the identity."""
    flow = RealNVP(features=features, layers=layers, hidden=(16,)).double()
    with torch.no_grad():
        for network in flow.couplings:
            network[-1].weight.mul_(2)
    return flow


@pytest.mark.parametrize("features", [2, 3, 7])
def test_round_trip(features, seeded):
    flow = _flow(features)
    z = torch.randn(100, features, dtype=torch.float64)
    with torch.no_grad():
        x = ComposeTransform(flow.distribution().transforms)(z)
        back = ComposeTransform(flow.distribution().transforms).inv(x)  # made anew: nothing is cached
    assert float((x - z).abs().mean()) > 0.1
    torch.testing.assert_close(back, z, rtol=0, atol=1e-10)


@pytest.mark.parametrize("features", [2, 3, 7])
def test_log_determinant_is_that_of_the_jacobian(features, seeded):
    flow = _flow(features)
    f = ComposeTransform(flow.distribution().transforms)
    z = torch.randn(20, features, dtype=torch.float64)
    J = torch.stack([torch.autograd.functional.jacobian(f, row) for row in z])
    torch.testing.assert_close(f.log_abs_det_jacobian(z, f(z)), torch.linalg.slogdet(J)[1], rtol=0, atol=1e-9)


def test_density_follows_from_the_change_of_variables(seeded):
    flow = _flow(3)
    f = ComposeTransform(flow.distribution().transforms)
    z = torch.randn(20, 3, dtype=torch.float64)
    x = f(z).detach()
    J = torch.stack([torch.autograd.functional.jacobian(f, row) for row in z])
    base = torch.distributions.Normal(0.0, 1.0).log_prob(z).sum(1)
    torch.testing.assert_close(flow.log_prob(x), base - torch.linalg.slogdet(J)[1], rtol=0, atol=1e-9)


def test_density_integrates_to_one(seeded):
    # rectangle rule, step 0.02; what lies outside the square is below the tolerance
    flow = _flow(2, layers=4)
    axis = torch.arange(-12, 12, 0.02, dtype=torch.float64)
    with torch.no_grad():
        total = sum(float(flow.log_prob(torch.cartesian_prod(part, axis)).exp().sum()) for part in axis.split(100))
    assert total * 0.02**2 == pytest.approx(1, abs=1e-4)


def test_elbo_is_the_log_likelihood(seeded):
    flow = _flow(3)
    x = torch.randn(50, 3, dtype=torch.float64)
    with pyro.validation_enabled():
        loss = Trace_ELBO().loss(flow.model, flow.guide, x)
    assert -loss == pytest.approx(float(flow.log_prob(x).detach().sum()), rel=1e-12)


def test_site_plate_and_shapes(device, seeded):
    flow = RealNVP(features=3).to(device)
    x = torch.randn(5, 3, device=device)
    node = poutine.trace(flow.model).get_trace(x).nodes["x"]
    assert [frame.name for frame in node["cond_indep_stack"]] == ["row"]
    assert node["fn"].log_prob(x).shape == flow.log_prob(x).shape == (5,)
    drawn = poutine.trace(poutine.uncondition(flow.model)).get_trace(x).nodes["x"]["value"]
    assert drawn.shape == flow.sample(5).shape == (5, 3)
    assert flow.sample(5).device.type == device


def test_contracts(seeded):
    assert all(isinstance(RealNVP(features=2), contract) for contract in (Guided, Checked, Density))


def test_a_used_flow_can_be_copied_and_cast(seeded):
    flow = RealNVP(features=2)
    x = torch.randn(10, 2)
    flow.log_prob(flow.sample(10)).sum().backward()
    twin = copy.deepcopy(flow).double()
    torch.testing.assert_close(twin.log_prob(x.double()).float(), flow.log_prob(x))
    assert twin.sample(2).dtype == torch.float64
    with torch.no_grad():
        before = flow.log_prob(x)
        flow.couplings[0][-1].bias.add_(1)
        assert not torch.allclose(flow.log_prob(x), before)  # nothing remembered from before the change


def test_log_prob_has_gradients_and_samples_have_none(seeded):
    flow = RealNVP(features=3)
    assert not flow.sample(4).requires_grad
    flow.log_prob(torch.randn(10, 3)).sum().backward()
    assert all(p.grad is not None for p in flow.parameters())


def test_beats_two_gaussians_on_two_moons(seeded):
    # a short run; the gap is more than half a nat, some ten standard errors of the held-out mean
    x, _ = make_moons(1200, noise=0.05, random_state=0)
    train, test = torch.as_tensor(x).split([800, 400])
    flow = RealNVP(features=2).double()
    optimiser = torch.optim.Adam(flow.parameters(), lr=5e-3)
    for _ in range(250):
        optimiser.zero_grad()
        (-flow.log_prob(train).mean()).backward()
        optimiser.step()
    two = GaussianMixture(2, random_state=0).fit(train.numpy())
    with torch.no_grad():
        gap = flow.log_prob(test).numpy() - two.score_samples(test.numpy())
    assert gap.mean() > 4 * gap.std() / len(gap) ** 0.5


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"features": 1}, "features: must be a whole number in range; got 1; expected an int >= 2"),
        ({"layers": 0}, "layers: must be a whole number"),
        ({"hidden": 64}, "hidden: must be the widths"),
    ],
)
def test_options_out_of_range(options, message, seeded):
    with pytest.raises(OptionError, match=message):
        RealNVP(**{"features": 2, **options})


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (torch.zeros(4, 3), "x: has 3 columns, but the model is made for 2"),
        (torch.zeros(1, 2), "x: has too few rows"),
        (torch.tensor([[1.0, 2.0], [1.0, 3.0]]), "x: has a constant column; got column 0"),
    ],
)
def test_data_that_do_not_fit(x, message, seeded):
    with pytest.raises(DataError, match=message):
        RealNVP(features=2).check(x)
