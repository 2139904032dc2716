"""Bugs in what variational inference maximises, and in how its steps are traced."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

__all__ = ["VARIATIONAL"]

STEP = ("inference/variational/test_step.py",)
TRAINERS = ("inference/variational/test_trainers.py",)

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
    Mutant(
        "replicas share their draws",
        "Every replica's noise comes from the same seed: their agreement says nothing.",
        "inference/variational/trainers.py",
        'return stream_seed(root, "svi", "replica", replica)',
        'return stream_seed(root, "svi", "replica")',
        TRAINERS,
    ),
    Mutant(
        "a bad step is taken in machine code",
        "A loss that is not finite does not hold the step back, and the replica is lost.",
        "inference/variational/trainers.py",
        "taken = torch.isfinite(loss) & torch.isfinite(norm)",
        "taken = torch.isfinite(norm) | torch.isfinite(loss) | True",
        TRAINERS,
    ),
    Mutant(
        "moments are corrected for one step less",
        "Adam in machine code divides by one minus the power of the steps before.",
        "inference/variational/trainers.py",
        "before, rate, t + 1)",
        "before, rate, t + 2)",
        TRAINERS,
    ),
    Mutant(
        "an epoch leaves rows out",
        "Each step draws rows anew, so that some are seen twice in an epoch and others never.",
        "inference/variational/minibatch.py",
        "epoch, place = divmod(step, self.per_epoch)",
        "epoch, place = step, 0",
        ("inference/variational/test_minibatch.py",),
    ),
    Mutant(
        "the best state of another replica comes back",
        "A replica that went astray is put where the first one was at its best.",
        "inference/variational/course.py",
        "parameter[k] = value[k]",
        "parameter[k] = value[0]",
        ("inference/variational/test_course.py",),
    ),
)
