"""Your own model: check it, fit it, read it, predict with it.

    python examples/01_your_own_model.py [--quick]

Does the score of a child go with schooling and IQ of the mother? 434 children, from Gelman and Hill (2007), chapter 3.
"""

from __future__ import annotations

import sys

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor
from torch.distributions import constraints

import ppzoo

QUICK = "--quick" in sys.argv[1:]

# 1. The data. A built-in data set is a record: arrays by the name of the argument they are for, with column names,
# source and licence. A DataFrame, an array or the path of a .csv file would do as well.

data = ppzoo.load_dataset("kidiq")
print(data, data.columns["x"], sep="\n", end="\n\n")


# 2. The model: a Pyro function whose arguments are the data. `x` and `y` below receive the arrays of these names.
#
#     score = 100 + 15 (intercept + slope . z) + noise,    z = schooling and IQ in handy units
#
# Each choice is one you will meet again. Numbers are brought near one, by constants and not by the data's own mean,
# so that new data are treated like the old. Priors then say what would surprise: an effect of 3 would be 45 points.
# A plate declares independent things, and its name becomes a dimension of every result.


def model(x: Tensor, y: Tensor) -> None:
    z = (x - x.new_tensor([0.8, 100.0])) / x.new_tensor([1.0, 15.0])
    intercept = pyro.sample("intercept", dist.Normal(0.0, 1.0))
    noise = pyro.sample("noise", dist.HalfNormal(2.0))
    with pyro.plate("predictor", 2):
        slope = pyro.sample("slope", dist.Normal(0.0, 1.0))
    mean = intercept + z @ slope
    with pyro.plate("row", len(x)):
        pyro.sample("y", dist.Normal(100.0 + 15.0 * mean, 15.0 * noise), obs=y)


# 3. Before any fitting: does it run, do the data lie in the support of their distribution, is the gradient finite?
# Most mistakes in a new model show here, in a second, site by site.

print(ppzoo.check(model, data), end="\n\n")


# 4. The guide: the family of distributions in which SVI looks for the posterior. It samples each latent site of the
# model once, under the same name and in the same plates. This one is a normal for each, the noise on a log scale
# because it is positive, which is what guide="normal" would have made by itself: write one only to know better.


def guide(x: Tensor, y: Tensor) -> None:  # noqa: ARG001  # the arguments of the model
    def scale(name: str, like: Tensor) -> Tensor:
        return pyro.param(name, 0.1 * torch.ones_like(like), constraint=constraints.positive)

    zero, two = x.new_zeros(()), x.new_zeros(2)
    pyro.sample("intercept", dist.Normal(pyro.param("intercept_at", zero), scale("intercept_by", zero)))
    pyro.sample("noise", dist.LogNormal(pyro.param("noise_at", zero), scale("noise_by", zero)))
    with pyro.plate("predictor", 2):
        pyro.sample("slope", dist.Normal(pyro.param("slope_at", two), scale("slope_by", two)))


# 5. The fit. The parameters of the guide live in the fit and nowhere else: Pyro's global store stays as it was.

fit = ppzoo.fit(model, data, method="svi", guide=guide, steps=500 if QUICK else 3000, lr=0.03, seed=0)

# The estimates are printed with as many digits as their Monte Carlo error (mcse) allows. The verdict says whether to
# believe them, with what it saw. A guide without correlations is a little narrow where schooling and IQ go together;
# 02_svi_versus_mcmc.py is about that.

print(fit, end="\n\n")

# 6. Questions to the posterior are questions to its draws. How sure are we that schooling helps at a given IQ?

slope = fit.draws(4000)["slope"]  # (draws, predictor)
print(f"P(schooling helps | data) = {(slope[:, 0] > 0).double().mean():.3f}")
print(f"10 points of IQ are worth {10 * slope[:, 1].mean():.1f} ± {10 * slope[:, 1].std():.1f} points", end="\n\n")

# 7. Prediction: the same model with other arguments. What is predicted, `y`, is left out. The draws hold both what we
# do not know about the parameters and the noise of a single child, which is why these intervals are so wide.

mothers = torch.tensor([[0.0, 85.0], [1.0, 100.0], [1.0, 130.0]], dtype=torch.float64)
scores = fit.predict(x=mothers, draws=1000)["y"]  # (draws, mothers)
low, middle, high = torch.quantile(scores, torch.tensor([0.05, 0.5, 0.95], dtype=scores.dtype), dim=0)
for i, (school, iq) in enumerate(mothers.tolist()):
    print(f"high school {school:.0f}, IQ {iq:3.0f}: score {middle[i]:3.0f}, 90 % in {low[i]:3.0f} to {high[i]:3.0f}")
