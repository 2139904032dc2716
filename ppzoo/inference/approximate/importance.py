r"""Importance resampling: a fit whose density is known, mended by the weights that its draws have in the posterior.

With draws :math:`z_s` of the fit, of density :math:`q`, and weights :math:`w_s = p(\mathrm{data}, z_s) / q(z_s)`,

.. math:: p(\mathrm{data}) \approx \bar w = \frac 1 S \sum_s w_s, \qquad
          \mathrm{ESS} = \frac{(\sum_s w_s)^2}{\sum_s w_s^2}, \qquad
          \mathrm{se}(\log \bar w) \approx \sqrt{\frac{1}{\mathrm{ESS}} - \frac 1 S}

The weights are Pareto-smoothed, and draws taken by them at equal distances of their running sum, from a random first
place. Their k-hat says whether that mends the fit. Vehtari, Simpson, Gelman, Yao and Gabry, *Pareto Smoothed
Importance Sampling*, 2024, https://jmlr.org/papers/v25/19-556.html; systematic resampling: Kitagawa, *Monte Carlo
Filter and Smoother*, 1996, https://doi.org/10.1080/10618600.1996.10474692.

Shapes: ``S`` draws that are weighed.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from pyro.distributions import ImproperUniform
from torch import Tensor
from torch.distributions import biject_to

from ppzoo.checks import check_integer
from ppzoo.diagnostics.approximation import FEWEST_WEIGHTS, diagnose_approximation
from ppzoo.diagnostics.diagnosis import Finding
from ppzoo.diagnostics.reweighting import smoothed_weights
from ppzoo.errors import DataError, FitError, ModelError, OptionError
from ppzoo.inference.density import density_of
from ppzoo.inference.discrete import completed
from ppzoo.inference.door import levels_of
from ppzoo.inference.draws import evaluate, log_weights
from ppzoo.inference.mcmc.streams import chain_keys, uniforms
from ppzoo.inference.outcome import Outcome, Run
from ppzoo.inference.program import Pair, check_program_like, sites_of
from ppzoo.isolation import isolated
from ppzoo.rng import stream_seed

__all__ = ["Importance", "resampled"]

_MOST_DRAWS = 2**24
_FEWEST = 100.0  # independent draws that the weights should be worth
_LOOKS = 5  # draws at which both programs must have the same density
_SAME = 1e-4  # relative, of a log density: one may run in float32

Values = dict[str, Tensor]


@dataclass(frozen=True, kw_only=True)
class Importance:
    """Options of a fit by importance resampling.

    Attributes:
        proposal: A fit of the same model to the same data whose density is known: by SVI with any guide that draws, in
            closed form, or by Laplace's approximation. Its model's own parameters are taken with it.
        proposals: How many draws of a guide are weighed, 25 to 16,777,216; of Laplace's approximation, those it has.
        draws: How many draws are made of them; one of much weight is made more than once.

    Raises:
        OptionError: If one is outside its range.
    """

    name: ClassVar[str] = "importance"
    prefers_float64: ClassVar[bool] = True
    needs_guide: ClassVar[bool] = False
    resumable: ClassVar[bool] = False
    streams: ClassVar[bool] = False

    proposal: Any = None
    proposals: int = 4000
    draws: int = 1000

    def __post_init__(self) -> None:
        why = "for k-hat needs a tail"
        check_integer("proposals", self.proposals, minimum=FEWEST_WEIGHTS, maximum=_MOST_DRAWS, why=why)
        check_integer("draws", self.draws, maximum=_MOST_DRAWS)
        if self.proposal is not None and not hasattr(type(self.proposal), "flat_draws"):
            raise OptionError(
                "is not a fit whose draws could be weighed",
                argument="proposal",
                got=f"a {type(self.proposal).__name__}",
                expected="what ppzoo.fit or ppzoo.load returned",
                remedy='Fit the model first, by method="svi" say, and pass that fit.',
            )

    def check_model(self, model: object) -> None:
        """Any program of which there is a fit whose density is known.

        Raises:
            OptionError: If there is no proposal, or its density is not known.
            ModelError: If the model is a game.
        """
        check_program_like(model, self.name)
        known = 'a fit by method="svi", "exact" or "laplace"'
        if self.proposal is None:
            raise OptionError("is needed", argument="proposal", got="None", expected=known)
        kind, how = self.proposal.kind, self.proposal.method.name
        own = self.proposal.outcome.draws is not None
        if kind != "draws" or (own and "log_q" not in self.proposal.outcome.statistics):
            why = {"mcmc": "Markov chains", "point": "a point", "draws": "draws that were chosen by weights"}[kind]
            raise OptionError(
                "has draws whose density is not known",
                argument="proposal",
                got=f"{why}, by method {how!r}",
                expected=known,
                remedy="Read it as it is, or compare it with others by ppzoo.compare.",
            )

    def run(self, pair: Pair, run: Run) -> Outcome:
        """Weigh the proposal's draws and draw of them; the pair takes the proposal's parameters of the model."""
        pair.first_run()
        _adopt(pair, self.proposal)
        _check_data(pair, self.proposal)
        log_w, values = self._weighed(run)
        _check_spread(pair, values)
        _check_program(pair, run, self.proposal, values)
        judged = diagnose_approximation(log_w)
        rows = torch.from_numpy(resampled(log_w, self.draws, run.seed))
        chosen = {name: _cast(value[rows.to(value.device)], run)[None] for name, value in values.items()}
        chosen, slow = _completed(pair, chosen, run.seed)
        numbers = _numbers(log_w) | {name: judged.numbers[name] for name in ("k_hat", "k_hat_threshold")}
        notes = [f"The draws of a fit by {self.proposal.method.name}, seed {self.proposal.seed}, were weighed.", *slow]
        if _is_improper(pair):
            numbers = {name: value for name, value in numbers.items() if not name.startswith("log_evidence")}
            notes.append("No evidence is told: a site has an improper prior, and the evidence no scale.")
        return Outcome(
            draws=chosen,
            kind="draws",
            numbers=numbers,
            notes=tuple(notes),
            findings=(*judged.findings, *_worth(numbers["ess_weights"], self.draws)),
        )

    def _weighed(self, run: Run) -> tuple[NDArray[np.float64], Values]:
        """Log weights ``(S,)``, and the draws that they belong to, each ``(S, ...)``."""
        proposal = self.proposal
        if proposal.outcome.draws is not None:
            known = proposal.outcome.statistics
            names = {s.name for s in _sites(proposal) if s.kind == "latent"}
            values = {name: value[0] for name, value in proposal.outcome.draws.items() if name in names}
            return (known["lp"] - known["log_q"])[0].double().numpy(force=True), values
        seed = stream_seed(run.seed, self.name, "proposals")
        with isolated(seed=seed, dtype=proposal.dtype, device=proposal.device, store=proposal.pair.store):
            found = log_weights(proposal.pair, self.proposals)
        if found is None:
            raise ModelError(
                "has draws that cannot be weighed",
                argument="proposal",
                got="a site of its guide that is scaled, or discrete sites that cannot be summed out row by row",
                expected="a guide with a density of its own",
                remedy='Use method="laplace" or "nuts", which sum discrete sites out in other ways.',
            )
        log_w, values = found
        return log_w.reshape(len(log_w), -1).sum(1).double().numpy(force=True), values


def resampled(log_weights: NDArray[np.float64], draws: int, seed: int) -> NDArray[np.int64]:
    """Which draws to take, ``(draws,)``, each as often as its smoothed weight says, but for less than one.

    Args:
        log_weights: ``(S,)`` in nats; those that are not finite weigh nothing.
        draws: How many to take.
        seed: Of the first place.

    Raises:
        FitError: If fewer than 25 weights are finite.

    Example:
        >>> np.bincount(resampled(np.log(np.repeat([1.0, 3.0], 20)), 400, 0)).reshape(2, 20).sum(1).tolist()
        [100, 300]
    """
    usable = np.flatnonzero(np.isfinite(log_weights))
    if usable.size < FEWEST_WEIGHTS:
        raise FitError(
            "hardly any draw of the proposal has a finite weight",
            argument="proposal",
            got=f"{usable.size} of {log_weights.size}",
            expected=f"{FEWEST_WEIGHTS} at least",
            remedy="The proposal and the model disagree on the support: fit it longer, or by another method.",
        )
    total = np.cumsum(smoothed_weights(log_weights[usable]))
    (key,) = chain_keys(seed, 1, "importance", "resample")
    first = float(uniforms(key, key.new_zeros(()), 1))
    place = (np.arange(draws) + first) / draws * total[-1]
    rows: NDArray[np.int64] = usable[np.minimum(np.searchsorted(total, place), usable.size - 1)]
    return rows


def _numbers(log_weights: NDArray[np.float64]) -> dict[str, float]:
    """What the raw weights say: these estimate the evidence without bias."""
    finite = log_weights[np.isfinite(log_weights)]
    w = np.exp(finite - finite.max())
    ess = float(w.sum() ** 2 / (w * w).sum())
    size = log_weights.size
    return {
        "proposals": float(size),
        "ess_weights": ess,
        "log_evidence": float(finite.max() + math.log(w.sum() / size)),
        "log_evidence_error": math.sqrt(max(0.0, 1 / ess - 1 / size)),
    }


def _worth(ess: float, draws: int) -> Iterator[Finding]:
    evidence = f"{draws:,} draws were made of weights that are worth {ess:,.0f} independent ones"
    if ess < _FEWEST:
        yield Finding("caution", "few draws carry the weight", evidence, "Raise proposals, or improve the proposal.")
    elif ess < draws:
        yield Finding("note", "the Monte Carlo errors are larger than the summary's", evidence)


def _adopt(pair: Pair, proposal: Any) -> None:
    """Give the model the values that its own parameters have in the proposal."""
    learnt = proposal.pair.state()
    wanted = pair.state()
    if not learnt.keys() >= wanted.keys() or any(learnt[name].shape != value.shape for name, value in wanted.items()):
        raise _of_another(f"parameters {sorted(learnt)[:5]}", f"parameters {sorted(wanted)[:5]}")
    pair.load_state({name: learnt[name].to(value) for name, value in wanted.items()})


def _sites(proposal: Any) -> list[Any]:
    with proposal.world("sites"):
        return list(sites_of(proposal.pair.trace_model()))


def _check_data(pair: Pair, proposal: Any) -> None:
    """Both programs have the same sites, and observe the same."""
    ours, theirs = list(sites_of(pair.trace_model())), _sites(proposal)
    shapes = [[(s.name, s.kind, *s.shape) for s in sites if s.kind != "observed"] for sites in (ours, theirs)]
    if shapes[0] != shapes[1]:
        raise _of_another(f"sites {shapes[1]}", f"sites {shapes[0]}")
    seen = [{s.name: s.value.double().cpu() for s in sites if s.kind == "observed"} for sites in (ours, theirs)]
    same = seen[0].keys() == seen[1].keys() and all(
        seen[0][name].shape == value.shape and torch.allclose(seen[0][name], value, 1e-5, 1e-6, equal_nan=True)
        for name, value in seen[1].items()
    )
    if not same:
        raise DataError(
            "is a fit of other data",
            argument="proposal",
            got=", ".join(f"{name} {tuple(value.shape)}" for name, value in seen[1].items()) or "nothing observed",
            expected="the very values that this fit observes",
            remedy="Fit the proposal to the same data.",
        )


def _check_spread(pair: Pair, values: Values) -> None:
    """No site that could vary is held at a point, where what is told for a density is none."""
    drawn = [site for site in sites_of(pair.trace_model()) if site.kind == "latent" and site.name in values]
    free = [site.name for site in drawn if biject_to(site.distribution.support).inv(site.value).numel() > 0]
    if still := [name for name in free if bool((values[name] == values[name][:1]).all())]:
        raise OptionError(
            "has draws whose density is not known",
            argument="proposal",
            got=f"a point, at site {', '.join(map(repr, still[:5]))}",
            expected="a guide that draws every site",
            remedy='Fit by guide="normal" instead, or by method="laplace".',
        )


def _check_program(pair: Pair, run: Run, proposal: Any, values: Values) -> None:
    """Both programs have the same log density at some of the draws, up to the rounding of float32."""
    few = {name: value[:_LOOKS] for name, value in values.items()}
    n = len(next(iter(few.values())))
    with proposal.world("weights"):
        theirs = _joint(proposal.pair, few, n)
    ours = _joint(pair, {name: _cast(value, run) for name, value in few.items()}, n)
    if not torch.allclose(ours, theirs.to(ours), _SAME, _SAME, equal_nan=True):
        raise _of_another(f"log density {float(theirs[0]):.6g} at one of its draws", f"{float(ours[0]):.6g}")


def _joint(pair: Pair, values: Values, n: int) -> Tensor:
    found = evaluate(pair, values, n, ("prior", "likelihood", "factor")).values
    return sum((value.reshape(n, -1).sum(1) for value in found.values()), torch.zeros(n)).double().cpu()


def _completed(pair: Pair, draws: Values, seed: int) -> tuple[Values, tuple[str, ...]]:
    """With the discrete sites that the weights have summed out, and a note where these took long."""
    hidden = any(site.kind == "discrete" and site.name not in draws for site in sites_of(pair.trace_model()))
    return completed(pair, density_of(pair), draws, seed) if hidden else (draws, ())


def _cast(value: Tensor, run: Run) -> Tensor:
    return value.to(run.device, run.dtype if value.dtype.is_floating_point else value.dtype)


def _is_improper(pair: Pair) -> bool:
    latent = (site for site in sites_of(pair.trace_model()) if site.kind == "latent")
    return any(isinstance(level, ImproperUniform) for site in latent for level in levels_of(site.distribution))


def _of_another(got: str, expected: str) -> ModelError:
    return ModelError(
        "is a fit of another model",
        argument="proposal",
        got=got,
        expected=expected,
        remedy="Fit the same model, with the same covariates, and pass that fit.",
    )
