"""The game's values at its known points, and who learns from which loss."""

from __future__ import annotations

import copy
import math

import pytest
import torch

from ppzoo.adversarial.gan import GAN
from ppzoo.contracts import Checked, Density, Game, Program
from ppzoo.errors import DataError, OptionError


def test_contracts(seeded):
    gan = GAN(features=2)
    assert isinstance(gan, Game)
    assert isinstance(gan, Checked)
    assert not isinstance(gan, Program)  # SVI and NUTS have nothing to run
    assert not isinstance(gan, Density)
    assert not hasattr(gan, "guide")


def test_the_players_share_nothing_and_are_the_whole(seeded):
    gan = GAN(features=2)
    generator, critic = ({id(p) for p in ps} for ps in (gan.generator_parameters(), gan.critic_parameters()))
    assert not generator & critic
    assert generator | critic == {id(p) for p in gan.parameters()}


def test_an_undecided_critic_has_loss_two_log_two(seeded):
    gan = GAN(features=2).double()
    with torch.no_grad():
        for p in gan.critic_parameters():
            p.zero_()
    assert gan.critic_loss(torch.randn(7, 2, dtype=torch.float64)).item() == pytest.approx(2 * math.log(2), rel=1e-14)
    assert gan.generator_loss(7).item() == pytest.approx(math.log(2), rel=1e-14)


def test_losses_are_those_of_the_paper(seeded):
    gan = GAN(features=2).double()
    x = torch.randn(50, 2, dtype=torch.float64)
    state = torch.get_rng_state()
    with torch.no_grad():
        fake = gan.sample(50)
        D_x, D_fake = gan.critic(x).sigmoid(), gan.critic(fake).sigmoid()
        torch.set_rng_state(state)
        torch.testing.assert_close(gan.critic_loss(x), -(D_x.log().mean() + (1 - D_fake).log().mean()))
        torch.set_rng_state(state)
        torch.testing.assert_close(gan.generator_loss(50), -D_fake.log().mean())


def test_the_best_critic_has_the_divergence_of_jensen_and_shannon(seeded):
    # data N(1, 1), draws N(-1, 1): the best logit is log p(x) - log q(x) = 2 x; tolerance 4 standard errors
    gan = GAN(features=1, latents=1, hidden=()).double()
    with torch.no_grad():
        gan.generator[0].weight.fill_(1.0)
        gan.generator[0].bias.fill_(-1.0)
        gan.critic[0].weight.fill_(2.0)
        gan.critic[0].bias.zero_()
        n = 200_000
        loss = gan.critic_loss(1 + torch.randn(n, 1, dtype=torch.float64)).item()
    grid = torch.linspace(-12, 12, 200_001, dtype=torch.float64)
    p, q = (torch.distributions.Normal(m, 1.0).log_prob(grid).exp() for m in (1.0, -1.0))
    m = (p + q) / 2
    jsd = torch.trapezoid((torch.xlogy(p, p / m) + torch.xlogy(q, q / m)) / 2, grid).item()
    assert loss == pytest.approx(2 * math.log(2) - 2 * jsd, abs=4 * 0.6 * math.sqrt(2 / n))


def test_gradients_reach_the_right_player(seeded):
    gan = GAN(features=2)
    gan.critic_loss(torch.randn(8, 2)).backward()
    assert all(p.grad is None for p in gan.generator_parameters())
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in gan.critic_parameters())
    gan.generator_loss(8).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in gan.generator_parameters())
    assert not gan.sample(3).requires_grad


def test_losses_are_finite_for_a_critic_that_is_certain(seeded):
    gan = GAN(features=2)
    with torch.no_grad():
        gan.critic[-1].bias.fill_(-1e4)
    loss = gan.generator_loss(8)
    loss.backward()
    assert loss.item() == pytest.approx(1e4, rel=1e-3)
    assert all(p.grad.isfinite().all() for p in gan.generator_parameters())


def test_draws_follow_type_and_device(device, seeded):
    gan = GAN(features=3, latents=5)
    twin = copy.deepcopy(gan).to(device=device, dtype=torch.float64)
    draws = twin.sample(4)
    assert (draws.shape, draws.dtype, draws.device.type) == ((4, 3), torch.float64, device)
    assert twin.critic_loss(draws).isfinite()
    assert gan.sample(4).dtype == torch.float32


def test_learns_the_mean_of_a_normal(seeded):
    gan = GAN(features=1, latents=1, hidden=(16,))
    players = [
        torch.optim.Adam(ps, lr=5e-3, betas=(0.5, 0.999))
        for ps in (gan.critic_parameters(), gan.generator_parameters())
    ]
    for _ in range(300):
        x = 3 + 0.5 * torch.randn(64, 1)
        for player, loss in zip(players, (gan.critic_loss, gan.generator_loss), strict=True):
            player.zero_grad()
            loss(x if loss == gan.critic_loss else 64).backward()
            player.step()
    assert gan.sample(2000).mean().item() == pytest.approx(3, abs=0.5)  # from about zero at the start


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"features": 0}, "features: must be a whole number"),
        ({"latents": 0}, "latents: must be a whole number"),
        ({"hidden": "64"}, "hidden: must be the widths"),
    ],
)
def test_options_out_of_range(options, message, seeded):
    with pytest.raises(OptionError, match=message):
        GAN(**{"features": 2, **options})


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (torch.zeros(4, 3), "x: has 3 columns, but the model is made for 2"),
        (torch.zeros(1, 2), "x: has too few rows"),
        (torch.zeros(4, 2), "x: all rows are identical"),
    ],
)
def test_data_that_do_not_fit(x, message, seeded):
    with pytest.raises(DataError, match=message):
        GAN(features=2).check(x)
