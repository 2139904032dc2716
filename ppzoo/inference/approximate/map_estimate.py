r"""The highest point of a posterior's density over unconstrained values, by L-BFGS from several starting points.

.. math:: \hat u = \arg\max_u \; \log p(\mathrm{data}, t(u)) + \sum_s \log |\det J_{t_s}(u_s)|

With the Jacobian this is the centre of a Laplace approximation, and a place where a sampler may start. Of a density
that was made without it (:func:`~ppzoo.inference.density.density_of`) it is the maximum over constrained values, the
MAP: for a positive :math:`x` with density :math:`p(x)` the first maximises :math:`x\,p(x)`, the second
:math:`p(x)`. Gelman et al., *Bayesian Data Analysis*, 3rd edition,
2013, chapter 13, http://www.stat.columbia.edu/~gelman/book/.

Shapes: ``P`` paths, ``D`` coordinates.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ppzoo.errors import FitError
from ppzoo.inference.approximate.lbfgs import Ascent, ascend, check_starts, map_rows
from ppzoo.inference.door import is_real
from ppzoo.inference.flat import FlatDensity

__all__ = ["MapEstimate", "at_the_edge", "map_estimate"]

_FAR = 10.0  # in unconstrained space: exp(-10) is what nobody would tell from zero
_SAME = 1e-2  # nats: a point 0.14 standard deviations from a mode


@dataclass(frozen=True)
class MapEstimate:
    """The best of the paths' ends.

    Attributes:
        position: Unconstrained, ``(D,)``.
        log_density: There, in nats, with the Jacobian if the density has it.
        gradient_norm: There; of the order of 1e-8 for well-scaled coordinates, and larger for small scales.
        path: Which path it is the end of.
        converged: Whether that path converged.
        agree: Which paths ended at the same mode, ``(P,)``: their end is as high to 0.01 nats, and the point halfway
            to it is no lower than that.
        ascent: The paths themselves.
    """

    position: Tensor
    log_density: float
    gradient_norm: float
    path: int
    converged: bool
    agree: Tensor
    ascent: Ascent

    @property
    def gradients(self) -> int:
        """Gradients that the paths computed, all together."""
        return int(self.ascent.gradients.sum())


def map_estimate(flat: FlatDensity, starts: Tensor) -> MapEstimate:
    """Climb from each starting point and keep the highest end, a converged one if there is any.

    Args:
        flat: The density.
        starts: ``(P, D)``, where the density should be finite; a path that starts elsewhere is left out.

    Raises:
        FitError: If no start has a finite density and gradient.
        DataError: If the starting points are not vectors of this density.

    Example:
        >>> import math, pyro, pyro.distributions as dist, torch
        >>> from ppzoo.datasets.arguments import Arguments
        >>> from ppzoo.inference.density import density_of
        >>> from ppzoo.inference.flat import flatten
        >>> from ppzoo.inference.program import Pair
        >>> def model():
        ...     pyro.sample("x", dist.Gamma(3.0, 2.0))  # x p(x) is highest at 3 / 2, p(x) at 1
        >>> flat = flatten(density_of(Pair(model, model, Arguments((), {}, {}, {}, ()))), torch.zeros(()))
        >>> found = map_estimate(flat, torch.tensor([[-1.0], [0.0], [1.0]]))
        >>> round(math.exp(found.position), 3), found.agree.tolist()
        (1.5, [True, True, True])
    """
    check_starts(flat.like, starts)
    ascent = ascend(flat.function, starts)
    finite = torch.tensor([ending != "not finite" for ending in ascent.endings], device=starts.device)
    converged = torch.tensor([ending == "converged" for ending in ascent.endings], device=starts.device)
    if not bool(finite.any()):
        raise FitError(
            "no starting point with finite density and gradient",
            argument="starts",
            got=f"{len(starts)} points, none finite",
            expected="a finite log density and gradient",
            remedy="Start near zero in unconstrained space, or look for a scale that can reach zero.",
        )
    ends, lp = ascent.q[:, -1], ascent.lp[:, -1]
    eligible = converged if bool(converged.any()) else finite
    path = int(torch.where(eligible, lp, -torch.inf).argmax())
    halfway, _ = map_rows(flat.function)((ends + ends[path]) / 2)
    return MapEstimate(
        position=ends[path],
        log_density=float(lp[path]),
        gradient_norm=float(torch.linalg.vector_norm(ascent.g[path, -1])),
        path=path,
        converged=bool(converged[path]),
        agree=(torch.abs(lp - lp[path]) <= _SAME) & (halfway >= lp[path] - _SAME),
        ascent=ascent,
    )


def at_the_edge(flat: FlatDensity, q: Tensor) -> list[str]:
    """Sites with a coordinate far out towards an end of their support, where the density falls no more: no mode.

    A path towards such an end stops when the gradient has vanished, as it does at a mode.

    Args:
        flat: The density.
        q: Where a path has converged, ``(D,)``.
    """
    bounded = {site.name: not is_real(site.distribution.support) for site in flat.density.sites}
    ends = [q.new_full((shape.numel(),), bounded[name]) for name, shape in flat.density.shapes.items()]
    (far,) = torch.nonzero((torch.abs(q) > _FAR) & (torch.cat(ends) > 0), as_tuple=True)
    if len(far) == 0:
        return []
    steps = torch.sign(q) * torch.nn.functional.one_hot(far, len(q)).to(q)
    here, _ = flat.function(q)
    beyond = torch.cat([map_rows(flat.function)(q + part)[0] for part in steps.split(flat.at_once)])
    out = torch.zeros_like(q)
    out[far] = (~(beyond < here - _SAME)).to(q)
    return [name for name, value in flat.density.named(out).items() if bool(value.any())]
