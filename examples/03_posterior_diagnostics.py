"""Posterior diagnostics: what each number warns of, and what to do about it.

    python examples/03_posterior_diagnostics.py [--quick]

Eight schools, in two forms of one model. The first makes trouble; every diagnostic says so in its own way.
"""

from __future__ import annotations

import sys

import arviz_stats

import ppzoo

QUICK = "--quick" in sys.argv[1:]
data = ppzoo.load_dataset("eight_schools")
hurried, careful = ((50, 100), (50, 100)) if QUICK else ((150, 400), (200, 700))  # warm-up and draws of each chain

# 1. The centred form: theta_j ~ Normal(mu, tau) for the effect of school j. If tau is small, all theta_j must be close
# to mu: the posterior is a funnel, wide at the top and narrow at the bottom. One step size cannot do for both, so the
# sampler either creeps above or overshoots below. An overshoot that it notices is a divergence. Two hurried chains with
# short trajectories are enough to see it.

model = ppzoo.create_model("eight_schools", centred=True)
warmup, draws = hurried
centred = ppzoo.fit(
    model, data, method="nuts", chains=2, warmup=warmup, draws=draws, target_accept=0.7, max_tree_depth=4, seed=0
)
print("centred\n-------", centred.diagnose(), sep="\n", end="\n\n")

# A divergence is not a wrong draw; it marks a region that the chains cannot enter. What they say about tau is then
# about the part of the posterior that they could reach. More draws do not help. Where do they sit?

tree = centred.to_arviz()
tau, diverging = tree["posterior"]["tau"], tree["sample_stats"]["diverging"]
print(f"median tau of all draws:      {tau.median().item():.2f}")
if diverging.any():
    print(f"median tau where it diverged: {tau.where(diverging).median().item():.2f}")
print()

# 2. The non-centred form is the same model, told differently: z_j ~ Normal(0, 1), theta_j = mu + tau z_j. The z_j know
# nothing of tau a priori, and with so little data per school hardly more a posteriori: the funnel is gone.

model = ppzoo.create_model("eight_schools")
warmup, draws = careful
plain = ppzoo.fit(model, data, method="nuts", chains=2, warmup=warmup, draws=draws, target_accept=0.85, seed=0)
print("non-centred\n-----------", plain.diagnose(), sep="\n", end="\n\n")

# 3. The numbers themselves. `to_arviz()` is a DataTree with the model's plates as dimensions, so every function of
# ArviZ takes it as it is (on Python 3.12 and newer also `import arviz as az`).
#
#   r_hat      do the chains agree with each other?         above 1.01: run longer, or tell the model differently
#   ess_bulk   how many independent draws is it worth?      below 100 for each chain: intervals are loose
#   ess_tail   the same for the 5 % and 95 % quantiles
#   mcse_mean  the error of the mean that comes from having drawn too few: report no digit below it

tree = plain.to_arviz()
print(arviz_stats.summary(tree, var_names=["mu", "tau", "theta"]).to_string(), end="\n\n")

# 4. Would the model have predicted a school it had not seen? Leave-one-out cross-validation estimates it from the
# pointwise likelihoods in the tree. Its own k-hat, one for each school, says where the estimate cannot be trusted: the
# school is so influential that the posterior without it is another one.

loo = plain.loo()
print(f"expected log density of a new school: {loo.elpd:.1f} ± {loo.se:.1f} nats in all")
print(f"worst k-hat of a school: {float(loo.pareto_k.max()):.2f}", end="\n\n")

# 5. SVI has no chains, hence no R-hat: its draws are independent whatever the guide is worth. Its k-hat asks how heavy
# the tail of the importance weights p(x, z) / q(z) is. Below 0.5 the guide covers the posterior; above 0.7 it does not,
# and its intervals are not to be used. It looks from where the guide is: a mode that the guide never visits stays
# unseen. It is an estimate with an error of its own; near a threshold more is drawn. On the funnel of the centred form
# a normal guide cannot follow; on the other it nearly can.

for centre in (True, False):
    model = ppzoo.create_model("eight_schools", centred=centre)
    svi = ppzoo.fit(model, data, method="svi", steps=200 if QUICK else 1500, lr=0.03, seed=0)
    diagnosis = svi.diagnose()
    k_hat = f"{diagnosis.numbers['k_hat']:.2f} ± {diagnosis.numbers['k_hat_error']:.2f}"
    print(f"svi, {'centred' if centre else 'non-centred'}: {diagnosis.verdict}, k-hat {k_hat}")

# 6. What to do, in this order: read the remedy that each finding names; tell the model so that its parameters know
# little of each other (non-centred, standardised predictors); raise target_accept to 0.95 for a few divergences; only
# then draw more.
