"""No-U-Turn sampling by Pyro's own kernel, chain after chain, with the statistics that Pyro leaves out.

Hoffman and Gelman, *The No-U-Turn Sampler*, 2014, https://jmlr.org/papers/v15/hoffman14a.html; multinomial
weights after Betancourt, *A Conceptual Introduction to Hamiltonian Monte Carlo*, 2017, https://arxiv.org/abs/1701.02434.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any, ClassVar

import pyro.infer.mcmc
import torch
from torch import Tensor

from ppzoo.inference.density import Density, density_of, find_start
from ppzoo.inference.discrete import completed
from ppzoo.inference.mcmc.options import SamplerOptions, check_tree_depth, held_parameters
from ppzoo.inference.outcome import Outcome, Run
from ppzoo.inference.program import Pair
from ppzoo.isolation import random_state
from ppzoo.progress import Progress
from ppzoo.rng import stream_seed

__all__ = ["PyroNUTS"]


@dataclass(frozen=True, kw_only=True)
class PyroNUTS(SamplerOptions):
    """Options of a fit by Pyro's NUTS kernel: those of :class:`SamplerOptions`, and one.

    Attributes:
        max_tree_depth: A trajectory has at most ``2**max_tree_depth - 1`` gradients; at most 20.
    """

    name: ClassVar[str] = "pyro-nuts"

    max_tree_depth: int = 10

    def __post_init__(self) -> None:
        super().__post_init__()
        check_tree_depth(self.max_tree_depth)

    def run(self, pair: Pair, run: Run) -> Outcome:
        """Sample the posterior; the parameters of the pair stay as they are."""
        pair.first_run()
        density = density_of(pair)
        record = _Record()
        with Progress(self.chains * (self.warmup + self.draws), self.name, run.progress, run.log) as progress:
            for chain in range(self.chains):
                with random_state(stream_seed(run.seed, "chain", chain)):
                    self._chain(chain, density, pair, record, progress)
        draws, notes = completed(pair, density, record.stacked_draws(self.chains), run.seed)
        return Outcome(
            draws=draws,
            statistics=record.stacked_statistics(self.chains),
            notes=notes,
            findings=tuple(held_parameters(pair)),
        )

    def _chain(self, chain: int, density: Density, pair: Pair, record: _Record, progress: Progress) -> None:
        kernel = _Kernel(density, self)
        kernel.initial_params = find_start(density, pair)
        kernel.setup(self.warmup)
        u = kernel.initial_params
        for t in range(self.warmup + self.draws):
            u = kernel.sample(u)
            if t >= self.warmup:
                record.add(density.constrain(u), kernel.statistics(), self.max_tree_depth)
            progress.step({"chain": chain + 1, "divergences": record.divergences, "step": kernel.step_size})


@dataclass
class _Record:
    """Draws and statistics in the order they came, chain after chain."""

    values: dict[str, list[Tensor]] = field(default_factory=lambda: defaultdict(list))
    statistics: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    divergences: int = 0

    def add(self, values: dict[str, Tensor], statistics: dict[str, float], max_depth: int) -> None:
        for name, value in values.items():
            self.values[name].append(value.detach().clone())
        statistics["reached_max_treedepth"] = float(statistics["tree_depth"] >= max_depth)
        self.divergences += int(statistics["diverging"])
        for name, number in statistics.items():
            self.statistics[name].append(number)

    def stacked_draws(self, chains: int) -> dict[str, Tensor]:
        return {name: torch.stack(v).unflatten(0, (chains, -1)) for name, v in self.values.items()}

    def stacked_statistics(self, chains: int) -> dict[str, Tensor]:
        kinds = {"diverging": torch.bool, "reached_max_treedepth": torch.bool}
        kinds |= {"tree_depth": torch.int64, "n_steps": torch.int64}
        return {
            name: torch.tensor(v, dtype=torch.float64).to(kinds.get(name, torch.float64)).unflatten(0, (chains, -1))
            for name, v in self.statistics.items()
        }


_UntypedNUTS: Any = pyro.infer.mcmc.NUTS  # its methods carry no annotations


class _Kernel(_UntypedNUTS):  # type: ignore[misc]  # an untyped class is Any
    """Pyro's kernel, watched: what each draw's trajectory did."""

    def __init__(self, density: Density, options: PyroNUTS) -> None:
        super().__init__(
            potential_fn=density.potential,
            target_accept_prob=options.target_accept,
            max_tree_depth=options.max_tree_depth,
        )
        self._depth = self._gradients = 0
        self._energy: Tensor | None = None
        self._acceptance = self._energy_before = 0.0

    def sample(self, params: dict[str, Tensor]) -> dict[str, Tensor]:
        self._depth = self._gradients = 0
        self._acceptance_sum = 0.0
        self._energy = None
        self._known_divergences = len(self._divergences)
        u: dict[str, Tensor] = super().sample(params)
        return u

    def _build_tree(self, *args: Any) -> Any:
        tree = super()._build_tree(*args)
        depth, energy = args[5], args[6]
        if depth == self._depth:  # the outermost call of a doubling: its subtrees are less deep
            self._depth += 1
            self._gradients += int(tree.num_proposals)
            self._acceptance_sum += float(tree.sum_accept_probs)
            self._energy_before = float(energy)
        return tree

    def statistics(self) -> dict[str, float]:
        """The last draw's statistics, under ArviZ's names."""
        _, potential, _ = self._fetch_from_cache()
        return {
            "lp": -float(potential),
            "acceptance_rate": self._acceptance_sum / max(1, self._gradients),
            "step_size": float(self.step_size),
            "tree_depth": float(self._depth),
            "n_steps": float(self._gradients),
            "diverging": float(len(self._divergences) > self._known_divergences),
            "energy": self._energy_before,
        }
