r"""Where a guide by name begins, and in what units it is trained: by normals that Pathfinder found.

A learning rate is a length: how far a parameter goes in a step. In unconstrained space one posterior is a thousandth
wide and another a thousand, and no rate suits both. A multivariate normal, or a flow on it, has coordinates of its own
for that (:mod:`~ppzoo.inference.variational.gaussian`). In the other guides a location :math:`\mu_d` is measured in its
scale at the start, and a scale :math:`\sigma_d = \mathrm{softplus}(\rho_d)` in itself:

.. math:: u(\mu_d) = \sigma_d, \qquad u(\rho_d) = \sigma_d \left(\frac{d\sigma_d}{d\rho_d}\right)^{-1}
    = \frac{\sigma_d}{1 - e^{-\sigma_d}}.

The start is the member of the guide's family nearest to the normal :math:`p = \mathcal{N}(m, \Sigma)` in
:math:`\mathrm{KL}(q \| p)`: a normal for each number has :math:`\sigma_d^2 = 1 / (\Sigma^{-1})_{dd}`, a multivariate
one all of :math:`\Sigma`, one of low rank its widest directions; structure begins as a normal for each.

L. Zhang, B. Carpenter, A. Gelman and A. Vehtari (2022), *Pathfinder: Parallel quasi-Newton variational inference*,
https://jmlr.org/papers/v23/21-0889.html.

Shapes: ``D`` unconstrained numbers in all continuous latent sites.
"""

from __future__ import annotations

from operator import attrgetter
from typing import Any, NamedTuple

import torch
from pyro.infer.autoguide import AutoNormal
from torch import Tensor

from ppzoo.inference.density import density_of
from ppzoo.inference.flat import flatten
from ppzoo.inference.mcmc.starts import starting_points
from ppzoo.inference.mcmc.streams import chain_keys
from ppzoo.inference.pathfinder import Normals, pathfinder
from ppzoo.inference.program import Guide, Pair
from ppzoo.inference.variational.gaussian import LowRank, Multivariate
from ppzoo.inference.variational.structured import Structured

__all__ = ["Near", "can_be_placed", "near_posterior", "place"]

_PATHS = 8
_MANY = 2000  # numbers of which all directions are too many to look at
_DRAWS = 100  # of each path's normal, to see that the density is finite there


class Near(NamedTuple):
    """A normal near the posterior, over the unconstrained values of the sites in the order of the program.

    Attributes:
        sizes: How many numbers each site has.
        normal: Of all ``D`` of them.
    """

    sizes: dict[str, int]
    normal: Normals

    def by_site(self, values: Tensor) -> dict[str, Tensor]:
        """Numbers ``(D,)``, cut into those of each site."""
        return dict(zip(self.sizes, values.split(list(self.sizes.values())), strict=True))

    def conditional_scale(self) -> Tensor:
        """The standard deviation of each number given all others, ``(D,)``."""
        _, scale, directions, factor = self.normal
        inner = torch.cholesky_inverse(factor) - torch.eye(len(factor)).to(factor)
        return scale * torch.rsqrt(1 + ((directions @ inner) * directions).sum(1))

    def covariance(self) -> Tensor:
        """``(D, D)``, in float64: its Cholesky factor exists however thin it is."""
        _, scale, directions, factor = (value.double() for value in self.normal)
        inner = factor @ factor.mT - torch.eye(len(factor)).to(factor)
        return torch.outer(scale, scale) * (torch.eye(len(scale)).to(scale) + directions @ inner @ directions.mT)


def near_posterior(pair: Pair, like: Tensor, seed: int, least: int) -> list[Near]:
    """Normals along the paths from several starting points to their modes, the one with the highest bound first.

    Args:
        pair: The program; its discrete sites are summed out.
        like: A scalar of the floating type and device of the run.
        seed: Of the starting points and of the draws by which a path's normals are compared.
        least: How many paths there are at least.

    Raises:
        ModelError: If the program has no density over unconstrained space.
        FitError: If none of the paths found a normal around which it is finite.
    """
    flat = flatten(density_of(pair), like)
    keys = chain_keys(seed, max(_PATHS, least), "start", "svi").to(like.device)
    starts = starting_points("uniform", flat, pair, keys, seed, min(len(keys), flat.at_once))
    found = pathfinder(flat, starts, seed=seed, draws=1, draws_per_path=_DRAWS)
    sizes = {name: shape.numel() for name, shape in flat.density.shapes.items()}
    order = torch.argsort(found.elbo, descending=True)[: int((found.elbo > -torch.inf).sum())]
    return [Near(sizes, found.normals.at(path)) for path in order]


def can_be_placed(guide: Guide | None) -> bool:
    """Whether it is of a kind that :func:`place` knows."""
    return isinstance(guide, Multivariate | LowRank | Structured) or type(guide) is AutoNormal


def place(guide: Any, near: Near, frame: Near) -> dict[Tensor, Tensor]:
    """Let a guide begin near a normal, and give the units of its parameters; of those left out they are one.

    Args:
        guide: One that can be placed, and has run once; its parameters and buffers change in place.
        near: The normal.
        frame: The normal that parameters are measured by: the same for all replicas.
    """
    if isinstance(guide, Multivariate):
        _place_joint(guide, near, frame)
        return {}
    mean, scale, unit = near.normal.mean, near.conditional_scale(), frame.conditional_scale()
    if isinstance(guide, LowRank):
        _turn(guide, near)
        return _placed(guide.loc, guide.scale_unconstrained, mean, scale, unit)
    means, scales, units = (near.by_site(values) for values in (mean, scale, unit))
    found: dict[Tensor, Tensor] = {}
    for name in near.sizes:
        loc, rho = attrgetter(f"{name}_unconstrained")(guide.locs), _rho(guide, name)
        found |= _placed(loc, rho, means[name], scales[name], units[name])
    for name, upstream in ((n, u) for n, others in getattr(guide, "dependencies", {}).items() for u in others):
        weight = attrgetter(f"{name}.{upstream}")(guide.deps).weight
        rows = weight.shape[:-2]
        found[weight] = units[name].reshape(*rows, -1, 1) / units[upstream].reshape(*rows, 1, -1)
    return found


def _place_joint(guide: Multivariate, near: Near, frame: Near) -> None:
    """The normal, as seen from the frame."""
    factor = torch.linalg.cholesky(frame.covariance())
    inner = torch.linalg.solve_triangular(factor, torch.linalg.cholesky(near.covariance()), upper=False)
    shift = (near.normal.mean - frame.normal.mean).double()
    shift = torch.linalg.solve_triangular(factor, shift[:, None], upper=False)[:, 0]
    guide.centre.copy_(frame.normal.mean)
    guide.factor.copy_(factor)
    guide.loc.data = shift.to(guide.loc)
    guide.scale = inner.diagonal().to(guide.loc)  # Pyro takes it to the parameter behind it
    guide.scale_tril = (inner / inner.diagonal()[:, None]).to(guide.loc)


def _turn(guide: LowRank, near: Near) -> None:
    """The directions in which the normal is widest beside the scales that the guide begins with."""
    directions, rank = guide.cov_factor, guide.cov_factor.shape[1]
    if len(directions) > _MANY:
        return
    scale = near.conditional_scale().double()
    width, along = torch.linalg.eigh(near.covariance() / torch.outer(scale, scale))
    widest = torch.sqrt((width[-rank:] - 1).clamp(min=0))
    directions.data = (along[:, -rank:] * widest).to(directions)


def _placed(loc: Tensor, rho: Tensor, mean: Tensor, scale: Tensor, unit: Tensor) -> dict[Tensor, Tensor]:
    for parameter, value in ((loc, mean), (rho, scale + torch.log(-torch.expm1(-scale)))):  # its softplus: the scale
        parameter.data = value.reshape(parameter.shape).clone()
    return {loc: unit.reshape(loc.shape), rho: (unit / -torch.expm1(-unit)).reshape(rho.shape)}


def _rho(guide: Any, name: str) -> Tensor:
    """What the softplus of is the scale of a site."""
    conditionals: Any = getattr(guide, "conditionals", {})
    if callable(conditionals.get(name)):
        return attrgetter(f"{name}.scale_unconstrained")(guide.conds)  # type: ignore[no-any-return]  # modules are untyped
    return attrgetter(f"{name}_unconstrained")(guide.scales)  # type: ignore[no-any-return]  # likewise
