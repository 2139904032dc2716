"""Bugs in what is computed for a gradient: recorded, simplified, compiled, and looped over chains."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

__all__ = ["COMPILED"]

LOGARITHMS = ("inference/native/test_logarithms.py",)
REDUCTIONS = ("inference/native/test_reductions.py",)
LOOP = ("inference/native/test_loop.py",)
REPEATS = ("inference/native/test_repeats.py",)
STRIPS = ("inference/native/test_strips.py",)
PIECES = ("inference/native/test_pieces.py",)
RECORDING = ("inference/graph/test_recording.py",)

COMPILED = (
    Mutant(
        "memory is taken back too early",
        "A buffer's place is given away at its last reading, where what it is read for may be written.",
        "inference/native/schedule.py",
        "while alive and alive[0][0] < first[buffer]:",
        "while alive and alive[0][0] <= first[buffer]:",
        ("inference/native/test_schedule.py",),
    ),
    Mutant(
        "logarithms are added that are to be taken off",
        "The sign of a logarithm in a sum is lost.",
        "inference/native/logarithms.py",
        "{'+' if sign > 0 else '-'}",
        "{'+' if sign else '-'}",
        LOGARITHMS,
    ),
    Mutant(
        "products forget their powers of two",
        "Of a product of factors only the fraction is kept.",
        "inference/native/functions.h",
        "  s.power += n;\n",
        "",
        LOGARITHMS,
    ),
    Mutant(
        "rare factors count twice",
        "What is left to the logarithm itself is also multiplied.",
        "inference/native/functions.h",
        "    x = pick_d(rare, splat_d(1.0), x);\n",
        "",
        LOGARITHMS,
    ),
    Mutant(
        "a term that is read elsewhere is taken away",
        "A logarithm that a sum shares with others is replaced all the same.",
        "inference/native/logarithms.py",
        "if readers[buffer] == 1}",
        "if readers[buffer] >= 1}",
        LOGARITHMS,
    ),
    Mutant(
        "another's normaliser",
        "Exponentials are divided by the sum of others.",
        "inference/native/logarithms.py",
        "terms = shifted == powers.operands[0] and",
        "terms =",
        LOGARITHMS,
    ),
    Mutant(
        "a repeated term counts once",
        "The sum along a dimension in which nothing moves is not multiplied by its size.",
        "inference/native/reductions.py",
        'if kind == "sum" and count > 1:',
        'if kind == "sum" and count > 1e9:',
        REDUCTIONS,
    ),
    Mutant(
        "what moves along a dimension is taken for repeated",
        "One element stands for all as soon as one operand does not move.",
        "inference/native/builder.py",
        "any(strides[d] for strides in moving)",
        "all(strides[d] for strides in moving)",
        REDUCTIONS,
    ),
    Mutant(
        "a chain inherits its lane's clock",
        "The next chain of a lane goes on with the step count of the one before it.",
        "inference/native/chains.h",
        "        t[l] = 0;\n",
        "",
        LOOP,
    ),
    Mutant(
        "a chain inherits its lane's room",
        "The next chain of a lane has as much room as the one before it has left.",
        "inference/native/chains.h",
        "enter(state, io, a, l, c[l] = k), spare[l] = room[k] - count[k];",
        "enter(state, io, a, l, c[l] = k);",
        LOOP,
    ),
    Mutant(
        "a write is hidden from a view",
        "A tensor whose memory another shows is renamed as if it had its own.",
        "inference/graph/recording.py",
        "self._memory[node] is node and node not in self._viewed",
        "self._memory[node] is node",
        RECORDING,
    ),
    Mutant(
        "a write is recorded in another type",
        "The value of a write is taken in the type that torch gives it outside.",
        "inference/graph/recording.py",
        "(value.shape, value.dtype) == (result.shape, result.dtype)",
        "value.shape == result.shape",
        RECORDING,
    ),
    Mutant(
        "every run through a loop is the first",
        "The body of a loop reads one row of its table of places again and again.",
        "inference/native/emit.py",
        "+ {self.first[k]} + k * {self.row[k]}",
        "+ {self.first[k]}",
        REPEATS,
    ),
    Mutant(
        "a loop goes on where it looks otherwise",
        "Where a period begins anew is told from distances, without a look at the statements.",
        "inference/native/repeats.py",
        "(looks[:-period] == looks[period:])",
        "(looks[:-period] == looks[:-period])",
        REPEATS,
    ),
    Mutant(
        "pieces cover each other",
        "Of two gradients of the same slice the first is lost.",
        "inference/native/pieces.py",
        "value = add(first, _shaped(value, view.shape))",
        "value = _shaped(value, view.shape)",
        PIECES,
    ),
    Mutant(
        "a piece stands for the sum",
        "What is cut out is the first of several pieces that lie there.",
        "inference/native/pieces.py",
        "region not in parts or any(other != region and _touch(other, region) for other in parts)",
        "region not in parts",
        PIECES,
    ),
    Mutant(
        "places with the same number are one",
        "Two buffers that lie at one place in one run through a loop do in the text of all.",
        "inference/native/names.py",
        """        if what not in self._known:
            self._known[what]""",
        """        what = number
        if what not in self._known:
            self._known[what]""",
        ("inference/native/test_names.py",),
    ),
    Mutant(
        "a mapped graph is recorded as if it were not",
        "A call of a graph on mapped or differentiated tensors is taken for one operation.",
        "inference/graph/graph.py",
        "if taker is not None and all(map(_is_plain, tensors)):",
        "if taker is not None:",
        ("inference/graph/test_graph.py",),
    ),
    Mutant(
        "a strip forgets the sums of those before",
        "A product summed over rows begins anew with each strip of them.",
        "inference/native/values.py",
        'more = f"{begin} > 0" if axis == "k" else "0"',
        'more = "0"',
        STRIPS,
    ),
    Mutant(
        "a strip reads what other strips still change",
        "What all rows together say is read when the first strip is done.",
        "inference/native/strips.py",
        "by_row and self.writes[buffer] for",
        "True for",
        STRIPS,
    ),
)
