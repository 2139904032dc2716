"""Programs that can be simulated and then sampled: every prior is proper, and the data come as one vector ``(N,)``.

Between them: real, positive, interval, simplex, ordered and Cholesky supports, a support that depends on another site,
counts and labels as data, and a discrete site that is summed out.

Who checks a density tries numbers that no data have: labels are clamped, or no number would be found for them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor


@dataclass(frozen=True)
class Row:
    """A program of ``size`` numbers of data."""

    program: Callable[[Tensor], Any]
    size: int


def normal(y: Tensor) -> None:
    """Unknown mean: mu ~ N(1, 2), y ~ N(mu, 1)."""
    mu = pyro.sample("mu", dist.Normal(1.0, 2.0))
    with pyro.plate("row", 3):
        pyro.sample("y", dist.Normal(mu, 1.0), obs=y)


def schools(y: Tensor) -> None:
    """Eight schools, non-centred: theta = mu + tau z, y ~ N(theta, sigma)."""
    sigma = torch.tensor([1.5, 1.0, 1.6, 1.1, 0.9, 1.1, 1.0, 1.8], dtype=y.dtype)
    mu = pyro.sample("mu", dist.Normal(0.0, 1.0))
    tau = pyro.sample("tau", dist.HalfCauchy(1.0))
    with pyro.plate("school", 8):
        z = pyro.sample("z", dist.Normal(0.0, 1.0))
        pyro.sample("y", dist.Normal(mu + tau * z, sigma), obs=y)


def regression(y: Tensor) -> None:
    """Line through eight points with unknown noise: y ~ N(a + b x, s)."""
    x = torch.linspace(-1.0, 2.0, 8, dtype=y.dtype)
    a = pyro.sample("a", dist.Normal(0.0, 2.0))
    b = pyro.sample("b", dist.Normal(0.0, 1.0))
    s = pyro.sample("s", dist.Gamma(2.0, 2.0))
    with pyro.plate("row", 8):
        pyro.sample("y", dist.Normal(a + b * x, s), obs=y)


def rates(y: Tensor) -> None:
    """Counts out of 12 at unknown rates of one population: p_i ~ Beta(a, b), a on an interval, b above a."""
    a = pyro.sample("a", dist.Uniform(0.5, 3.0))
    b = pyro.sample("b", dist.Uniform(a, 2 * a + 3.0))
    with pyro.plate("group", 4):
        p = pyro.sample("p", dist.Beta(a, b))
        pyro.sample("y", dist.Binomial(12, p), obs=y)


def shares(y: Tensor) -> None:
    """Labels of a Dirichlet: w ~ Dir(2, 1, 3), y ~ Categorical(w)."""
    w = pyro.sample("w", dist.Dirichlet(torch.tensor([2.0, 1.0, 3.0], dtype=y.dtype)))
    with pyro.plate("row", 10):
        pyro.sample("y", dist.Categorical(w), obs=y.clamp(0, 2))


class Correlations(dist.LKJCholesky):  # type: ignore[misc]  # Pyro is untyped
    """Torch's, whose samples of three and more dimensions have another distribution than their ``log_prob``.

    Of row k, with k entries left of its diagonal, the squares of these sum to Beta(k / 2, eta + (n - 1 - k) / 2)
    (Lewandowski, Kurowicka, Joe 2009, section 3.2, https://doi.org/10.1016/j.jmva.2009.04.008). Torch 2.13 has
    k - 1 / 2 for the first of the two: correlations under eta = 1 get the mean square 0.30 where 0.25 is right.
    """

    def __init__(self, size: int, eta: Tensor) -> None:
        super().__init__(size, eta)
        left = torch.arange(size, dtype=eta.dtype).clamp(min=1)  # of the first row nothing is used
        self._beta = torch.distributions.Beta(left / 2, eta + (size - 1 - left) / 2)


def correlations(y: Tensor) -> None:
    """Scales and correlations of three normals, seen four times: y ~ N(0, diag(s) L L' diag(s))."""
    factor = pyro.sample("L", Correlations(3, y.new_tensor(1.5)))
    with pyro.plate("column", 3):
        s = pyro.sample("s", dist.LogNormal(0.0, 0.5))
    with pyro.plate("row", 4):
        pyro.sample("y", dist.MultivariateNormal(y.new_zeros(3), scale_tril=s[:, None] * factor), obs=y.reshape(4, 3))


def levels(y: Tensor) -> None:
    """Three levels in order, each seen three times: y_i ~ N(c_i, 1), c_1 < c_2 < c_3."""
    scattered = dist.Normal(y.new_tensor([-1.0, 0.0, 0.5]), 1.0).to_event(1)
    c = pyro.sample("c", dist.TransformedDistribution(scattered, dist.transforms.OrderedTransform()))
    with pyro.plate("row", 9):
        pyro.sample("y", dist.Normal(c.repeat(3), 1.0), obs=y)


def two_groups(y: Tensor) -> None:
    """Which group a row is of is not seen: y ~ w N(m, 1) + (1 - w) N(m + d, 1), d positive."""
    w = pyro.sample("w", dist.Beta(2.0, 3.0))
    m = pyro.sample("m", dist.Normal(0.0, 2.0))
    d = pyro.sample("d", dist.Gamma(4.0, 1.5))
    with pyro.plate("row", 10):
        group = pyro.sample("group", dist.Bernoulli(w))
        pyro.sample("y", dist.Normal(m + d * group, 1.0), obs=y)


PROGRAMS = {
    "normal": Row(normal, 3),
    "eight schools": Row(schools, 8),
    "regression": Row(regression, 8),
    "rates on intervals": Row(rates, 4),
    "shares of a simplex": Row(shares, 10),
    "correlations": Row(correlations, 12),
    "ordered levels": Row(levels, 9),
    "two groups, summed out": Row(two_groups, 10),
}
