"""The C program around a graph: chains into lanes, the statements, lanes back into chains.

Lanes are independent. Every thread takes the next chains off a counter until none is left, so that which thread or lane
does what changes no number.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ppzoo.inference.graph.graph import Graph
from ppzoo.inference.native.build import header
from ppzoo.inference.native.builder import Builder
from ppzoo.inference.native.emit import Code
from ppzoo.inference.native.logarithms import multiplied, normalised
from ppzoo.inference.native.lowering import lower
from ppzoo.inference.native.names import Names
from ppzoo.inference.native.repeats import stretches
from ppzoo.inference.native.schedule import live, place, reads_of, slots_of, split, written
from ppzoo.inference.native.strips import stripped
from ppzoo.inference.native.values import Buffer, Slot, Statement, Variable, is_plain

__all__ = ["Field", "Source", "loop_source", "map_source"]

_KINDS = {torch.float64: "WIDE", torch.int64: "WIDE", torch.float32: "SINGLE", torch.bool: "TRUTH"}
_HEADERS = ("lanes.h", "functions.h", "special.h", "linear.h", "factors.h", "chains.h")

Field = tuple[torch.Size, torch.dtype]


@dataclass(frozen=True)
class Source:
    """A C program and what it is called with.

    Attributes:
        text: The source.
        data: In the order of the program's pointers to what all lanes share: a constant of the graph, or the number of
            the shared input that belongs there.
        outputs: Shape and type of one chain's results.
        words: Scratch memory for one group, in doubles per lane.
    """

    text: str
    data: list[Tensor | int]
    outputs: list[Field]
    words: int

    @property
    def constants(self) -> list[Tensor]:
        """The constants among the data."""
        return [x for x in self.data if isinstance(x, Tensor)]


def map_source(graph: Graph, examples: Sequence[Tensor], width: int) -> Source:
    """The program that maps a graph over chains, ``width`` at a time.

    Raises:
        Unsupported: If an operation or a type has no native code.
    """
    builder = Builder()
    inputs = [builder.input(example) for example in examples]
    results = [builder.materialise(value) for value in lower(graph, inputs, builder)]
    before, after = [v.buffer for v in inputs], [r.buffer for r in results]
    scheduled = stripped(stretches(_lean(builder.statements, after)), after)
    units = [unit for stretch in scheduled for unit in stretch.units]
    names = Names(place(units, before, after), slots_of(units))
    code = Code(names)
    calls = code.add(scheduled)
    text = f"""{prelude(width)}{code.text}
static void all(const void *const *restrict d, D *restrict a) {{
{calls}}}
{_fields("INPUTS", inputs, names)}{_fields("OUTPUTS", results, names, len(inputs))}
int run(const void *const *d, void *const *io, int64_t chains, int64_t *next, D *a) {{
return run_once(all, INPUTS, OUTPUTS, d, io, chains, next, a);
}}
"""
    return Source(text, [*_data(names, {}), *code.tables], [(r.shape, r.dtype) for r in results], names.placement.size)


def loop_source(
    graph: Graph, state: Sequence[Tensor], noise: Sequence[Tensor], shared: Sequence[Tensor], width: int
) -> Source:
    """The program that repeats a step: ``state, emit, row = step(state, noise, shared)``.

    What depends on shared inputs alone is computed once per group. A state is overwritten where it stands, as soon as
    nothing reads it any more; a chain that has no room for another row leaves with the state that it has then, and the
    next chain takes its lane, or where none is left the lane runs on unseen.

    Raises:
        Unsupported: If an operation or a type has no native code.
    """
    builder = Builder()
    states, noises = [builder.input(x) for x in state], [builder.input(x) for x in noise]
    given = [builder.shared(x) for x in shared]
    results = lower(graph, [*states, *noises, *given], builder)
    arriving = [v.buffer for v in (*states, *noises)]
    own = set(arriving)
    fresh = [_fresh(builder, value, own) for value in results[len(states) :]]
    moves = [(v, _fresh(builder, r, own)) for v, r in zip(states, results, strict=False) if not _is(r, v)]
    for target, value in moves:
        builder.overwrite(target, value)
    kept = [v.buffer for v in states] + [v.buffer for v in fresh]
    wanted = [*kept, *own]
    fixed, varying = split(_lean(builder.statements, wanted), own)
    heard = {buffer for statement in varying for buffer in reads_of(statement)}
    first, then = stripped(stretches(fixed), heard.union(kept)), stripped(stretches(varying), kept)
    before, units = ([unit for stretch in each for unit in stretch.units] for each in (first, then))
    names = Names(place([*before, *units], arriving, [*kept, *written(before)]), slots_of([*before, *units]))
    code = Code(names)
    first_calls, calls = code.add(first), code.add(then)
    emit, *rows = fresh
    s, n, r = len(states), len(noises), len(rows)
    text = f"""{prelude(width)}{code.text}
static void first(const void *const *restrict d, D *restrict a) {{
{first_calls}}}
static void step(const void *const *restrict d, D *restrict a) {{
{calls}}}
{_fields("STATE", states, names)}{_fields("NOISE", noises, names, s, heard)}{_fields("ROW", rows, names, s + n)}
int run(const void *const *d, void *const *io, int64_t chains, int64_t steps, int64_t ahead, int64_t size,
        int64_t *next, int64_t *idle, D *a) {{
void *const *own = io + {s + n + r};
return run_loop(first, step, STATE, NOISE, ROW, {names.placement.offsets[emit.buffer]}, d, io, own[0], own[1], own[2],
                chains, steps, ahead, size, next, idle, a);
}}
"""
    numbers = {v.shared: k for k, v in enumerate(given) if v.shared}
    data = [*_data(names, numbers), *code.tables]
    return Source(text, data, [(v.shape, v.dtype) for v in fresh], names.placement.size)


def _lean(statements: Sequence[Statement], results: Sequence[Buffer]) -> list[Statement]:
    """The statements on which the results depend, with fewer logarithms and exponentials."""
    return multiplied(live(normalised(live(statements, results)), results), results)


def prelude(width: int) -> str:
    """The lane types and functions for so many lanes."""
    return f"#define LANES {width}\n" + "".join(header(name) for name in _HEADERS)


def _fresh(builder: Builder, value: Variable | Tensor | float, inputs: set[Buffer]) -> Variable:
    """The value in a buffer that is no input's."""
    result = builder.materialise(value)
    if result.buffer not in inputs:
        return result
    copy = builder.new(result.shape, result.dtype)
    builder.copy_into(copy, result)
    return copy


def _is(value: object, state: Variable) -> bool:
    """Whether a result is the state as it was."""
    return isinstance(value, Variable) and value.buffer is state.buffer and is_plain(value)


def _data(names: Names, numbers: dict[Slot, int]) -> list[Tensor | int]:
    return [numbers[slot] if slot.tensor is None else slot.tensor for slot in names.slots]


def _fields(
    name: str, variables: Sequence[Variable], names: Names, start: int = 0, only: Collection[Buffer] | None = None
) -> str:
    """A table of tensors, as ``chains.h`` reads it: ``io[start]`` and so on outside, places in the arena inside."""
    rows = [
        f"{{{start + k}, {_KINDS[v.dtype]}, {names.placement.offsets[v.buffer]}, {v.buffer.size}}}"
        for k, v in enumerate(variables)
        if only is None or v.buffer in only
    ]
    table = f"static const FIELD {name}_[] = {{{', '.join(rows) or '{0}'}}};\n"
    return f"{table}#define {name} ((FIELDS){{{name}_, {len(rows)}}})\n"
