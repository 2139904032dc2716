"""All planted bugs: each is one wrong line, of the kind that a slip of the pen or of the mind leaves behind.

Faults that change no distribution (a longer tree than needed, a divergent leaf of weight ``e**-1000`` that is let in)
are not among them: nothing is wrong that a test could see. ``python -m tests.mutants`` plants them.
"""

from __future__ import annotations

from tests.mutants.approximations import APPROXIMATIONS
from tests.mutants.compiled import COMPILED
from tests.mutants.densities import DENSITIES
from tests.mutants.diagnoses import DIAGNOSES
from tests.mutants.kernels import KERNELS
from tests.mutants.runs import RUNS
from tests.mutants.variational import VARIATIONAL
from tests.mutants.weights import WEIGHTS

__all__ = ["MUTANTS"]

MUTANTS = (*DENSITIES, *COMPILED, *KERNELS, *RUNS, *DIAGNOSES, *VARIATIONAL, *WEIGHTS, *APPROXIMATIONS)
