"""The samplers as methods of a fit: their options, and what each asks of the engine."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

from ppzoo.checks import check_choice, check_integer, check_real
from ppzoo.inference.mcmc import chees, hmc, mams, nuts
from ppzoo.inference.mcmc.engine import sample
from ppzoo.inference.mcmc.kernel import Kernel
from ppzoo.inference.mcmc.options import BatchOptions, check_tree_depth
from ppzoo.inference.mcmc.warmup import Limits
from ppzoo.inference.outcome import Outcome, Run
from ppzoo.inference.program import Pair

__all__ = ["HMC", "MAMS", "NUTS", "ChEES"]

_EARLY_DEPTH = 6  # of trees before the second metric


@dataclass(frozen=True, kw_only=True)
class NUTS(BatchOptions):
    """Options of a fit by the No-U-Turn sampler, all chains as one batch: those of :class:`BatchOptions`, and two.

    Attributes:
        max_tree_depth: A trajectory has at most ``2**max_tree_depth - 1`` gradients; at most 20.
        adapt: ``"pooled"``: the chains learn one step size and one metric together; ``"per_chain"``: each chain learns
            its own, and its draws depend on the seed and its own number only.
    """

    name: ClassVar[str] = "nuts"

    max_tree_depth: int = 10
    adapt: Literal["pooled", "per_chain"] = "pooled"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_tree_depth(self.max_tree_depth)
        check_choice("adapt", self.adapt, ("pooled", "per_chain"))

    def run(self, pair: Pair, run: Run) -> Outcome:
        """Sample the posterior; the parameters of the pair stay as they are."""
        limits = Limits(1.0, float(min(self.max_tree_depth, _EARLY_DEPTH)), float(self.max_tree_depth))
        return sample(pair, run, self, nuts.build(self.max_tree_depth), limits, pooled=self.adapt == "pooled")


@dataclass(frozen=True, kw_only=True)
class HMC(BatchOptions):
    """Options of a fit by Hamiltonian Monte Carlo, all chains as one batch: those of :class:`BatchOptions`, and two.

    Attributes:
        trajectory_length: The longest time of a trajectory, in posterior standard deviations under the learnt metric;
            each takes a uniform share of it. With pi the draws of a normal posterior are uncorrelated.
        adapt: As for :class:`NUTS`.
    """

    name: ClassVar[str] = "hmc"
    kernel: ClassVar[Kernel] = hmc.build()

    trajectory_length: float = math.pi
    adapt: Literal["pooled", "per_chain"] = "pooled"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_real("trajectory_length", self.trajectory_length, above=0)
        check_choice("adapt", self.adapt, ("pooled", "per_chain"))

    def run(self, pair: Pair, run: Run) -> Outcome:
        """Sample the posterior; the parameters of the pair stay as they are."""
        limits = Limits(0.0, self.trajectory_length, self.trajectory_length)
        return sample(pair, run, self, self.kernel, limits, pooled=self.adapt == "pooled")


@dataclass(frozen=True, kw_only=True)
class MAMS(HMC):
    """Options of a fit by Metropolis-adjusted microcanonical sampling: those of :class:`HMC`, for another dynamics.

    Robnik, Cohn-Gordon, Seljak, *Metropolis Adjusted Microcanonical Hamiltonian Monte Carlo*, 2025,
    https://arxiv.org/abs/2503.01707. The program needs two unknown numbers at least.

    Attributes:
        target_accept: Higher than for the others: an error of the energy costs a whole trajectory.
        trajectory_length: As for :class:`HMC`: the time in which Hamiltonian dynamics goes as far.
    """

    name: ClassVar[str] = "mams"
    kernel: ClassVar[Kernel] = mams.build()

    target_accept: float = 0.9


@dataclass(frozen=True, kw_only=True)
class ChEES(BatchOptions):
    """Options of a fit by ChEES-HMC: :class:`HMC` whose chains learn the length of their trajectories together.

    Hoffman, Radul, Sountsov, *An Adaptive-MCMC Scheme for Setting Trajectory Lengths in Hamiltonian Monte Carlo*, 2021,
    https://proceedings.mlr.press/v130/hoffman21a.html. It needs many chains, and gains most where they are.

    Attributes:
        chains: At least 8.
        target_accept: As for all samplers; the length is learnt beside it.
    """

    name: ClassVar[str] = "chees"

    chains: int = 64

    def __post_init__(self) -> None:
        super().__post_init__()
        check_integer("chains", self.chains, minimum=8, why="for they learn from how they differ")

    def run(self, pair: Pair, run: Run) -> Outcome:
        """Sample the posterior; the parameters of the pair stay as they are."""
        return sample(pair, run, self, chees.build(), Limits(0.0, 1.0, 1.0, learnt=True), pooled=True)
