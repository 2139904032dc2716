"""The file that ``ppzoo new`` writes: a model and a guide as plain Pyro, with what a beginner asks next."""

from __future__ import annotations

import shlex

__all__ = ["model_file"]

_TEXT = '''\
# A model of your own: two plain Pyro functions. It runs as it stands, on a built-in data set:
#
#     ppzoo check   {file}:model --data kidiq
#     ppzoo fit     {file}:model --data kidiq --guide {file}:guide
#     ppzoo compare {file}:model --data kidiq --guide {file}:guide
#
# `check` lists the sites and shows whether inference could start. `fit` is variational inference (SVI). `compare` runs
# SVI and Markov chains (NUTS), lays their answers side by side, and says whether to believe them. Without --guide,
# SVI takes a normal guide that it makes by itself: the second function is optional.
#
# Your own data: --data table.csv. Columns that the model names as arguments arrive by name, `x` is the whole table;
# --target NAME makes one column `y` and leaves the others in `x`.
"""Test scores of children, from their mother's schooling and IQ (Gelman and Hill, 2007, chapter 3)."""

import pyro
import pyro.distributions as dist
import torch
from torch.distributions import constraints


def model(x, y):
    """A linear regression.

    Args:
        x: Finished high school (0 or 1) and IQ of the mother, (N, 2).
        y: The child's score, (N,).
    """
    # Work in units where every number is near 1, by constants and not by the data's own mean and spread: then new
    # data are treated like the old. Zero stands for a typical row, so that intercept and slopes hardly depend.
    z = (x - x.new_tensor([0.8, 100.0])) / x.new_tensor([1.0, 15.0])

    # Priors say what would surprise you, in these units: an effect of 3 would be 45 points of the score.
    intercept = pyro.sample("intercept", dist.Normal(0.0, 1.0))
    noise = pyro.sample("noise", dist.HalfNormal(2.0))

    # A plate declares independent things, and gives the dimension its name in every result.
    with pyro.plate("predictor", x.shape[1]):
        slope = pyro.sample("slope", dist.Normal(0.0, 1.0))

    # The observed site: `obs=` holds the data. Predictions are draws of this site without it.
    mean = intercept + (z * slope).sum(-1)
    with pyro.plate("row", len(x)):
        pyro.sample("y", dist.Normal(100.0 + 15.0 * mean, 15.0 * noise), obs=y)


def guide(x, y):
    """The approximate posterior: each latent site of the model once, under the same name and in the same plates."""
    def positive(name, value):
        return pyro.param(name, value, constraint=constraints.positive)

    # `x.new_...` follows the type and the device of the data.
    loc = pyro.param("intercept_loc", x.new_tensor(0.0))
    pyro.sample("intercept", dist.Normal(loc, positive("intercept_scale", x.new_tensor(0.1))))
    loc = pyro.param("noise_loc", x.new_tensor(0.0))
    pyro.sample("noise", dist.LogNormal(loc, positive("noise_scale", x.new_tensor(0.1))))
    loc = pyro.param("slope_loc", x.new_zeros(x.shape[1]))
    scale = positive("slope_scale", x.new_full((x.shape[1],), 0.1))
    with pyro.plate("predictor", x.shape[1]):
        pyro.sample("slope", dist.Normal(loc, scale))
'''


def model_file(name: str) -> str:
    """The text of a new model file.

    Args:
        name: The file's name as it is typed in a command, one line of text.

    Example:
        >>> print(model_file("mine.py").splitlines()[2])
        #     ppzoo check   mine.py:model --data kidiq
    """
    return _TEXT.replace("{file}", shlex.quote(name))
