r"""The evidence lower bound, as a function of what a model and its guide did in some runs.

An objective takes runs, the *particles*, each the traces of a guide and of the model replayed on its draws. It returns
a loss in nats with a *surrogate*: a second number whose gradient is an unbiased estimate of the gradient of the
expected loss. The two differ where the guide draws what cannot be differentiated through. Tighter bounds are in
:mod:`ppzoo.inference.variational.bounds`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from pyro.distributions.util import is_identically_zero
from pyro.infer.util import MultiFrameTensor, get_plate_stacks
from torch import Tensor

from ppzoo.inference.variational.divergences import Divergence, divergences
from ppzoo.inference.variational.runs import Traces, drawn

__all__ = ["Loss", "Terms", "elbo", "terms"]


class Loss(NamedTuple):
    """A loss, and what to differentiate for its gradient."""

    value: Tensor
    surrogate: Tensor


class Terms(NamedTuple):
    """What one run adds: its loss; what has pathwise gradients; by site, the score and the gain that it weighs."""

    value: Tensor
    pathwise: Tensor
    scores: dict[str, tuple[Tensor, Tensor]]


def terms(particle: Traces, weight: Tensor | None = None, *, analytic: bool = True, beta: float = 1.0) -> Terms:
    """What a run adds to the ELBO.

    Args:
        particle: A run of the guide, and of the model on its draws.
        weight: What the terms of latent sites weigh in the gradients of this step, a scalar, if it is not ``beta``.
        analytic: Whether gradients use closed forms at all.
        beta: What they weigh in the loss; other than 1, the optimum is not the posterior.
    """
    closed, slope = divergences(particle) if analytic else {}, beta if weight is None else weight
    model, guide = drawn(particle.model), drawn(particle.guide)
    known = {name: site for name, site in model.items() if name not in particle.summed.sites}
    likelihood = particle.summed.value + sum(site["log_prob_sum"] for site in known.values() if site["is_observed"])
    prior = {name: site["log_prob_sum"] for name, site in known.items() if not site["is_observed"]}
    divergence = sum(site["log_prob_sum"] for site in guide.values()) - sum(prior.values())
    gone = {name for each in closed.values() for name in each.sites}
    left = [site for name, site in guide.items() if name not in gone]
    pathwise = sum(each.value.sum() for each in closed.values())
    pathwise = pathwise + sum(_sum(site["score_parts"].entropy_term) for site in left)
    pathwise = pathwise - sum(term for name, term in prior.items() if name not in closed)
    rough = {n: site for n, site in guide.items() if not is_identically_zero(site["score_parts"].score_function)}
    gains = _gains(particle, closed, slope) if rough else MultiFrameTensor()
    scores = {}
    for name, site in rough.items():
        own = _times(slope, closed[name].value.detach()) if name in closed else 0.0  # the same whatever it draws
        scores[name] = site["score_parts"].score_function, gains.sum_to(site["cond_indep_stack"]) + own
    value = torch.as_tensor(_times(beta, divergence) - likelihood)
    return Terms(value.detach(), torch.as_tensor(_times(slope, pathwise) - likelihood), scores)


def elbo(runs: Sequence[Terms]) -> Loss:
    r"""The negative evidence lower bound.

    .. math::
        -\mathrm{ELBO} = \mathbb{E}_{q(z)}[\log q(z) - \log p(x, z)], \qquad
        -\mathrm{ELBO}_\beta = \mathbb{E}_{q(z)}[\beta\, (\log q(z) - \log p(z)) - \log p(x | z)]

    by the mean over some draws. Gradients are of a site's :math:`\mathrm{KL}(q_i \| p_i)` in closed form where there is
    one that is right, which has the smaller variance; the loss that is told is that of the draws alone, which hardly
    varies where the guide is near the posterior.

    Sites whose draws can be differentiated (reparametrised) give pathwise gradients, the others the score times what
    they have a part in, the terms within their plates; less the mean of the same over the other particles, which leaves
    the mean gradient as it is and takes from its variance.

    J. Paisley, D. Blei and M. Jordan (2012), *Variational Bayesian Inference with Stochastic Search*,
    https://arxiv.org/abs/1206.6430; R. Ranganath, S. Gerrish and D. Blei (2014), *Black Box Variational Inference*,
    https://proceedings.mlr.press/v33/ranganath14.html; W. Kool, H. van Hoof and M. Welling (2019), *Buy 4 REINFORCE
    Samples, Get a Baseline for Free!*, https://openreview.net/forum?id=r1lgTGL5DE; I. Higgins et al. (2017), *beta-VAE:
    Learning Basic Visual Concepts with a Constrained Variational Framework*,
    https://openreview.net/forum?id=Sy2fzU9gl.

    Args:
        runs: What each of some runs adds; at least one.

    Returns:
        The loss and its surrogate, scalars in nats.
    """
    surrogates = [run.pathwise - _score(runs, k) if run.scores else run.pathwise for k, run in enumerate(runs)]
    return Loss(torch.stack([run.value for run in runs]).mean(), torch.stack(surrogates).mean())


def _score(parts: Sequence[Terms], k: int) -> Tensor:
    """What the scores of one particle add, weighed with gains beyond those of the other particles."""
    total = torch.zeros_like(parts[k].value)
    for name, (score, gain) in parts[k].scores.items():
        others = [other.scores[name][1] for j, other in enumerate(parts) if j != k and name in other.scores]
        alike = [other for other in others if other.shape == gain.shape]  # a program may draw other shapes each time
        beyond = gain - torch.stack(alike).mean(0) if alike else gain
        total = total + (beyond * score).sum()
    return total


def _gains(particle: Traces, closed: Mapping[str, Divergence], slope: float | Tensor) -> MultiFrameTensor:
    """What a draw's score is weighed with, by the plates that it is in: ``log p - log q`` of every site."""
    gains, plates, guide = MultiFrameTensor(), get_plate_stacks(particle.model), drawn(particle.guide)
    for name, site in drawn(particle.model).items():
        if name in closed:
            own = -_times(slope, closed[name].value)
        elif site["is_observed"]:
            own = site["log_prob"]
        else:
            own = _times(slope, site["log_prob"] - guide[name]["log_prob"])
        gains.add((plates[name], own.detach()))
    return gains


def _times(weight: float | Tensor, term: Any) -> Any:
    """A weighed term, as it is where the weight is the number 1."""
    if isinstance(weight, Tensor):
        return weight.to(term.dtype) * term if isinstance(term, Tensor) else weight * term
    return term if weight == 1 else weight * term


def _sum(term: Any) -> Any:
    """Of a tensor, or of the number zero that stands for one."""
    return 0.0 if is_identically_zero(term) else term.sum()
