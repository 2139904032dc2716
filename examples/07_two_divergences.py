"""Two divergences: a guide that stays inside the posterior, and the same guide when it covers it.

    python examples/07_two_divergences.py [FOLDER] [--quick]

Writes two_divergences.png, and the figures as two_divergences.json, into FOLDER (default: runs).
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pyro
import pyro.distributions as dist
import torch
from matplotlib.figure import Figure
from torch import Tensor
from torch.distributions import MultivariateNormal, kl_divergence

import ppzoo

QUICK = "--quick" in sys.argv[1:]
folder = Path(next((word for word in sys.argv[1:] if not word.startswith("-")), "runs"))
folder.mkdir(parents=True, exist_ok=True)

# 1. A line through twelve points far from the origin: who raises the intercept must lower the slope. The posterior is
# a Gaussian, known exactly, and its two numbers are strongly correlated.

x = torch.linspace(1.0, 3.0, 12)
y = 0.5 + 0.8 * x + 0.4 * torch.sin(7 * x)


def line(x: Tensor, y: Tensor | None = None) -> None:
    """y_n ~ N(intercept + slope x_n, 0.5)."""
    intercept = pyro.sample("intercept", dist.Normal(0.0, 2.0))
    slope = pyro.sample("slope", dist.Normal(0.0, 2.0))
    with pyro.plate("row", len(x)):
        pyro.sample("y", dist.Normal(intercept + slope * x, 0.5), obs=y)


design = torch.stack([torch.ones_like(x), x], 1).double()
precision = design.T @ design / 0.5**2 + torch.eye(2).double() / 2.0**2
covariance = precision.inverse()
posterior = MultivariateNormal(covariance @ design.T @ y.double() / 0.5**2, covariance)
print(f"correlation of intercept and slope: {covariance[0, 1] / covariance.diagonal().prod().sqrt():.2f}")

# 2. The mean-field guide, twice. Nothing in it can be correlated, so it cannot be the posterior; what it becomes hangs
# on what is minimised. SVI as usual minimises KL[Q | P]: to put mass where the posterior has none is dear, to leave out
# where it has some is cheap, so the guide fits inside. Wake-sleep minimises KL[P | Q], where it is the other way round.

steps = {"steps": 2000 if QUICK else 6000, "lr": 0.02, "guide": "normal", "seed": 0}
fits = {
    "KL[Q | P]": ppzoo.fit(line, (x, y), method="svi", objective="elbo", **steps),
    "KL[P | Q]": ppzoo.fit(line, (x, y), method="svi", objective="wake-sleep", particles=512, **steps),
}

# 3. Both divergences of both guides, in closed form, between the posterior and a Gaussian with the moments of the
# guide's draws. Each guide is the better one by its own measure. The first has the sds of each number given the other,
# the second those of each number by itself: the ones that an interval is made of.

figures: dict[str, dict[str, float]] = {}
gaussians = {}
for name, fit in fits.items():
    draws = fit.draws(20_000)
    numbers = torch.stack([draws["intercept"], draws["slope"]], 1).double()
    gaussians[name] = guide = MultivariateNormal(numbers.mean(0), torch.diag(numbers.var(0)))
    figures[name] = {
        "sd of the intercept": float(guide.stddev[0]),
        "sd of the slope": float(guide.stddev[1]),
        "KL[Q | P]": float(kl_divergence(guide, posterior)),
        "KL[P | Q]": float(kl_divergence(posterior, guide)),
    }
figures["posterior"] = dict(zip(("sd of the intercept", "sd of the slope"), posterior.stddev.tolist(), strict=True))
for name, row in figures.items():
    print(f"{name:>10}: " + ", ".join(f"{what} {value:.2f}" for what, value in row.items()))

# 4. Neither is the posterior. The first leaves out most of it, and k-hat says so. The second covers it: intervals of
# each number by itself are right, and a note says that the two do not move together as they should. A prediction, which
# hangs on both, would be too wide.

for name, fit in fits.items():
    print(f"\nleast {name}\n{fit.diagnose()}")

(folder / "two_divergences.json").write_text(json.dumps({"figures": figures, "seed": 0}, indent=1), encoding="utf-8")
figure = Figure(figsize=(7, 2.6), layout="constrained")
reach = 3.5 * posterior.stddev
at = [np.linspace(float(m - r), float(m + r), 121) for m, r in zip(posterior.mean, reach, strict=True)]
grid = torch.from_numpy(np.stack(np.meshgrid(*at), -1))
for axes, (name, guide) in zip(figure.subplots(1, 2, sharey=True), gaussians.items(), strict=True):
    axes.contourf(*at, posterior.log_prob(grid).exp(), levels=6, cmap="Blues")
    axes.contour(*at, guide.log_prob(grid).exp(), levels=4, colors="#D55E00", linewidths=1)
    axes.set_title(f"least {name}", fontsize=9)
    axes.set_xlabel("intercept")
axes.figure.axes[0].set_ylabel("slope")
figure.savefig(folder / "two_divergences.png", dpi=110)
print(f"wrote {folder / 'two_divergences.png'}")
