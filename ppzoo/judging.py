"""The verdict on one fit: which diagnosis applies to what the method returned."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ppzoo.diagnostics.approximation import diagnose_approximation
from ppzoo.diagnostics.convergence import diagnose_chains
from ppzoo.diagnostics.diagnosis import Diagnosis, Finding
from ppzoo.diagnostics.samples import find_modes, modes_covered
from ppzoo.inference.draws import log_weights
from ppzoo.inference.program import has_method

if TYPE_CHECKING:
    from ppzoo.result import Fit

__all__ = ["judge"]

_WEIGHTS = 1000  # draws behind k-hat
_GENERATED = 10_000  # draws behind the count of modes


def judge(fit: Fit) -> Diagnosis:
    """Diagnose a fit by what it is: Markov chains, an approximation with its losses, or a game."""
    if has_method(fit.pair.owner, "critic_loss"):
        diagnosis = _judge_game(fit)
    elif fit.kind == "mcmc":
        diagnosis = diagnose_chains(fit.to_arviz())
    else:
        diagnosis = _judge_approximation(fit)
    notes = tuple(Finding("note", note, "", "") for note in fit.notes)
    return Diagnosis((*diagnosis.findings, *fit.outcome.findings, *notes), {**diagnosis.numbers, **fit.outcome.numbers})


def _judge_approximation(fit: Fit) -> Diagnosis:
    weights = None
    if fit.kind == "draws":
        with fit.world("weights"):
            found = log_weights(fit.pair, _WEIGHTS)
        weights = None if found is None else found.double().numpy(force=True)
    is_svi = fit.method.name == "svi"
    return diagnose_approximation(
        weights,
        losses=fit.losses if is_svi else None,
        skipped=int(fit.outcome.numbers.get("skipped", 0)),
        steps=int(fit.outcome.numbers.get("steps", 0)),
    )


def _judge_game(fit: Fit) -> Diagnosis:
    (x,) = fit.data_tensors().values()
    data = x.double().numpy(force=True)
    modes = find_modes(data)
    drawn = fit.sample(_GENERATED).double().numpy(force=True)
    covered = modes_covered(drawn, modes.centres, scale=modes.scale)
    numbers = {"modes": float(covered.of), "modes_covered": float(covered.covered)}
    missing = covered.of - covered.covered
    findings = []
    if missing:
        findings.append(
            Finding(
                "reject" if covered.covered < covered.of / 2 else "caution",
                f"the generator misses {missing} of {covered.of} modes",
                f"modes found in the data by clustering; {_GENERATED:,} draws counted",
                "Train longer, widen the networks, or try another seed.",
            )
        )
    return Diagnosis(tuple(findings), numbers | {"high_quality": float(np.asarray(covered.high_quality))})
