r"""The evidence lower bound, as a function of what a model and its guide did in some runs.

An objective takes runs, the *particles*, each the traces of a guide and of the model replayed on its draws. It returns
a loss in nats with a *surrogate*: a second number whose gradient is an unbiased estimate of the gradient of the
expected loss. The two differ where the guide draws what cannot be differentiated through. Tighter bounds are in
:mod:`ppzoo.inference.variational.bounds`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from pyro import poutine
from pyro.distributions.util import is_identically_zero
from pyro.infer.util import MultiFrameTensor, get_plate_stacks
from pyro.poutine.util import prune_subsample_sites
from torch import Tensor

from ppzoo.datasets.arguments import Arguments
from ppzoo.inference.program import nodes_of

__all__ = ["Loss", "Traces", "drawn", "elbo", "scored", "traces"]


class Loss(NamedTuple):
    """A loss, and what to differentiate for its gradient."""

    value: Tensor
    surrogate: Tensor


class Traces(NamedTuple):
    """One run of the guide, and of the model on what it drew, with the log probability of every site."""

    model: poutine.Trace
    guide: poutine.Trace


def traces(model: Callable[..., Any], guide: Callable[..., Any], data: Arguments) -> Traces:
    """Run the guide, and the model on what it drew."""
    first = poutine.trace(guide).get_trace(*data.args, **data.kwargs)
    return scored(poutine.trace(poutine.replay(model, trace=first)).get_trace(*data.args, **data.kwargs), first)


def scored(model: poutine.Trace, guide: poutine.Trace) -> Traces:
    """The runs with log probabilities, without the indices of plates."""
    model, guide = prune_subsample_sites(model), prune_subsample_sites(guide)
    model.compute_log_prob()
    guide.compute_score_parts()
    return Traces(model, guide)


def elbo(particles: Sequence[Traces]) -> Loss:
    r"""The negative evidence lower bound.

    .. math:: -\mathrm{ELBO} = \mathbb{E}_{q(z)}[\log q(z) - \log p(x, z)]

    by the mean over some draws. Sites whose draws can be differentiated (reparametrised) give pathwise gradients, the
    others the score times what they have a part in: the terms within their plates.

    J. Paisley, D. Blei and M. Jordan (2012), *Variational Bayesian Inference with Stochastic Search*,
    https://arxiv.org/abs/1206.6430; R. Ranganath, S. Gerrish and D. Blei (2014), *Black Box Variational Inference*,
    https://proceedings.mlr.press/v33/ranganath14.html.

    Args:
        particles: Runs of the guide, and of the model on its draws; at least one.

    Returns:
        The loss and its surrogate, scalars in nats.
    """
    losses = [_elbo(*particle) for particle in particles]
    return Loss(*(torch.stack(numbers).mean() for numbers in zip(*losses, strict=True)))


def _elbo(model: poutine.Trace, guide: poutine.Trace) -> Loss:
    """By one draw."""
    joint = sum(site["log_prob_sum"] for site in drawn(model).values())
    entropies, scores = [], []
    costs: MultiFrameTensor | None = None
    for site in drawn(guide).values():
        _, score, entropy = site["score_parts"]
        if not is_identically_zero(entropy):
            entropies.append(entropy.sum())
        if not is_identically_zero(score):
            costs = _costs(model, guide) if costs is None else costs
            scores.append((costs.sum_to(site["cond_indep_stack"]) * score).sum())
    value = sum(site["log_prob_sum"] for site in drawn(guide).values()) - joint
    return Loss(torch.as_tensor(value).detach(), torch.as_tensor(sum(entropies) - joint - sum(scores)))


def drawn(trace: poutine.Trace) -> dict[str, Any]:
    """The sample statements of a run, observed ones too, in order."""
    return {name: node for name, node in nodes_of(trace).items() if node["type"] == "sample"}


def _costs(model: poutine.Trace, guide: poutine.Trace) -> MultiFrameTensor:
    """What a draw's score is weighed with, by the plates that it is in: ``log p - log q`` of every site."""
    costs, plates, draws = MultiFrameTensor(), get_plate_stacks(model), drawn(guide)
    for name, site in drawn(model).items():
        own = site["log_prob"] if site["is_observed"] else site["log_prob"] - draws[name]["log_prob"]
        costs.add((plates[name], own.detach()))
    return costs
