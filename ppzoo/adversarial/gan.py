"""Generative adversarial network: the coin-flip game between a generator and a critic, as first written.

    critic     max_D  E_x log D(x) + E_z log(1 - D(G(z)))
    generator  max_G  E_z log D(G(z))                       with D(x) = sigmoid(logit), z ~ N(0, I)

I. J. Goodfellow et al. (2014), "Generative adversarial nets", https://arxiv.org/abs/1406.2661.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from pyro.nn import PyroModule
from torch import nn
from torch.nn.functional import softplus

from ppzoo.checks import check_integer, check_matrix, check_rows, check_varies, check_widths
from ppzoo.networks import mlp

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["GAN"]


class GAN(PyroModule):
    """Two networks in a game: a coin decides whether the critic sees a row of data or a draw, and it guesses which.

    At the critic's best its loss is ``2 log 2 - 2 JSD(data, draws)`` nats, so at 2 log 2 = 1.39 the draws cannot be
    told from the data, or the critic has given up. The generator does not minimise ``log(1 - D(G(z)))``, whose
    gradient vanishes while the critic wins easily: it maximises ``log D(G(z))``, the paper's own remedy (section 3),
    since called non-saturating, with the same fixed point. The networks are smooth (tanh): on a ring of
    narrow Gaussians ReLU networks lost modes more often in our runs.

    Nothing keeps the generator from leaving modes out: see ``fit.diagnose()``.

    Args:
        features: Columns of ``x``.
        latents: Numbers of noise behind each draw, K.
        hidden: Widths of the hidden layers of both networks.

    Raises:
        OptionError: If an option is out of range.

    Example:
        >>> gan = GAN(features=2)
        >>> gan.sample(5).shape
        torch.Size([5, 2])
    """

    def __init__(self, *, features: int, latents: int = 2, hidden: Sequence[int] = (64, 64)) -> None:
        super().__init__()
        self.features = check_integer("features", features)
        self.latents = check_integer("latents", latents)
        widths = check_widths("hidden", hidden)
        self.generator = mlp(self.latents, self.features, hidden=widths, activation=nn.Tanh)
        self.critic = mlp(self.features, 1, hidden=widths, activation=nn.Tanh)

    def check(self, x: Tensor) -> None:
        """Two rows or more that differ, ``features`` columns.

        Raises:
            DataError: If not.
        """
        check_matrix("x", x, columns=self.features)
        check_rows("x", x, minimum=2, why="because one row is no distribution")
        check_varies("x", x, each=False)

    @torch.no_grad()
    def sample(self, n: int) -> Tensor:
        """Draw ``n`` rows, ``G(z)`` with ``z ~ N(0, I)``.

        Args:
            n: How many.

        Returns:
            Rows, ``(n, features)``.
        """
        return self._draw(check_integer("n", n))

    def generator_parameters(self) -> list[Tensor]:
        """Weights of ``G``."""
        return list(self.generator.parameters())

    def critic_parameters(self) -> list[Tensor]:
        """Weights of ``D``."""
        return list(self.critic.parameters())

    def critic_loss(self, x: Tensor) -> Tensor:
        """``-mean log D(x) - mean log(1 - D(G(z)))``, with as many draws as rows.

        Args:
            x: A batch of rows, ``(n, features)``.

        Returns:
            Nats, a scalar; its gradient reaches the critic alone.
        """
        with torch.no_grad():
            fake = self._draw(len(x))
        return softplus(-self.critic(x)).mean() + softplus(self.critic(fake)).mean()

    def generator_loss(self, n: int) -> Tensor:
        """``-mean log D(G(z))``, the non-saturating form.

        Args:
            n: Draws.

        Returns:
            Nats, a scalar; its gradient reaches both players, and only the generator's is to be used.
        """
        return softplus(-self.critic(self._draw(n))).mean()

    def _draw(self, n: int) -> Tensor:
        z = torch.randn(n, self.latents, dtype=self._like.dtype, device=self._like.device)
        x: Tensor = self.generator(z)
        return x

    @property
    def _like(self) -> Tensor:
        return next(self.generator.parameters())
