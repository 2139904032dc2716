"""A run in blocks: how it is cut, thinned, batched, stopped and taken up again changes no draw."""

from __future__ import annotations

import pyro
import pyro.distributions as dist
import pytest
import torch

import ppzoo
from ppzoo.inference.mcmc import engine
from ppzoo.inference.mcmc.machine import Native, Replayed

Y = torch.tensor([0.9, 1.1, 1.6, 0.4])
OPTIONS = {"nuts": {"chains": 5}, "hmc": {"chains": 5}, "chees": {"chains": 9}}


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


@pytest.mark.parametrize("method", OPTIONS)
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
    assert set(fit(method, draws=4).outcome.statistics) == names | trees


def test_the_time_of_warm_up_and_of_drawing_is_told():
    numbers = fit(draws=4).outcome.numbers
    assert set(numbers) == {"gradients", "seconds_warmup", "seconds_draws"}
    assert all(value > 0 for value in numbers.values())


def test_where_the_chains_began_is_told():
    assert "The chains began at prior." in fit(init="prior", draws=4).notes
    guide = ppzoo.fit(model, Y, method="svi", steps=20)
    assert any(note.startswith("The chains began at draws of <Fit of model by svi") for note in fit(init=guide).notes)


def interrupted_after(calls, monkeypatch, *, warm_up):
    """Ctrl-C arrives while the machine is at work."""
    advance, left = Native.advance, [calls]

    def once(self, chains, steps):
        left[0] -= warm_up or chains.rows["lp"].shape[1] > 1
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
