"""The C program around a graph: chains into lanes, the statements, lanes back into chains.

Groups of ``LANES`` chains are independent. Every thread takes the next group off a counter until none is left, so that
which thread does what changes no number.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, fx

from ppzoo.inference.native.build import header
from ppzoo.inference.native.builder import Builder
from ppzoo.inference.native.emit import Names, c_type, parts
from ppzoo.inference.native.lowering import functional, lower
from ppzoo.inference.native.schedule import live, place, schedule, slots_of
from ppzoo.inference.native.values import Variable

__all__ = ["Source", "map_source"]

_MEMORY = {torch.float64: "double", torch.float32: "float", torch.int64: "int64_t", torch.bool: "uint8_t"}
_HEADERS = ("lanes.h", "functions.h", "special.h", "linear.h")


@dataclass(frozen=True)
class Source:
    """A C program and what it is called with.

    Attributes:
        text: The source.
        data: Constants of the graph, in the order of the program's pointers.
        outputs: Shape and type of one chain's results.
        words: Scratch memory for one group, in doubles per lane.
    """

    text: str
    data: list[Tensor]
    outputs: list[tuple[torch.Size, torch.dtype]]
    words: int


def map_source(graph: fx.GraphModule, examples: Sequence[Tensor], width: int) -> Source:
    """The program that maps a graph over chains, ``width`` at a time.

    Raises:
        Unsupported: If an operation or a type has no native code.
    """
    builder = Builder()
    inputs = [builder.input(example) for example in examples]
    results = [builder.materialise(value) for value in lower(functional(graph, examples), inputs, builder)]
    before, after = [v.buffer for v in inputs], [r.buffer for r in results]
    units = schedule(live(builder.statements, after))
    names = Names(place(units, before, after), slots_of(units))
    functions, calls = parts(units, names, "part")
    reads = "".join(_read(k, variable, names) for k, variable in enumerate(inputs))
    writes = "".join(_write(k, variable, names) for k, variable in enumerate(results))
    text = f"""{prelude(width)}{functions}
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
    data = [slot.tensor for slot in names.slots if slot.tensor is not None]
    return Source(text, data, [(r.shape, r.dtype) for r in results], names.placement.size)


def prelude(width: int) -> str:
    """The lane types and functions for so many lanes."""
    return f"#define LANES {width}\n" + "".join(header(name) for name in _HEADERS)


def _read(k: int, variable: Variable, names: Names) -> str:
    size, negate = variable.buffer.size, "-" if variable.dtype is torch.bool else ""
    lanes = f"{c_type(variable.dtype)} *y = {names.pointer(variable.buffer)}"
    return (
        f"{{ const {_MEMORY[variable.dtype]} *x = in[{k}]; {lanes};\n"
        f"for (int64_t i = 0; i < {size}; i++) EACH y[i][l] = {negate}x[c[l] * {size} + i]; }}\n"
    )


def _write(k: int, variable: Variable, names: Names) -> str:
    size, mask = variable.buffer.size, " & 1" if variable.dtype is torch.bool else ""
    lanes = f"const {c_type(variable.dtype)} *y = {names.pointer(variable.buffer)}"
    return (
        f"{{ {_MEMORY[variable.dtype]} *x = out[{k}]; {lanes};\n"
        f"for (int l = 0; l < LANES && g + l < chains; l++)\n"
        f"for (int64_t i = 0; i < {size}; i++) x[(g + l) * {size} + i] = y[i][l]{mask}; }}\n"
    )
