"""The sampler as a method: conjugate answers, statistics, chains of their own, and what is refused at the door."""

from __future__ import annotations

import math

import pyro
import pyro.distributions as dist
import pytest
import torch

import ppzoo
from ppzoo.errors import FitError, ModelError, OptionError
from ppzoo.inference.mcmc.samplers import NUTS

Y = torch.tensor([0.9, 1.1, 1.6, 0.4])


def conjugate(y):
    mu = pyro.sample("mu", dist.Normal(0.0, 1.0))
    with pyro.plate("row", len(y)):
        pyro.sample("y", dist.Normal(mu, 1.0), obs=y)


def test_moments_of_the_conjugate_posterior():
    fit = ppzoo.fit(conjugate, Y, method="nuts", chains=2, warmup=200, draws=400, seed=3)
    row = fit.summary().loc["mu"]
    mean, sd = float(Y.sum()) / 5, 5**-0.5
    # 4 standard errors: a false alarm in 16,000 seeds, and this seed is fixed
    assert abs(row["mean"] - mean) < 4 * row["mcse_mean"]
    assert abs(row["sd"] - sd) < 4 * row["mcse_sd"]


def test_an_asymmetric_support_has_the_right_jacobian():
    """Gamma(3, 2) on the positive reals: mean 1.5, sd sqrt(3) / 2."""

    def model():
        pyro.sample("x", dist.Gamma(3.0, 2.0))

    row = ppzoo.fit(model, (), method="nuts", chains=2, warmup=300, draws=600, seed=5).summary().loc["x"]
    assert abs(row["mean"] - 1.5) < 4 * row["mcse_mean"]
    assert abs(row["sd"] - math.sqrt(3) / 2) < 4 * row["mcse_sd"]


def test_statistics():
    fit = ppzoo.fit(conjugate, Y, method="nuts", chains=2, warmup=50, draws=30)
    stats = fit.to_arviz()["sample_stats"]
    assert set(stats.data_vars) == {
        "lp", "acceptance_rate", "step_size", "tree_depth", "n_steps", "reached_max_treedepth", "diverging", "energy",
        "energy_error", "max_energy_error",
    }  # fmt: skip
    assert all(stats[name].shape == (2, 30) for name in stats.data_vars)
    depth, steps = stats["tree_depth"].values, stats["n_steps"].values
    assert ((steps >= 2**depth - 1) & (steps < 2 ** (depth + 1))).all()
    assert ((stats["acceptance_rate"] >= 0) & (stats["acceptance_rate"] <= 1)).all()
    # energy = potential + kinetic of the point the trajectory left, and it is never below -lp's minimum
    assert (stats["energy"].values >= -stats["lp"].max().item() - 1e-9).all()


def test_lp_is_the_unconstrained_log_density():
    fit = ppzoo.fit(conjugate, Y.double(), method="nuts", chains=1, warmup=20, draws=10)
    mu = fit.draws()["mu"]
    expected = dist.Normal(0.0, 1.0).log_prob(mu) + dist.Normal(mu[:, None], 1.0).log_prob(Y.double()).sum(1)
    assert torch.allclose(fit.outcome.statistics["lp"][0], expected, rtol=1e-12)


def test_apart_a_chain_depends_on_the_seed_and_its_own_number_only():
    options = {"method": "nuts", "warmup": 20, "draws": 10, "adapt": "per_chain"}
    one, three = (ppzoo.fit(conjugate, Y, chains=c, seed=1, **options) for c in (1, 3))
    torch.testing.assert_close(one.outcome.draws["mu"][0], three.outcome.draws["mu"][0], rtol=1e-9, atol=1e-9)
    chains = three.outcome.draws["mu"]
    other = ppzoo.fit(conjugate, Y, chains=3, seed=2, **options).outcome.draws["mu"]
    assert len({float(c[-1]) for c in (*chains, *other)}) == 6  # consecutive seeds share nothing


def test_the_same_seed_gives_the_same_bytes():
    one, again = (ppzoo.fit(conjugate, Y, method="nuts", chains=3, warmup=20, draws=10, seed=1) for _ in range(2))
    assert torch.equal(one.outcome.draws["mu"], again.outcome.draws["mu"])
    assert any("learnt step size and metric together" in note for note in one.notes)


def test_a_program_that_cannot_be_traced_says_which_road_it_took():
    """A branch on a value: chain by chain, with the right answer. mu | mu > 0 or not has two different scales."""

    def model():
        x = pyro.sample("x", dist.Normal(0.0, 1.0))
        pyro.factor("wall", -x if float(x) > 0 else 3 * x)

    fit = ppzoo.fit(model, (), method="nuts", chains=4, warmup=100, draws=150, seed=1)
    assert any("one chain at a time" in note for note in fit.notes)
    grid = torch.linspace(-8, 8, 20_001, dtype=torch.float64)
    weight = torch.exp(-0.5 * grid**2 + torch.where(grid > 0, -grid, 3 * grid))
    mean = float((grid * weight).sum() / weight.sum())
    row = fit.summary().loc["x"]
    assert abs(row["mean"] - mean) < 4 * row["mcse_mean"]


def test_an_improper_prior_starts_without_being_sampled():
    def model(y):
        mu = pyro.sample("mu", dist.ImproperUniform(dist.constraints.real, (), ()))
        s = pyro.sample("s", dist.ImproperUniform(dist.constraints.positive, (), ()))
        with pyro.plate("row", len(y)):
            pyro.sample("y", dist.Normal(mu, s), obs=y)

    y = torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0])
    row = ppzoo.fit(model, y, method="nuts", chains=2, warmup=300, draws=300, seed=2).summary().loc["mu"]
    assert abs(row["mean"] - 4.5) < 4 * row["mcse_mean"]


def test_float64_is_preferred_and_said():
    fit = ppzoo.fit(conjugate, Y, method="nuts", chains=1, warmup=20, draws=4)
    assert fit.dtype == torch.float64
    assert any("cast to float64" in note for note in fit.notes)


def test_captured_tensors_that_cannot_be_cast_decide_the_type():
    weight = torch.ones(4, 1)

    def model(y):
        mu = pyro.sample("mu", dist.Normal(0.0, 1.0).expand([1]).to_event(1))
        with pyro.plate("row", len(y)):
            pyro.sample("y", dist.Normal(weight @ mu, 1.0), obs=y)

    fit = ppzoo.fit(model, Y, method="nuts", chains=1, warmup=20, draws=4)
    assert fit.dtype == torch.float32
    assert any("Ran in float32" in note for note in fit.notes)


def test_no_continuous_latent_site():
    def model(y):
        with pyro.plate("row", len(y)):
            pyro.sample("y", dist.Normal(0.0, 1.0), obs=y)

    with pytest.raises(ModelError, match="no continuous latent site to sample"):
        ppzoo.fit(model, Y, method="nuts", chains=1, warmup=20, draws=4)


def test_no_finite_start_names_the_site():
    def model(y):
        pyro.sample("fine", dist.Normal(0.0, 1.0))
        pyro.sample("broken", dist.Normal(0.0, 1.0))
        pyro.sample("y", dist.Normal(math.inf, 1.0).expand([4]).to_event(1), obs=y)

    with pytest.raises(FitError, match=r"(?s)no starting point.*site +kind.*fine.*broken.*y +observed.*-inf"):
        ppzoo.fit(model, Y, method="nuts", chains=1, warmup=20, draws=4)


def test_adapt_outside_its_range():
    with pytest.raises(OptionError, match=r"adapt: .*'together'.*pooled"):
        NUTS(adapt="together")


def test_codes_of_ppca_agree_with_the_exact_posterior():
    """With parameters at the closed form, each code has a known normal posterior, and SVI's guide is that posterior."""
    x = ppzoo.load_dataset("iris").data["x"][::25]
    exact = ppzoo.fit(ppzoo.create_model("ppca", features=4, latents=1), x, method="exact")
    nuts = ppzoo.fit(exact.pair.owner, x, method="nuts", chains=2, warmup=150, draws=250, seed=1)
    summary = nuts.summary()
    for i, mean in enumerate(exact.encode(x)[:, 0]):
        row = summary.loc[f"z[{i}, 0]"]
        assert abs(row["mean"] - float(mean)) < 4 * row["mcse_mean"]
    assert "parameters were not sampled" in str(nuts.diagnose())


def test_eight_schools_agrees_with_the_reference_draws(shared_data):
    import json

    folder = shared_data / "posteriordb" / "eight_schools-eight_schools_noncentered"
    reference = json.loads((folder / "reference_mean_sd.json").read_text())
    fit = ppzoo.fit(
        ppzoo.create_model("eight_schools"),
        ppzoo.load_dataset("eight_schools"),
        method="nuts",
        chains=4,
        warmup=300,
        draws=300,
        seed=0,
    )
    summary = fit.summary()
    rows = reference["parameters"]
    names = {"mu": "mu", "tau": "tau"} | {f"theta[{school}]": f"theta[{i}]" for i, school in enumerate("ABCDEFGH", 1)}
    for (
        ours,
        theirs,
    ) in names.items():  # ten tests at 4 standard errors: a false alarm in 1,600 seeds, this one is fixed
        got, want = summary.loc[ours], rows[theirs]
        error = math.hypot(got["mcse_mean"], want["mcse_mean"])
        assert abs(got["mean"] - want["mean"]) < 4 * error
