"""The verdict on one fit: which diagnosis applies to what the method returned."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from ppzoo.datasets.signature import signature_of
from ppzoo.diagnostics.approximation import diagnose_approximation, is_usable
from ppzoo.diagnostics.codes import diagnose_codes
from ppzoo.diagnostics.convergence import diagnose_chains
from ppzoo.diagnostics.diagnosis import Diagnosis, Finding, Level
from ppzoo.diagnostics.reweighting import diagnose_moments
from ppzoo.diagnostics.samples import coverage, find_modes, modes_covered
from ppzoo.inference.program import has_method, is_conditioned, sites_of
from ppzoo.predicting import local_sites
from ppzoo.weighing import weighed_scalars
from ppzoo.weighing_streamed import streamed_limits

if TYPE_CHECKING:
    from ppzoo.result import Fit

__all__ = ["judge"]

_PRIOR = 4000  # draws that tell the sd of a code under its prior, to 1 %
_GENERATED = 10_000  # draws behind the count of modes
_FEWEST_ROWS = 20  # below it neither modes nor coverage can be told
_MOST, _HALF = 0.9, 0.5  # of the coverage of a perfect sampler: less is for caution, and to be rejected
_LONGER = "Train longer, widen the networks, or try another seed."
PRIOR_ONLY = Finding(
    "caution",
    "the program observes nothing, so the answer is its prior",
    "data were given, and no site has obs=",
    "Hand each site its data: pyro.sample(name, distribution, obs=y).",
)
_POINT = Finding(
    "caution",
    "the guide is a point: a mode, without uncertainty",
    "all its draws are equal",
    "Read no interval off it; use guide='normal' or MCMC for one.",
)


def judge(fit: Fit) -> Diagnosis:
    """Diagnose a fit by what it is: Markov chains, an approximation with its losses, or a game."""
    if has_method(fit.pair.owner, "critic_loss"):
        diagnosis = _judge_game(fit)
    elif fit.kind == "mcmc":
        shared = int(fit.outcome.numbers.get("chains_per_start", 1))
        diagnosis = diagnose_chains(fit.posterior_tree, chains_per_start=shared)
    else:
        diagnosis = _joined(_judge_approximation(fit), _judge_codes(fit))
    notes = tuple(Finding("note", note.rstrip("."), "", "") for note in fit.notes)
    numbers = {name: x for name, x in fit.outcome.numbers.items() if not name.startswith("seconds")}
    return _joined(diagnosis, _judge_program(fit), Diagnosis((*fit.outcome.findings, *notes), numbers))


def _judge_program(fit: Fit) -> Diagnosis:
    """Whether the program looked at the data that it was given."""
    if has_method(fit.pair.owner, "critic_loss") or not fit.data_tensors():
        return Diagnosis()
    with fit.world("sites"):
        conditioned = is_conditioned(fit.pair.trace_model())
    return Diagnosis() if conditioned else Diagnosis((PRIOR_ONLY,))


def _judge_approximation(fit: Fit) -> Diagnosis:
    found, source = fit.weighed, fit.pair.data.source
    if found is not None and found.is_point:
        return Diagnosis((_POINT,), {})
    diagnosis = diagnose_approximation(
        None if found is None else found.log_weights,
        losses=fit.losses if fit.method.name == "svi" else None,
        skipped=int(fit.outcome.numbers.get("skipped", 0)),
        steps=int(fit.outcome.numbers.get("steps", 0)),
    )
    if fit.kind == "draws" and source is not None:
        with fit.world("sites"):
            diagnosis = _joined(diagnosis, Diagnosis(streamed_limits(fit, source, found=found is not None)))
    if found is None or found.log_weights.ndim != 1:
        return diagnosis
    if not is_usable(diagnosis.numbers.get("k_hat", np.inf), len(found.log_weights)):
        return diagnosis
    return _joined(diagnosis, diagnose_moments(*weighed_scalars(fit, found, continuous=True)))


def _joined(*diagnoses: Diagnosis) -> Diagnosis:
    findings = tuple(finding for diagnosis in diagnoses for finding in diagnosis.findings)
    return Diagnosis(findings, {name: value for diagnosis in diagnoses for name, value in diagnosis.numbers.items()})


def _judge_codes(fit: Fit) -> Diagnosis:
    """The codes in use, where a network that was trained by SVI encodes the rows of the fit; else nothing."""
    owner, x = fit.pair.owner, next(iter(fit.data_tensors().values()), None)
    if fit.method.name != "svi" or not has_method(owner, "encode") or x is None:
        return Diagnosis()
    if len(signature_of(owner.encode).required) != 1:  # another function of that name
        return Diagnosis()
    with fit.world("codes"), torch.no_grad():
        sites = {site.name: site for site in sites_of(fit.pair.trace_model())}
        local = [sites[name] for name in local_sites(sites) if sites[name].kind == "latent"]
        if len(local) != 1 or (rows := local[0].shape[0]) < 2:
            return Diagnosis()
        prior = local[0].distribution.sample((-(-_PRIOR // rows),))
        sd = prior.reshape(-1, math.prod(local[0].shape[1:])).std(0)
        codes = owner.encode(x)
    if not isinstance(codes, Tensor) or codes.shape != (rows, len(sd)):
        return Diagnosis()
    return diagnose_codes(codes.double().numpy(force=True), sd.double().numpy(force=True))


def _judge_game(fit: Fit) -> Diagnosis:
    (x,) = fit.data_tensors().values()
    data = x.double().numpy(force=True)
    if len(data) < _FEWEST_ROWS:
        return Diagnosis((Finding("caution", "too few rows to see what the draws miss", f"{len(data)} rows"),), {})
    drawn = fit.sample(_GENERATED).double().numpy(force=True)
    near = coverage(drawn, data)
    modes = find_modes(data)
    reached = modes_covered(drawn, modes.centres, scale=modes.scale, shares=modes.shares)
    numbers = {
        "modes": float(reached.of),
        "modes_covered": float(reached.covered),
        "high_quality": reached.high_quality,
        "coverage": near.coverage,
        "coverage_expected": near.expected,
    }
    missing = reached.of - reached.covered
    findings = [Finding("note", str(reached), modes.how, "")]
    level: Level
    if missing:
        level = "reject" if reached.covered <= reached.of / 2 else "caution"
        evidence = f"{_GENERATED:,} draws counted; {modes.how}"
        findings.append(Finding(level, f"the generator misses {missing} of {reached.of} modes", evidence, _LONGER))
    if near.coverage < _MOST * near.expected:
        level = "reject" if near.coverage < _HALF * near.expected else "caution"
        what = f"the draws leave {'most' if level == 'reject' else 'part'} of the data out"
        evidence = f"{near.coverage:.1%} of the data lie near draws, {near.expected:.1%} would near a perfect sampler's"
        findings.append(Finding(level, what, evidence, _LONGER))
    return Diagnosis(tuple(findings), numbers)
