"""Two players, one step each in turn: the critic learns to tell draws from data, the generator to be mistaken for them.

Goodfellow et al., *Generative Adversarial Nets*, 2014, https://arxiv.org/abs/1406.2661.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch

from ppzoo.checks import check_integer, check_real
from ppzoo.errors import FitError, ModelError
from ppzoo.inference.outcome import Outcome, Run
from ppzoo.inference.program import Pair, has_method
from ppzoo.inference.variational.descent import cosine_decay
from ppzoo.progress import Progress

__all__ = ["Adversarial"]


@dataclass(frozen=True, kw_only=True)
class Adversarial:
    """Options of an adversarial fit.

    Attributes:
        steps: Rounds of the game: ``critic_steps`` steps of the critic, then one of the generator.
        lr: Learning rate of both players at the start; it falls to a hundredth along a cosine. Adam with betas 0.5
            and 0.999, after Radford et al. 2016.
        batch_size: Rows and draws per step.
        critic_steps: Critic steps per generator step.
    """

    name: ClassVar[str] = "adversarial"
    prefers_float64: ClassVar[bool] = False
    needs_guide: ClassVar[bool] = False
    resumable: ClassVar[bool] = False
    streams: ClassVar[bool] = False

    steps: int = 5000
    lr: float = 2e-3
    batch_size: int = 256
    critic_steps: int = 1

    def __post_init__(self) -> None:
        check_integer("steps", self.steps)
        check_integer("batch_size", self.batch_size)
        check_integer("critic_steps", self.critic_steps)
        check_real("lr", self.lr, above=0)

    def check_model(self, model: object) -> None:
        """The model is a game."""
        if not has_method(model, "critic_loss"):
            raise ModelError(
                "is not a game between a generator and a critic",
                argument="model",
                got=f"a {type(model).__name__}",
                expected="a model with critic_loss and generator_loss, such as 'gan'",
                remedy='Use method="svi" or method="nuts".',
            )

    def run(self, pair: Pair, run: Run) -> Outcome:
        """Play; both players are trained in place. The losses kept are the generator's."""
        game, (x,) = pair.owner, pair.data.args or tuple(pair.data.kwargs.values())
        critic, generator = (
            torch.optim.Adam(parameters, lr=self.lr, betas=(0.5, 0.999))
            for parameters in (game.critic_parameters(), game.generator_parameters())
        )
        decays = [torch.optim.lr_scheduler.LambdaLR(player, cosine_decay(self.steps)) for player in (critic, generator)]
        losses = []
        with Progress(self.steps, "adversarial", run.progress, run.log) as progress:
            for _ in range(self.steps):
                for _ in range(self.critic_steps):
                    rows = torch.randint(len(x), (self.batch_size,), device="cpu").to(x.device)
                    critic.zero_grad(set_to_none=True)
                    game.critic_loss(x[rows]).backward()
                    critic.step()
                generator.zero_grad(set_to_none=True)
                loss = game.generator_loss(self.batch_size)
                loss.backward()
                generator.step()
                for decay in decays:
                    decay.step()
                losses.append(float(loss.detach()))
                if not np.isfinite(losses[-1]):
                    raise FitError("the generator's loss is not finite", got=f"step {len(losses)}", remedy="Lower lr.")
                progress.step({"generator loss": losses[-1]})
        return Outcome(losses=np.asarray(losses))
