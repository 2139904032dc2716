"""Warm-up: from a starting point to a step size and a metric that fit the posterior.

First a step size of the right order is searched with trajectories of one leapfrog. Then windows of growing length
learn the metric while dual averaging follows with the step size; the last tenth of the draws only tunes the step size.
``adapt="pooled"``: all chains learn one step size and one metric, scales and directions, from everybody's draws; a
window ends when the chains have given that many draws on average. ``adapt="per_chain"``: each chain learns its own step
size and scales, from its own draws.

Whenever the draws have been looked at, a snapshot can be taken, from which warm-up goes on to the same numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor

from ppzoo.inference.mcmc.adaptation import DualAveraging, FisherMetric, TrajectoryLength, windows
from ppzoo.inference.mcmc.kernel import Settings
from ppzoo.inference.mcmc.machine import Chains, Machine
from ppzoo.inference.mcmc.metric import Covariances

__all__ = ["Limits", "Tuned", "WarmUp"]

_SEARCH = 50  # factors of two that a first step size may be wrong by
_STEPS = 8  # between two counts of the draws
_FLAT = 1e-10  # a gradient of zero says nothing about the scale
_FAILING = 0.1  # mean acceptance of a trajectory that leads nowhere
_FEW = 16  # chains that wait for each other
_SEVERAL = 4  # draws of each of them for a look
_LOOKS = 16  # the fewest in a window

Snapshot = Callable[[], tuple[dict[str, Tensor], dict[str, object]]]


@dataclass(frozen=True)
class Limits:
    """What bounds a kernel's trajectories, in the kernel's own measure.

    Attributes:
        shortest: One leapfrog, for the search for a step size.
        early: Before the second metric: long trajectories are wasted on a bad one.
        late: After it.
        learnt: Whether the chains learn it together instead, beginning with ``late``; for kernels that report
            ``begin_q, end_q, end_velocity``.
    """

    shortest: float
    early: float
    late: float
    learnt: bool = False


@dataclass(frozen=True)
class Tuned:
    """What warm-up learnt, and where it left the chains."""

    chains: Chains
    step_size: Tensor
    inverse_mass: Tensor
    gradients: int


class WarmUp:
    """Draws that are not kept, and what is learnt from them: :meth:`begin` or :meth:`restore`, then :meth:`run`.

    Args:
        machine: The kernel on its density.
        target: Mean acceptance that the step size is tuned to.
        limits: Of the kernel's trajectories.
        pooled: Whether chains learn together.
    """

    def __init__(self, machine: Machine, *, target: float, limits: Limits, pooled: bool) -> None:
        chains, scale = len(machine.keys), machine.whitening.scale
        self.machine, self.target, self.limits, self.pooled = machine, target, limits, pooled
        self.groups = 1 if pooled else chains
        ones = torch.ones(self.groups, dtype=scale.dtype, device=scale.device)
        self.step = DualAveraging.around(ones)
        self.metric = FisherMetric.at(ones[:, None] * scale)
        self.covariances = Covariances.empty(scale, len(machine.whitening.stretch))
        self.length = TrajectoryLength.at(ones[0] * limits.late)
        self.caution = torch.ones(chains, dtype=scale.dtype, device=scale.device)  # factor on a chain's step size
        self.given = torch.zeros(chains, dtype=torch.int64, device=scale.device)  # draws in this window
        self.window, self.gradients = 0, 0

    def begin(self, q: Tensor) -> None:
        """Start at ``q (C, D)`` and find a first step size."""
        shortest = torch.full_like(self.caution, self.limits.shortest)
        self.chains = self.machine.start(q, Settings(self.caution.clone(), torch.ones_like(q), shortest))
        self.gradients = len(q)
        everyone = torch.ones(self.groups, len(q) // self.groups, dtype=torch.bool, device=q.device)
        g = self.chains.state["g"][:, None]
        steep = torch.log(torch.abs(self._grouped(g)) + _FLAT).mean(1)
        self.metric = FisherMetric.at(torch.exp(-steep))  # of a normal seen from one standard deviation away
        self.metric.add(self._grouped(q[:, None]), self._grouped(g), everyone)
        self._learn_metric()
        self._search()
        self._set_limit(self.limits.early)

    def snapshot(self) -> tuple[dict[str, Tensor], dict[str, object]]:
        """Tensors and JSON values for :meth:`restore`."""
        tensors = self.machine.snapshot(self.chains) | {"caution": self.caution, "given": self.given}
        for name, part in self._parts().items():
            tensors |= {f"{name}.{key}": value for key, value in _tensors(part).items()}
        return tensors, {"window": self.window, "gradients": self.gradients, "count": self.covariances.count}

    def restore(self, tensors: Mapping[str, Tensor], numbers: Mapping[str, Any]) -> None:
        """Stand where the snapshot was taken."""
        self.chains = self.machine.restore(tensors)
        here = {name: value.to(self.caution.device) for name, value in tensors.items()}
        self.caution, self.given = here["caution"], here["given"]
        for name, part in self._parts().items():
            for key in _tensors(part):
                setattr(part, key, here[f"{name}.{key}"])
        self.window, self.gradients = int(numbers["window"]), int(numbers["gradients"])
        self.covariances.count = float(numbers["count"])

    def run(self, draws: int, *, report: Callable[[int, float], None], save: Callable[[Snapshot], None]) -> Tuned:
        """The rest of ``draws`` draws per chain.

        Args:
            draws: Draws per chain, also those before a snapshot.
            report: Called with the draws per chain so far and the step size.
            save: Called with :meth:`snapshot` after each look at the draws.
        """
        ends = [0, *windows(draws), draws]
        while self.window < len(ends) - 1:
            begin, end = ends[self.window : self.window + 2]
            last = end == draws
            while not self._over(end - begin, exact=last):
                self._look(end - begin, exact=last)
                step = float(torch.exp(self.step.log_step).median())
                report(begin + int(self.given.double().mean()), step)
                save(self.snapshot)
            if not last:
                self._learn_metric()
            if self.window == 1:
                self._set_limit(self.limits.late)
            self.window += 1
            self.given = torch.zeros_like(self.given)
        return self._finish()

    def _search(self) -> None:
        """Double or halve each group's step size until the acceptance of one leapfrog crosses the target."""
        step, rising = torch.exp(self.step.log_step), None
        going = torch.ones(self.groups, dtype=torch.bool, device=step.device)
        for _ in range(_SEARCH):
            self._set(step)
            self._advance(self._spread(going).to(self.chains.counts.dtype), 1.0)
            acceptance, seen = self._mean(self.chains.rows["acceptance_rate"], self._spread(going))
            up = acceptance > self.target
            rising = up if rising is None else rising
            going = going & (up == rising) & seen
            if not bool(going.any()):
                break
            step = torch.where(going, torch.where(up, step * 2, step / 2), step)
        self.step = DualAveraging.around(step)
        self._set(step)

    def _learn_metric(self) -> None:
        """Take what the window has shown; chains that learn together start new trajectories in the new coordinates."""
        ready = torch.ones(self.groups, dtype=torch.bool, device=self.metric.count.device)
        self.metric.learn(ready)
        self.step = DualAveraging.around(torch.exp(self.step.log_average))
        self.length = TrajectoryLength.at(torch.exp(self.length.log_time))
        state, machine = self.chains.state, self.machine
        if self.pooled:
            q = machine.whitening.positions(state["draw_q"])
            scale, rank = torch.sqrt(self.metric.inverse_mass[0]), len(machine.whitening.stretch)
            machine.whitening = self.covariances.whitening(scale, rank)
            self.covariances = Covariances.empty(scale, rank)
            settings = Settings(state["next_step_size"], state["next_inverse_mass"], state["limit"])
            self.chains = machine.start(q, settings, self.chains.steps)
            self.gradients += len(q)
        else:
            state["next_inverse_mass"] = self._spread(self.metric.inverse_mass)
        self._set(torch.exp(self.step.log_step))

    def _over(self, draws: int, *, exact: bool) -> bool:
        """Whether every chain has its draws (exact, or each learns for itself), or they have so many on average."""
        if exact or not self.pooled:
            return not bool((self.given < draws).any())
        return float(self.given.double().mean()) >= draws

    def _look(self, draws: int, *, exact: bool) -> None:
        """Learn from the next draws.

        A look comes when half of the chains have ended a trajectory (all of them, where they are few or each learns for
        itself); those wait for it, so that what they do next already follows from it. In a long window a few chains
        that learn together give several draws for each look: the look costs more than a draw.
        """
        chains, alone = len(self.given), not self.pooled
        several = min(_SEVERAL, _FEW // chains, draws // _LOOKS)
        each = 1 if alone or self.limits.learnt else max(1, several)
        together = alone or chains <= _FEW
        room = torch.clamp(draws - self.given, 0, each) if exact or together else torch.full_like(self.given, each)
        self._advance(room, 1.0 if together else 0.5, each)
        rows, counts = self.chains.rows, self.chains.counts
        self.given = self.given + counts
        filled = torch.arange(each, device=counts.device) < counts[:, None]
        fine = self.caution == 1
        acceptance, seen = self._mean(rows["acceptance_rate"], fine if bool(fine.any()) else fine | True)
        self.step.update(acceptance, seen, self.target)
        self._be_careful(rows["acceptance_rate"], filled)
        q, g = self.machine.whitening.positions(rows["q"]), self.machine.whitening.pushed(rows["g"])
        self.metric.add(self._grouped(q), self._grouped(g), self._grouped(filled))
        if len(self.machine.whitening.stretch) > 0:
            self.covariances.add(q[filled], g[filled])
        if self.limits.learnt:
            self._lengthen(filled)
        self._set(torch.exp(self.step.log_step))

    def _lengthen(self, seen: Tensor) -> None:
        row = {name: value[seen] for name, value in self.chains.rows.items()}
        time = row["n_steps"] * row["step_size"]
        self.length.update(row["begin_q"], row["end_q"], row["end_velocity"], time, row["acceptance_rate"])
        self._set_limit(float(torch.exp(self.length.log_time)))

    def _be_careful(self, acceptance: Tensor, seen: Tensor) -> None:
        """A chain far out, where the common step size fails, takes smaller ones until they succeed."""
        mean = torch.where(seen, acceptance, 0.0).sum(1) / torch.clamp(seen.sum(1), min=1)
        lower = seen.any(1) & (mean < _FAILING)
        raise_ = mean > self.target
        caution = torch.where(lower, self.caution / 2, torch.where(raise_, self.caution * 2, self.caution))
        if len(self.caution) > self.groups:  # a chain that learns alone has a step size of its own already
            self.caution = torch.clamp(caution, max=1.0)

    def _finish(self) -> Tuned:
        if self.limits.learnt:
            self._set_limit(float(torch.exp(self.length.log_average)))
        step = torch.exp(self.step.log_average)
        self.caution = torch.ones_like(self.caution)
        self._set(step)
        return Tuned(self.chains, step, self.metric.inverse_mass, self.gradients)

    def _advance(self, room: Tensor, share: float, size: int = 1) -> None:
        """Until a share of the draws, up to ``size`` of each chain, that there is room for are given."""
        self.chains = self.chains.emptied(room, size)
        wanted = max(1.0, share * float(room.sum()))
        while float(self.chains.counts.sum()) < wanted:
            self.gradients += self.machine.advance(self.chains, _STEPS * size)

    def _set_limit(self, limit: float) -> None:
        self.chains.state["limit"] = torch.full_like(self.chains.state["limit"], limit)

    def _set(self, step: Tensor) -> None:
        """The step size of the trajectories to come, also of those that have not taken a step yet."""
        state = self.chains.state
        step = (self._spread(step) * self.caution).to(state["step_size"].dtype)
        state["next_step_size"] = step
        state["step_size"] = torch.where(state["leapfrogs"] == 0, step, state["step_size"])

    def _spread(self, value: Tensor) -> Tensor:
        """A group's value for each of its chains."""
        chains = len(self.machine.keys)
        return value.expand(chains, *value.shape[1:]).clone()

    def _grouped(self, rows: Tensor) -> Tensor:
        return rows.reshape(self.groups, -1, *rows.shape[2:])

    def _mean(self, rows: Tensor, who: Tensor) -> tuple[Tensor, Tensor]:
        """Each group's mean over the rows that its chains ``who`` have filled, and whether there is any."""
        mask = (torch.arange(rows.shape[1], device=rows.device) < self.chains.counts[:, None]) & who[:, None]
        rows, mask = self._grouped(torch.where(mask, rows, 0.0)), self._grouped(mask)
        n = mask.sum(1)
        return rows.sum(1) / torch.clamp(n, min=1), n > 0

    def _parts(self) -> dict[str, object]:
        return {"step": self.step, "metric": self.metric, "covariances": self.covariances, "length": self.length}


def _tensors(part: Any) -> dict[str, Tensor]:
    values = {field.name: getattr(part, field.name) for field in fields(part)}
    return {name: value for name, value in values.items() if isinstance(value, Tensor)}
