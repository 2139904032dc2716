"""A compiled graph as a function of many chains.

Example:
    >>> from ppzoo.inference.graph.tracing import trace
    >>> x = torch.arange(6.0, dtype=torch.float64).reshape(3, 2)
    >>> native = compile_map(trace(lambda x: (x.exp().sum(), 2 * x), [x[0]]), [x[0]])
    >>> total, double = native(x)
    >>> bool(torch.allclose(total, x.exp().sum(1))), double[2].tolist()
    (True, [8.0, 10.0])
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from ppzoo.inference.graph.graph import Graph
from ppzoo.inference.native.build import lanes, load
from ppzoo.inference.native.program import Source, map_source
from ppzoo.isolation import uncollected

__all__ = ["NativeMap", "Scratch", "check_tensor", "compile_map", "in_threads", "pointers"]

_ALIGNMENT = 64  # bytes


def compile_map(graph: Graph, examples: Sequence[Tensor], *, width: int | None = None) -> NativeMap:
    """Machine code for many chains from the flat graph of one.

    Args:
        graph: Functional, of aten operations, for one chain.
        examples: One chain's inputs: shapes and types count, not values.
        width: Chains that are computed side by side, a power of two up to what the machine's vectors hold; by default
            that many.

    Returns:
        ``f(*inputs)`` of tensors with the chain first.

    Raises:
        Unsupported: If an operation or type has no native code, or the C compiler is missing or fails.
    """
    width = lanes() if width is None else width
    with uncollected():
        source = map_source(graph, examples, width)
    return NativeMap(source, list(examples), width)


class NativeMap:
    """A graph mapped over chains.

    Attributes:
        source: The C program.
        width: How many chains are computed side by side.
    """

    def __init__(self, source: Source, examples: list[Tensor], width: int) -> None:
        self.source = source
        self.width = width
        self._examples = [(example.shape, example.dtype) for example in examples]
        self._data = pointers(source.constants)
        self._scratch = Scratch(source.words * width)
        self._run = load(source.text).run
        self._run.restype = ctypes.c_int
        self._run.argtypes = [ctypes.c_void_p] * 2 + [ctypes.c_int64] + [ctypes.c_void_p] * 2

    def __call__(self, *inputs: Tensor, threads: int = 1) -> tuple[Tensor, ...]:
        """The outputs for every chain, newly allocated.

        Args:
            inputs: (C, ...) each, contiguous, on the CPU.
            threads: How many threads share the work; the numbers do not depend on it.

        Raises:
            ValueError: If an input has another shape, type or layout than the example.
            IndexError: If a position computed by the graph is out of range.
        """
        if len(inputs) != len(self._examples):
            raise ValueError(f"got {len(inputs)} inputs, expected {len(self._examples)}")
        chains = inputs[0].shape[0] if inputs and inputs[0].dim() else 1
        for k, (tensor, (shape, dtype)) in enumerate(zip(inputs, self._examples, strict=True)):
            check_tensor(f"input {k}", tensor, (chains, *shape), dtype)
        outputs = tuple(torch.empty((chains, *shape), dtype=dtype) for shape, dtype in self.source.outputs)
        io = pointers([*inputs, *outputs])
        arguments = (self._data, io, chains, ctypes.byref(ctypes.c_int64(0)))

        def work() -> bool:
            with self._scratch.borrow() as address:
                return bool(self._run(*arguments, address))

        if in_threads(work, min(threads, -(-chains // self.width))):
            raise IndexError("a position computed by the graph is out of range for the dimension it counts")
        return outputs


def check_tensor(name: str, tensor: Tensor, shape: Sequence[int], dtype: torch.dtype) -> None:
    """A tensor may be handed to C: its shape, type, layout and device are what the code was made for."""
    if tensor.shape == shape and tensor.dtype is dtype and tensor.is_contiguous() and tensor.is_cpu:
        return
    if tuple(tensor.shape) != tuple(shape) or tensor.dtype != dtype:
        raise ValueError(f"{name}: got {tuple(tensor.shape)} {tensor.dtype}, expected {tuple(shape)} {dtype}")
    raise ValueError(f"{name}: got strides {tensor.stride()} on {tensor.device}, expected contiguous on the CPU")


def pointers(tensors: Sequence[Tensor]) -> Any:
    """An array of the tensors' addresses."""
    return (ctypes.c_void_p * max(len(tensors), 1))(*(tensor.data_ptr() for tensor in tensors))


def in_threads(work: Callable[[], bool], threads: int) -> bool:
    """Do the work in this thread and ``threads - 1`` others; whether any of them says so."""
    if threads <= 1:
        return work()
    with ThreadPoolExecutor(threads - 1) as pool:
        others = [pool.submit(work) for _ in range(threads - 1)]
        own = work()
    return any([own, *(other.result() for other in others)])


class Scratch:
    """Aligned memory for whoever needs some, kept for the next one."""

    def __init__(self, doubles: int) -> None:
        self._bytes = doubles * 8 + _ALIGNMENT
        self._free: list[Tensor] = []

    @contextmanager
    def borrow(self) -> Iterator[int]:
        """The address of memory that nobody else uses."""
        try:
            memory = self._free.pop()
        except IndexError:
            memory = torch.empty(self._bytes, dtype=torch.uint8)
        yield -(-memory.data_ptr() // _ALIGNMENT) * _ALIGNMENT
        self._free.append(memory)
