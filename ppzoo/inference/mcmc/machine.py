"""A kernel's step, written for one chain, turned into something that advances all chains many steps.

The step is traced together with the log density into one flat graph, so that sampling costs no Python of Pyro's. Noise
comes from each chain's own counter: a step's noise is the same however the steps are cut into calls.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ppzoo.errors import ModelError
from ppzoo.inference.mcmc.integrator import LogDensity
from ppzoo.inference.mcmc.kernel import Kernel, Settings
from ppzoo.inference.mcmc.metric import Whitening
from ppzoo.inference.mcmc.streams import normals, uniforms

__all__ = ["Chains", "Machine"]

Fields = dict[str, Tensor]


@dataclass
class Chains:
    """Where the chains stand, and the draws since their rows were last emptied.

    Attributes:
        state: The fields of the kernel's state, each ``(C, ...)``.
        steps: Steps that each chain has taken, ``(C,)``: the counter of its noise.
        rows: The fields of the kernel's info, each ``(C, B, ...)``.
        counts: How many of a chain's rows are filled, ``(C,)``.
        room: How many it may fill before it stands still, ``(C,)``, at most ``B``.
    """

    state: Fields
    steps: Tensor
    rows: Fields
    counts: Tensor
    room: Tensor

    def emptied(self, room: Tensor, size: int) -> Chains:
        """The same chains with ``size`` empty rows each, of which they may fill ``room``."""
        rows = {name: row.new_zeros((row.shape[0], size, *row.shape[2:])) for name, row in self.rows.items()}
        return Chains(self.state, self.steps, rows, torch.zeros_like(self.counts), room)

    def of(self, who: Tensor) -> Chains:
        """A copy of some of the chains."""
        state = {name: value[who] for name, value in self.state.items()}
        rows = {name: value[who] for name, value in self.rows.items()}
        return Chains(state, self.steps[who], rows, self.counts[who], self.room[who])

    def take_back(self, who: Tensor, others: Chains) -> None:
        """What :meth:`of` gave, advanced meanwhile."""
        for name, value in others.state.items():
            self.state[name][who] = value
        for name, value in others.rows.items():
            self.rows[name][who] = value
        self.steps[who], self.counts[who] = others.steps, others.counts


class Machine(ABC):
    """All chains of one kernel on one density; what they have in common, however they are advanced.

    Attributes:
        kernel: The sampler.
        keys: Each chain's key, ``(C, 2)``.
        whitening: The coordinates in which the chains move; another of the same shapes may take its place, and then the
            chains are started anew.
        batch: How many chains are computed at once.
        info_like: The fields of the kernel's info, of one chain.
        road: How steps are computed, in words.
        idle: Gradients computed so far for nobody, beside those that :meth:`advance` counts: lanes of the processor's
            vectors without a chain.
    """

    road = ""
    idle = 0

    def __init__(
        self, kernel: Kernel, density: LogDensity, keys: Tensor, like: Tensor, rank: int = 0, batch: int | None = None
    ) -> None:
        """For the chains of ``keys (C, 2)`` at positions like ``like (D,)``, under metrics of ``rank`` directions.

        At most ``batch`` of them are computed at once: all, if not given.
        """
        self.kernel, self.keys = kernel, keys
        self.batch = len(keys) if batch is None else min(batch, len(keys))
        self.whitening = Whitening.none(like, rank)
        self._density, self._like = density, like
        self._state_like, self._noise_like, info = self._example()
        self.info_like: Fields = info._asdict()

    def start(self, q: Tensor, settings: Settings, steps: Tensor | None = None) -> Chains:
        """All chains at positions ``q (C, D)``, each under its own settings, with no rows.

        ``steps (C,)`` are the steps that they have taken before: none if not given.
        """
        steps = torch.zeros(len(self.keys), dtype=torch.int64, device=q.device) if steps is None else steps
        q = self.whitening.coordinates(q)
        lp, g = self._densities(q)
        noise = torch.func.vmap(self._noise)(self.keys, steps)
        state = torch.func.vmap(self.kernel.init)(q, lp, g, self.kernel.Noise(*noise), settings)
        fields = {name: value.clone(memory_format=torch.contiguous_format) for name, value in state._asdict().items()}
        return self._at(fields, steps + 1)

    def snapshot(self, chains: Chains) -> Fields:
        """Where the chains stand, and in which coordinates, for :meth:`restore`; without their rows."""
        whitening = {f"whitening.{name}": value for name, value in self.whitening._asdict().items()}
        return {f"state.{name}": value for name, value in chains.state.items()} | whitening | {"steps": chains.steps}

    def restore(self, tensors: Mapping[str, Tensor]) -> Chains:
        """The chains of a snapshot, with no rows.

        Raises:
            ModelError: If the log density where they stand is another one now.
        """
        here = {name: value.to(self.keys.device) for name, value in tensors.items()}
        self.whitening = Whitening(*(here[f"whitening.{name}"] for name in Whitening._fields))
        state = {name: here[f"state.{name}"] for name in self.kernel.State._fields}
        lp, _ = self._densities(state["draw_q"])
        tolerance = torch.finfo(lp.dtype).eps ** 0.5
        if not torch.allclose(lp, state["draw_lp"], tolerance, tolerance, equal_nan=True):
            worst = int(torch.abs(lp - state["draw_lp"]).argmax())
            raise ModelError(
                "is not the program that this run was begun with",
                argument="model",
                got=f"a log density of {float(lp[worst]):.6g} nats where chain {worst} stands",
                expected=f"{float(state['draw_lp'][worst]):.6g}",
                remedy="Go on with that program, or begin anew in another folder.",
            )
        return self._at(state, here["steps"])

    def _at(self, state: Fields, steps: Tensor) -> Chains:
        rows = {name: value.new_zeros((len(steps), 0, *value.shape)) for name, value in self.info_like.items()}
        return Chains(state, steps, rows, torch.zeros_like(steps), torch.zeros_like(steps))

    @abstractmethod
    def advance(self, chains: Chains, steps: int) -> int:
        """Take up to ``steps`` steps with every chain that has room, in place; the gradients that were computed."""

    def _noise(self, key: Tensor, t: Tensor) -> tuple[Tensor, ...]:
        plain, size = len(self.kernel.Noise._fields) - 1, len(self._like)
        u = uniforms(key, t, plain + size + size % 2)
        return (*u[:plain].unbind(), normals(u[plain:])[:size].to(self._like.dtype))

    def _densities(self, w: Tensor) -> tuple[Tensor, Tensor]:
        """Of all chains, ``batch`` at once."""
        return torch.func.vmap(lambda row: self._whitened(row, self.whitening), chunk_size=self.batch)(w)

    def _whitened(self, w: Tensor, whitening: Whitening) -> tuple[Tensor, Tensor]:
        lp, g = self._density(whitening.positions(w))
        return lp, whitening.pulled(g)

    def _step(self, state: Any, noise: Any, whitening: Whitening) -> tuple[Tensor, ...]:
        state, ended, info = self.kernel.step(lambda w: self._whitened(w, whitening), state, noise)
        return (*state, ended, *info)

    def _example(self) -> tuple[Any, Any, Any]:
        """A state, noise and info of one chain with the right shapes and types."""
        q = self._like
        zero = torch.zeros((), dtype=torch.int64, device=q.device)
        one = torch.ones((), dtype=q.dtype, device=q.device)
        noise = self.kernel.Noise(*self._noise(self.keys[0], zero))
        lp, g = self._density(q)
        state = self.kernel.init(q, lp, g, noise, Settings(one, torch.ones_like(q), one))
        _, _, info = self.kernel.step(self._density, state, noise)
        return state, noise, info
