"""Real NVP: affine maps of some columns, with scales and shifts that the other columns predict.

    x = f(z),  z ~ N(0, I),  f = a chain of  (u, v) -> (u, v exp(s(u)) + t(u))  and flips of the columns
    log p(x) = log N(z; 0, I) - sum of all s,  z = f^-1(x)

L. Dinh, J. Sohl-Dickstein and S. Bengio (2017), "Density estimation using real NVP",
https://arxiv.org/abs/1605.08803.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pyro
import pyro.distributions as dist
import torch
from pyro.distributions.transforms import AffineCoupling, Permute
from pyro.nn import PyroModule
from torch import nn

from ppzoo.checks import check_integer, check_matrix, check_rows, check_varies, check_widths
from ppzoo.networks import mlp

if TYPE_CHECKING:
    from torch import Tensor
    from torch.distributions import Transform

__all__ = ["RealNVP"]

_LARGEST = 2.0  # of a log scale; the paper's tanh too keeps one layer from blowing up


class RealNVP(PyroModule):
    """Density of a table by coupling layers, exact to score and to draw from.

    Layers take turns: after each one the columns are put in reverse order, so that what one layer leaves alone the
    next one moves. The paper's batch normalisation is left out: it would make a row's density depend on the other
    rows. The base is a standard normal, so standardise columns whose scale is far from one.

    Sites: in the plate ``"row"``, the observed ``x`` (a row of ``D``). The guide is empty.

    Args:
        features: Columns of ``x``, D, at least 2: a column needs another that predicts its scale.
        layers: Coupling layers; from 2 on every column is moved.
        hidden: Widths of the hidden layers of each coupling's network.

    Raises:
        OptionError: If an option is out of range.

    Example:
        >>> flow = RealNVP(features=2)
        >>> flow.sample(5).shape, flow.log_prob(torch.zeros(3, 2)).shape
        (torch.Size([5, 2]), torch.Size([3]))
    """

    def __init__(self, *, features: int, layers: int = 6, hidden: Sequence[int] = (64, 64)) -> None:
        super().__init__()
        self.features = D = check_integer("features", features, minimum=2)
        d = D // 2
        widths = check_widths("hidden", hidden)
        self.couplings = nn.ModuleList(
            mlp(d, 2 * (D - d), hidden=widths) for _ in range(check_integer("layers", layers))
        )
        self.register_buffer("base_mean", torch.zeros(D))

    def distribution(self) -> dist.TorchDistribution:
        """The distribution of a row, as a Pyro distribution with event shape ``(D,)``.

        Made anew at each call: Pyro's transforms keep their last input and output, which must outlive neither a change
        of the parameters nor a copy of the model.
        """
        flip = torch.arange(self.features - 1, -1, -1, device=self.base_mean.device)
        layers: list[Transform] = []
        for network in self.couplings:
            layers += [self._coupling(network), Permute(flip)]
        base = dist.Normal(self.base_mean, 1.0).to_event(1)
        p: dist.TorchDistribution = dist.TransformedDistribution(base, layers)
        return p

    def model(self, x: Tensor) -> None:
        """Draw the rows from the flow.

        Args:
            x: The rows, ``(N, D)``.
        """
        with pyro.plate("row", len(x)):
            pyro.sample("x", self.distribution(), obs=x)

    def guide(self, x: Tensor) -> None:
        """Nothing is latent.

        Args:
            x: The rows, ``(N, D)``.
        """

    def check(self, x: Tensor) -> None:
        """Two rows or more, ``D`` columns, none of them constant (its density would grow without bound).

        Raises:
            DataError: If not.
        """
        check_matrix("x", x, columns=self.features)
        check_rows("x", x, minimum=2, why="because one row has no spread")
        check_varies("x", x)

    def log_prob(self, x: Tensor) -> Tensor:
        """Log density of each row, exact.

        Args:
            x: Rows, ``(N, D)``.

        Returns:
            Nats, ``(N,)``.

        Raises:
            DataError: If the rows do not have ``D`` columns.
        """
        check_matrix("x", x, columns=self.features)
        log_p: Tensor = self.distribution().log_prob(x)
        return log_p

    @torch.no_grad()
    def sample(self, n: int) -> Tensor:
        """Draw ``n`` rows.

        Args:
            n: How many.

        Returns:
            Rows, ``(n, D)``.
        """
        x: Tensor = self.distribution().sample((check_integer("n", n),))
        return x

    def _coupling(self, network: nn.Module) -> AffineCoupling:
        def shift_and_log_scale(u: Tensor) -> tuple[Tensor, Tensor]:
            t, s = network(u).chunk(2, dim=-1)
            return t, _LARGEST * torch.tanh(s / _LARGEST)

        return AffineCoupling(self.features // 2, shift_and_log_scale)
