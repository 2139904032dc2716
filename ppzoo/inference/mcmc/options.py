"""What every sampler by trees is asked, whoever moves its chains, and what each says of parameters it leaves alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from ppzoo.checks import check_integer, check_real
from ppzoo.diagnostics.diagnosis import Finding
from ppzoo.inference.program import Pair, check_program_like

__all__ = ["SamplerOptions", "held_parameters"]


@dataclass(frozen=True, kw_only=True)
class SamplerOptions:
    """The options that No-U-Turn samplers share.

    Attributes:
        chains: Number of chains, each from its own starting point and random stream.
        warmup: Draws per chain that adapt step size and metric and are not kept; at least 20.
        draws: Draws per chain that are kept; at least 4.
        target_accept: Mean acceptance that the step size is tuned to, in (0, 1).
        max_tree_depth: A trajectory has at most ``2**max_tree_depth - 1`` gradients; at most 20.

    Raises:
        OptionError: If one is outside its range.

    Example:
        >>> from ppzoo import NUTS, PyroNUTS
        >>> NUTS(chains=2).draws == PyroNUTS(chains=2).draws
        True
    """

    name: ClassVar[str]
    prefers_float64: ClassVar[bool] = True
    needs_guide: ClassVar[bool] = False

    chains: int = 4
    warmup: int = 500
    draws: int = 500
    target_accept: float = 0.8
    max_tree_depth: int = 10

    def __post_init__(self) -> None:
        check_integer("chains", self.chains)
        check_integer("warmup", self.warmup, minimum=20, why="for fewer leave the step size at its first guess")
        check_integer("draws", self.draws, minimum=4, why="for the diagnostics need four")
        check_integer("max_tree_depth", self.max_tree_depth, maximum=20)
        check_real("target_accept", self.target_accept, above=0, below=1)

    def check_model(self, model: object) -> None:
        """Any program with a continuous latent site; a game has no posterior."""
        check_program_like(model, self.name)


def held_parameters(pair: Pair) -> Iterator[Finding]:
    """A program with parameters to train is sampled at the values they have, which are random before a fit."""
    names = [name.partition(".")[2].removesuffix("_unconstrained") for name in pair.state()]
    if names:
        yield Finding(
            "caution",
            "the model's parameters were not sampled",
            f"{', '.join(names[:5])}{' ...' if len(names) > 5 else ''} stay at the values they came with",
            "Put priors on them, or fit them first (SVI, exact) and sample with that fit's model.",
        )
