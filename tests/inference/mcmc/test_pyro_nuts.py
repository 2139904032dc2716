"""Pyro's kernel behind our interface, against conjugate answers, and the statistics that it leaves out."""

from __future__ import annotations

import math

import pyro
import pyro.distributions as dist
import pytest
import torch

import ppzoo
from ppzoo.errors import FitError

Y = torch.tensor([0.9, 1.1, 1.6, 0.4])


def conjugate(y):
    mu = pyro.sample("mu", dist.Normal(0.0, 1.0))
    with pyro.plate("row", len(y)):
        pyro.sample("y", dist.Normal(mu, 1.0), obs=y)


def test_moments_of_the_conjugate_posterior():
    fit = ppzoo.fit(conjugate, Y, method="pyro-nuts", chains=2, warmup=200, draws=400, seed=3)
    row = fit.summary().loc["mu"]
    mean, sd = float(Y.sum()) / 5, 5**-0.5
    # 4 standard errors: a false alarm in 16,000 seeds, and this seed is fixed
    assert abs(row["mean"] - mean) < 4 * row["mcse_mean"]
    assert abs(row["sd"] - sd) < 4 * row["mcse_sd"]


def test_statistics():
    fit = ppzoo.fit(conjugate, Y, method="pyro-nuts", chains=2, warmup=50, draws=30)
    stats = fit.to_arviz()["sample_stats"]
    assert set(stats.data_vars) == {
        "lp", "acceptance_rate", "step_size", "tree_depth", "n_steps", "reached_max_treedepth", "diverging", "energy",
    }  # fmt: skip
    assert all(stats[name].shape == (2, 30) for name in stats.data_vars)
    depth, steps = stats["tree_depth"].values, stats["n_steps"].values
    assert ((steps >= 2 ** (depth - 1)) & (steps < 2**depth)).all()
    assert ((stats["acceptance_rate"] >= 0) & (stats["acceptance_rate"] <= 1)).all()
    # energy = potential + kinetic of the point the trajectory left, and it is never below -lp's minimum
    assert (stats["energy"].values >= -stats["lp"].max().item() - 1e-9).all()


def test_lp_is_the_unconstrained_log_density():
    fit = ppzoo.fit(conjugate, Y.double(), method="pyro-nuts", chains=1, warmup=20, draws=10)
    mu = fit.draws()["mu"]
    expected = dist.Normal(0.0, 1.0).log_prob(mu) + dist.Normal(mu[:, None], 1.0).log_prob(Y.double()).sum(1)
    assert torch.allclose(fit.outcome.statistics["lp"][0], expected, rtol=1e-12)


def test_a_chain_depends_on_the_seed_and_its_own_number_only():
    one, three = (ppzoo.fit(conjugate, Y, method="pyro-nuts", chains=c, warmup=20, draws=10, seed=1) for c in (1, 3))
    assert torch.equal(one.outcome.draws["mu"][0], three.outcome.draws["mu"][0])
    chains = three.outcome.draws["mu"]
    other = ppzoo.fit(conjugate, Y, method="pyro-nuts", chains=3, warmup=20, draws=10, seed=2).outcome.draws["mu"]
    assert len({float(c[-1]) for c in (*chains, *other)}) == 6  # consecutive seeds share nothing


def test_no_finite_start_names_the_site():
    def model(y):
        pyro.sample("fine", dist.Normal(0.0, 1.0))
        pyro.sample("broken", dist.Normal(0.0, 1.0))
        pyro.sample("y", dist.Normal(math.inf, 1.0).expand([4]).to_event(1), obs=y)

    with pytest.raises(FitError, match=r"(?s)no starting point.*site +kind.*fine.*broken.*y +observed.*-inf"):
        ppzoo.fit(model, Y, method="pyro-nuts", chains=1, warmup=20, draws=4)
