"""SVI against MCMC: a guide that is too sure of itself, how it is caught, and what helps.

    python examples/02_svi_versus_mcmc.py [--quick]

Variational inference is quick and answers within a family that you choose; Markov chains are slow and answer without
one. Where both can be had, the one checks the other.
"""

from __future__ import annotations

import sys

import pyro
import pyro.distributions as dist
from torch import Tensor

import ppzoo

QUICK = "--quick" in sys.argv[1:]

# 1. A line through the scores of 434 children against the IQ of their mothers, in units of 15 points *above 70*. The
# origin is the trap: no mother is near 70, so the intercept is found by sliding down the line, and every steeper line
# needs a lower intercept. The posterior of the two is a narrow ridge.

data = ppzoo.load_dataset("kidiq")


def model(x: Tensor, y: Tensor) -> None:
    z = (x[:, 1] - 70.0) / 15.0
    intercept = pyro.sample("intercept", dist.Normal(0.0, 5.0))
    slope = pyro.sample("slope", dist.Normal(0.0, 5.0))
    noise = pyro.sample("noise", dist.HalfNormal(5.0))
    with pyro.plate("row", len(y)):
        pyro.sample("y", dist.Normal(70.0 + 15.0 * (intercept + slope * z), 15.0 * noise), obs=y)


# 2. The same model three times. "normal" is a normal for each parameter by itself (mean-field), "mvn" a multivariate
# one, with correlations. NUTS needs no family; it follows the density's gradient.

steps = 1200 if QUICK else 2500
length = {"chains": 1, "warmup": 150, "draws": 400} if QUICK else {"chains": 2, "warmup": 300, "draws": 900}
normal = ppzoo.fit(model, data, method="svi", guide="normal", steps=steps, lr=0.03, seed=0)
mvn = ppzoo.fit(model, data, method="svi", guide="mvn", steps=steps, lr=0.03, seed=0)
nuts = ppzoo.fit(model, data, method="nuts", seed=0, **length)

# 3. Mean-field SVI maximises E_q[log p - log q]. Where q is narrower than p this costs little; where q has mass that p
# has not, it costs dearly. A q without correlation therefore shrinks into the ridge: the means come out right, the
# standard deviations as those of one parameter *given the other*. For a correlation r they are sqrt(1 - r^2) of what
# they should be.

draws = nuts.draws()
x, y = draws["intercept"], draws["slope"]
r = ((x - x.mean()) * (y - y.mean())).mean() / (x.std() * y.std())
print(f"correlation of intercept and slope: {r:.2f}")
print(f"so mean-field should find {(1 - r**2) ** 0.5:.2f} of the sd (column 'sd ratio')", end="\n\n")

# 4. Side by side. Every fit is held against the most trustworthy: the chains. 'gap/sd' is how far the mean is off,
# 'sd ratio' how far the width is; what Monte Carlo error could explain does not count. 'k-hat' is what SVI can say
# about itself: the tail of its importance weights, good below 0.5, hopeless above 0.7.

caught = ppzoo.compare({"normal": normal, "nuts": nuts})
print(caught, end="\n\n")

# 5. The same with correlations. This guide has room for the ridge.

right = ppzoo.compare({"mvn": mvn, "nuts": nuts})
print(right, end="\n\n")

# 6. What to take home. Look at the verdict before the intervals. If mean-field is caught, try "mvn" (parameters up to
# some hundreds) or "lowrank", and where the posterior is bent or skewed "iaf" or "spline"; or move the origin into the
# data (here: IQ above 100), which removes the ridge itself and makes every method faster; or keep the chains.

print(f"normal: {caught.verdict}; mvn: {right.verdict}")
