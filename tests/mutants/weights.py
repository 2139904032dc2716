"""Bugs in what importance weights say of an approximation, and in what is said of truths that were simulated."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

__all__ = ["WEIGHTS"]

APPROXIMATION = ("diagnostics/test_approximation.py",)
REWEIGHTING = ("diagnostics/test_reweighting.py",)
COVERAGE = ("diagnostics/test_coverage.py",)

WEIGHTS = (
    Mutant(
        "k-hat without its error",
        "Near the threshold chance decides between caution and rejection.",
        "diagnostics/approximation.py",
        "    if low > threshold:",
        "    if k > threshold:",
        APPROXIMATION,
    ),
    Mutant(
        "the error of k-hat is that of all weights",
        "The tail is taken to be as long as there are draws, so that k-hat looks certain.",
        "diagnostics/approximation.py",
        "    tail = _tail_length(draws)\n",
        "    tail = draws\n",
        APPROXIMATION,
    ),
    Mutant(
        "weights upside down",
        "The smallest weights are smoothed and the draws weighed by their inverse.",
        "diagnostics/reweighting.py",
        "w = array_stats.psislw(-w)[0]",
        "w = -array_stats.psislw(w)[0]",
        REWEIGHTING,
    ),
    Mutant(
        "corrected means are not corrected",
        "The mean of the draws is called that of the weighted ones.",
        "diagnostics/reweighting.py",
        "    mean = x @ w\n",
        "    mean = x.mean(1)\n",
        REWEIGHTING,
    ),
    Mutant(
        "what the weights cannot see passes",
        "A gap that a handful of effective draws would hide is taken for none.",
        "diagnostics/reweighting.py",
        "if unseen[blurred] > _REJECT:",
        "if unseen[blurred] > math.inf:",
        REWEIGHTING,
    ),
    Mutant(
        "leave-one-out forgets the guide",
        "Draws of a guide are taken for the posterior's.",
        "diagnostics/loo.py",
        '{"log_p": log_weights,',
        '{"log_p": 0 * log_weights,',
        ("diagnostics/test_loo.py",),
    ),
    Mutant(
        "bias is told the wrong way round",
        "Draws that are too high are called too low.",
        "diagnostics/coverage.py",
        '"too high" if row["bias"] > 0 else "too low"',
        '"too low" if row["bias"] > 0 else "too high"',
        COVERAGE,
    ),
    Mutant(
        "intervals of one rank too few",
        "The interval that should hold a truth ends before its last rank.",
        "diagnostics/coverage.py",
        "(found >= out) &",
        "(found > out) &",
        COVERAGE,
    ),
    Mutant(
        "every replicate has the first one's truth",
        "Fits are to different data, and judged by one truth.",
        "calibrating.py",
        "ranked.append(_among(made, one))",
        "ranked.append(_among(made, {name: x[0] for name, x in truth.items()}))",
        ("test_calibrating.py",),
    ),
)
