"""The ways to compute a step of all chains: operation by operation, as CUDA graphs, in machine code."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ppzoo.inference.graph.captured import captured
from ppzoo.inference.graph.tracing import map_chains, trace
from ppzoo.inference.mcmc.integrator import LogDensity
from ppzoo.inference.mcmc.kernel import Kernel
from ppzoo.inference.mcmc.machine import Chains, Machine
from ppzoo.inference.mcmc.metric import Whitening
from ppzoo.inference.native.build import fewest_lanes
from ppzoo.inference.native.loop import compile_loop
from ppzoo.inference.native.values import Unsupported
from ppzoo.inference.program import first_words

__all__ = ["Captured", "Native", "Replayed", "machine_of"]

_BURST = 16  # steps of one CUDA graph: in between, the device is asked who is done


class Replayed(Machine):
    """The step as a graph of tensor operations over all chains, replayed one by one; any device, any program."""

    road = "replayed operation by operation"

    def __init__(
        self, kernel: Kernel, density: LogDensity, keys: Tensor, like: Tensor, rank: int = 0, batch: int | None = None
    ) -> None:
        super().__init__(kernel, density, keys, like, rank, batch)
        own, shared = [*self._state_like, *self._noise_like], list(self.whitening)
        cut = len(self._state_like)

        def step(*v: Tensor) -> tuple[Tensor, ...]:
            return self._step(kernel.State(*v[:cut]), kernel.Noise(*v[cut:-3]), Whitening(*v[-3:]))

        one = trace(step, own + shared)
        self._mapped = map_chains(one, [v.expand(self.batch, *v.shape).contiguous() for v in own] + shared, shared=3)
        self._noise_of_one = trace(self._noise, [keys[0], torch.zeros((), dtype=torch.int64, device=like.device)])

    def advance(self, chains: Chains, steps: int) -> int:
        """As :meth:`Machine.advance`; chains that stand still are computed with the others, and counted."""
        everyone = torch.arange(len(self.keys), device=self.keys.device)
        if self.batch == len(everyone):
            return self._advance(chains, self.keys, steps)
        gradients = 0
        for begin in range(0, len(everyone), self.batch):
            who = torch.clamp(everyone[: self.batch] + begin, max=len(everyone) - 1)  # the last one may come twice
            some = chains.of(who)
            gradients += self._advance(some, self.keys[who], steps)
            chains.take_back(who, some)
        return gradients

    def _advance(self, chains: Chains, keys: Tensor, steps: int) -> int:
        noise = self._noise_ahead(keys, chains.steps, steps)
        for t in range(steps):
            if not bool((chains.counts < chains.room).any()):
                return t * len(keys)
            self._once(chains, [n[:, t] for n in noise], self.whitening)
        return steps * len(keys)

    def _once(self, chains: Chains, noise: list[Tensor], whitening: Whitening) -> None:
        """One step, in place; no number is read, so that a device need not be waited for."""
        active = chains.counts < chains.room
        state = list(chains.state.values())
        outputs = self._mapped(*state, *noise, *whitening)
        new, ended, info = outputs[: len(state)], outputs[len(state)] & active, outputs[len(state) + 1 :]
        new = [torch.where(_like(active, value), value, old) for old, value in zip(state, new, strict=True)]
        for row, value in zip(chains.rows.values(), info, strict=True):
            at = _like(torch.clamp(chains.counts, max=row.shape[1] - 1), row).expand(-1, 1, *row.shape[2:])
            row.scatter_(1, at, torch.where(_like(ended, row), value[:, None], row.gather(1, at)))
        for old, value in zip(state, new, strict=True):  # at last: what was computed may be a part of the old state
            old.copy_(value)
        chains.counts += ended
        chains.steps += active

    def _noise_ahead(self, keys: Tensor, counters: Tensor, steps: int) -> list[Tensor]:
        """The noise of the next steps, each field ``(C, steps, ...)``."""
        t = counters[:, None] + torch.arange(steps, device=counters.device)
        each = torch.func.vmap(torch.func.vmap(self._noise_of_one, (None, 0)), (0, 0))
        return list(each(keys, t))


class Captured(Replayed):
    """Some steps in a row, all chains' noise included, as one CUDA graph: one launch for thousands of operations.

    A call of :meth:`advance` takes whole bursts, the last of which may go beyond the steps that it was asked for.
    """

    road = "CUDA graphs"
    _capture = staticmethod(captured)

    def __init__(
        self, kernel: Kernel, density: LogDensity, keys: Tensor, like: Tensor, rank: int = 0, batch: int | None = None
    ) -> None:
        """Raise :class:`~ppzoo.inference.native.values.Unsupported` where some operation waits for the device."""
        super().__init__(kernel, density, keys, like, rank, batch)
        self._captured: dict[int, tuple[Callable[[], None], Chains, Tensor]] = {}
        self._whitening = Whitening(*(value.clone() for value in self.whitening))
        state = {name: value.expand(self.batch, *value.shape) for name, value in self._state_like._asdict().items()}
        nobody = self._at(state, torch.zeros(self.batch, dtype=torch.int64, device=like.device))
        try:
            self._burst_for(nobody.emptied(nobody.room, 1), keys[: self.batch])
        except RuntimeError as error:
            raise Unsupported(first_words(error)) from error

    def _advance(self, chains: Chains, keys: Tensor, steps: int) -> int:
        burst, own, own_keys = self._burst_for(chains, keys)
        pairs = list(zip(_tensors(own), _tensors(chains), strict=True))
        for mine, theirs in [*pairs, (own_keys, keys), *zip(self._whitening, self.whitening, strict=True)]:
            mine.copy_(theirs)
        taken = 0
        while taken < steps and bool((own.counts < own.room).any()):
            burst()
            taken += _BURST
        for mine, theirs in pairs:
            theirs.copy_(mine)
        return taken * len(keys)

    def _burst_for(self, chains: Chains, keys: Tensor) -> tuple[Callable[[], None], Chains, Tensor]:
        """What advances copies of chains with rows of this size, and these copies."""
        size = next(iter(chains.rows.values())).shape[1]
        if size not in self._captured:
            own, own_keys = chains.of(torch.arange(len(keys), device=keys.device)), keys.clone()
            own.room.zero_()  # nobody moves in the runs that a capture takes

            def burst() -> None:
                noise = self._noise_ahead(own_keys, own.steps, _BURST)
                for t in range(_BURST):
                    self._once(own, [n[:, t] for n in noise], self._whitening)

            self._captured[size] = self._capture(burst), own, own_keys
        return self._captured[size]


class Native(Machine):
    """The step, its noise included, as machine code: chains are lanes of a CPU's vectors, each at its own pace."""

    road = "machine code"

    def __init__(
        self, kernel: Kernel, density: LogDensity, keys: Tensor, like: Tensor, rank: int = 0, batch: int | None = None
    ) -> None:
        """Raise :class:`~ppzoo.inference.native.values.Unsupported` where some operation has no machine code.

        Only as many chains as a CPU's vector has lanes are computed at once, whatever ``batch`` is.
        """
        super().__init__(kernel, density, keys, like, rank, batch)
        self._threads = torch.get_num_threads()
        cut = len(self._state_like)

        def step(*flat: Tensor) -> tuple[Tensor, ...]:
            key, t = flat[cut : cut + 2]
            noise = kernel.Noise(*self._noise(key, t))
            new = self._step(kernel.State(*flat[:cut]), noise, Whitening(*flat[cut + 2 :]))
            return (*new[:cut], key.clone(), t + 1, *new[cut:])

        fields = {**self._state_like._asdict(), "key": keys[0], "t": torch.zeros((), dtype=torch.int64)}
        shared = self.whitening._asdict()
        graph = trace(step, [*fields.values(), *shared.values()])
        width = fewest_lanes(len(keys), self._threads)
        self._loop = compile_loop(graph, state=fields, noise={}, shared=shared, row=self.info_like, width=width)

    def advance(self, chains: Chains, steps: int) -> int:
        """As :meth:`Machine.advance`; a chain that stands still costs nothing."""
        state = {**chains.state, "key": self.keys, "t": chains.steps}
        rows, counts = chains.rows, chains.counts
        shared = {name: value.contiguous() for name, value in self.whitening._asdict().items()}
        taken, idle = self._loop.run(state, {}, shared, rows, counts, steps, room=chains.room, threads=self._threads)
        self.idle += idle
        return int(taken.sum())


def machine_of(
    kernel: Kernel, density: LogDensity, keys: Tensor, like: Tensor, rank: int = 0, batch: int | None = None
) -> tuple[Machine, str]:
    """The fastest machine for these chains here, and why it is not the one before it (empty for the first)."""
    fastest = {"cpu": Native, "cuda": Captured}.get(like.device.type, Replayed)
    try:
        return fastest(kernel, density, keys, like, rank, batch), ""
    except Unsupported as reason:
        return Replayed(kernel, density, keys, like, rank, batch), str(reason)


def _like(mask: Tensor, value: Tensor) -> Tensor:
    return mask.reshape(-1, *[1] * (value.dim() - 1))


def _tensors(chains: Chains) -> list[Tensor]:
    return [*chains.state.values(), chains.steps, *chains.rows.values(), chains.counts, chains.room]
