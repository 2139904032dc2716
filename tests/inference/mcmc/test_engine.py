"""A run in blocks: how it is cut, thinned, batched, stopped and taken up again changes no draw."""

from __future__ import annotations

import pyro
import pyro.distributions as dist
import pytest
import torch
from scipy.stats import chi2

import ppzoo
from ppzoo.errors import FitError, ModelError
from ppzoo.inference.mcmc import engine
from ppzoo.inference.mcmc.machines import Native, Replayed
from ppzoo.inference.mcmc.warmup import WarmUp

Y = torch.tensor([0.9, 1.1, 1.6, 0.4])
OPTIONS = {"nuts": {"chains": 5}, "hmc": {"chains": 5}, "mams": {"chains": 5}, "chees": {"chains": 9}}


def model(y):
    mu = pyro.sample("mu", dist.Normal(0.0, 1.0))
    scale = pyro.sample("scale", dist.LogNormal(0.0, 0.5))
    with pyro.plate("row", len(y)):
        pyro.sample("y", dist.Normal(mu, scale), obs=y)


def fit(method="nuts", **options):
    return ppzoo.fit(model, Y, method=method, seed=1, **{"warmup": 40, "draws": 30, **OPTIONS[method], **options})


def draws_and_statistics(found):
    return {**found.outcome.draws, **{f"statistics.{k}": v for k, v in found.outcome.statistics.items()}}


def assert_same(one, other):
    one, other = draws_and_statistics(one), draws_and_statistics(other)
    assert list(one) == list(other)
    for name, value in one.items():
        assert torch.equal(value, other[name]), name


@pytest.mark.parametrize("method", OPTIONS)
def test_blocks_change_no_draw(method, monkeypatch):
    whole = fit(method)
    monkeypatch.setattr(engine, "_BLOCK_BYTES", 6000)  # some ten rows
    monkeypatch.setattr(engine, "_STEPS", 3)
    assert_same(whole, fit(method))


def test_of_every_three_draws_the_third_is_kept():
    whole, thinned = fit(draws=60), fit(draws=20, thin=3)
    for name, value in thinned.outcome.draws.items():
        assert torch.equal(value, whole.outcome.draws[name][:, 2::3])
    assert torch.equal(thinned.outcome.statistics["lp"], whole.outcome.statistics["lp"][:, 2::3])
    assert thinned.outcome.numbers["gradients"] == whole.outcome.numbers["gradients"]


@pytest.mark.parametrize("road", [Replayed, Native])
@pytest.mark.parametrize("batch", [1, 2, 3])
def test_batches_give_what_all_chains_at_once_give(batch, road, monkeypatch):
    """Up to the order of sums, which the size of a batch may decide; so close only if they are few."""
    monkeypatch.setattr(engine, "machine_of", lambda *a: (road(*a), ""))
    whole, cut = fit(draws=5), fit(draws=5, max_chains_per_batch=batch)
    for name, value in draws_and_statistics(whole).items():
        torch.testing.assert_close(draws_and_statistics(cut)[name], value, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("method", [method for method in OPTIONS if method != "mams"])  # which refuses one number
def test_all_samplers_find_a_conjugate_posterior(method):
    def conjugate(y):
        mu = pyro.sample("mu", dist.Normal(0.0, 1.0))
        with pyro.plate("row", len(y)):
            pyro.sample("y", dist.Normal(mu, 1.0), obs=y)

    found = ppzoo.fit(conjugate, Y, method=method, chains=16, warmup=100, draws=100, seed=2)
    row = found.summary().loc["mu"]
    mean, sd = float(Y.sum()) / 5, 5**-0.5
    # 4 standard errors: a false alarm in 16,000 seeds, and this seed is fixed
    assert abs(row["mean"] - mean) < 4 * row["mcse_mean"]
    assert abs(row["sd"] - sd) < 4 * row["mcse_sd"]
    assert row["r_hat"] < 1.02


@pytest.mark.parametrize("method", OPTIONS)
def test_statistics_have_arviz_names(method):
    names = {"lp", "acceptance_rate", "step_size", "n_steps", "diverging", "energy", "energy_error", "max_energy_error"}
    trees = {"tree_depth", "reached_max_treedepth"} if method == "nuts" else set()
    energy = {"energy"} if method == "mams" else set()  # its kinetic energy is not drawn, and says nothing
    assert set(fit(method, draws=4).outcome.statistics) == names - energy | trees


def test_the_time_of_warm_up_and_of_drawing_is_told():
    numbers = fit(draws=4).outcome.numbers
    assert set(numbers) == {"gradients", "gradients_warmup", "gradients_idle", "seconds_warmup", "seconds_draws"}
    assert all(value > 0 for value in numbers.values())


def test_where_the_chains_began_is_told():
    assert "The chains began at prior." in fit(init="prior", draws=4).notes
    guide = ppzoo.fit(model, Y, method="svi", steps=20)
    assert any(note.startswith("The chains began at draws of <Fit of model by svi") for note in fit(init=guide).notes)


def test_chains_that_share_a_start_begin_there_and_are_judged_by_it(monkeypatch):
    begun = []
    begin = WarmUp.begin
    monkeypatch.setattr(WarmUp, "begin", lambda self, q: (begun.append(q), begin(self, q))[1])
    found = fit(chains=12, chains_per_start=4)
    groups = begun[0].reshape(3, 4, 2)
    assert torch.equal(groups, groups[:, :1].expand(3, 4, 2))
    assert len(groups[:, 0].unique(dim=0)) == 3
    assert found.outcome.numbers["chains_per_start"] == 4
    assert "chains_per_start" not in fit().outcome.numbers
    assert len(found.outcome.draws["mu"][:, 0].unique()) == 12


def test_nested_r_hat_excuses_many_short_chains():
    """The plain one counts what chains of ten draws do not know of each other."""
    found = ppzoo.fit(model, Y, method="nuts", chains=1024, chains_per_start=64, warmup=50, draws=10).diagnose()
    (excuse,) = (finding for finding in found.findings if finding.what == "the chains are short, not at odds")
    assert "nested R-hat" in excuse.evidence
    assert found.verdict == "trust", found


X = torch.tensor([-1.9, 0.3, 2.4, -0.2, 1.1, -3.0], dtype=torch.float64)


def mixture(x):
    low = pyro.sample("low", dist.Normal(-1.0, 0.5))
    share = pyro.sample("share", dist.Beta(2.0, 2.0))
    with pyro.plate("row", len(x)):
        z = pyro.sample("z", dist.Bernoulli(share))
        pyro.sample("x", dist.Normal(low + 2.5 * z, 1.0), obs=x)


def responsibilities(draws):
    """Probability of the upper component of each row, ``(S, N)``."""
    low, share = draws["low"][:, None], draws["share"][:, None]
    lower, upper = (dist.Normal(low + shift, 1.0).log_prob(X) for shift in (0.0, 2.5))
    return torch.sigmoid(share.logit() + upper - lower)


@pytest.mark.parametrize("method", ["nuts", "hmc", "chees", "pyro-nuts"])
def test_discrete_sites_are_drawn_given_every_draw(method):
    """Ones of each row against their responsibilities, standardised: 6 z-values squared, false alarm rate 1e-6."""
    options = {"chains": 1, "draws": 150} if method == "pyro-nuts" else {"chains": 16, "draws": 150}
    draws = ppzoo.fit(mixture, X, method=method, warmup=100, seed=1, **options).draws()
    p = responsibilities(draws)
    assert draws["z"].shape == p.shape
    score = (draws["z"] - p).sum(0) / (p * (1 - p)).sum(0).sqrt()
    assert float((score**2).sum()) < chi2.isf(1e-6, len(X))
    assert float((p.std(0) / p.mean(0)).max()) > 0.1  # the draws differ, so their responsibilities do


STAY = torch.tensor([[0.8, 0.2], [0.3, 0.7]], dtype=torch.float64)


def series(x):
    """A hidden Markov model that starts in state 0."""
    apart = pyro.sample("apart", dist.LogNormal(0.5, 0.3))
    z = torch.tensor(0)
    for t in pyro.markov(range(len(x))):
        z = pyro.sample(f"z_{t}", dist.Categorical(STAY[z]))
        pyro.sample(f"x_{t}", dist.Normal(apart * z, 1.0), obs=x[t])


def test_states_of_a_hidden_markov_model_are_smoothed_given_every_draw():
    """Every state against its probability by forward and backward sums: 6 z-values squared, false alarm rate 1e-6.

    Neighbours in the series depend on each other, and are not summed: each has 1e-6 / 6.
    """
    draws = ppzoo.fit(series, X, method="nuts", chains=16, warmup=100, draws=100, seed=1).draws()
    likelihood = dist.Normal(torch.stack([0 * draws["apart"], draws["apart"]], 1)[:, None], 1.0).log_prob(X[:, None])
    likelihood = likelihood.exp()  # (S, T, 2)
    forward, backward = [STAY[0] * likelihood[:, 0]], [torch.ones(len(likelihood), 2, dtype=torch.float64)]
    for t in range(1, len(X)):
        forward.append((forward[-1] @ STAY) * likelihood[:, t])
        backward.insert(0, (likelihood[:, -t] * backward[0]) @ STAY.T)
    for t, (f, b) in enumerate(zip(forward, backward, strict=True)):
        p = (f * b)[:, 1] / (f * b).sum(1)
        score = float((draws[f"z_{t}"] - p).sum() / (p * (1 - p)).sum().sqrt())
        assert score**2 < chi2.isf(1e-6 / len(X), 1)


def test_discrete_draws_depend_on_nothing_beside_the_chain():
    """As the continuous ones of chains that learn alone; and a longer run begins with the shorter."""
    options = {"method": "nuts", "warmup": 40, "seed": 1, "adapt": "per_chain"}
    many = ppzoo.fit(mixture, X, chains=5, draws=30, **options).outcome.draws
    few = ppzoo.fit(mixture, X, chains=2, draws=20, **options).outcome.draws
    assert torch.allclose(few["low"], many["low"][:2, :20], rtol=1e-6)
    assert torch.equal(few["z"], many["z"][:2, :20])


def crossed(x):
    a = pyro.sample("a", dist.LogNormal(0.0, 1.0))
    rows, columns = pyro.plate("rows", 2, dim=-2), pyro.plate("columns", 3, dim=-1)
    with rows:
        r = pyro.sample("r", dist.Bernoulli(0.5))
    with columns:
        c = pyro.sample("c", dist.Bernoulli(0.5))
    with rows, columns:
        pyro.sample("x", dist.Normal(a * r * c, 1.0), obs=x.reshape(2, 3))


@pytest.mark.parametrize("method", ["nuts", "hmc", "chees", "pyro-nuts"])
def test_what_cannot_be_summed_out_is_told_before_anything_is_sampled(method, monkeypatch):
    monkeypatch.setattr(engine._Sampling, "begin", lambda *_, **__: pytest.fail("it began"))
    with pytest.raises(ModelError, match=r"cannot be summed out; got sites 'c', 'r'"):
        ppzoo.fit(crossed, X, method=method)


def test_a_program_that_is_run_draw_by_draw_for_them_says_so():
    def stubborn(x):
        low = pyro.sample("low", dist.Normal(-1.0, 0.5))
        with pyro.plate("row", len(x)):
            z = pyro.sample("z", dist.Bernoulli(0.5))
            pyro.sample("x", dist.Normal(low + z if low.item() < 99 else z, 1.0), obs=x)

    found = ppzoo.fit(stubborn, X, method="pyro-nuts", chains=1, warmup=20, draws=4)
    assert "The discrete sites were drawn one draw at a time." in found.notes


@pytest.mark.parametrize("method", OPTIONS)
def test_float32_gives_the_same_posterior(method):
    found = fit(method, chains=16, warmup=100, draws=100, dtype=torch.float32)
    assert found.outcome.draws["mu"].dtype == torch.float32
    exact = fit("nuts", chains=16, warmup=100, draws=400).summary().loc["mu"]
    row = found.summary().loc["mu"]
    # 4 standard errors: a false alarm in 16,000 seeds, and this seed is fixed
    assert abs(row["mean"] - exact["mean"]) < 4 * (row["mcse_mean"] ** 2 + exact["mcse_mean"] ** 2) ** 0.5


def test_float32_is_refused_where_its_rounding_decides():
    def large(y):
        mu = pyro.sample("mu", dist.Normal(0.0, 1.0))
        pyro.factor("constant", torch.tensor(1e6) + 0 * mu)
        pyro.sample("y", dist.Normal(mu, 1.0).expand([4]).to_event(1), obs=y)

    with pytest.raises(FitError, match=r"dtype: the log density is too large.*float32.*1e\+06 nats.*rounds to 0\.12"):
        ppzoo.fit(large, Y, method="nuts", dtype=torch.float32, warmup=20, draws=4)
    assert ppzoo.fit(large, Y, method="nuts", warmup=20, draws=4).dtype == torch.float64


def test_no_directions_are_learnt_where_there_are_many_coordinates():
    def wide():
        pyro.sample("x", dist.Normal(0.0, 1.0).expand([3000]).to_event(1))

    found = ppzoo.fit(wide, (), method="nuts", warmup=20, draws=4)
    assert found.outcome.draws["x"].shape == (4, 4, 3000)


def interrupted_after(calls, monkeypatch, *, warm_up):
    """Ctrl-C arrives while the machine is at work."""
    advance, left = Native.advance, [calls]

    def once(self, chains, steps):
        left[0] -= warm_up or chains.rows["lp"].shape[1] > 16  # warm-up looks at fewer draws at a time
        if left[0] == 0:
            raise KeyboardInterrupt
        return advance(self, chains, min(steps, 16))

    monkeypatch.setattr(Native, "advance", once)
    monkeypatch.setattr(engine, "_BLOCK_SECONDS", 0.0)


def test_ctrl_c_keeps_the_draws_there_are_and_says_so(monkeypatch):
    whole = fit(draws=200)
    interrupted_after(20, monkeypatch, warm_up=False)
    part = fit(draws=200)
    found = len(part.draws()["mu"]) // 5
    assert 4 <= found < 200
    for name, value in part.outcome.draws.items():
        assert torch.equal(value, whole.outcome.draws[name][:, :found])
    assert part.outcome.interrupted
    assert not whole.outcome.interrupted
    text = str(part.diagnose())
    assert f"the run was interrupted: after {found} of 200 draws; with run_dir it could go on" in text
    assert part.diagnose().verdict != "trust"


def test_ctrl_c_during_warm_up_leaves_nothing_to_keep(monkeypatch):
    interrupted_after(20, monkeypatch, warm_up=True)
    with pytest.raises(KeyboardInterrupt, match="during warm-up; with run_dir it could go on"):
        fit(draws=200)
