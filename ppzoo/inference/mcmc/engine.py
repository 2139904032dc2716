"""One run of a sampler whose chains are one batch: from a program to draws and statistics, kept while they are made.

The run is cut into blocks. After each, what is new goes to the run's keeper, together with the state from which the
next block begins; how the run is cut changes no number, so a run that goes on after a stop gives the same draws.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from ppzoo.diagnostics.diagnosis import Finding
from ppzoo.errors import FitError
from ppzoo.inference.density import density_of
from ppzoo.inference.discrete import completed
from ppzoo.inference.flat import FlatDensity, flatten
from ppzoo.inference.keeping import Keeper, Memory
from ppzoo.inference.mcmc.kernel import Kernel
from ppzoo.inference.mcmc.machine import Chains, Machine
from ppzoo.inference.mcmc.machines import Native, machine_of
from ppzoo.inference.mcmc.metric import rank_for
from ppzoo.inference.mcmc.options import BatchOptions, held_parameters
from ppzoo.inference.mcmc.starts import starting_points
from ppzoo.inference.mcmc.streams import chain_keys
from ppzoo.inference.mcmc.thinning import Thinning
from ppzoo.inference.mcmc.warmup import Limits, Snapshot, WarmUp
from ppzoo.inference.outcome import Outcome, Run
from ppzoo.inference.program import Pair
from ppzoo.isolation import one_thread
from ppzoo.progress import Progress

__all__ = ["sample"]

_STEPS = 64  # in the first call
_SECONDS = 0.1  # a call should last at least, so that looking on costs nothing
_BLOCK_SECONDS = 1.0  # of draws that a stop may lose
_BLOCK_BYTES = 2**26  # of rows at once
_LARGEST_ROUNDING = 0.01  # nats of an energy: ten times it halves the step size
_FEWEST = 4  # draws of each chain that can be looked at
_NUMBERS = ("gradients", "gradients_warmup", "gradients_idle", "seconds_warmup", "seconds_draws")


def sample(pair: Pair, run: Run, options: BatchOptions, kernel: Kernel, limits: Limits, *, pooled: bool) -> Outcome:
    """Sample the posterior; the parameters of the pair stay as they are.

    Args:
        pair: The program on its data.
        run: Seed, type, device, progress, and who keeps the draws.
        options: Chains, draws and the like.
        kernel: The sampler.
        limits: Of its trajectories.
        pooled: Whether the chains learn together.

    Raises:
        FitError: If no starting point was found, or the floating type is too coarse for the log density.
        ModelError: If the program has no continuous latent site, discrete ones that cannot be summed out, or its
            structure changes.
        KeyboardInterrupt: If the run was interrupted before there were draws to look at.
    """
    with Progress(options.warmup + options.draws, options.name, run.progress, run.log) as progress:
        return _run(pair, run, options, kernel, limits, progress, pooled=pooled)


def _run(
    pair: Pair, run: Run, options: BatchOptions, kernel: Kernel, limits: Limits, progress: Progress, *, pooled: bool
) -> Outcome:
    pair.first_run()
    flat = flatten(density_of(pair), torch.zeros((), dtype=run.dtype, device=run.device))
    keys = chain_keys(run.seed, options.chains, options.name).to(run.device)
    batch = min(options.chains, options.max_chains_per_batch or flat.at_once)
    rank = rank_for(len(flat.like), pooled=pooled)
    machine, reason = machine_of(kernel, flat.function, keys, flat.like, rank, batch)
    sampling = _Sampling(flat, machine, options, run.keeper or Memory())
    looking = one_thread() if isinstance(machine, Native) else nullcontext()  # its own threads are not torch's
    with looking:
        try:
            chains = sampling.begin(pair, run, limits, progress, pooled=pooled)
            sampling.draw(chains, progress)
        except KeyboardInterrupt:
            if sampling.fewest < _FEWEST:
                raise KeyboardInterrupt(sampling.stopped()) from None
    draws, statistics = sampling.results()
    draws, slow = completed(pair, flat.density, draws, run.seed)
    return Outcome(
        draws=draws,
        statistics=statistics,
        numbers=dict(sampling.numbers),
        notes=(*_roads(flat, machine, reason), *_choices(options, pooled=pooled), *slow),
        findings=(*held_parameters(pair), *sampling.findings()),
        interrupted=sampling.fewest < options.draws,
    )


@dataclass
class _Sampling:
    flat: FlatDensity
    machine: Machine
    options: BatchOptions
    keeper: Keeper
    numbers: dict[str, float] = field(default_factory=dict)
    kept: Tensor = field(default_factory=lambda: torch.zeros(1, dtype=torch.int64, device="cpu"))

    def begin(self, pair: Pair, run: Run, limits: Limits, progress: Progress, *, pooled: bool) -> Chains:
        """Warm up, or stand where a run that was stopped did."""
        options, machine = self.options, self.machine
        info = machine.info_like
        self.names = [name for name, like in info.items() if like.dim() == 0]
        fields = {
            "q": (info["q"].dtype, tuple(info["q"].shape)),
            "statistics": (torch.float64, (len(self.names),)),
        }
        kept = self.keeper.begin(fields, chains=options.chains, draws=options.draws)
        self.kept, self.saved = kept.counts, time.monotonic()
        self.thinning = Thinning.of(options.thin, machine.keys)
        self.numbers |= dict.fromkeys(_NUMBERS, 0.0)
        self.numbers |= {name: float(number) for name, number in kept.numbers.items() if name in self.numbers}  # type: ignore[arg-type]  # JSON
        if options.chains_per_start > 1:
            self.numbers["chains_per_start"] = float(options.chains_per_start)
        if kept.numbers.get("phase") == "draws":
            self.thinning.restore(kept.state)
            return machine.restore(kept.state)
        warm_up = WarmUp(machine, target=options.target_accept, limits=limits, pooled=pooled)
        self.began = time.monotonic() - self.numbers["seconds_warmup"]
        if kept.numbers.get("phase") == "warm-up":
            warm_up.restore(kept.state, kept.numbers)
        else:
            keys = machine.keys[:: options.chains_per_start]
            starts = starting_points(options.init, self.flat, pair, keys, run.seed, machine.batch)
            warm_up.begin(starts.repeat_interleave(options.chains_per_start, 0))
        tuned = warm_up.run(
            options.warmup,
            report=lambda done, step: progress.reach(done, {"step": step}, "warm-up"),
            save=self._save_warm_up,
        )
        self.numbers["gradients"] = self.numbers["gradients_warmup"] = float(tuned.gradients)
        self.numbers["seconds_warmup"] = time.monotonic() - self.began
        _check_rounding(tuned.chains.state["lp"])
        return tuned.chains

    def draw(self, chains: Chains, progress: Progress) -> None:
        """Draw until every chain has its draws, block by block."""
        options, thinning = self.options, self.thinning
        total, steps = options.draws * options.thin, _STEPS
        size = max(options.thin, min(total, _BLOCK_BYTES // self._row_bytes()))
        began, idle = (
            time.monotonic() - self.numbers["seconds_draws"],
            self.machine.idle - self.numbers["gradients_idle"],
        )
        divergences = 0
        while bool((thinning.given < total).any()):
            chains = chains.emptied(torch.clamp(total - thinning.given, max=size), size)
            block = time.monotonic()
            while bool((chains.counts < chains.room).any()):
                call = time.monotonic()
                self.numbers["gradients"] += self.machine.advance(chains, steps)
                now = time.monotonic()
                if now - call < _SECONDS:
                    steps *= 2
                if now - block > _BLOCK_SECONDS or (size < total and bool((chains.counts == size).any())):
                    break
            divergences += int(chains.rows["diverging"].sum())
            self.numbers["seconds_draws"] = time.monotonic() - began
            self.numbers["gradients_idle"] = self.machine.idle - idle
            self._append(chains)
            step = float(chains.state["step_size"].median())
            done = options.warmup + int(self.kept.double().mean())
            progress.reach(done, {"divergences": divergences, "step": step})

    @property
    def fewest(self) -> int:
        """Draws that each chain has."""
        return int(self.kept.min())

    def results(self) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Draws and statistics by name, ``(C, S, ...)``, as many as every chain has."""
        q = self.keeper.take("q")[:, : self.fewest]
        shape = q.shape[:2]
        draws = self.flat.constrain(q.flatten(0, 1).to(self.flat.like.device))
        del q  # draws take the most memory of all: they are never there twice
        columns = self.keeper.take("statistics")[:, : self.fewest].unbind(-1)
        kinds = self.machine.info_like
        return (
            {name: value.unflatten(0, shape) for name, value in draws.items()},
            {name: c.to(kinds[name].dtype, copy=True) for name, c in zip(self.names, columns, strict=True)},
        )

    def findings(self) -> Iterator[Finding]:
        """What happened to the run itself."""
        if self.fewest < self.options.draws:
            yield Finding("caution", "the run was interrupted", self.stopped(), "")

    def stopped(self) -> str:
        """How far the run came, and how it goes on."""
        where = f"after {self.fewest} of {self.options.draws} draws" if self.fewest else "during warm-up"
        lost = "with run_dir it could go on"
        return f"{where}; {'fit(..., resume=True) goes on' if self.keeper.lasting else lost}"

    def _append(self, chains: Chains) -> None:
        rows, counts = self.thinning.take(chains.rows, chains.counts)
        statistics = torch.stack([rows[name].to(torch.float64) for name in self.names], -1)
        new = {"q": self.machine.whitening.positions(rows["q"]), "statistics": statistics}
        state: dict[str, Tensor] = {}
        if self.keeper.lasting:
            state = self.machine.snapshot(chains) | self.thinning.snapshot()
        counts = counts.cpu()
        self.keeper.append(_on_cpu(new), counts, _on_cpu(state), {"phase": "draws", **self.numbers})
        self.kept = self.kept + counts

    def _save_warm_up(self, snapshot: Snapshot) -> None:
        now = time.monotonic()
        if self.keeper.lasting and now - self.saved > _BLOCK_SECONDS:
            state, numbers = snapshot()
            seconds = {"seconds_warmup": now - self.began}
            self.keeper.append(
                {}, torch.zeros_like(self.kept), _on_cpu(state), {"phase": "warm-up", **numbers, **seconds}
            )
            self.saved = time.monotonic()

    def _row_bytes(self) -> int:
        return self.options.chains * sum(like.numel() * like.element_size() for like in self.machine.info_like.values())


def _on_cpu(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.cpu() for name, value in tensors.items()}


def _check_rounding(lp: Tensor) -> None:
    """Raise where the log density is so large that its rounding decides what is accepted."""
    rounding = float(torch.finfo(lp.dtype).eps * torch.abs(lp).median())
    if rounding > _LARGEST_ROUNDING:
        raise FitError(
            "the log density is too large for its floating type",
            argument="dtype",
            got=f"{str(lp.dtype).removeprefix('torch.')}, and a log density of about {float(lp.median()):.3g} nats, "
            f"which that rounds to {rounding:.2g}",
            expected=f"at most {_LARGEST_ROUNDING} nats",
            remedy="Leave dtype out, so that it runs in float64; tensors that the program holds must be float64 too.",
        )


def _roads(flat: FlatDensity, machine: Machine, reason: str) -> Iterator[str]:
    yield flat.note
    yield f"Steps: {machine.road}{f', for want of a faster road: {reason}' if reason else ''}."


def _choices(options: Any, *, pooled: bool) -> Iterator[str]:
    if options.init != "uniform":
        yield f"The chains began at {options.init if isinstance(options.init, str) else f'draws of {options.init!r}'}."
    if pooled and options.chains > 1:
        apart = "; adapt='per_chain' keeps them apart" if hasattr(options, "adapt") else ""
        yield f"The chains learnt step size and metric together{apart}."
