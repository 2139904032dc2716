"""SVI against closed forms, and what the loop does with bad steps."""

from __future__ import annotations

import math

import numpy as np
import pyro
import pyro.distributions as dist
import pyro.nn
import pytest
import torch

import ppzoo
from ppzoo.errors import ModelError, OptionError
from ppzoo.inference.variational.svi import SVI

Y = torch.tensor([0.9, 1.1, 1.6, 0.4])


def conjugate(y):
    mu = pyro.sample("mu", dist.Normal(0.0, 1.0))
    with pyro.plate("row", len(y)):
        pyro.sample("y", dist.Normal(mu, 1.0), obs=y)


def exact_posterior():
    """Mean and sd of mu: precision 1 + N, mean sum(y) / (1 + N)."""
    precision = 1 + len(Y)
    return float(Y.sum()) / precision, precision**-0.5


def test_mean_field_finds_the_conjugate_posterior():
    fit = ppzoo.fit(conjugate, Y, method="svi", steps=3000, lr=0.02, seed=1)
    mean, sd = exact_posterior()
    mu = fit.draws(40_000)["mu"]
    # the guide holds the posterior; 0.02 sd is 4 standard errors of 40,000 draws, 0.03 is left to the optimiser
    assert abs(float(mu.mean()) - mean) < 0.05 * sd
    assert abs(float(mu.std()) / sd - 1) < 0.05


def test_the_elbo_of_the_fitted_guide_is_the_log_evidence():
    fit = ppzoo.fit(conjugate, Y.double(), method="svi", steps=3000, lr=0.02)
    n = len(Y)
    covariance = np.eye(n) + np.ones((n, n))
    y = Y.double().numpy()
    evidence = -0.5 * (
        n * math.log(2 * math.pi) + np.linalg.slogdet(covariance)[1] + y @ np.linalg.solve(covariance, y)
    )
    assert -fit.losses[-500:].mean() == pytest.approx(evidence, abs=0.01)


@pytest.mark.parametrize("guide", ["normal", "mvn", "lowrank", "iaf", "spline", "structured", "amortised", "delta"])
def test_guides_by_name(guide):
    def model(y):
        pyro.sample("a", dist.Normal(0.0, 1.0).expand([2]).to_event(1))
        mu = pyro.sample("mu", dist.Normal(0.0, 1.0))
        with pyro.plate("row", len(y)):
            if guide == "amortised":  # which is for sites of a row
                pyro.sample("local", dist.Normal(0.0, 1.0))
            pyro.sample("y", dist.Normal(mu, 1.0), obs=y)

    fit = ppzoo.fit(model, Y, method="svi", steps=1500, lr=0.03, guide=guide)
    assert abs(float(fit.draws(4000)["mu"].mean()) - exact_posterior()[0]) < 0.1


def test_same_seed_same_bytes_another_seed_other_numbers():
    runs = [ppzoo.fit(conjugate, Y, steps=50, seed=seed) for seed in (7, 7, 8)]
    assert np.array_equal(runs[0].losses, runs[1].losses)
    assert torch.equal(runs[0].draws(5)["mu"], runs[1].draws(5)["mu"])
    assert not np.array_equal(runs[0].losses, runs[2].losses)


def test_non_finite_steps_are_skipped_and_counted():
    calls = []

    def model(y):
        conjugate(y)
        calls.append(None)
        if 20 <= len(calls) < 25:
            pyro.factor("bad", torch.tensor(math.nan))

    fit = ppzoo.fit(model, Y, steps=100, init="data")
    assert fit.outcome.numbers.pop("seconds_steps") > 0
    assert fit.outcome.numbers == {"steps": 100.0, "skipped": 5.0}
    assert np.isfinite(fit.losses).all()


def test_a_loss_that_stays_non_finite_stops_the_run():
    def model(y):
        scale = pyro.param("scale", torch.tensor(1.0))
        pyro.sample("y", dist.Normal(0.0, scale).expand([len(y)]).to_event(1), obs=y)
        model.calls += 1
        if model.calls > 60:  # fine at the door
            pyro.factor("bad", scale * math.nan)

    model.calls = 0

    fit = ppzoo.fit(model, Y, steps=20_000)
    assert fit.outcome.numbers["steps"] < 200
    assert fit.diagnose().verdict == "reject"
    assert "stayed non-finite" in str(fit.diagnose())


def test_the_best_state_is_kept_when_the_run_blows_up_late():
    def model(y):
        at = pyro.param("at", torch.tensor(0.0))
        model.calls += 1
        target = 1.0 if model.calls < 1000 else -1000.0  # the objective itself moves away near the end
        pyro.factor("loss", -((at - target) ** 2))

    model.calls = 0
    fit = ppzoo.fit(model, Y, steps=1100, lr=0.02, schedule="constant")
    assert float(fit.parameters()["at"]) == pytest.approx(1.0, abs=0.05)


def test_enumerated_sites_are_summed_out_exactly():
    def mixture(x):
        weight = pyro.param("weight", torch.tensor(0.3))
        with pyro.plate("row", len(x)):
            z = pyro.sample("z", dist.Bernoulli(weight))
            pyro.sample("x", dist.Normal(4 * z, 1.0), obs=x)

    x = torch.tensor([0.1, 3.9, 4.2])
    fit = ppzoo.fit(mixture, x, steps=1, lr=1e-9)
    parts = torch.stack(
        [dist.Normal(0.0, 1.0).log_prob(x) + math.log(0.7), dist.Normal(4.0, 1.0).log_prob(x) + math.log(0.3)]
    )
    assert fit.losses[0] == pytest.approx(-float(parts.logsumexp(0).sum()), rel=1e-6)


def test_the_model_that_was_given_is_never_changed():
    model = ppzoo.create_model("ppca", features=3, latents=1)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    x = torch.tensor([[1.0, 2.0, 0.0], [0.5, -1.0, 2.0], [0.0, 1.0, 1.0], [2.0, 0.0, -1.0]])
    fit = ppzoo.fit(model, x, steps=20)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not torch.equal(fit.pair.owner.W, model.W)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lr": 0}, "lr: must be a number in range; got 0"),
        ({"lr": math.inf}, "lr"),
        ({"lr": math.nan}, "lr"),
        ({"steps": 0}, "steps: must be a whole number"),
        ({"steps": 2.5}, r"got 2\.5"),
        ({"particles": "2"}, "particles"),
        ({"optimiser": "adm"}, "Did you mean 'adam'"),
        ({"schedule": "cosin"}, "Did you mean 'cosine'"),
        ({"steps": 5, "epochs": 5}, "exclude each other"),
        ({"clip": -1.0}, "clip"),
        ({"objective": "iwea"}, "Did you mean 'iwae'"),
        ({"objective": "iwae"}, r"particles.*objective='iwae'; got 1; expected an int >= 2"),
        ({"objective": "wake-sleep"}, "particles"),
        ({"objective": "renyi", "particles": 4}, "alpha.*needs it; got None"),
        ({"alpha": 0.5}, 'alpha: belongs to objective="renyi"'),
        ({"objective": "renyi", "particles": 4, "alpha": 1}, 'alpha.*Use objective="elbo"'),
        ({"objective": "renyi", "particles": 4, "alpha": -0.5}, r"alpha: must be a number in range; got -0\.5"),
    ],
)
def test_options_outside_their_range(options, message):
    with pytest.raises(OptionError, match=message):
        SVI(**options)


def rows(y, weight=1.0):
    with pyro.plate("row", len(y)):
        z = pyro.sample("z", dist.Normal(0.0, 1.0))
        pyro.sample("y", dist.Normal(weight * z, 1.0), obs=y)


def rows_guide(y, **_):
    loc, scale = pyro.param("loc", torch.tensor(0.0)), pyro.param("log_scale", torch.tensor(0.0)).exp()
    with pyro.plate("row", len(y)):
        pyro.sample("z", dist.Normal(loc * y, scale))


@pytest.mark.parametrize("objective", ["iwae", "renyi", "dreg", "wake-sleep"])
@pytest.mark.parametrize("batch_size", [None, 2])
def test_every_objective_finds_the_posterior_in_its_family(objective, batch_size):
    """N(y / 2, 1 / 2) for each row; recorded in each case. Of these only dreg loses its noise there."""
    settings = {"alpha": 0.5} if objective == "renyi" else {}
    settings |= {"steps": 1500, "lr": 0.03, "seed": 1, "progress": False, "batch_size": batch_size}
    fit = ppzoo.fit(rows, Y.double(), guide=rows_guide, objective=objective, particles=8, **settings)
    assert "the program itself" not in fit.notes[0]
    found = {name: float(value) for name, value in fit.parameters().items()}
    tolerance = 1e-6 if objective == "dreg" else 0.15
    assert found["loc"] == pytest.approx(0.5, abs=tolerance)
    assert found["log_scale"] == pytest.approx(math.log(0.5) / 2, abs=tolerance)
    assert fit.notes[1].startswith(f"Losses are minus a bound by the weights of 8 draws (objective={objective!r})")


def test_beta_has_the_optimum_of_tempered_data_and_says_so():
    """A likelihood to the power of 1 / beta: precision 1 + N / beta, mean sum(y) / beta over it."""
    fit = ppzoo.fit(conjugate, Y, method="svi", steps=20_000, lr=0.02, seed=1, beta=4.0, progress=False)
    mu = fit.draws(40_000)["mu"]
    assert abs(float(mu.mean()) - float(Y.sum()) / 4 / 2) < 0.05 * 2**-0.5
    assert abs(float(mu.std()) * 2**0.5 - 1) < 0.05
    assert "the program itself" not in fit.notes[0]
    assert fit.notes[2] == "The optimum is not the posterior: the terms of latent sites weigh 4 (beta)."


def test_annealing_ends_at_the_posterior():
    fit = ppzoo.fit(conjugate, Y, method="svi", steps=20_000, lr=0.02, seed=1, anneal=5000, progress=False)
    mean, sd = exact_posterior()
    mu = fit.draws(40_000)["mu"]
    assert abs(float(mu.mean()) - mean) < 0.05 * sd
    assert abs(float(mu.std()) / sd - 1) < 0.05
    assert len(fit.notes) == 2
    assert "the program itself" not in fit.notes[0]


def test_annealing_ends_before_the_steps_do():
    with pytest.raises(OptionError, match=r"anneal: does not end before the last step; got 10; expected less than 10"):
        ppzoo.fit(conjugate, Y, method="svi", steps=10, anneal=10, progress=False)


def test_choosing_an_objective_is_no_step():
    """A guide's module remembers the batches that it has seen."""

    def counted(objective):
        with torch.random.fork_rng():
            torch.manual_seed(0)
            network = torch.nn.Sequential(torch.nn.BatchNorm1d(1), torch.nn.Linear(1, 1))

        class Encoder(pyro.nn.PyroModule):
            def __init__(self):
                super().__init__()
                self.network = network

            def model(self, y):
                rows(y)

            def guide(self, y):
                with pyro.plate("row", len(y)):
                    pyro.sample("z", dist.Normal(self.network(y[:, None])[:, 0], 0.7))

        fit = ppzoo.fit(Encoder(), Y, method="svi", objective=objective, particles=2, steps=5, progress=False)
        return int(fit.pair.owner.network[0].num_batches_tracked)

    assert counted("iwae") == counted("elbo")


@pytest.mark.parametrize("objective", ["iwae", "dreg", "wake-sleep"])
def test_bounds_of_automatic_guides_are_recorded(objective):
    fit = ppzoo.fit(conjugate, Y, objective=objective, particles=3, steps=20_000, lr=0.02, seed=1, progress=False)
    assert "the program itself" not in fit.notes[0]
    mean, sd = exact_posterior()
    mu = fit.draws(40_000)["mu"]
    assert abs(float(mu.mean()) - mean) < 0.05 * sd
    assert abs(float(mu.std()) / sd - 1) < 0.05


def test_a_game_is_refused():
    class Game:
        def critic_loss(self, x):
            return x.sum()

    with pytest.raises(ModelError, match='method="adversarial"'):
        SVI().check_model(Game())


def test_a_fit_ends_when_it_has_settled():
    fit = ppzoo.fit(conjugate, Y, guide="normal", steps="auto")
    assert fit.outcome.numbers["settled"] == 1.0
    assert fit.outcome.numbers["steps"] < 5000
    assert fit.outcome.findings == ()


def test_a_fit_that_has_not_settled_says_so():
    """A response in millionths of its unit: at the usual rate twenty thousand steps are not enough."""
    fit = ppzoo.fit(conjugate, Y * 1e6, guide="normal", lr=1e-3, steps="auto", init="data")
    assert fit.outcome.numbers["settled"] == 0.0
    assert fit.outcome.numbers["steps"] == 20_000
    (finding,) = fit.outcome.findings
    assert (finding.level, finding.what) == ("caution", "the loss had not settled when the steps ended")
    assert fit.diagnose().verdict != "trust"


def test_a_falling_rate_has_to_know_its_end():
    with pytest.raises(OptionError, match="schedule: needs to know when it ends"):
        ppzoo.fit(conjugate, Y, steps="auto", schedule="cosine")


@pytest.mark.parametrize("option", [{"steps": "all"}, {"epochs": "auto"}, {"batch_size": "auto"}])
def test_only_steps_may_be_auto(option):
    with pytest.raises(OptionError, match=f"{next(iter(option))}: .*int"):
        ppzoo.fit(conjugate, Y, **option)


def test_products_in_bfloat16_train_as_well():
    """Its loss lies near that of float32, and a note tells; a program without products is not touched."""
    pixels = (torch.rand(300, 16, generator=torch.Generator().manual_seed(0)) > 0.5).float()
    pixels[:, 8:] = pixels[:, :8]  # something to learn: eight bits instead of sixteen
    settings = {"method": "svi", "steps": 600, "batch_size": 100, "lr": 0.01, "seed": 1, "progress": False}
    fits = {}
    for autocast in (False, True):
        with torch.random.fork_rng():
            torch.manual_seed(0)
            vae = ppzoo.create_model("vae", features=16, latents=8, hidden=(64,))
        fits[autocast] = ppzoo.fit(vae, pixels, autocast=autocast, **settings)
    exact, rounded = (fits[autocast].losses for autocast in (False, True))
    assert exact[-100:].mean() < 0.9 * exact[:10].mean()
    assert rounded[-100:].mean() == pytest.approx(exact[-100:].mean(), rel=0.02)
    assert rounded[0] == pytest.approx(exact[0], rel=0.01)
    assert rounded[0] != exact[0]
    assert fits[True].notes[-1] == "Products of matrices were rounded to bfloat16 (autocast)."
    plain = ppzoo.fit(conjugate, Y, steps=50, autocast=True)
    assert plain.notes[-1].startswith("No product of matrices was rounded to bfloat16 (autocast): there are none")
    assert np.array_equal(plain.losses, ppzoo.fit(conjugate, Y, steps=50).losses)
    with pytest.raises(OptionError, match="autocast"):
        ppzoo.fit(conjugate, Y, autocast="bf16")
