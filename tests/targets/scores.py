r"""Two identities of every smooth posterior, which a program's gradient must satisfy at somebody else's draws.

For an unconstrained :math:`u \sim p` whose density vanishes far away, integration by parts gives

.. math:: E[\nabla \log p(u)] = 0, \qquad E[(u - \bar u)\, \nabla \log p(u)^\top] = -I

(Stein, *A bound for the error in the normal approximation*, 1972). Coordinates are whitened first, by the Cholesky
factor of the draws' covariance: every product then has a variance near that of a normal's, so that a narrow ridge
hides nothing, and the D + D^2 averages are asymptotically normal.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.distributions import biject_to

from tests.targets.target import Array, Target, opened

_AT_ONCE = 1000  # draws in one batch: a few hundred megabytes for 1,000 rows


def score_deviations(target: Target) -> Array:
    """Each average of the two identities less its expectation, in standard errors, ``(1 + D, D)``.

    A program is seen to be wrong when it moves a mean by 6 / sqrt(S) sd: by 0.06 for the 10,000 draws of posteriordb.
    """
    u, score = scores(target)
    factor = np.linalg.cholesky(np.cov(u.T, ddof=0).reshape(2 * (u.shape[1],)))
    v = np.linalg.solve(factor, (u - u.mean(0)).T).T  # (S, D), mean 0, covariance I
    g = score @ factor
    terms = np.concatenate((g[:, None, :], v[:, :, None] * g[:, None, :]), axis=1)  # (S, 1 + D, D)
    expected = np.concatenate((np.zeros((1, v.shape[1])), -np.eye(v.shape[1])))
    deviations: Array = (terms.mean(0) - expected) / (terms.std(0, ddof=1) / len(terms) ** 0.5)
    return deviations


def scores(target: Target) -> tuple[Array, Array]:
    """Unconstrained reference draws and the program's gradient of log density there, each ``(S, D)``.

    Raises:
        ValueError: If the reference has moments only.
    """
    if target.reference.draws is None:
        raise ValueError(f"{target.name} has moments only")
    draws = target.reference.draws.reshape(-1, len(target.reference.names))
    with opened(target) as density:
        values = target.write(draws)
        latent = [site for site in density.sites if site.kind == "latent"]
        u = {site.name: biject_to(site.distribution.support).inv(values[site.name]) for site in latent}
        gradient = torch.func.vmap(torch.func.grad(density.potential), chunk_size=_AT_ONCE)(u)
        return _side_by_side(u), -_side_by_side({name: gradient[name] for name in u})


def _side_by_side(values: dict[str, Tensor]) -> Array:
    return torch.cat([value.reshape(len(value), -1) for value in values.values()], 1).detach().numpy()
