"""The VAE: a bound that is the evidence where the posterior is exact, and ordered where it is not."""

from __future__ import annotations

import copy
import math
from itertools import pairwise

import pyro
import pytest
import torch
from pyro import poutine
from pyro.infer import Trace_ELBO
from sklearn.datasets import load_digits
from torch import nn

from ppzoo.contracts import Checked, Density, Encoder, Generator, Guided
from ppzoo.errors import DataError, ModelError, OptionError
from ppzoo.models.autoencoder.vae import VAE


@pytest.fixture
def grey(seeded):
    return torch.rand(20, 6, dtype=torch.float64)


def _linear_vae() -> tuple[VAE, torch.distributions.Distribution]:
    """A Gaussian VAE with orthogonal linear decoder and its exact encoder, and its marginal distribution of a row.

    With W'W = diag(d) the posterior of z is N(diag(1 / (d + s^2)) W'(x - b), s^2 diag(1 / (d + s^2))): diagonal, as the
    encoder's family demands (probabilistic PCA, Tipping and Bishop 1999).
    """
    W = torch.linalg.qr(torch.randn(5, 2, dtype=torch.float64))[0] * torch.tensor([2.0, 0.7], dtype=torch.float64)
    b, s = torch.randn(5, dtype=torch.float64), 0.6
    encoder, decoder = nn.Linear(5, 4).double(), nn.Linear(2, 5).double()
    M = (W * W).sum(0) + s**2
    with torch.no_grad():
        decoder.weight.copy_(W)
        decoder.bias.copy_(b)
        encoder.weight.copy_(torch.cat([W.T / M[:, None], torch.zeros(2, 5)]))
        encoder.bias.copy_(torch.cat([-(W.T @ b) / M, 0.5 * torch.log(s**2 / M)]))
    vae = VAE(features=5, latents=2, decoder="gaussian", encoder_network=encoder, decoder_network=decoder).double()
    vae.noise = torch.tensor(s, dtype=torch.float64)
    covariance = W @ W.T + s**2 * torch.eye(5, dtype=torch.float64)
    return vae, torch.distributions.MultivariateNormal(b, covariance)


def _elbo(vae: VAE, x: torch.Tensor, particles: int) -> float:
    with pyro.validation_enabled():
        return -Trace_ELBO(num_particles=particles, vectorize_particles=False).loss(vae.model, vae.guide, x)


@pytest.mark.parametrize("samples", [1, 16])
def test_every_bound_is_the_evidence_under_the_exact_posterior(samples, seeded):
    vae, marginal = _linear_vae()
    x = 3 * torch.randn(30, 5, dtype=torch.float64)
    bound = vae.importance_weighted_bound(x, samples=samples)
    torch.testing.assert_close(bound, marginal.log_prob(x), rtol=1e-12, atol=1e-12)


def test_elbo_is_the_evidence_under_the_exact_posterior(seeded):
    vae, marginal = _linear_vae()
    x = 3 * torch.randn(30, 5, dtype=torch.float64)
    assert _elbo(vae, x, 1) == pytest.approx(float(marginal.log_prob(x).sum()), rel=1e-12)


def test_samples_have_the_marginal_moments(seeded):
    # 4 standard errors on 20 moments: a false alarm in one run of 800, and the seed is fixed
    vae, marginal = _linear_vae()
    n, Sigma = 20_000, marginal.covariance_matrix
    x = vae.sample(n)
    assert ((x.mean(0) - marginal.mean).abs() < 4 * (Sigma.diagonal() / n).sqrt()).all()
    spread = ((Sigma**2 + Sigma.diagonal().outer(Sigma.diagonal())) / n).sqrt()
    assert ((x.T.cov() - Sigma).abs() < 4 * spread).all()


def test_bound_rises_with_the_number_of_draws(grey):
    # E L_1 <= E L_4 <= E L_64; each compared mean is 200 bounds of 20 rows, its gap many standard errors wide
    vae = VAE(features=6, latents=2).double()
    with torch.no_grad():
        vae.decoder_network[-1].weight.mul_(8)
    means = [
        torch.stack([vae.importance_weighted_bound(grey, samples=S).mean() for _ in range(100)]) for S in (1, 4, 64)
    ]
    for low, high in pairwise(means):
        error = math.sqrt(float(low.var() + high.var()) / 100)
        assert float(high.mean() - low.mean()) > 4 * error


@pytest.mark.parametrize("decoder", ["bernoulli", "gaussian"])
def test_one_draw_is_an_unbiased_elbo(decoder, grey):
    # difference of two means of 300 draws, within 4 standard errors
    vae = VAE(features=6, latents=2, decoder=decoder).double()
    bounds = torch.stack([vae.importance_weighted_bound(grey, samples=1).sum() for _ in range(300)])
    elbos = torch.tensor([_elbo(vae, grey, 1) for _ in range(300)], dtype=torch.float64)
    assert abs(float(bounds.mean() - elbos.mean())) < 4 * math.sqrt(float(bounds.var() + elbos.var()) / 300)


def test_beta_weighs_the_code_alone(grey):
    plain, heavy = VAE(features=6, latents=2).double(), VAE(features=6, latents=2, beta=4).double()
    heavy.load_state_dict(plain.state_dict())

    def terms(vae):
        trace = poutine.trace(vae.guide).get_trace(grey)
        trace.nodes["z"]["value"] = grey[:, :2]
        model = poutine.trace(poutine.replay(vae.model, trace)).get_trace(grey)
        guide = poutine.trace(poutine.condition(vae.guide, {"z": grey[:, :2]})).get_trace(grey)
        return {
            "prior": model.log_prob_sum(lambda name, _: name == "z"),
            "likelihood": model.log_prob_sum(lambda name, _: name == "x"),
            "posterior": guide.log_prob_sum(),
        }

    light, weighed = terms(plain), terms(heavy)
    torch.testing.assert_close(weighed["prior"], 4 * light["prior"])
    torch.testing.assert_close(weighed["posterior"], 4 * light["posterior"])
    torch.testing.assert_close(weighed["likelihood"], light["likelihood"])


def test_bernoulli_likelihood_is_the_cross_entropy_also_of_grey_values(grey):
    vae = VAE(features=6, latents=2).double()
    z = torch.randn(20, 2, dtype=torch.float64)
    entropy = nn.functional.binary_cross_entropy(vae.decode(z), grey, reduction="none").sum(1)
    with pyro.validation_enabled():
        torch.testing.assert_close(vae._likelihood(z).log_prob(grey), -entropy)


def test_sites_plates_and_shapes(device, seeded):
    vae = VAE(features=6, latents=2).to(device)
    x = torch.rand(4, 6, device=device)
    trace = poutine.trace(vae.model).get_trace(x)
    assert {name: tuple(node["value"].shape) for name, node in trace.nodes.items() if node["type"] == "sample"} == {
        "row": (4,),
        "z": (4, 2),
        "x": (4, 6),
    }
    assert [frame.name for frame in trace.nodes["x"]["cond_indep_stack"]] == ["row"]
    draws = poutine.uncondition(vae.model)
    assert set(poutine.trace(draws).get_trace(x).nodes["x"]["value"].unique().tolist()) <= {0.0, 1.0}
    assert vae.sample(3).shape == (3, 6)
    assert vae.sample(3).device.type == device
    assert vae.decode(vae.encode(x)).shape == (4, 6)
    assert vae.importance_weighted_bound(x, samples=2).device.type == device


def test_contracts(seeded):
    vae = VAE(features=6)
    assert all(isinstance(vae, contract) for contract in (Guided, Checked, Generator, Encoder))
    assert not isinstance(vae, Density)  # it knows a bound, not the density


@pytest.mark.parametrize("decoder", ["bernoulli", "gaussian"])
def test_casts_copies_and_gradients(decoder, grey):
    vae = VAE(features=6, latents=2, decoder=decoder)
    twin = copy.deepcopy(vae).to(torch.float64)
    loss = Trace_ELBO().differentiable_loss(twin.model, twin.guide, grey)
    assert loss.dtype == torch.float64
    loss.backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in twin.parameters())
    assert all(p.grad is None and p.dtype == torch.float32 for p in vae.parameters())
    assert twin.sample(2).dtype == twin.encode(grey).dtype == torch.float64


def test_users_networks_take_the_place_of_ours(grey):
    encoder = nn.Sequential(nn.Unflatten(1, (1, 6)), nn.Conv1d(1, 2, 3), nn.Flatten(), nn.Linear(8, 6))
    vae = VAE(features=6, latents=3, encoder_network=encoder, decoder_network=nn.Linear(3, 6)).double()
    assert vae.encoder_network is encoder
    assert vae.importance_weighted_bound(grey, samples=2).isfinite().all()
    with pytest.raises(ModelError, match=r"encoder_network: has the wrong output; got shape \(2, 3\)"):
        VAE(features=6, latents=3, encoder_network=nn.Linear(6, 3))
    with pytest.raises(ModelError, match="decoder_network: fails on two rows of 3 zeros"):
        VAE(features=6, latents=3, decoder_network=nn.Linear(4, 6))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"features": 0}, "features: must be a whole number"),
        ({"latents": 2.5}, "latents: must be a whole number"),
        ({"hidden": 64}, r"hidden: .*Write \(64,\) for one hidden layer"),
        ({"hidden": (64, 0)}, "hidden: must be a whole number"),
        ({"decoder": "normal"}, "decoder: not one of the known names"),
        ({"beta": 0}, "beta: must be a number in range"),
    ],
)
def test_options_out_of_range(options, message, seeded):
    with pytest.raises(OptionError, match=message):
        VAE(**{"features": 6, **options})


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (torch.rand(4, 5), "x: has 5 columns, but the model is made for 6"),
        (torch.rand(6), "x: must have two dimensions"),
        (torch.rand(1, 6), "x: has too few rows"),
        (torch.ones(4, 6), "x: all rows are identical"),
        (255 * torch.rand(4, 6), "x: must lie in the unit interval.*Divide by 255"),
        (torch.randn(4, 6), "x: must lie in the unit interval.*Gaussian decoder"),
    ],
)
def test_data_that_do_not_fit(x, message, seeded):
    with pytest.raises(DataError, match=message):
        VAE(features=6).check(x)


def test_gaussian_decoder_takes_any_real_row(seeded):
    VAE(features=6, decoder="gaussian").check(100 * torch.randn(4, 6))


def test_learns_digits(seeded):
    # one nat a row better than independent pixels with the means of the training rows (about -27 nats)
    x = torch.as_tensor(load_digits().data / 16, dtype=torch.float32)
    train, test = x[:1400], x[1400:]
    vae = VAE(features=64, latents=8)
    optimiser = torch.optim.Adam(vae.parameters(), lr=1e-2)
    for _ in range(300):
        batch = train[torch.randint(len(train), (128,))]
        optimiser.zero_grad()
        Trace_ELBO().differentiable_loss(vae.model, vae.guide, batch).backward()
        optimiser.step()
    p = train.mean(0).clamp(1e-3, 1 - 1e-3)
    baseline = float((test * p.log() + (1 - test) * (1 - p).log()).sum(1).mean())
    assert float(vae.importance_weighted_bound(test, samples=16).mean()) > baseline + 1
