"""What a model can do is what it implements.

A zoo model is a :class:`pyro.nn.PyroModule` that implements some of these protocols; ``fit`` and the methods of a
``Fit`` look for them and never for a concrete class. A plain Pyro function needs none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["EM", "Bounded", "Checked", "Density", "Encoder", "Exact", "Game", "Generator", "Guided", "Program"]


@runtime_checkable
class Program(Protocol):
    """A Pyro program: ``model(*data)`` declares latent and observed sites."""

    def model(self, *data: Any) -> Any:
        """Run the generative story on the data."""


@runtime_checkable
class Guided(Program, Protocol):
    """A Pyro pair: the program brings the guide that fits it."""

    def guide(self, *data: Any) -> Any:
        """Sample the latent sites from the approximate (or exact) posterior."""


@runtime_checkable
class Checked(Protocol):
    """The model knows what its data must look like, and says so before any computation."""

    def check(self, *data: Any) -> None:
        """Raise :class:`~ppzoo.errors.DataError` where the data do not fit the model."""


@runtime_checkable
class Generator(Protocol):
    """New observations can be drawn."""

    def sample(self, n: int) -> Tensor:
        """Draw ``n`` observations, shape ``(n, ...)``."""


@runtime_checkable
class Density(Generator, Protocol):
    """The density of an observation is known exactly."""

    def log_prob(self, x: Tensor) -> Tensor:
        """Log density of each row of ``x``, in nats, shape ``(N,)``."""


@runtime_checkable
class Encoder(Protocol):
    """An observation has a latent code; the diagnosis of a fit by SVI counts the codes that move with the rows."""

    def encode(self, x: Tensor) -> Tensor:
        """Posterior mean of the latent code of each row, shape ``(N, K)``."""


@runtime_checkable
class Bounded(Protocol):
    """The density of an observation has a lower bound that more draws tighten."""

    def importance_weighted_bound(self, x: Tensor, samples: int = 64) -> Tensor:
        """Lower bound on the log density of each row, in nats, ``(N,)``; with one sample a draw of the ELBO."""


@runtime_checkable
class Exact(Guided, Protocol):
    """The answer is known in closed form; the guide is then the exact posterior."""

    def solve(self, *data: Any) -> Tensor:
        """Set the parameters (if there are any) to their closed-form optimum; return the log evidence, in nats."""


@runtime_checkable
class EM(Protocol):
    """Expectation maximisation: the log likelihood never falls."""

    def e_step(self, *data: Any) -> tuple[Any, Tensor]:
        """Expected statistics under the current parameters, and the current log likelihood, in nats."""

    def m_step(self, statistics: Any, *data: Any) -> None:
        """Set the parameters to their optimum given the expected statistics."""

    def initialise(self, *data: Any) -> None:
        """Set the parameters to a starting point drawn from the data and the current random stream."""


@runtime_checkable
class Game(Generator, Protocol):
    """Two players: a generator that draws, a critic that tells draws from data."""

    def generator_parameters(self) -> list[Tensor]:
        """Parameters of the generator."""

    def critic_parameters(self) -> list[Tensor]:
        """Parameters of the critic."""

    def critic_loss(self, x: Tensor) -> Tensor:
        """Loss of the critic on a batch of data, a scalar."""

    def generator_loss(self, n: int) -> Tensor:
        """Loss of the generator on ``n`` draws, a scalar."""
