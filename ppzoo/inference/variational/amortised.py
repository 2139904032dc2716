r"""A guide that reads the latent values of a row off the row's own data.

.. math:: q(z \mid x) = \mathcal{N}(\zeta;\, m, s) \prod_n \mathcal{N}(\zeta_n;\, m_\phi(x_n), s_\phi(x_n))

:math:`\zeta` are the global latent sites in unconstrained space, with a mean-field normal; :math:`\zeta_n` those inside
the plate over rows, whose location and scale a network computes from row :math:`n`:

.. math:: (m_\phi, s_\phi)(x) = (\mathrm{id}, \mathrm{softplus})(A\tilde x + C \tanh(V \tilde x + b) + c)

with :math:`\tilde x` the row in units of all rows' standard deviations. So its parameters do not grow with the rows, it
trains on minibatches, and new rows have a posterior without a fit. The price is the amortisation gap: what the network
cannot compute, no row gets.

D. P. Kingma and M. Welling (2014), *Auto-Encoding Variational Bayes*, https://arxiv.org/abs/1312.6114; C. Cremer, X. Li
and D. Duvenaud (2018), *Inference Suboptimality in Variational Autoencoders*, https://arxiv.org/abs/1801.03558.

Shapes: ``N`` rows (``B`` in a minibatch), ``F`` numbers of data and ``L`` unconstrained latent numbers in each, ``G``
unconstrained global numbers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import Any, NamedTuple

import pyro
import torch
from pyro import distributions as dist
from pyro import poutine
from pyro.infer.autoguide.initialization import InitMessenger
from pyro.nn import PyroModule
from torch import Tensor, nn
from torch.distributions import Transform, biject_to
from torch.nn import functional

from ppzoo.errors import ModelError
from ppzoo.inference.program import Site, sites_of

__all__ = ["Amortised"]

_SCALE = 0.1  # of every unconstrained number at the start, as other guides have it
_WIDTH = 64  # hidden units


class _Latent(NamedTuple):
    """A latent site in unconstrained space: its start, and the axis of the rows if it has one in each."""

    name: str
    transform: Transform
    event_dim: int
    plates: tuple[tuple[str, int, int], ...]
    start: Tensor
    axis: int | None

    @property
    def start_of_a_row(self) -> Tensor:
        """The mean over the rows, flat; of a global site all its numbers."""
        return self.start.flatten() if self.axis is None else self.start.mean(self.axis).flatten()

    def shaped(self, flat: Tensor) -> Tensor:
        """``(B, size of a row)``, or of a global site its numbers, in the shape of the site."""
        if self.axis is None:
            return flat.reshape(self.start.shape)
        others = [size for i, size in enumerate(self.start.shape) if i != self.axis]
        return flat.reshape(len(flat), *others).movedim(0, self.axis)


class Amortised(PyroModule):
    """Normal in unconstrained space, by an encoder for the sites of a row.

    Arguments with as many entries as the longest are by rows; in the first run, which sees all rows and measures them,
    a plate of that size is the plate over rows.

    Args:
        model: The program.
        init_loc_fn: Where it begins, site by site; rows begin at their mean.
    """

    def __init__(self, model: Callable[..., Any], init_loc_fn: Callable[[dict[str, Any]], Tensor]) -> None:
        super().__init__()
        self._model = InitMessenger(init_loc_fn)(model)
        self._globals: list[_Latent] = []
        self._locals: list[_Latent] = []
        self._by_rows: frozenset[str] = frozenset()

    def forward(self, *args: Any, **kwargs: Any) -> None:
        """Draw every latent site.

        Raises:
            ModelError: In the first run, if no data are by rows, or no latent site is.
        """
        data = _row_data(args, kwargs)
        if not self._locals:
            self._begin(data, args, kwargs)
        known = {plate for latent in (*self._globals, *self._locals) for plate in latent.plates}
        sizes = {name: (dim, len(data) if name in self._by_rows else size) for name, dim, size in sorted(known)}
        plates = {name: pyro.plate(name, size, dim=dim) for name, (dim, size) in sizes.items()}
        if self._globals:
            self._draw(self._globals, torch.stack([self.loc, self.raw_scale]), plates)
        rows = (data.to(self.mean.dtype) - self.mean) / self.sd
        encoded = self.linear(rows) + self.out(torch.tanh(self.hidden(rows)))
        self._draw(self._locals, encoded.unflatten(-1, (2, -1)).movedim(-2, 0), plates)

    def _draw(self, latents: Sequence[_Latent], encoded: Tensor, plates: Mapping[str, Any]) -> None:
        """From locations and raw scales, ``(2, B, L)`` or ``(2, G)``."""
        parts = encoded.split([len(latent.start_of_a_row) for latent in latents], -1)
        for latent, (loc, raw_scale) in zip(latents, parts, strict=True):
            normal = dist.Normal(latent.shaped(loc), latent.shaped(functional.softplus(raw_scale)))
            distribution = dist.TransformedDistribution(
                normal.to_event(latent.event_dim), [latent.transform.with_cache(1)]
            )
            with ExitStack() as stack:
                for name, _, _ in latent.plates:
                    stack.enter_context(plates[name])
                pyro.sample(latent.name, distribution)

    def _begin(self, data: Tensor, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        trace = poutine.block(poutine.trace(self._model).get_trace)(*args, **kwargs)
        latents = [_latent_of(site, len(data)) for site in sites_of(trace) if site.kind == "latent"]
        local = [latent for latent in latents if latent.axis is not None]
        if not data.numel() or not local:
            raise ModelError(
                "has no latent site for each row of the data, which is what an encoder is for",
                argument="guide",
                got=f"'amortised', {len(data)} rows of {data.shape[1]} numbers, and latent sites "
                + ", ".join(f"{latent.name!r} of shape {tuple(latent.start.shape)}" for latent in latents),
                expected='a latent site inside with pyro.plate("row", len(x)):, x being data of the fit',
                remedy='Use guide="normal" or "mvn"; if there is such a site, pass its data to fit as an argument.',
            )
        self._globals, self._locals = [latent for latent in latents if latent.axis is None], local
        self._by_rows = frozenset(name for latent in local for name, _, size in latent.plates if size == len(data))
        rows = data.to(local[0].start.dtype)
        sd = rows.std(0, correction=0)
        self.register_buffer("mean", rows.mean(0))
        self.register_buffer("sd", torch.where(sd > 0, sd, torch.ones_like(sd)))
        if self._globals:
            start = torch.cat([latent.start_of_a_row for latent in self._globals])
            self.loc = nn.Parameter(start)
            self.raw_scale = nn.Parameter(_raw_scale_of(start))
        start = torch.cat([latent.start_of_a_row for latent in local])
        self.linear = nn.Linear(rows.shape[1], 2 * len(start), bias=False)
        self.hidden = nn.Linear(rows.shape[1], _WIDTH)
        self.out = nn.Linear(_WIDTH, 2 * len(start))
        with torch.no_grad():
            self.linear.weight.zero_()
            self.out.weight.zero_()
            self.out.bias.copy_(torch.cat([start, _raw_scale_of(start)]))


def _latent_of(site: Site, rows: int) -> _Latent:
    transform = biject_to(site.distribution.support)
    start = transform.inv(site.value.detach())
    event_dim = site.event_dim + start.dim() - site.value.dim()
    dim = next((dim for _, dim, size in site.plates if size == rows), None)
    axis = None if dim is None else start.dim() - event_dim + dim
    return _Latent(site.name, transform, event_dim, site.plates, start, axis)


def _row_data(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
    """All arguments that are by rows side by side, ``(N, F)``."""
    arrays = [value for value in (*args, *kwargs.values()) if isinstance(value, Tensor) and value.dim() > 0]
    rows = max((len(value) for value in arrays), default=0)
    columns = [value.reshape(rows, -1).to(torch.get_default_dtype()) for value in arrays if len(value) == rows]
    return torch.cat(columns, 1) if columns and rows else torch.zeros(rows, 0)


def _raw_scale_of(start: Tensor) -> Tensor:
    """Before softplus, of the scale at the start."""
    return torch.full_like(start, math.log(math.expm1(_SCALE)))
