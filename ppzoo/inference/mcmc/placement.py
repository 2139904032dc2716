"""CPU or GPU for the chains of one program, by an estimate of how long a gradient of all of them takes on each."""

from __future__ import annotations

import math

import torch

from ppzoo.errors import OptionError
from ppzoo.inference.density import density_of
from ppzoo.inference.flat import flatten
from ppzoo.inference.graph.graph import Graph
from ppzoo.inference.mcmc.options import BatchOptions
from ppzoo.inference.outcome import Method
from ppzoo.inference.program import Pair

__all__ = ["place", "work_of"]

_CPU_RATE = 5e9  # numbers read or written in a second by one core in machine code
_GPU_RATE = 2.5e11  # by a GPU with fast memory, in float64
_LAUNCH = 3e-6  # seconds that an operation takes there at least, inside a CUDA graph
_SAMPLER = 300  # operations of a sampler's step beside those of the density


def place(pair: Pair, method: Method, dtype: torch.dtype) -> tuple[torch.device, str]:
    """Where to run, and why, in one line.

    Args:
        pair: The program on its data, on the CPU.
        method: A sampler whose chains are one batch.
        dtype: Floating type of the run.

    Raises:
        OptionError: If the method is another one.
    """
    if not isinstance(method, BatchOptions):
        raise OptionError(
            "chooses for samplers whose chains are one batch",
            argument="device",
            got=f"'auto' with method {method.name!r}",
            expected="'cpu' or 'cuda'",
            remedy="Name the device.",
        )
    if not torch.cuda.is_available():
        return torch.device("cpu"), "Device: cpu, for torch sees no GPU."
    flat = flatten(density_of(pair), torch.zeros((), dtype=dtype))
    if not isinstance(flat.function, Graph):
        return torch.device("cpu"), "Device: cpu, for a program that is no graph only waits for a GPU."
    operations, numbers = work_of(flat.function)
    here = method.chains * numbers / (_CPU_RATE * torch.get_num_threads())
    there = (operations + _SAMPLER) * _LAUNCH + method.chains * numbers / _GPU_RATE
    chosen, other = ("cuda", "cpu") if there < here else ("cpu", "cuda")
    first, second = sorted((here, there))
    line = f"{method.chains:,} chains take about {_seconds(first)} for a gradient there, {_seconds(second)} on {other}"
    return torch.device(chosen), f"Device: {chosen}; {line}, by estimate."


def work_of(graph: Graph) -> tuple[int, int]:
    """How many operations a graph has, and how many numbers they read and write."""
    nodes = [node for call in graph.calls for node in (call, *dict.fromkeys(call.sources))]
    return len(graph.calls), sum(math.prod(node.shape) for node in nodes if node.shape is not None)


def _seconds(value: float) -> str:
    unit, scale = ("ms", 1e3) if value >= 1e-3 else ("µs", 1e6)
    return f"{value * scale:.2g} {unit}"
