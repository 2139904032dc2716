"""Bugs in what variational inference maximises, and in how its steps are traced."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

__all__ = ["VARIATIONAL"]

STEP = ("inference/variational/test_step.py",)

VARIATIONAL = (
    Mutant(
        "scores pull the wrong way",
        "Draws that cannot be differentiated through are made likelier where they cost more.",
        "inference/variational/objectives.py",
        "part.pathwise - score for",
        "part.pathwise + score for",
        ("inference/variational/test_objectives.py",),
    ),
    Mutant(
        "every step has the same noise",
        "What a program draws at random is taken for a constant of its graph.",
        "inference/graph/simplify.py",
        "if is_random(target):",
        "if False:",
        STEP,
    ),
    Mutant(
        "a traced step sees the rows that it was traced with",
        "The rows of a minibatch are constants of the graph.",
        "inference/variational/step.py",
        "return [] if self._fixed else",
        "return [] if data else",
        STEP,
    ),
    Mutant(
        "a program's counter is not looked at",
        "What a program keeps in its closure from run to run is overlooked, and the first run replayed for ever.",
        "inference/variational/remembering.py",
        "for cell in function.__closure__ or ():",
        "for cell in ():",
        ("inference/variational/test_remembering.py", "inference/variational/test_step.py"),
    ),
)
