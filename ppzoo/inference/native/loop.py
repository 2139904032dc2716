"""A compiled step, repeated for many chains inside C.

Example:
    >>> import torch
    >>> from ppzoo.inference.graph.tracing import trace
    >>> x, e, size = torch.zeros(1), torch.zeros(1), torch.tensor(0.5)
    >>> step = trace(lambda x, e, size: (x + size * e, (e > 0).any(), x), [x, e, size])
    >>> walk = compile_loop(step, state={"x": x}, noise={"e": e}, shared={"size": size}, row={"was": x})
    >>> state, noise = {"x": torch.zeros(2, 1)}, {"e": torch.tensor([[[1.0], [-1.0], [4.0]], [[2.0], [2.0], [2.0]]])}
    >>> rows, count = {"was": torch.zeros(2, 2, 1)}, torch.zeros(2, dtype=torch.int64)
    >>> executed, idle = walk.run(state, noise, {"size": size}, rows, count, 3)
    >>> executed.tolist()
    [3, 2]
    >>> state["x"].tolist(), rows["was"].tolist()
    ([[2.0], [2.0]], [[[0.0], [0.0]], [[0.0], [1.0]]])
"""

from __future__ import annotations

import ctypes
from collections.abc import Mapping

import torch
from torch import Tensor

from ppzoo.inference.graph.graph import Graph
from ppzoo.inference.native.build import lanes, load
from ppzoo.inference.native.call import Scratch, check_tensor, in_threads, pointers
from ppzoo.inference.native.program import Field, Source, loop_source
from ppzoo.isolation import uncollected

__all__ = ["NativeLoop", "compile_loop"]

Tensors = Mapping[str, Tensor]
Fields = dict[str, Field]


def compile_loop(
    step: Graph, *, state: Tensors, noise: Tensors, shared: Tensors, row: Tensors, width: int | None = None
) -> NativeLoop:
    """Machine code that repeats a step of one chain, for many chains.

    Args:
        step: The flat graph of ``(*state, *noise, *shared) -> (*state, emit, *row)`` for one chain, ``emit`` a truth.
        state: Examples of what a step passes on to the next: shapes and types count, not values.
        noise: Of what each chain gets anew at every step.
        shared: Of what all chains and steps share.
        row: Of what is recorded where ``emit`` is true.
        width: Chains that are computed side by side; by default as many as the machine's vectors hold.

    Raises:
        Unsupported: If an operation or a type has no native code, or the C compiler is missing or fails.
        ValueError: If the graph's outputs are not the state, a truth and a row.
    """
    width = lanes() if width is None else width
    with uncollected():
        source = loop_source(step, list(state.values()), list(noise.values()), list(shared.values()), width)
    expected = [(torch.Size(), torch.bool), *_fields(row).values()]
    if source.outputs != expected:
        raise ValueError(f"step: beside the state it returns {source.outputs}, expected {expected}")
    return NativeLoop(source, (_fields(state), _fields(noise), _fields(shared), _fields(row)), width)


def _fields(examples: Tensors) -> Fields:
    return {name: (example.shape, example.dtype) for name, example in examples.items()}


class NativeLoop:
    """A step that is repeated in C.

    Attributes:
        source: The C program.
        width: How many chains are computed side by side.
    """

    def __init__(self, source: Source, fields: tuple[Fields, Fields, Fields, Fields], width: int) -> None:
        self.source = source
        self.width = width
        self._fields = fields
        self._scratch = Scratch(source.words * width)
        self._run = load(source.text).run
        self._run.restype = ctypes.c_int
        self._run.argtypes = [ctypes.c_void_p] * 2 + [ctypes.c_int64] * 4 + [ctypes.c_void_p] * 3

    def run(  # the parts of a sampler's memory
        self,
        state: Tensors,
        noise: Tensors,
        shared: Tensors,
        rows: Tensors,
        count: Tensor,
        steps: int,
        *,
        room: Tensor | None = None,
        threads: int = 1,
    ) -> tuple[Tensor, int]:
        """Take up to ``steps`` steps with every chain that has room for a row; everything is changed in place.

        Args:
            state: ``(C, ...)`` per field.
            noise: ``(C, T, ...)`` per field, ``T >= steps``; a chain's t-th step in this call takes its t-th.
            shared: ``(...)`` per field.
            rows: ``(C, B, ...)`` per field.
            count: How many rows of each chain are filled, int64 ``(C,)``.
            steps: The most steps that a chain takes, at least one.
            room: How many rows each chain may fill, int64 ``(C,)``, at most ``B``; all if not given.
            threads: How many threads share the work; the numbers do not depend on it.

        Returns:
            The steps that each chain has taken, int64 ``(C,)``, and those that lanes without a chain have.

        Raises:
            ValueError: If a tensor has another shape, type or layout than it must have.
            IndexError: If a position computed by the graph is out of range.
        """
        chains = len(count)
        ahead = min((tensor.shape[1] for tensor in noise.values()), default=steps)
        size = min((tensor.shape[1] for tensor in rows.values()), default=int(count.max()) + steps if chains else 0)
        room = torch.full_like(count, size) if room is None else room
        executed = torch.zeros_like(count)
        for name, tensor in {"count": count, "room": room}.items():
            check_tensor(name, tensor, (chains,), torch.int64)
        if not 1 <= steps <= ahead:
            raise ValueError(f"steps: got {steps}, expected 1 to the {ahead} steps that there is noise for")
        if chains and (int(room.max()) > size or int(count.min()) < 0):
            raise ValueError(f"room: got {int(room.max())}, expected at most the {size} rows that there are")
        heads = ((chains,), (chains, ahead), (), (chains, size))
        parts = [
            _checked(what, given, fields, head)
            for what, given, fields, head in zip(
                ("state", "noise", "shared", "rows"), (state, noise, shared, rows), self._fields, heads, strict=True
            )
        ]
        data = pointers([parts[2][x] if isinstance(x, int) else x for x in self.source.data])
        io = pointers([*parts[0], *parts[1], *parts[3], count, room, executed])
        idle = ctypes.c_int64(0)
        arguments = (data, io, chains, steps, ahead, size, ctypes.byref(ctypes.c_int64(0)), ctypes.byref(idle))

        def work() -> bool:
            with self._scratch.borrow() as address:
                return bool(self._run(*arguments, address))

        if in_threads(work, min(threads, -(-chains // self.width))):
            raise IndexError("a position computed by the graph is out of range for the dimension it counts")
        return executed, idle.value


def _checked(what: str, given: Tensors, fields: Fields, head: tuple[int, ...]) -> list[Tensor]:
    """The fields in the program's order, each of the right shape and type."""
    if list(given) != list(fields):
        raise ValueError(f"{what}: got the fields {list(given)}, expected {list(fields)}")
    for name, (shape, dtype) in fields.items():
        check_tensor(f"{what} {name}", given[name], (*head, *shape), dtype)
    return list(given.values())
