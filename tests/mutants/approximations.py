"""Bugs in modes, in the normals around them, and in the weights of draws."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

__all__ = ["APPROXIMATIONS"]

METHODS = ("inference/approximate/test_approximations.py",)
LAPLACE = ("inference/approximate/test_laplace.py",)
WEIGHTS = ("inference/approximate/test_importance.py",)

APPROXIMATIONS = (
    Mutant(
        "the mode of other coordinates",
        "MAP maximises the density over unconstrained values, with its Jacobians, where the declared one is asked for.",
        "inference/approximate/approximations.py",
        "density = density_of(pair, jacobian=self.jacobian)",
        "density = density_of(pair)",
        METHODS,
    ),
    Mutant(
        "a normal with its precision's factor",
        "Draws have the precision for a covariance.",
        "inference/approximate/laplace.py",
        "torch.linalg.solve_triangular(self.factor.mT, z.mT, upper=True).mT",
        "(self.factor @ z.mT).mT",
        LAPLACE,
    ),
    Mutant(
        "a normal with a transposed factor",
        "The scales of a correlated normal are right, and its correlations are not.",
        "inference/approximate/laplace.py",
        "torch.linalg.solve_triangular(self.factor.mT, z.mT, upper=True).mT",
        "torch.linalg.solve_triangular(self.factor, z.mT, upper=False).mT",
        LAPLACE,
    ),
    Mutant(
        "the volume of a normal upside down",
        "A sharp mode gets the volume of a flat one, in densities and in the evidence.",
        "inference/approximate/laplace.py",
        "return len(self.mode) * math.log(2 * math.pi) / 2 - float(",
        "return len(self.mode) * math.log(2 * math.pi) / 2 + float(",
        LAPLACE,
    ),
    Mutant(
        "a normal that is cut keeps its height",
        "Draws without a density are left out, and those that stay have the density of the whole.",
        "inference/approximate/approximations.py",
        "log_q[inside] - math.log(share)",
        "log_q[inside]",
        METHODS,
    ),
    Mutant(
        "lower modes are not told",
        "Paths that ended at other modes are taken for ones that agree.",
        "inference/approximate/approximations.py",
        "if found.converged and elsewhere > 0:",
        "if found.converged and elsewhere > paths:",
        METHODS,
    ),
    Mutant(
        "the end of a support is a mode",
        "Where the density falls no more, far out, nothing is said.",
        "inference/approximate/map_estimate.py",
        "out[far] = (~(beyond < here - _SAME)).to(q)",
        "out[far] = (beyond < here - torch.inf).to(q)",
        ("inference/approximate/test_map_estimate.py",),
    ),
    Mutant(
        "importance weights upside down",
        "Draws weigh more where the proposal has too many.",
        "inference/approximate/importance.py",
        'return (known["lp"] - known["log_q"])[0]',
        'return (known["log_q"] - known["lp"])[0]',
        WEIGHTS,
    ),
    Mutant(
        "factors have no weight",
        "What pyro.factor adds to the density is left out of importance weights, and of k-hat.",
        "inference/draws.py",
        'found |= {f"factor/{name}": value for name, value in known.items()}',
        'found |= {f"value/{name}": value for name, value in known.items()}',
        ("inference/test_weights.py",),
    ),
    Mutant(
        "draws without weight are not counted",
        "The evidence is a mean over the draws inside of the support alone.",
        "inference/approximate/importance.py",
        "math.log(w.sum() / size)",
        "math.log(w.mean())",
        WEIGHTS,
    ),
    Mutant(
        "draws are taken one place off",
        "The running sum starts at the second draw, so each is taken for its neighbour.",
        "inference/approximate/importance.py",
        "np.searchsorted(total, place)",
        "np.searchsorted(total, place) + 1",
        WEIGHTS,
    ),
    Mutant(
        "a fit of another model is weighed",
        "Whether both programs have the same density is not looked at.",
        "inference/approximate/importance.py",
        "if not torch.allclose(ours, theirs.to(ours), _SAME, _SAME, equal_nan=True):",
        "if len(ours) != len(theirs):",
        WEIGHTS,
    ),
    Mutant(
        "independent draws come back as chains",
        "A saved fit forgets what its draws are.",
        "saving.py",
        "kind=_kind(manifest),",
        'kind="mcmc",',
        METHODS,
    ),
)
