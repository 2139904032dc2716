"""What every sampler is asked, whoever moves its chains, and what each says of parameters it leaves alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

from ppzoo.checks import check_chains_per_start, check_choice, check_integer, check_real
from ppzoo.diagnostics.diagnosis import Finding
from ppzoo.errors import OptionError
from ppzoo.inference.program import Pair, check_program_like

__all__ = ["STARTS", "BatchOptions", "SamplerOptions", "check_tree_depth", "held_parameters"]

_MOST_CHAINS = 2**20  # more are a slip: their states alone fill a memory
_MOST_DRAWS = 2**31 - 1  # what is counted stays far below 2**63
STARTS = ("uniform", "prior", "median", "map", "pathfinder")


@dataclass(frozen=True, kw_only=True)
class SamplerOptions:
    """The options that all samplers share.

    Attributes:
        chains: Number of chains, each from its own starting point and random stream; at most a million (``2**20``).
        warmup: Draws per chain that adapt step size and metric and are not kept; at least 20.
        draws: Draws per chain that are kept; at least 4.
        target_accept: Mean acceptance that the step size is tuned to, in (0, 1).

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
    resumable: ClassVar[bool] = False
    streams: ClassVar[bool] = False

    chains: int = 4
    warmup: int = 500
    draws: int = 500
    target_accept: float = 0.8

    def __post_init__(self) -> None:
        check_integer("chains", self.chains, maximum=_MOST_CHAINS)
        fewer = "for fewer leave the step size at its first guess"
        check_integer("warmup", self.warmup, minimum=20, maximum=_MOST_DRAWS, why=fewer)
        check_integer("draws", self.draws, minimum=4, maximum=_MOST_DRAWS, why="for the diagnostics need four")
        check_real("target_accept", self.target_accept, above=0, below=1)

    def check_model(self, model: object) -> None:
        """Any program with a continuous latent site; a game has no posterior."""
        check_program_like(model, self.name)


@dataclass(frozen=True, kw_only=True)
class BatchOptions(SamplerOptions):
    """The options of samplers whose chains are one batch.

    Attributes:
        thin: Of so many draws one is kept: ``draws`` are kept in any case.
        init: Where the chains start: ``"uniform"`` in (-2, 2) of each unconstrained coordinate, as Stan; draws of the
            ``"prior"``; the ``"median"`` of a few prior draws; ``"map"``, a mode of the unconstrained density;
            ``"pathfinder"``, draws of a normal approximation along the way there (Zhang et al. 2022,
            https://jmlr.org/papers/v23/21-0889.html); or a fit of the same model (SVI, say), whose draws they are.
        chains_per_start: How many chains in a row start from one point, the next as many from another; a divisor of
            ``chains``. What then differs between starts is what the starting points have left, and nested R-hat
            (Margossian et al. 2024, https://doi.org/10.1214/24-BA1453) tells whether chains that are too short for
            R-hat have forgotten them: give 50 or more to each of 4 starts or more.
        max_chains_per_batch: How many chains are computed at once; fewer take less memory. ``None``: as many as
            memory surely holds.
    """

    resumable: ClassVar[bool] = True

    thin: int = 1
    init: Any = "uniform"
    chains_per_start: int = 1
    max_chains_per_batch: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_integer("thin", self.thin, maximum=_MOST_DRAWS)
        check_chains_per_start(self.chains_per_start, self.chains)
        if self.max_chains_per_batch is not None:
            check_integer("max_chains_per_batch", self.max_chains_per_batch)
        if isinstance(self.init, str):
            check_choice("init", self.init, STARTS)
        elif isinstance(self.init, type) or not callable(getattr(self.init, "flat_draws", None)):
            kind = self.init if isinstance(self.init, type) else type(self.init)
            raise OptionError(
                "is no place to start from",
                argument="init",
                got=f"the class {kind.__name__}" if kind is self.init else f"a {kind.__name__}",
                expected=f"one of {', '.join(STARTS)}, or a fit of the same model",
                remedy="Fit it by SVI first, say, and pass that fit.",
            )


def check_tree_depth(value: int) -> None:
    """A tree of at most ``2**20`` leaves."""
    check_integer("max_tree_depth", value, maximum=20)


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
