r"""Pathfinder: normal approximations along the way to a mode, the best of each path, many paths weighed together.

At each point :math:`\theta` of a path by :mod:`~ppzoo.inference.approximate.lbfgs`, the pairs it has seen so far, as
columns of :math:`S` and :math:`Z`, and its diagonal :math:`\alpha` make a normal with one Newton step as its mean,

.. math:: \Sigma = \mathrm{diag}(\alpha) + \beta \gamma \beta^\top, \qquad \mu = \theta + \Sigma\, \nabla \log p(\theta)

.. math:: \beta = (\mathrm{diag}(\alpha) Z, S), \qquad
          \gamma = \begin{pmatrix} 0 & -R^{-1} \\ -R^{-\top} &
                   R^{-\top} (\mathrm{diag}(S^\top Z) + Z^\top \mathrm{diag}(\alpha) Z) R^{-1} \end{pmatrix}

with :math:`R` the upper triangle of :math:`S^\top Z`. The normal with the highest evidence lower bound,
:math:`E_q[\log p(x) - \log q(x)]` over a few draws, the same noise for all points of a path, is the path's. Draws of
all paths together are resampled with Pareto-smoothed importance weights, whose k-hat says whether the result may stand
for the posterior or is just a place to start from. Zhang, Carpenter, Gelman and Vehtari, *Pathfinder: Parallel
quasi-Newton variational inference*, 2022, https://jmlr.org/papers/v23/21-0889.html.

Two things are not as there. A draw is weighed by :math:`p(x) / \frac{1}{P} \sum_p q_p(x)`, not by its own path's
normal: one path that is too narrow then spoils nothing (Owen and Zhou, *Safe and effective importance sampling*, 2000,
https://doi.org/10.1080/01621459.2000.10473909). And no draw is kept twice (Efraimidis and Spirakis, 2006,
https://doi.org/10.1016/j.ipl.2005.11.003): where the weights are good it makes no difference, and where a few would
weigh it all, many chains do not start from one point.

Shapes: ``P`` paths, ``L`` points of a path, ``D`` coordinates, ``J`` pairs, ``R = min(D, 2 J)``, ``M`` draws.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ppzoo.checks import check_integer
from ppzoo.diagnostics.approximation import FEWEST_WEIGHTS, pareto_k
from ppzoo.diagnostics.reweighting import smoothed_weights
from ppzoo.errors import FitError
from ppzoo.inference.approximate.lbfgs import HISTORY, Ascent, ascend, check_starts, is_curved, next_diagonal
from ppzoo.inference.approximate.values import Values
from ppzoo.inference.flat import FlatDensity
from ppzoo.inference.mcmc.streams import chain_keys, normals, uniforms

__all__ = ["Normals", "Resampled", "pathfinder"]

_ELEMENTS = 4_000_000  # of factors held at once
_TRYING, _DRAWING = 0, 1  # what a path's noise is for


class Normals(NamedTuple):
    r"""Normals of which each draw costs a few products, never a ``D`` by ``D`` matrix.

    .. math:: x = \mu + \mathrm{diag}(\sigma) (I + Q (C - I) Q^\top) u, \qquad u \sim N(0, I)

    Attributes:
        mean: :math:`\mu`, ``(..., D)``.
        scale: :math:`\sigma = \sqrt{\alpha}`, ``(..., D)``.
        directions: :math:`Q`, orthonormal columns, ``(..., D, R)``.
        factor: :math:`C`, lower triangular, ``(..., R, R)``; NaN where a covariance has no factor.
    """

    mean: Tensor
    scale: Tensor
    directions: Tensor
    factor: Tensor

    def log_prob(self, x: Tensor) -> Tensor:
        """Log densities ``(..., M)`` at ``x (..., M, D)``."""
        y = (x - self.mean[..., None, :]) / self.scale[..., None, :]
        along = y @ self.directions
        across = y - along @ self.directions.mT
        along = torch.linalg.solve_triangular(self.factor, along.mT, upper=False).mT
        distance: Tensor = (across * across).sum(-1) + (along * along).sum(-1)
        return -distance / 2 - self._constant()

    def draw(self, u: Tensor) -> tuple[Tensor, Tensor]:
        """Draws and their log densities, ``(..., M, D)`` and ``(..., M)``, from standard normal ``u (..., M, D)``."""
        along = u @ self.directions
        stretched = u + (along @ self.factor.mT - along) @ self.directions.mT
        x = self.mean[..., None, :] + self.scale[..., None, :] * stretched
        return x, -(u * u).sum(-1) / 2 - self._constant()

    def _constant(self) -> Tensor:
        diagonal = torch.diagonal(self.factor, dim1=-2, dim2=-1)
        log_det = torch.log(self.scale).sum(-1) + torch.log(diagonal).sum(-1)
        return log_det[..., None] + self.mean.shape[-1] * math.log(2 * math.pi) / 2

    def at(self, rows: Tensor) -> Normals:
        """Those at an index."""
        return Normals(*(value[rows] for value in self))


@dataclass(frozen=True)
class Resampled:
    """What the paths found.

    Attributes:
        draws: Unconstrained draws ``(S, D)``, resampled from those of all paths; the first few are what fewer would be.
        log_p: Their log densities, ``(S,)``.
        log_q: Their log densities under the equal mixture of the paths' normals, ``(S,)``.
        path: The path that each came from, ``(S,)``.
        log_weights: Log importance weights of all paths' draws, -inf where there is no density, ``(P M,)``.
        k_hat: Of these weights; above ``k_hat_threshold`` of their number the draws are
            starting points and no more, -inf where the mixture is the posterior.
        elbo: Of each path's normal, in nats, ``(P,)``; -inf for a path without any.
        normals: Each path's normal.
        ascent: The paths themselves.
        evaluations: Log densities computed beside the gradients of the ascent.
    """

    draws: Tensor
    log_p: Tensor
    log_q: Tensor
    path: Tensor
    log_weights: Tensor
    k_hat: float
    elbo: Tensor
    normals: Normals
    ascent: Ascent
    evaluations: int

    @property
    def gradients(self) -> int:
        """Gradients that the paths computed, all together."""
        return int(self.ascent.gradients.sum())


def pathfinder(
    flat: FlatDensity, starts: Tensor, *, seed: int, draws: int = 1000, draws_per_path: int = 1000, elbo_draws: int = 25
) -> Resampled:
    """Approximate the posterior from several starting points.

    A path's normal and the draws from it depend on the seed, its start and its own number only; which draws are kept
    depends on all paths.

    Args:
        flat: The density.
        starts: ``(P, D)``, where the density should be finite; a path that starts elsewhere is left out.
        seed: Of the draws.
        draws: How many are kept, if so many have a finite density; best a small part of those of all paths.
        draws_per_path: How many each path gives to the resampling.
        elbo_draws: How many each point of a path is judged by.

    Raises:
        FitError: If no path found a normal under which the density is finite.
        DataError: If the starting points are not vectors of this density.

    Example:
        >>> import pyro, pyro.distributions as dist, torch
        >>> from ppzoo.datasets.arguments import Arguments
        >>> from ppzoo.inference.density import density_of
        >>> from ppzoo.inference.flat import flatten
        >>> from ppzoo.inference.program import Pair
        >>> def model():
        ...     pyro.sample("x", dist.Normal(torch.tensor([3.0, -1.0]), 0.5).to_event(1))
        >>> flat = flatten(density_of(Pair(model, model, Arguments((), {}, {}, {}, ()))), torch.zeros(()))
        >>> found = pathfinder(flat, torch.zeros(4, 2), seed=0)
        >>> found.k_hat < 0.5, bool((found.draws.mean(0) - torch.tensor([3.0, -1.0])).abs().max() < 0.1)
        (True, True)
    """
    check_integer("draws", draws)
    check_integer("draws_per_path", draws_per_path, minimum=FEWEST_WEIGHTS, why="for k-hat needs a tail")
    check_integer("elbo_draws", elbo_draws)
    check_starts(flat.like, starts)
    log_density = Values(flat)
    ascent = ascend(flat.function, starts)
    if set(ascent.endings) == {"not finite"}:
        raise _nowhere(f"{len(starts)} paths, none with a finite density and gradient at its start")
    keys = chain_keys(seed, len(starts), "pathfinder").to(starts.device)
    trail = _Trail.of(ascent)
    elbo, best = _best(trail, ascent, log_density, _noise(keys, _TRYING, elbo_draws, flat.like))
    normals = trail.normals(torch.arange(len(starts), device=starts.device), best)
    paths = torch.nonzero(elbo > -torch.inf).squeeze(1)
    if len(paths) == 0:
        raise _nowhere(f"{len(starts)} paths, and no finite density around them")
    x, _ = normals.at(paths).draw(_noise(keys[paths], _DRAWING, draws_per_path, flat.like))
    x, path = x.flatten(0, 1), paths.repeat_interleave(draws_per_path)
    log_p, log_q = log_density(x), _mixture(normals.at(paths), x)
    kept, k_hat = _resample(log_p - log_q, seed, draws)
    return Resampled(
        draws=x[kept],
        log_p=log_p[kept],
        log_q=log_q[kept],
        path=path[kept],
        log_weights=log_p - log_q,
        k_hat=k_hat,
        elbo=elbo,
        normals=normals,
        ascent=ascent,
        evaluations=log_density.count,
    )


@dataclass(frozen=True)
class _Trail:
    """The paths' points with what L-BFGS knew at each of them."""

    q: Tensor  # (P, L + 1, D)
    g: Tensor
    alpha: Tensor
    s: Tensor  # each path's curved pairs, first ones first, (P, L, D)
    z: Tensor
    known: Tensor  # how many of them were known at each point, (P, L + 1)

    @classmethod
    def of(cls, ascent: Ascent) -> _Trail:
        s, z = ascent.q.diff(dim=1), -ascent.g.diff(dim=1)
        curved = is_curved(s, z)
        alpha = [torch.ones_like(ascent.q[:, 0])]
        for i in range(s.shape[1]):
            new = next_diagonal(alpha[-1], s[:, i], z[:, i])
            alpha.append(torch.where(curved[:, i, None], new, alpha[-1]))
        length = torch.sqrt(torch.where(curved, (s * z).sum(-1), 1.0))  # pairs (cs, cz) say the same for every c
        order = torch.argsort(curved.to(torch.int8), dim=1, descending=True, stable=True)[..., None].expand_as(s)
        none = s.new_zeros(len(s), HISTORY, s.shape[2])
        s, z = (torch.cat([none, (pair / length[..., None]).gather(1, order)], 1) for pair in (s, z))
        known = torch.nn.functional.pad(curved.cumsum(1), (1, 0))
        return cls(ascent.q, ascent.g, torch.stack(alpha, 1), s, z, known)

    def normals(self, path: Tensor, point: Tensor) -> Normals:
        """The normals at some points ``(V,)`` of paths ``(V,)``."""
        theta, g, alpha = self.q[path, point], self.g[path, point], self.alpha[path, point]
        pairs = self.known[path, point, None] + torch.arange(HISTORY, device=path.device)
        S, Z = self.s[path[:, None], pairs], self.z[path[:, None], pairs]  # (V, J, D): rows, the paper's columns
        one = torch.eye(HISTORY, dtype=S.dtype, device=S.device)
        R = torch.triu(S @ Z.mT, 1) + one
        R_inv = torch.linalg.solve_triangular(R, one.expand_as(R), upper=True)
        corner = R_inv.mT @ (one + (Z * alpha[:, None]) @ Z.mT) @ R_inv
        gamma = torch.cat([torch.cat([torch.zeros_like(R), -R_inv], 2), torch.cat([-R_inv.mT, corner], 2)], 1)
        beta = torch.cat([Z * alpha[:, None], S], 1)  # (V, 2J, D)
        mean = theta + alpha * g + ((g[:, None] @ beta.mT) @ gamma @ beta)[:, 0]
        scale = torch.sqrt(alpha)
        Q, T = torch.linalg.qr((beta / scale[:, None]).mT)
        inner = T @ gamma @ T.mT
        one = torch.eye(inner.shape[-1], dtype=S.dtype, device=S.device)
        factor, failed = torch.linalg.cholesky_ex(one + (inner + inner.mT) / 2)
        return Normals(mean, scale, Q, factor.masked_fill((failed > 0)[:, None, None], torch.nan))


def _best(trail: _Trail, ascent: Ascent, log_density: Values, u: Tensor) -> tuple[Tensor, Tensor]:
    """Each path's highest evidence lower bound, and the point of the path that it belongs to, both ``(P,)``."""
    points = torch.arange(ascent.q.shape[1], device=u.device)
    there = (points <= ascent.steps[:, None]) & torch.isfinite(ascent.lp[:, :1])
    path, point = torch.nonzero(there).unbind(1)
    bounds = u.new_full(there.shape, -torch.inf)
    size = u.shape[2] * (u.shape[1] + 4 * HISTORY)
    for some, at in zip(*(index.split(max(1, _ELEMENTS // size)) for index in (path, point)), strict=True):
        x, log_q = trail.normals(some, at).draw(u[some])
        bounds[some, at] = _lower_bound(log_density(x) - log_q)
    highest = bounds.max(1)
    return highest.values, highest.indices


def _lower_bound(log_weights: Tensor) -> Tensor:
    """The mean over draws, the last dimension; of the normal cut to where the density is finite, should it not be."""
    finite = torch.isfinite(log_weights)
    share = finite.to(log_weights.dtype).mean(-1)
    total = torch.where(finite, log_weights, 0.0).mean(-1)
    return torch.where(share > 0, total / share + torch.log(share), -torch.inf)


def _mixture(normals: Normals, x: Tensor) -> Tensor:
    """Log density of the equal mixture of ``P`` normals, ``(N,)``, at ``x (N, D)``."""
    parts = x.split(max(1, _ELEMENTS // normals.mean.numel()))
    return torch.cat([torch.logsumexp(normals.log_prob(part), 0) for part in parts]) - math.log(len(normals.mean))


def _noise(keys: Tensor, purpose: int, draws: int, like: Tensor) -> Tensor:
    """Standard normal numbers ``(P, M, D)`` of each path's own."""
    n = draws * len(like)
    step = torch.full((), purpose, device=keys.device)
    u = torch.func.vmap(lambda key: normals(uniforms(key, step, n + n % 2))[:n])(keys)
    return u.reshape(len(keys), draws, len(like)).to(like.dtype)


def _resample(log_weights: Tensor, seed: int, draws: int) -> tuple[Tensor, float]:
    """Which draws to keep, ``(S,)``, one after another by their smoothed weights among those left; and k-hat."""
    log_w = log_weights.double().cpu().numpy()
    usable = np.flatnonzero(np.isfinite(log_w))
    if usable.size < FEWEST_WEIGHTS:
        raise _nowhere(f"{usable.size} of {log_w.size} draws with a finite log density")
    raw = log_w[usable]
    w = smoothed_weights(raw)
    log_smooth = np.where(w > 0, np.log(np.maximum(w, np.finfo(np.float64).tiny)), raw - raw.max())
    (key,) = chain_keys(seed, 1, "pathfinder", "resample")
    u = uniforms(key, key.new_zeros(()), log_w.size)
    race = log_smooth - np.log(-np.log(u.numpy()[usable]))  # the draw with the largest wins with probability w
    winners = np.argsort(-race, kind="stable")[:draws]
    return torch.from_numpy(usable[winners]).to(log_weights.device), pareto_k(log_w)


def _nowhere(got: str) -> FitError:
    return FitError(
        "no path found a normal under which the density is finite",
        argument="starts",
        got=got,
        expected="a finite log density at the start, and around some point of the way",
        remedy="Start near zero in unconstrained space, or look for a scale that can reach zero.",
    )
