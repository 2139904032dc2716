r"""A thousand posteriors with known truths, sampled as one batch: a replicate is a chain whose data are its own.

Each replicate draws its parameters and its data from the program. The data go in front of the chain's position, as a
site without a prior, where the program reads them and nothing moves them: density, machine and warm-up are those of a
fit, and take the longer vectors for what they are. Two ways to sample:

* :meth:`Replicates.after_warm_up`: from elsewhere, each replicate with a step size and a metric that it learns. The
  truth is one more draw of its posterior (Talts et al. 2018, https://arxiv.org/abs/1804.06788) if the chains converge
  and what is kept of them is nearly independent.
* :meth:`Replicates.around_the_truth`: the truth is the state number :math:`\ell` of a chain, uniform on
  :math:`0 \dots L`; from it, :math:`\ell` draws are taken backwards, by a reversible kernel the same as forwards, and
  :math:`L - \ell` forwards. Its rank among them is uniform exactly, however slowly the kernel mixes (Gandy and Scott
  2020, https://arxiv.org/abs/2001.06465).

Shapes: ``R`` replicates, ``N`` numbers of data, ``D`` unconstrained coordinates, ``L`` draws.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from pyro import poutine
from torch import Tensor

from ppzoo.datasets.arguments import Arguments
from ppzoo.diagnostics.calibration import diagnose_calibration
from ppzoo.diagnostics.diagnosis import Diagnosis
from ppzoo.inference.density import density_of
from ppzoo.inference.draws import map_draws
from ppzoo.inference.flat import FlatDensity, flatten
from ppzoo.inference.graph.tracing import trace
from ppzoo.inference.mcmc.kernel import Kernel, Settings
from ppzoo.inference.mcmc.machine import Chains, Machine
from ppzoo.inference.mcmc.machines import machine_of
from ppzoo.inference.mcmc.streams import chain_keys
from ppzoo.inference.mcmc.warmup import Limits, WarmUp
from ppzoo.inference.program import Pair, nodes_of, sites_of
from ppzoo.isolation import isolated

DATA = "its own data"
LIKELIHOOD = "log likelihood"
STEPS = 256  # in one call

Program = Callable[[Tensor], Any]
Values = dict[str, Tensor]


@dataclass(frozen=True, eq=False)
class Replicates:
    """Truths with their data, and the posterior that each has.

    Attributes:
        truth: Every latent site's values as the program drew them, ``(R, ...)``.
        positions: The data and the truth as coordinates, ``(R, N + D)``.
        posterior: Joint log density of data and parameters, over ``(N + D,)``.
        prior: That of the parameters, over ``(D,)``.
        size: ``N``.
    """

    truth: Values
    positions: Tensor
    posterior: FlatDensity
    prior: FlatDensity
    size: int

    def after_warm_up(
        self, kernel: Kernel, limits: Limits, *, draws: int, thin: int, warmup: int = 200, seed: int = 0
    ) -> Tensor:
        """Every ``thin``-th draw ``(R, draws, N + D)``; each chain begins at the truth of another."""
        machine = self._machine(kernel, len(self.positions), seed)
        own = self.positions[:, self.size :].roll(1, 0)
        warm_up = WarmUp(machine, target=0.8, limits=limits, pooled=False)
        warm_up.begin(torch.cat([self.positions[:, : self.size], own], 1))
        tuned = warm_up.run(warmup, report=lambda done, line: None, save=lambda snapshot: None)
        room = torch.full_like(tuned.chains.counts, draws * thin)
        return _drawn(machine, tuned.chains, room)[:, thin - 1 :: thin]

    def around_the_truth(self, kernel: Kernel, limit: float, step_size: float, *, draws: int, seed: int = 0) -> Tensor:
        """The other ``draws`` states of a chain that the truth is somewhere in, ``(R, draws, N + D)``."""
        replicates = len(self.positions)
        machine = self._machine(kernel, 2 * replicates, seed)
        q = self.positions.repeat(2, 1)
        mass = torch.linspace(0.5, 2.0, q.shape[1]).expand_as(q)
        settings = Settings(torch.full_like(q[:, 0], step_size), mass, torch.full_like(q[:, 0], limit))
        before = torch.randint(draws + 1, (replicates,), generator=torch.Generator().manual_seed(seed))
        room = torch.cat([before, draws - before])
        rows = _drawn(machine, machine.start(q, settings), room)
        filled = torch.arange(draws) < room[:, None]
        both = torch.cat(rows.chunk(2), 1)[torch.cat(filled.chunk(2), 1)]
        return both.reshape(replicates, draws, -1)

    def diagnosis(self, draws: Tensor, false_alarm: float) -> Diagnosis:
        """How the truth ranks among draws ``(R, L, N + D)``: each number of each site, and the log likelihood."""
        both = torch.cat([self.positions[:, None], draws], 1)  # alike, for a draw that stayed must tie to the last bit
        if bool((both[..., : self.size] != both[:, :1, : self.size]).any()):
            raise ValueError("the data have moved")
        sites = self._sites(both)
        if not all(torch.allclose(sites[name][:, 0], value) for name, value in self.truth.items()):
            raise ValueError("the coordinates of the truth are not those of what the program drew")
        found = _scalars(sites) | {LIKELIHOOD: self._log_likelihood(both)}
        free = {name: x for name, x in found.items() if bool((x[:, 0] != x[0, 0]).any())}  # a factor has fixed zeros
        truth, drawn = {name: x[:, 0] for name, x in free.items()}, {name: x[:, 1:] for name, x in free.items()}
        return diagnose_calibration(truth, drawn, false_alarm=false_alarm)

    def _machine(self, kernel: Kernel, chains: int, seed: int) -> Machine:
        keys = chain_keys(seed, chains, kernel.name)
        return machine_of(behind_data(kernel, self.size), self.posterior.function, keys, self.posterior.like)[0]

    def _log_likelihood(self, q: Tensor) -> Tensor:
        joint, _ = torch.func.vmap(self.posterior.function)(q.reshape(-1, q.shape[-1]))
        prior, _ = torch.func.vmap(self.prior.function)(q[..., self.size :].reshape(-1, len(self.prior.like)))
        return (joint - prior).reshape(q.shape[:-1])

    def _sites(self, q: Tensor) -> Values:
        density = self.prior.density
        graph = trace(lambda q: tuple(density.constrain(density.named(q)).values()), [self.prior.like + 0.1])
        values = torch.func.vmap(graph)(q[..., self.size :].reshape(-1, len(self.prior.like)))
        return {
            name: value.reshape(*q.shape[:-1], *value.shape[1:])
            for name, value in zip(density.shapes, values, strict=True)
        }


@contextmanager
def replicated(program: Program, size: int, replicates: int, *, seed: int = 0) -> Iterator[Replicates]:
    """Simulate a program, in the isolated world that its posterior must be sampled in.

    Args:
        program: Takes ``size`` numbers of data and observes them; called alone it can simulate them.
        size: ``N``.
        replicates: ``R``.
        seed: Of the simulation.
    """

    def reading() -> None:
        data = pyro.sample(DATA, dist.ImproperUniform(dist.constraints.real_vector, (), (size,)))
        program(data.detach())

    def blind() -> None:
        poutine.block(program, hide_fn=lambda message: message["type"] == "sample" and message["is_observed"])(nothing)

    with isolated(seed=seed, dtype=torch.float64):
        nothing = torch.zeros(size)
        posterior, prior = (
            flatten(density_of(Pair(f, f, Arguments((), {}))), torch.zeros(())) for f in (reading, blind)
        )
        sites = list(sites_of(poutine.trace(program).get_trace(nothing)))
        observed = [site.name for site in sites if site.kind == "observed"]

        def one(_: Values) -> Values:
            trace = poutine.trace(poutine.uncondition(program)).get_trace(nothing)
            nodes, own = nodes_of(trace), prior.density.unconstrain(trace)
            data = [nodes[name]["value"].reshape(-1).to(nothing.dtype) for name in observed]
            q = torch.cat([*data, *(own[name].reshape(-1) for name in prior.density.shapes)])
            return {name: nodes[name]["value"] for name in prior.density.shapes} | {"": q}

        truth = dict(map_draws(one, {}, replicates).values)
        yield Replicates(truth, truth.pop(""), posterior, prior, size)


def behind_data(kernel: Kernel, size: int) -> Kernel:
    """The kernel for positions that begin with ``size`` numbers which it does not move.

    What the machine and the warm-up read is as long as these positions; what is the kernel's own is not.
    """
    wide = ("q", "g", "next_inverse_mass")

    def init(q: Tensor, lp: Tensor, g: Tensor, noise: Any, settings: Settings) -> Any:
        noise = noise._replace(momentum=noise.momentum[size:])
        mass = settings.inverse_mass
        state = kernel.init(q[size:], lp, g[size:], noise, settings._replace(inverse_mass=mass[size:]))
        return state._replace(q=q, g=torch.cat([torch.zeros_like(q[:size]), g[size:]]), next_inverse_mass=mass)

    def step(density: Any, state: Any, noise: Any) -> tuple[Any, Tensor, Any]:
        data, none, mass = state.q[:size], torch.zeros_like(state.q[:size]), state.next_inverse_mass

        def own(q: Tensor) -> tuple[Tensor, Tensor]:
            lp, g = density(torch.cat([data, q]))
            return lp, g[size:]

        inner = state._replace(**{name: getattr(state, name)[size:] for name in wide})
        state, ended, info = kernel.step(own, inner, noise._replace(momentum=noise.momentum[size:]))
        state = state._replace(q=torch.cat([data, state.q]), g=torch.cat([none, state.g]), next_inverse_mass=mass + 0)
        return state, ended, info._replace(q=torch.cat([data, info.q]), g=torch.cat([none, info.g]))

    return replace(kernel, init=init, step=step)


def _drawn(machine: Machine, chains: Chains, room: Tensor) -> Tensor:
    chains = chains.emptied(room, int(room.max()))
    while bool((chains.counts < room).any()):
        machine.advance(chains, STEPS)
    return chains.rows["q"]


def _scalars(values: Values) -> Values:
    """Numbers of sites by name, ``(R, L)`` each."""
    return {
        f"{name}[{i}]" if value.dim() > 2 else name: column
        for name, value in values.items()
        for i, column in enumerate(value.reshape(*value.shape[:2], -1).unbind(-1))
    }
