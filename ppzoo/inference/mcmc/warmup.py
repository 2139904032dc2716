"""Warm-up: from a starting point to a step size and a metric that fit the posterior.

First a step size of the right order is searched with trajectories of one leapfrog. Then windows of growing length
learn the metric while dual averaging follows with the step size; the last tenth of the draws only tunes the step size.
``adapt="pooled"``: all chains learn one step size and one metric, scales and directions, from everybody's draws; a
window ends when the chains have given that many draws on average. ``adapt="per_chain"``: each chain learns its own step
size and scales, from its own draws.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from ppzoo.inference.mcmc.adaptation import DualAveraging, FisherMetric, windows
from ppzoo.inference.mcmc.kernel import Settings
from ppzoo.inference.mcmc.machine import Chains, Machine
from ppzoo.inference.mcmc.metric import Covariances

__all__ = ["Tuned", "warm_up"]

_SEARCH = 50  # factors of two that a first step size may be wrong by
_STEPS = 8  # between two counts of the draws
_EARLY_LIMIT = 6  # of trajectories before the second metric: long ones are wasted on a bad one
_FLAT = 1e-10  # a gradient of zero says nothing about the scale
_FAILING = 0.1  # mean acceptance of a trajectory that leads nowhere
_FEW = 16  # chains that wait for each other


@dataclass(frozen=True)
class Tuned:
    """What warm-up learnt, and where it left the chains."""

    chains: Chains
    step_size: Tensor
    inverse_mass: Tensor
    gradients: int


def warm_up(
    machine: Machine,
    q: Tensor,
    *,
    draws: int,
    target: float,
    limit: int,
    pooled: bool,
    report: Callable[[int, str], None],
) -> Tuned:
    """Run ``draws`` draws per chain that are not kept.

    Args:
        machine: The kernel on its density.
        q: Starting points ``(C, D)``.
        draws: Draws per chain.
        target: Mean acceptance that the step size is tuned to.
        limit: Of the kernel's trajectories.
        pooled: Whether chains learn together.
        report: Called with the draws per chain so far and a line for the progress.
    """
    tuner = _Tuner(machine, q, target, pooled=pooled)
    tuner.search()
    tuner.set_limit(min(limit, _EARLY_LIMIT))
    ends = windows(draws)
    begin = 0
    for number, end in enumerate([*ends, draws]):
        tuner.run_window(end - begin, exact=number == len(ends), report=partial(_report, report, begin))
        if number < len(ends):
            tuner.learn_metric()
        if number == 1:
            tuner.set_limit(limit)
        begin = end
    return tuner.finish()


def _report(report: Callable[[int, str], None], begun: int, done: int, line: str) -> None:
    report(begun + done, line)


class _Tuner:
    def __init__(self, machine: Machine, q: Tensor, target: float, *, pooled: bool) -> None:
        chains = len(q)
        groups = 1 if pooled else chains
        self.machine, self.target, self.groups, self.pooled = machine, target, groups, pooled
        ones = torch.ones(groups, dtype=q.dtype, device=q.device)
        self.step = DualAveraging.around(ones)
        self.caution = torch.ones_like(q[:, 0])  # what each chain multiplies the step size of its group with
        depth = torch.ones(chains, dtype=torch.int64, device=q.device)
        settings = Settings(ones.expand(chains).clone(), torch.ones_like(q), depth)
        self.covariances = Covariances.empty(machine.whitening.scale)
        self.chains = machine.start(q, settings)
        self.gradients = chains
        everyone = torch.ones(self.groups, chains // self.groups, dtype=torch.bool, device=q.device)
        g = self.chains.state["g"][:, None]
        steep = torch.log(torch.abs(self._grouped(g)) + _FLAT).mean(1)
        self.metric = FisherMetric.at(torch.exp(-steep))  # of a normal seen from one standard deviation away
        self.metric.add(self._grouped(q[:, None]), self._grouped(g), everyone)
        self.learn_metric()

    def search(self) -> None:
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

    def set_limit(self, limit: int) -> None:
        self.chains.state["limit"] = torch.full_like(self.chains.state["limit"], limit)

    def run_window(self, draws: int, *, exact: bool, report: Callable[[int, str], None]) -> None:
        """Until every chain has ``draws`` draws (exact), or the chains have so many on average.

        A look at the draws comes when half of the chains have ended a trajectory (all of them, where each learns for
        itself); those wait for it, so that what they do next already follows from it.
        """
        given = torch.zeros_like(self.chains.counts)
        exact = exact or not self.pooled
        share = 0.5 if self.pooled and len(given) > _FEW else 1.0
        while bool((given < draws).any()) if exact else float(given.double().mean()) < draws:
            room = (given < draws).to(given.dtype) if exact else torch.ones_like(given)
            self._advance(room, share)
            rows, counts = self.chains.rows, self.chains.counts
            given = given + counts
            fine = self.caution == 1
            acceptance, seen = self._mean(rows["acceptance_rate"], fine if bool(fine.any()) else fine | True)
            self.step.update(acceptance, seen, self.target)
            self._be_careful(rows["acceptance_rate"][:, 0], counts > 0)
            q, g = self.machine.whitening.positions(rows["q"]), self.machine.whitening.pushed(rows["g"])
            self.metric.add(self._grouped(q), self._grouped(g), self._grouped(counts[:, None] > 0))
            if len(self.machine.whitening.stretch) > 0:
                self.covariances.add(q[counts > 0, 0], g[counts > 0, 0])
            self._set(torch.exp(self.step.log_step))
            step = float(torch.exp(self.step.log_step).median())
            report(int(given.double().mean()), f"step {step:.3g}")

    def learn_metric(self) -> None:
        """Take what the window has shown; chains that learn together start new trajectories in the new coordinates."""
        ready = torch.ones(self.groups, dtype=torch.bool, device=self.metric.count.device)
        self.metric.learn(ready)
        self.step = DualAveraging.around(torch.exp(self.step.log_average))
        state, machine = self.chains.state, self.machine
        if self.pooled:
            q = machine.whitening.positions(state["draw_q"])
            scale, rank = torch.sqrt(self.metric.inverse_mass[0]), len(machine.whitening.stretch)
            machine.whitening = self.covariances.whitening(scale, rank)
            self.covariances = Covariances.empty(scale)
            settings = Settings(state["next_step_size"], state["next_inverse_mass"], state["limit"])
            self.chains = machine.start(q, settings, self.chains.steps)
            self.gradients += len(q)
        else:
            state["next_inverse_mass"] = self._spread(self.metric.inverse_mass)
        self._set(torch.exp(self.step.log_step))

    def _be_careful(self, acceptance: Tensor, seen: Tensor) -> None:
        """A chain far out, where the common step size fails, takes smaller ones until they succeed."""
        lower = seen & (acceptance < _FAILING)
        raise_ = seen & (acceptance > self.target)
        caution = torch.where(lower, self.caution / 2, torch.where(raise_, self.caution * 2, self.caution))
        if len(self.caution) > self.groups:  # a chain that learns alone has a step size of its own already
            self.caution = torch.clamp(caution, max=1.0)

    def finish(self) -> Tuned:
        step = torch.exp(self.step.log_average)
        self.caution = torch.ones_like(self.caution)
        self._set(step)
        return Tuned(self.chains, step, self.metric.inverse_mass, self.gradients)

    def _advance(self, room: Tensor, share: float) -> None:
        """Until a share of the chains that have room for a draw have given it."""
        self.chains = self.chains.emptied(room, 1)
        wanted = max(1.0, share * float(room.sum()))
        while float(self.chains.counts.sum()) < wanted:
            self.gradients += self.machine.advance(self.chains, _STEPS)

    def _set(self, step: Tensor) -> None:
        """The step size of the trajectories to come, also of those that have not taken a step yet."""
        state, step = self.chains.state, self._spread(step) * self.caution
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
