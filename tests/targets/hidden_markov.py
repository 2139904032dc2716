"""Hidden Markov models of posteriordb, with two states that are summed out. T steps, K = 2 states.

    p(y | theta) = sum over z of prod_t p(y_t | z_t) prod_(t > 1) theta[z_(t-1), z_t]

There is no distribution of the first state: both count with weight 1.
"""

from __future__ import annotations

from pathlib import Path

import pyro
import pyro.distributions as dist
import torch
from pyro.distributions import constraints
from torch import Tensor

from tests.targets import posteriordb
from tests.targets.target import Target


def gaussian(y: Tensor) -> None:
    """y_t ~ N(mu_z, 1); rows of theta uniform; 0 < mu_1 < mu_2 with factors N(3, 1) and N(10, 1)."""
    theta1 = pyro.sample("theta1", dist.Dirichlet(torch.ones(2)))
    theta2 = pyro.sample("theta2", dist.Dirichlet(torch.ones(2)))
    mu = _ordered("mu", torch.tensor([3.0, 10.0]))
    emissions = dist.Normal(mu, 1.0).log_prob(y[:, None])  # (T, K)
    pyro.factor("y", _log_evidence(torch.stack((theta1, theta2)).log(), emissions))


def drive(u: Tensor, v: Tensor, alpha: Tensor) -> None:
    """Rows of theta ~ Dirichlet(alpha_k); u_t ~ Exp(phi_z), v_t ~ Exp(lambda_z), rates.

    phi and lambda are positive and increasing, with factors N(0, 1) and N(3, 1) each.
    """
    theta1 = pyro.sample("theta1", dist.Dirichlet(alpha[0]))
    theta2 = pyro.sample("theta2", dist.Dirichlet(alpha[1]))
    phi = _ordered("phi", torch.tensor([0.0, 3.0]))
    rate = _ordered("lambda", torch.tensor([0.0, 3.0]))
    emissions = dist.Exponential(phi).log_prob(u[:, None]) + dist.Exponential(rate).log_prob(v[:, None])
    pyro.factor("u, v", _log_evidence(torch.stack((theta1, theta2)).log(), emissions))


def _ordered(name: str, loc: Tensor) -> Tensor:
    value = pyro.sample(name, dist.ImproperUniform(constraints.positive_ordered_vector, (), loc.shape))
    pyro.factor(f"{name} near {loc.tolist()}", dist.Normal(loc, 1.0).log_prob(value).sum(-1))
    return value


def _log_evidence(transitions: Tensor, emissions: Tensor) -> Tensor:
    """From log transitions ``(K, K)`` and log emissions ``(T, K)``, as a product of matrices in log2(T) rounds."""
    steps = transitions + emissions[1:, None, :]  # (T - 1, from, to)
    while len(steps) > 1:
        even = 2 * (len(steps) // 2)
        left, right = steps[0:even:2], steps[1:even:2]
        steps = torch.cat((torch.logsumexp(left[..., None] + right[:, None], -2), steps[even:]))
    return torch.logsumexp(emissions[0][:, None] + steps[0], (-2, -1))


def hmm_example(folder: Path, name: str) -> Target:
    """A simulated series."""
    return posteriordb.target(folder, name, gaussian, {"y": posteriordb.columns(folder, name)["y"]})


def hmm_drive(folder: Path, name: str) -> Target:
    """A basketball player's distance to the hoop and to the ball, in one event."""
    c = posteriordb.columns(folder, name)
    return posteriordb.target(folder, name, drive, {key: c[key] for key in ("u", "v", "alpha")})
