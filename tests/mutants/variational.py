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
    Mutant(
        "doubly reparametrised gradients weigh once",
        "The path of a draw is weighed with its share, not with the square of it.",
        "inference/variational/bounds.py",
        "squared = (share[k] ** 2).reshape",
        "squared = share[k].reshape",
        ("inference/variational/test_bounds.py",),
    ),
    Mutant(
        "the guide flees from the posterior's draws",
        "Wake-sleep makes the guide's density small where the weights are large.",
        "inference/variational/bounds.py",
        "pulled = (share * (weights.model + weights.guide)).sum()",
        "pulled = (share * (weights.model - weights.guide)).sum()",
        ("inference/variational/test_bounds.py",),
    ),
    Mutant(
        "a closed divergence where the order forbids it",
        "The closed form is used for a site whose prior hangs on what the guide draws later.",
        "inference/variational/divergences.py",
        "if names and latest < place[names[0]]:",
        "if names:",
        ("inference/variational/test_divergences.py",),
    ),
    Mutant(
        "a minibatch's divergences count once",
        "Rows that stand for many have a divergence that stands for their own.",
        "inference/variational/divergences.py",
        'return scale_and_mask(value, p["scale"], p["mask"]) if',
        'return scale_and_mask(value, 1.0, p["mask"]) if',
        ("inference/variational/test_divergences.py",),
    ),
    Mutant(
        "rows whose discrete sites are summed out count once",
        "The sum over a row's discrete sites is not weighed with the rows that it stands for.",
        "inference/variational/summing.py",
        "elimination.log_sum(filled, 1).squeeze(0), weight)",
        "elimination.log_sum(filled, 1).squeeze(0), 1.0)",
        ("inference/variational/test_summing.py",),
    ),
    Mutant(
        "a loss has settled as soon as it might have",
        "The lower bound of its fall is below the tolerance, not the upper one.",
        "inference/variational/settling.py",
        "third.mean() - fourth.mean() + stats",
        "third.mean() - fourth.mean() - stats",
        ("inference/variational/test_settling.py",),
    ),
    Mutant(
        "iterates are averaged from the start",
        "The mean of iterates holds those of the way to the optimum.",
        "inference/variational/settling.py",
        "[(now - then) / (self._windows - half) for now, then in",
        "[now / self._windows + 0 * then for now, then in",
        ("inference/variational/test_settling.py",),
    ),
)
