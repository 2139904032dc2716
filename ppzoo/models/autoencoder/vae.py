"""Variational autoencoder: a network decodes a normal code, another guesses the code of a row.

    z_n ~ N(0, I),  x_n | z_n ~ Bernoulli(logits f(z_n))  or  N(f(z_n), s^2 I),  q(z_n | x_n) = N(m(x_n), exp(2 v(x_n)))

D. P. Kingma and M. Welling (2014), "Auto-encoding variational Bayes", https://arxiv.org/abs/1312.6114; with ``beta``
other than one, I. Higgins et al. (2017), "beta-VAE", https://openreview.net/forum?id=Sy2fzU9gl.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import pyro
import pyro.distributions as dist
import torch
from pyro import poutine
from pyro.nn import PyroModule, PyroParam
from torch.distributions import constraints

from ppzoo.checks import (
    check_choice,
    check_integer,
    check_matrix,
    check_real,
    check_rows,
    check_unit_interval,
    check_varies,
    check_widths,
)
from ppzoo.networks import check_network, mlp

if TYPE_CHECKING:
    from torch import Tensor, nn

__all__ = ["VAE"]


class VAE(PyroModule):
    """Latent codes decoded by a network, with an amortised Gaussian guide.

    With ``decoder="bernoulli"`` the entries of ``x`` lie in ``[0, 1]``. For binary entries this is a probability; grey
    ones are scored by the same formula ``x log p + (1 - x) log(1 - p)``, as has been usual since the paper, which is
    no normalised density: its nats compare models on the same data with each other and with nothing else.

    ``beta`` weighs the divergence of the code from its prior: ``ELBO_beta = E_q log p(x | z) - beta KL(q || p(z))``.
    Only ``beta=1`` bounds the evidence.

    Training may end with codes that say nothing, ``q(z | x) = p(z)`` for every row: ``fit.diagnose()`` counts those in
    use, and rejects a fit without any.

    Sites: in the plate ``"row"``, ``z`` (a code of ``K`` numbers) and the observed ``x`` (a row of ``D``).

    Args:
        features: Columns of ``x``, D.
        latents: Numbers in a code, K.
        hidden: Widths of the hidden layers of the encoder, and in reverse of the decoder.
        decoder: ``"bernoulli"`` for entries in [0, 1], ``"gaussian"`` for any, with one learnt noise ``s``.
        encoder_network: A network ``(N, D) -> (N, 2K)`` in place of ours: means, then log standard deviations.
        decoder_network: A network ``(N, K) -> (N, D)`` in place of ours: logits, or means of the Gaussian decoder.
        beta: Weight of the divergence, > 0.

    Raises:
        OptionError: If an option is out of range.
        ModelError: If a network of the user's does not have these widths.

    Example:
        >>> import torch
        >>> vae = VAE(features=64, latents=2)
        >>> x = torch.rand(5, 64)
        >>> vae.encode(x).shape, vae.importance_weighted_bound(x, samples=8).shape
        (torch.Size([5, 2]), torch.Size([5]))
    """

    noise: Tensor

    def __init__(
        self,
        *,
        features: int,
        latents: int = 8,
        hidden: Sequence[int] = (256,),
        decoder: str = "bernoulli",
        encoder_network: nn.Module | None = None,
        decoder_network: nn.Module | None = None,
        beta: float = 1.0,
    ) -> None:
        super().__init__()
        self.features = D = check_integer("features", features)
        self.latents = K = check_integer("latents", latents)
        self.decoder = check_choice("decoder", decoder, ("bernoulli", "gaussian"))
        self.beta = check_real("beta", beta, above=0)
        widths = check_widths("hidden", hidden)
        self.encoder_network = (
            mlp(D, 2 * K, hidden=widths)
            if encoder_network is None
            else check_network("encoder_network", encoder_network, inputs=D, outputs=2 * K)
        )
        self.decoder_network = (
            mlp(K, D, hidden=widths[::-1])
            if decoder_network is None
            else check_network("decoder_network", decoder_network, inputs=K, outputs=D)
        )
        if self.decoder == "gaussian":
            one = PyroParam(torch.tensor(1.0), constraint=constraints.positive)
            self.noise = one  # type: ignore[assignment]  # PyroModule gives it back as a positive tensor

    def model(self, x: Tensor) -> Tensor:
        """Draw a code for each row, and the row from its code.

        Args:
            x: The rows, ``(N, D)``.

        Returns:
            The codes ``z``, ``(N, K)``.
        """
        with pyro.plate("row", len(x)):
            with poutine.scale(scale=self.beta):
                z: Tensor = pyro.sample("z", self._prior(x))
            pyro.sample("x", self._likelihood(z), obs=x)
        return z

    def guide(self, x: Tensor) -> None:
        """Draw a code for each row from ``q(z | x)``.

        Args:
            x: The rows, ``(N, D)``.
        """
        with pyro.plate("row", len(x)), poutine.scale(scale=self.beta):
            pyro.sample("z", self._posterior(x))

    def check(self, x: Tensor) -> None:
        """Two rows or more that differ, ``D`` columns, entries in [0, 1] for the Bernoulli decoder.

        Raises:
            DataError: If not.
        """
        self._check_new(x)
        check_rows("x", x, minimum=2, why="because a code says how rows differ")
        check_varies("x", x, each=False)

    @torch.no_grad()
    def sample(self, n: int) -> Tensor:
        """Draw ``n`` rows from the model, noise included: ``z ~ p(z)``, ``x ~ p(x | z)``.

        Binary images look grainy; ``decode`` of the same codes shows their means.

        Args:
            n: How many.

        Returns:
            Rows, ``(n, D)``; zeros and ones from a Bernoulli decoder.
        """
        like = next(self.parameters()).new_empty(check_integer("n", n))
        x: Tensor = self._likelihood(self._prior(like).sample((n,))).sample()
        return x

    @torch.no_grad()
    def encode(self, x: Tensor) -> Tensor:
        """Posterior mean of the code of each row, by the encoder.

        Args:
            x: Rows, ``(N, D)``.

        Returns:
            ``m(x)``, ``(N, K)``.

        Raises:
            DataError: If the rows are not such as the model is made for.
        """
        self._check_new(x)
        return self._posterior(x).mean

    @torch.no_grad()
    def decode(self, z: Tensor) -> Tensor:
        """Mean of a row given its code: ``sigmoid(f(z))`` or ``f(z)``.

        Args:
            z: Codes, ``(N, K)``.

        Returns:
            Expected rows, ``(N, D)``.
        """
        check_matrix("z", z, columns=self.latents)
        return self._likelihood(z).mean

    @torch.no_grad()
    def importance_weighted_bound(self, x: Tensor, samples: int = 64) -> Tensor:
        """A lower bound of the evidence that tightens as draws are added.

            L_S(x) = log 1/S sum_s p(x, z_s) / q(z_s | x),  z_s ~ q(z | x);  E L_1 = ELBO <= E L_S <= log p(x)

        Y. Burda, R. Grosse and R. Salakhutdinov (2016), "Importance weighted autoencoders",
        https://arxiv.org/abs/1509.00519. It is a bound for every ``beta``, which plays no part in it.

        Args:
            x: Rows, ``(N, D)``.
            samples: Draws for each row, S; one gives an unbiased draw of the ELBO.

        Returns:
            The bound for each row, in nats, ``(N,)``; no gradient.

        Raises:
            OptionError: If ``samples`` is no int >= 1.
            DataError: If the rows are not such as the model is made for.
        """
        S = check_integer("samples", samples)
        self._check_new(x)
        q = self._posterior(x)
        log_w = torch.stack([self._log_joint(x, z) - q.log_prob(z) for z in (q.sample() for _ in range(S))])
        return log_w.logsumexp(0) - math.log(S)

    def _log_joint(self, x: Tensor, z: Tensor) -> Tensor:
        log_p: Tensor = self._prior(x).log_prob(z) + self._likelihood(z).log_prob(x)
        return log_p

    def _prior(self, like: Tensor) -> dist.TorchDistribution:
        p: dist.TorchDistribution = dist.Normal(like.new_zeros(self.latents), 1.0).to_event(1)
        return p

    def _posterior(self, x: Tensor) -> dist.TorchDistribution:
        m, v = self.encoder_network(x).chunk(2, dim=-1)
        q: dist.TorchDistribution = dist.Normal(m, v.exp()).to_event(1)
        return q

    def _likelihood(self, z: Tensor) -> dist.TorchDistribution:
        f = self.decoder_network(z)
        x = _GreyBernoulli(logits=f) if self.decoder == "bernoulli" else dist.Normal(f, self.noise)
        p: dist.TorchDistribution = x.to_event(1)
        return p

    def _check_new(self, x: Tensor) -> None:
        check_matrix("x", x, columns=self.features)
        if self.decoder == "bernoulli":
            check_unit_interval("x", x)


class _GreyBernoulli(dist.Bernoulli):  # type: ignore[misc]  # Pyro makes the class at import
    """Bernoulli that also scores values between 0 and 1; torch's would refuse them when validation is on."""

    support = constraints.unit_interval
