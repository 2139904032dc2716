"""The C program around a graph: chains into lanes, the statements, lanes back into chains.

Lanes are independent. Every thread takes the next chains off a counter until none is left, so that which thread or lane
does what changes no number.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ppzoo.inference.graph.graph import Graph
from ppzoo.inference.native.build import header
from ppzoo.inference.native.builder import Builder
from ppzoo.inference.native.emit import Code
from ppzoo.inference.native.logarithms import multiplied, normalised
from ppzoo.inference.native.lowering import lower
from ppzoo.inference.native.names import Names, c_type
from ppzoo.inference.native.repeats import stretches
from ppzoo.inference.native.schedule import live, place, reads_of, slots_of, split, written
from ppzoo.inference.native.values import Buffer, Slot, Statement, Variable, is_plain

__all__ = ["Field", "Source", "loop_source", "map_source"]

_MEMORY = {torch.float64: "double", torch.float32: "float", torch.int64: "int64_t", torch.bool: "uint8_t"}
_WIDE = {torch.float64, torch.int64}  # eight bytes: moved alike
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
    scheduled = stretches(_lean(builder.statements, after))
    units = [unit for stretch in scheduled for unit in stretch.units]
    names = Names(place(units, before, after), slots_of(units))
    code = Code(names)
    calls = code.add(scheduled)
    reads = "".join(_take(f"in[{k}]", variable, names, "c") for k, variable in enumerate(inputs))
    writes = "".join(_give(f"out[{k}]", variable, names) for k, variable in enumerate(results))
    text = f"""{prelude(width)}{code.text}
int run(const void *const *restrict d, const void *const *restrict in, void *const *restrict out,
        int64_t chains, int64_t *next, D *restrict a) {{
*(I *)a = splat_i(0);
for (;;) {{
int64_t g = LANES * __atomic_fetch_add(next, 1, __ATOMIC_RELAXED), c[LANES];
if (g >= chains) return any(*(I *)a);
EACH c[l] = g + l < chains ? g + l : chains - 1;
{reads}{calls}{writes}}}
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
    first, then = stretches(fixed), stretches(varying)
    before, units = ([unit for stretch in each for unit in stretch.units] for each in (first, then))
    names = Names(place([*before, *units], arriving, [*kept, *written(before)]), slots_of([*before, *units]))
    code = Code(names)
    first_calls, calls = code.add(first), code.add(then)
    emit, *rows = fresh
    s, n, r = len(states), len(noises), len(rows)
    arrive = "".join(_take(f"io[{k}]", v, names, "c") for k, v in enumerate(states))
    heard = {buffer for statement in varying for buffer in reads_of(statement)}
    draw = "".join(_take(f"io[{s + k}]", v, names, "ahead_of") for k, v in enumerate(noises) if v.buffer in heard)
    leave = "".join(_write(f"io[{k}]", v, names) for k, v in enumerate(states))
    enter = "".join(_read(f"io[{k}]", v, names) for k, v in enumerate(states))
    together = "".join(_give(f"io[{k}]", v, names) for k, v in enumerate(states))
    record = "".join(_write(f"io[{s + n + k}]", v, names) for k, v in enumerate(rows))
    text = f"""{prelude(width)}{code.text}
static void enter(void *const *restrict io, D *restrict a, int l, int64_t c) {{
{enter}}}
static void leave(void *const *restrict io, const D *restrict a, int l, int64_t c) {{
{leave}}}
static void record(void *const *restrict io, const D *restrict a, int l, int64_t c) {{
{record}}}
int run(const void *const *restrict d, void *const *restrict io, int64_t chains, int64_t steps, int64_t ahead,
        int64_t size, int64_t *next, int64_t *idle, D *restrict a) {{
int64_t *count = io[{s + n + r}], *executed = io[{s + n + r + 2}], vain = 0;
const int64_t *room = io[{s + n + r + 1}];
I wrong = splat_i(0);
for (;;) {{
int64_t c[LANES], ahead_of[LANES];
I going = splat_i(0), t = splat_i(0), spare = splat_i(0);
int left = 0;
EACH if ((c[l] = another(next, chains, count, room)) < chains) {{
going[l] = -1;
spare[l] = room[c[l]] - count[c[l]];
left++;
}}
if (left == 0) {{
__atomic_fetch_add(idle, vain, __ATOMIC_RELAXED);
return any(wrong);
}}
EACH if (!going[l]) c[l] = c[0];
{arrive}{first_calls}while (left > 0) {{
EACH ahead_of[l] = c[l] * ahead + t[l];
*(I *)a = splat_i(0);
{draw}{calls}wrong |= *(I *)a & going;
vain += LANES - left;
t -= going;
const I emit = *{names.pointer(emit.buffer)} & going;
if (any(emit)) EACH if (emit[l]) record(io, a, l, c[l] * size + count[c[l]]++);
spare += emit;
const I over = going & ((t >= steps) | (spare == 0));
if (!any(over)) continue;
if (left == LANES && !any(~over)) {{
{together}EACH executed[c[l]] = t[l];
break;
}}
EACH if (over[l]) {{
leave(io, a, l, c[l]);
executed[c[l]] = t[l];
t[l] = 0;
const int64_t k = another(next, chains, count, room);
if (k < chains) enter(io, a, l, c[l] = k), spare[l] = room[k] - count[k];
else going[l] = 0, left--;
}}
}}
}}
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


def _take(source: str, variable: Variable, names: Names, row: str) -> str:
    """Rows of all chains of the group become lanes."""
    size, pointer = variable.buffer.size, names.pointer(variable.buffer)
    if variable.dtype in _WIDE:
        return f"take_rows((D *){pointer}, (const double *){source}, {row}, {size});\n"
    negate = "-" if variable.dtype is torch.bool else ""
    return (
        f"{{ const {_MEMORY[variable.dtype]} *x = {source}; {c_type(variable.dtype)} *y = {pointer};\n"
        f"for (int64_t i = 0; i < {size}; i++) EACH y[i][l] = {negate}x[{row}[l] * {size} + i]; }}\n"
    )


def _give(target: str, variable: Variable, names: Names) -> str:
    """Lanes become rows; lanes that stand for one chain write the same."""
    size, pointer = variable.buffer.size, names.pointer(variable.buffer)
    if variable.dtype in _WIDE:
        return f"give_rows((double *){target}, (const D *){pointer}, c, {size});\n"
    return f"EACH {_row(target, variable, pointer, 'c[l]')}"


def _read(source: str, variable: Variable, names: Names) -> str:
    """Row ``c`` becomes one lane."""
    size, pointer = variable.buffer.size, names.pointer(variable.buffer)
    negate = "-" if variable.dtype is torch.bool else ""
    return (
        f"{{ const {_MEMORY[variable.dtype]} *x = {source}; {c_type(variable.dtype)} *y = {pointer};\n"
        f"for (int64_t i = 0; i < {size}; i++) y[i][l] = {negate}x[c * {size} + i]; }}\n"
    )


def _write(target: str, variable: Variable, names: Names) -> str:
    """One lane becomes row ``c``."""
    return _row(target, variable, names.pointer(variable.buffer), "c")


def _row(target: str, variable: Variable, pointer: str, row: str) -> str:
    size, mask = variable.buffer.size, " & 1" if variable.dtype is torch.bool else ""
    return (
        f"{{ {_MEMORY[variable.dtype]} *x = {target}; const {c_type(variable.dtype)} *y = {pointer};\n"
        f"for (int64_t i = 0; i < {size}; i++) x[{row} * {size} + i] = y[i][l]{mask}; }}\n"
    )
