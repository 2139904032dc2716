"""The verdict: what kind of fit it is decides how it is judged, and notes and findings of the run come along."""

from __future__ import annotations

import math
from dataclasses import replace

import pyro
import pyro.distributions as dist
import pytest
import torch
import xarray as xr
from pyro.nn import PyroModule
from torch import nn

import ppzoo
from ppzoo.diagnostics.convergence import diagnose_chains
from ppzoo.errors import OptionError
from ppzoo.judging import judge

Y = torch.tensor([0.9, 1.1, 1.6, 0.4])


def conjugate(y):
    mu = pyro.sample("mu", dist.Normal(0.0, 1.0))
    with pyro.plate("row", len(y)):
        pyro.sample("y", dist.Normal(mu, 1.0), obs=y)


def correlated(y):
    """Two strongly correlated parameters, which a mean-field guide cannot follow."""
    a = pyro.sample("a", dist.Normal(0.0, 10.0))
    b = pyro.sample("b", dist.Normal(0.0, 10.0))
    with pyro.plate("row", len(y)):
        pyro.sample("y", dist.Normal(a + b, 0.05), obs=y)


def words(fit, level):
    return " | ".join(str(finding) for finding in fit.diagnose().findings if finding.level == level)


def test_an_exact_posterior_is_trusted():
    fit = ppzoo.fit(ppzoo.create_model("linear_regression"), "diabetes", method="exact")
    diagnosis = fit.diagnose()
    assert diagnosis.verdict == "trust"
    assert diagnosis.numbers["k_hat"] < 0.1  # weights of an exact posterior are constant
    assert "log_evidence" in diagnosis.numbers
    assert "r_hat" not in diagnosis.numbers


def test_a_good_guide_is_trusted_and_a_poor_one_is_not():
    good = ppzoo.fit(conjugate, Y, steps=1500, lr=0.03)
    assert good.diagnose().verdict == "trust", str(good.diagnose())
    poor = ppzoo.fit(correlated, Y, steps=1500, lr=0.03, seed=3)
    assert poor.diagnose().numbers["k_hat"] > 0.7  # other seeds give 0.6 to 1.1: never trust, not always reject
    assert poor.diagnose().verdict == "reject"
    assert "misses the posterior" in words(poor, "reject")


RHO = 0.9


def two_normals():
    """A standard normal in two dimensions with correlation 0.9; the second factor makes it a posterior."""
    covariance = torch.tensor([[1.0, RHO], [RHO, 1.0]])
    pyro.sample("x", dist.MultivariateNormal(torch.zeros(2), covariance))
    pyro.factor("seen", torch.tensor(0.0))


def test_mean_field_of_a_correlated_posterior_is_caught_and_the_guide_with_correlation_is_trusted():
    """Mean field has the sd sqrt(1 - rho²) = 0.44 at its best, and k = 1 - (1 - rho²) / (1 + rho) = 0.9."""
    narrow = ppzoo.fit(two_normals, (), steps=3000, lr=0.02)
    sd = narrow.draws(20_000)["x"].std(0)
    assert sd.tolist() == pytest.approx([math.sqrt(1 - RHO**2)] * 2, rel=0.05)
    assert narrow.diagnose().numbers["k_hat"] == pytest.approx(0.9, abs=0.25)
    assert narrow.diagnose().verdict == "reject", str(narrow.diagnose())
    right = ppzoo.fit(two_normals, (), steps=3000, lr=0.02, guide="mvn")
    assert right.draws(20_000)["x"].std(0).tolist() == pytest.approx([1.0, 1.0], rel=0.1)
    assert right.diagnose().verdict == "trust", str(right.diagnose())


def guide_of(mean, sd):
    def guide(y):
        pyro.sample("mu", dist.Normal(mean, sd))

    return guide


@pytest.mark.parametrize(
    ("shift", "scale", "verdict"),
    [
        (0.0, 1.0, "trust"),
        (0.1, 1.05, "trust"),
        (0.22, 1.0, "caution"),
        (0.4, 1.0, "reject"),
        (0.0, 1.4, "reject"),
        (0.0, 0.64, "reject"),  # k is 1 - 0.64² = 0.59, usable; the spread is off by 36 %
        (0.0, 0.4, "reject"),  # k is 0.84
    ],
)
def test_a_guide_that_is_off_by_a_known_amount(shift, scale, verdict):
    """Posterior N(4 / 5, 1 / 5); the guide's mean is off by this many sd, its sd by this factor."""
    guide = guide_of(4 / 5 + shift * 5**-0.5, scale * 5**-0.5)
    diagnosis = ppzoo.fit(conjugate, Y, steps=150, guide=guide).diagnose()
    assert diagnosis.verdict == verdict, str(diagnosis)


def test_a_deterministic_site_is_held_against_its_corrected_moments_too():
    """exp(4 mu) is off by more than mu is."""

    def model(y):
        mu = pyro.sample("mu", dist.Normal(0.0, 1.0))
        pyro.deterministic("steep", (4 * mu).exp())
        with pyro.plate("row", len(y)):
            pyro.sample("y", dist.Normal(mu, 1.0), obs=y)

    guide = guide_of(4 / 5, 1.12 * 5**-0.5)
    plain = ppzoo.fit(conjugate, Y, steps=150, guide=guide).diagnose()
    steep = ppzoo.fit(model, Y, steps=150, guide=guide).diagnose()
    assert plain.verdict == "trust", str(plain)
    assert steep.verdict == "reject", str(steep)
    assert "steep" in str(steep)


def test_a_point_guide_is_said_to_be_one():
    fit = ppzoo.fit(conjugate, Y, steps=300, lr=0.05, guide="delta")
    assert fit.diagnose().verdict == "caution"
    assert "point" in words(fit, "caution")


def test_chains_are_judged_as_chains():
    fit = ppzoo.fit(conjugate, Y, method="nuts", chains=4, warmup=200, draws=500)
    assert fit.diagnose().verdict == "trust", str(fit.diagnose())
    assert fit.diagnose().numbers["r_hat"] < 1.02
    assert "k_hat" not in fit.diagnose().numbers
    short = ppzoo.fit(conjugate, Y, method="nuts", chains=2, warmup=20, draws=4)
    assert short.diagnose().verdict == "reject"


ROWS = torch.tensor([-8.0, 8.0, -2.1, -1.3, -2.6, 2.2, 1.8, 0.1, 2.9, -1.0], dtype=torch.float64)


def mixture(x):
    """The labels of the first rows are certain, and those of the others are not."""
    low = pyro.sample("low", dist.Normal(-2.0, 0.5))
    apart = pyro.sample("apart", dist.LogNormal(1.4, 0.2))
    with pyro.plate("row", len(x)):
        z = pyro.sample("z", dist.Bernoulli(0.5))
        loc = pyro.deterministic("loc", low + apart * z)
        pyro.deterministic("upper", 1.0 * z)
        pyro.sample("x", dist.Normal(loc, 1.0), obs=x)


@pytest.mark.filterwarnings("error")
def test_discrete_sites_change_no_verdict():
    """Nor do functions of them: verdict and figures are those of the continuous sites; what is undefined is a dash."""
    fit = ppzoo.fit(mixture, ROWS, method="nuts", chains=4, warmup=300, draws=300)
    z = fit.draws()["z"]
    assert z[:, :2].unique(dim=0).tolist() == [[0.0, 1.0]]
    assert fit.diagnose().verdict == "trust", str(fit.diagnose())
    assert not [finding for finding in fit.diagnose().findings if "constant" in finding.what]
    continuous = fit.to_arviz()["posterior"].to_dataset()[["low", "apart"]]
    alone = diagnose_chains(xr.DataTree.from_dict({"posterior": continuous})).numbers
    for name in ("r_hat", "ess_bulk", "ess_tail"):
        assert fit.diagnose().numbers[name] == alone[name]
    rows = {row.split()[0]: row.split()[1:] for row in str(fit).splitlines() if row.startswith("z[")}
    assert rows["z[1]"] == ["1", "0", "1", "1", "1", "-", "-", "-", "-", "-"]
    assert fit.summary().loc["z[7]", "r_hat"] < 1.05
    assert fit.summary().loc["z[7]", "mean"] == float(z[:, 7].mean())


def test_chains_that_share_their_starts_are_judged_by_groups():
    """What the method says of its starts reaches the diagnosis: 16 short chains from two points, then from four."""
    fit = ppzoo.fit(conjugate, Y, method="nuts", chains=16, warmup=50, draws=20)
    assert "chains_per_start" not in fit.outcome.numbers
    odd = replace(fit, outcome=replace(fit.outcome, numbers={"chains_per_start": 5.0}))
    with pytest.raises(OptionError, match="chains_per_start: leaves a group incomplete; got 5 of 16 chains"):
        odd.diagnose()
    shared = replace(fit, outcome=replace(fit.outcome, numbers={"chains_per_start": 4.0}))
    assert shared.diagnose().numbers["r_hat"] == fit.diagnose().numbers["r_hat"]


def test_notes_of_the_run_come_along():
    fit = ppzoo.fit(conjugate, Y, steps=20, dtype=torch.float64)
    notes = {note.rstrip(".") for note in fit.notes}  # a finding adds its own full stop
    assert notes <= {finding.what for finding in fit.diagnose().findings if finding.level == "note"}


def test_skipped_steps_are_told():
    calls = []

    def model(y):
        conjugate(y)
        calls.append(None)
        if len(calls) > 20 and len(calls) % 3 == 0:
            pyro.factor("bad", torch.tensor(torch.nan))

    fit = ppzoo.fit(model, Y, steps=150, lr=0.05)
    assert fit.diagnose().numbers["skipped"] > 20
    assert fit.diagnose().verdict != "trust"
    assert "skipped" in str(fit.diagnose()) or "non-finite" in str(fit.diagnose())


def test_em_that_ran_out_of_steps_is_told():
    model = ppzoo.create_model("gmm", features=2)
    stopped = ppzoo.fit(model, "old_faithful", method="em", restarts=1, steps=2)
    assert "EM had not converged" in words(stopped, "caution")
    done = ppzoo.fit(model, "old_faithful", method="em", restarts=2)
    assert done.diagnose().numbers["converged"] == 1.0
    assert done.diagnose().verdict == "trust"


def forgetful(y):
    """The plate of the rows, and no obs=."""
    mu = pyro.sample("mu", dist.Normal(0.0, 1.0))
    with pyro.plate("row", len(y)):
        pyro.sample("y", dist.Normal(mu, 1.0))


def weighed(y):
    mu = pyro.sample("mu", dist.Normal(0.0, 1.0))
    pyro.factor("y", dist.Normal(mu, 1.0).log_prob(y).sum())


@pytest.mark.parametrize("options", [{"steps": 5}, {"method": "pyro-nuts", "chains": 1, "warmup": 20, "draws": 4}])
def test_a_program_that_observes_nothing_is_told(options):
    fit = ppzoo.fit(forgetful, Y, **options)
    assert fit.diagnose().verdict != "trust"
    assert "observes nothing, so the answer is its prior" in words(fit, "caution")
    for model, data in ((conjugate, Y), (weighed, Y), (lambda: forgetful(Y), ())):  # a factor is an observation
        assert "observes nothing" not in str(ppzoo.fit(model, data, **options).diagnose())


class Mute(nn.Module):
    """A decoder that does not listen to its code: the posterior of every code is the prior."""

    def __init__(self):
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(4))

    def forward(self, z):
        return self.bias + 0 * z.sum(-1, keepdim=True)


def two_kinds_of_rows():
    """Rows near one of two patterns: one code is enough, and none is too few."""
    torch.manual_seed(0)
    sign = 2 * torch.randint(2, (100, 1)) - 1.0
    return 0.5 + 0.4 * sign * torch.tensor([1.0, 1.0, -1.0, -1.0]) + 0.02 * torch.randn(100, 4)


@pytest.mark.parametrize("options", [{"decoder_network": Mute()}, {"beta": 1000.0}], ids=["mute decoder", "beta"])
def test_a_vae_whose_codes_say_nothing_is_rejected(options, seeded):
    """The posterior is the prior: weights and loss are perfect, so the count of codes alone can see it."""
    model = ppzoo.create_model("vae", features=4, latents=2, hidden=(16,), **options)
    fit = ppzoo.fit(model, two_kinds_of_rows(), steps=2000, lr=0.01)
    assert fit.diagnose().numbers["codes_in_use"] == 0
    assert fit.diagnose().verdict == "reject"
    (found,) = [finding for finding in fit.diagnose().findings if finding.level != "note"]
    assert "no code is in use" in found.what


def test_a_vae_that_tells_rows_apart_has_codes_in_use(seeded):
    model = ppzoo.create_model("vae", features=4, latents=2, hidden=(16,), decoder="gaussian")
    fit = ppzoo.fit(model, two_kinds_of_rows(), steps=1000, lr=0.01)
    assert fit.diagnose().numbers["codes"] == 2
    assert fit.diagnose().numbers["codes_in_use"] >= 1
    assert "in use" in words(fit, "note")


class Means(PyroModule):
    """A mean for each row, with prior N(0, unit²); ``encode`` is the posterior mean in closed form."""

    def __init__(self, unit):
        super().__init__()
        self.unit = unit

    def model(self, x):
        with pyro.plate("row", len(x)):
            z = pyro.sample("z", dist.Normal(x.new_zeros(1), self.unit).to_event(1))
            pyro.sample("x", dist.Normal(z, self.unit).to_event(1), obs=x)

    def guide(self, x):
        with pyro.plate("row", len(x)):
            pyro.sample("z", dist.Normal(self.encode(x), self.unit / math.sqrt(2)).to_event(1))

    def encode(self, x):
        return x / 2


@pytest.mark.parametrize("unit", [1e-3, 1e3])
def test_codes_are_counted_in_units_of_their_prior(unit, seeded):
    """Var_x(mean) is half of the prior variance, in any unit: the paper's 0.01 is of a prior variance of one."""
    diagnosis = ppzoo.fit(Means(unit), unit * math.sqrt(2) * torch.randn(50, 1), steps=150).diagnose()
    assert diagnosis.numbers["codes_in_use"] == 1
    assert diagnosis.verdict != "reject", str(diagnosis)


class Pairs(Means):
    """``encode`` is another function here: of two arguments."""

    def encode(self, x, y):
        raise NotImplementedError

    def guide(self, x):
        with pyro.plate("row", len(x)):
            pyro.sample("z", dist.Normal(x / 2, self.unit / math.sqrt(2)).to_event(1))


class Tuples(Pairs):
    """And here it gives more than the mean."""

    def encode(self, x):
        return x / 2, self.unit


@pytest.mark.parametrize("model", [Pairs(1.0), Tuples(1.0)])
def test_another_function_called_encode_is_left_alone(model, seeded):
    diagnosis = ppzoo.fit(model, torch.randn(50, 1), steps=150).diagnose()
    assert "codes" not in diagnosis.numbers
    assert diagnosis.verdict != "reject", str(diagnosis)


@pytest.mark.parametrize(("steps", "verdict"), [(1, {"reject"}), (1500, {"caution", "reject"})])
def test_modes_of_a_game_are_counted(steps, verdict):
    """Narrow modes: after 1,500 steps of seed 0 most are found, and none is filled."""
    model = ppzoo.create_model("gan", features=2)
    fit = ppzoo.fit(model, "ring_of_gaussians", method="adversarial", steps=steps, seed=0)
    diagnosis = fit.diagnose()
    assert diagnosis.verdict in verdict
    assert diagnosis.numbers["modes"] == 8
    assert 0 <= diagnosis.numbers["modes_covered"] <= 8
    if steps > 1:
        assert diagnosis.numbers["modes_covered"] >= 2
    if diagnosis.numbers["modes_covered"] < 8:
        missing = 8 - int(diagnosis.numbers["modes_covered"])
        assert f"misses {missing} of 8 modes" in str(diagnosis)


class Strip(PyroModule):
    """A game whose draws are uniform on a strip of the unit square, whatever is learnt."""

    def __init__(self, width):
        super().__init__()
        self.width = width
        self.one = nn.Parameter(torch.tensor(1.0))

    def generator_parameters(self):
        return [self.one]

    def critic_parameters(self):
        return [self.one]

    def critic_loss(self, x):
        return self.one.square()

    def generator_loss(self, n):
        return self.one.square()

    def sample(self, n):
        return torch.rand(n, 2) * torch.tensor([self.width, 1.0])


@pytest.mark.parametrize(("width", "verdict"), [(1.0, "trust"), (0.75, "caution"), (0.3, "reject")])
def test_a_game_is_judged_by_the_share_of_the_data_it_covers(width, verdict, seeded):
    """A strip covers its width; 1,000 rows have a standard error of 0.014, ten of it to the nearest threshold."""
    diagnosis = ppzoo.fit(Strip(width), torch.rand(1000, 2), method="adversarial", steps=1).diagnose()
    assert diagnosis.numbers["coverage"] == pytest.approx(width, abs=0.07)
    assert diagnosis.numbers["coverage_expected"] > 0.99
    assert diagnosis.verdict == verdict, str(diagnosis)
    if verdict != "trust":
        (found,) = [finding for finding in diagnosis.findings if finding.level == verdict]
        assert found.what == f"the draws leave {'part' if verdict == 'caution' else 'most'} of the data out"
        figures = (diagnosis.numbers[name] for name in ("coverage", "coverage_expected"))
        assert all(f"{figure:.1%}" in found.evidence for figure in figures)


def test_a_game_on_few_rows_can_still_be_read():
    x = torch.tensor([[0.0, 1.0], [1.0, 0.0], [0.0, -1.0]])
    fit = ppzoo.fit(ppzoo.create_model("gan", features=2), x, method="adversarial", steps=2, batch_size=2)
    assert "verdict" in str(fit)


def test_the_verdict_is_the_same_however_often_it_is_asked():
    fit = ppzoo.fit(conjugate, Y, steps=50)
    assert fit.diagnose() is fit.diagnose()
    assert str(judge(fit)) == str(fit.diagnose())
