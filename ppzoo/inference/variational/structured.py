r"""A guide in which sites that depend on each other in the posterior do so, and no others.

.. math::
    \zeta_i = \mu_i + \eta_i, \qquad
    \eta_i = s_i \odot L_i \varepsilon_i + \sum_{j \in \mathrm{up}(i)} W_{ij} \eta_j

for site :math:`i` in unconstrained space. Its upstream sites are those before it in the program that lie in its Markov
blanket: parents, children and co-parents, read off one run of the program by Pyro. Together it is a multivariate normal
whose precision has the blocks that the program gives it. S. Webb et al. (2018), *Faithful Inversion of Generative
Models for Effective Amortized Inference*, https://arxiv.org/abs/1712.00287; the linear form is Pyro's.

* :math:`L_i` is unit lower triangular; in a plate whose entries the program does not couple otherwise, one for each.
* :math:`W_{ij}` is dense; between two sites in the same plates that couple entry by entry, one for each.

So a local latent of ``N`` rows costs a multiple of ``N`` parameters and not of its square. What couples through a
discrete site alone is left apart.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import pyro
import torch
from pyro import distributions as dist
from pyro import poutine
from pyro.distributions import constraints
from pyro.infer.autoguide import AutoStructured
from pyro.infer.autoguide.initialization import InitMessenger
from pyro.infer.inspect import get_dependencies
from pyro.nn import PyroModule, PyroParam
from torch import Tensor, nn
from torch.distributions import biject_to

__all__ = ["Structured"]

_SCALE = 0.1  # of every unconstrained number at the start, as Pyro has it


class Structured(AutoStructured):
    """Pyro's structured normal, its structure the program's own.

    Args:
        model: The program.
        latent: Names of its continuous latent sites.
        init_loc_fn: Where it begins, site by site; with scale 0.1 and no dependence.
    """

    def __init__(
        self, model: Callable[..., Any], latent: list[str], init_loc_fn: Callable[[dict[str, Any]], Tensor]
    ) -> None:
        self._whole = InitMessenger(init_loc_fn)(model)  # observed sites couple what they observe
        super().__init__(poutine.block(model, expose=latent), init_loc_fn=init_loc_fn)

    def _auto_config(self, sample_sites: Mapping[str, Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Pyro's hook: ``conditionals`` and ``dependencies`` by site."""
        coupled: Any = poutine.block(get_dependencies)(self._whole, args, kwargs)["posterior_dependencies"]
        plates = {name: _plates(site) for name, site in sample_sites.items()}
        sizes = {name: _sizes(site) for name, site in sample_sites.items()}
        names = list(sample_sites)
        coupled = {name: coupled.get(name, {}) for name in names}  # Pyro leaves a site of a Delta out
        self.conditionals = {
            name: "mvn" if not plates[name] or coupled[name].get(name) else _NormalOfRows(f"{name}_aux", *sizes[name])
            for name in names
        }
        self.dependencies = {name: {} for name in names}
        for i, name in enumerate(names):
            for upstream in names[:i]:
                across = coupled[name].get(upstream, coupled[upstream].get(name))
                if across is not None:
                    by_rows = plates[name] and plates[name] == plates[upstream] and not across
                    rows, size = sizes[name]
                    matrix = _MatrixOfRows(rows, size, sizes[upstream][1]) if by_rows else "linear"
                    self.dependencies[name][upstream] = matrix
        self._original_model = None  # type: ignore[assignment]  # as Pyro does: it is needed no more


class _NormalOfRows(PyroModule):
    """Independent rows, each a normal of its own around zero: what Pyro adds the upstream sites to."""

    def __init__(self, name: str, rows: int, size: int) -> None:
        super().__init__()
        self._site = name
        self.scale: Any = PyroParam(torch.full((rows, size), _SCALE), constraints.softplus_positive)
        self.scale_tril: Any = PyroParam(torch.eye(size).repeat(rows, 1, 1), constraints.unit_lower_cholesky)

    def forward(self) -> Tensor:
        factor = self.scale[..., None] * self.scale_tril
        normal = dist.MultivariateNormal(torch.zeros_like(self.scale), scale_tril=factor)
        drawn: Tensor = pyro.sample(self._site, normal.to_event(1), infer={"is_auxiliary": True})
        return drawn.flatten(-2)


class _MatrixOfRows(nn.Module):
    """A matrix for each row: ``(N * upstream) -> (N * downstream)``, zero at the start."""

    def __init__(self, rows: int, downstream: int, upstream: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(rows, downstream, upstream))

    def forward(self, flat: Tensor) -> Tensor:
        rows = flat.unflatten(-1, (len(self.weight), -1))
        product: Tensor = (self.weight * rows[..., None, :]).sum(-1)
        return product.flatten(-2)


def _plates(site: Mapping[str, Any]) -> set[tuple[str, int]]:
    return {(frame.name, frame.dim) for frame in site["cond_indep_stack"] if frame.vectorized}


def _sizes(site: Mapping[str, Any]) -> tuple[int, int]:
    """How many entries its plates have, and the unconstrained numbers of each."""
    entries = math.prod(site["fn"].batch_shape)
    return entries, int(biject_to(site["fn"].support).inv(site["value"]).numel()) // max(entries, 1)
