r"""Bounds by importance weights: tighter than the ELBO, or with gradients of their own; and wake-sleep.

With :math:`K` runs and their weights :math:`w_k = p(x, z_k) / q_\phi(z_k)`, normalised to
:math:`\tilde w_k = w_k / \sum_j w_j`,

.. math:: L_K = \log \frac{1}{K} \sum_k w_k, \qquad \mathrm{ELBO} \le \mathbb{E}\, L_K \le \log p(x)

*Units.* Where every latent site, and every statement after the first of them, lies in the same plates, the entries of
these plates are independent of each other: each has weights and a bound of its own, and the bounds are added up. That
of a variational autoencoder is of each row. Otherwise, with a latent site that rows share, one weight is of all.

*Scales.* A number that all the guide's draws are weighed with, that of a minibatch say, stands before the bound of a
unit; how the model's statements are weighed beside it is part of the weights.

Shapes: ``K`` particles; a unit is an entry of the plates' dimensions.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from pyro import poutine
from pyro.distributions.util import is_identically_zero
from torch import Tensor

from ppzoo.inference.variational.objectives import Loss
from ppzoo.inference.variational.runs import Held, Traces, drawn

__all__ = ["Weighed", "dreg", "importance", "plates_of_units", "wake_sleep", "weighed", "weighed_held"]

Plates = frozenset[tuple[str, int]]  # name and dimension, from the right


class Weighed(NamedTuple):
    """What one run adds to a bound.

    Attributes:
        model: Log probabilities of units in the model's run.
        guide: Those in the guide's.
        rest: The sum of the terms without a draw.
        scale: What stands before the bound.
        score: Of draws that cannot be differentiated, by unit; None without any.
        paths: Of draws that are held, by site: what the guide made, the slope of the log weight there, and how many of
            their dimensions are within a unit.
    """

    model: Tensor
    guide: Tensor
    rest: Tensor
    scale: float
    score: Tensor | None
    paths: tuple[tuple[Tensor, Tensor, int], ...] = ()


def weighed(particle: Traces) -> Weighed:
    """What a run adds."""
    plates = plates_of_units(particle)
    scale = _scale(particle.guide) if plates else 1.0
    later = _later(particle)
    known = {id(site) for site in later}
    before = [site for site in drawn(particle.model).values() if id(site) not in known]
    return Weighed(
        _summed([site["log_prob"] for site in later], plates) / scale,
        _summed([site["log_prob"] for site in drawn(particle.guide).values()], plates) / scale,
        _summed([site["log_prob"] for site in before], frozenset()),
        scale,
        _scores(particle.guide, plates),
    )


def weighed_held(particle: Held) -> Weighed:
    """What a run on draws that are held adds, with how its weight changes along them."""
    own = weighed(particle.traces)
    leaves: dict[str, Any] = {name: particle.traces.guide.nodes[name] for name in particle.made}
    if not leaves:
        return own
    places = [leaf["value"] for leaf in leaves.values()]
    slopes: Sequence[Tensor | None] = torch.autograd.grad(
        (own.model - own.guide).sum(), places, create_graph=True, allow_unused=True
    )  # what is recorded without a tape is refused where runs are mapped
    return own._replace(
        paths=tuple(
            (particle.made[name], slope.detach(), leaf["fn"].event_dim)
            for (name, leaf), slope in zip(leaves.items(), slopes, strict=True)
            if slope is not None
        )
    )


def importance(runs: Sequence[Weighed], alpha: float = 0.0) -> Loss:
    r"""The importance-weighted bound, and Renyi's, negative.

    .. math:: L_{\alpha, K} = \frac{1}{1 - \alpha} \log \frac{1}{K} \sum_k w_k^{1 - \alpha}

    is :math:`L_K` at :math:`\alpha = 0` and tends to the ELBO as :math:`\alpha \to 1`. Draws that cannot be
    differentiated add their score, times the bound less what it would be without their run: the other weights'
    geometric mean takes the place of its weight (VIMCO). That baseline leaves the mean gradient as it is.

    Y. Burda, R. Grosse and R. Salakhutdinov (2016), *Importance Weighted Autoencoders*,
    https://arxiv.org/abs/1509.00519; Y. Li and R. Turner (2016), *Renyi Divergence Variational Inference*,
    https://arxiv.org/abs/1602.02311; A. Mnih and D. Rezende (2016), *Variational Inference for Monte Carlo
    Objectives*, https://arxiv.org/abs/1602.06725.

    Args:
        runs: What each of some runs adds.
        alpha: Order of the divergence, other than 1.

    Returns:
        The loss and its surrogate, scalars in nats.
    """
    weights = _weights(runs)
    log_w = weights.model - weights.guide
    bound = _bound(log_w, alpha)
    value = weights.scale * bound.sum() + weights.rest
    known = [run.score for run in runs if run.score is not None]
    if not known:
        return Loss(-value.detach(), -value)
    signal = (bound - _without_each(log_w, alpha)).detach()
    return Loss(-value.detach(), -value - weights.scale * (signal * torch.stack(known)).sum())


def dreg(runs: Sequence[Weighed]) -> Loss:
    r"""The importance-weighted bound, with doubly reparametrised gradients of the guide's parameters, negative.

    .. math::
        \nabla_\phi = \sum_k \tilde w_k^2 \, \frac{\partial \log w_k}{\partial z_k} \frac{\partial z_k}{\partial \phi},
        \qquad \nabla_\theta = \sum_k \tilde w_k \, \nabla_\theta \log p_\theta(x, z_k)

    have the same mean as the plain gradient of :math:`L_K`. That of :math:`\phi` has a smaller variance, and does not
    drown in noise as :math:`K` grows; it is zero where the guide is the posterior.

    G. Tucker, D. Lawson, S. Gu and C. Maddison (2019), *Doubly Reparameterized Gradient Estimators for Monte Carlo
    Objectives*, https://arxiv.org/abs/1810.04152.

    Args:
        runs: What each of some runs adds, on draws that are held, all of them reparametrised.

    Returns:
        The loss and its surrogate, scalars in nats.
    """
    weights = _weights(runs)
    log_w = weights.model - weights.guide
    share = log_w.detach().softmax(0)
    total = (share * weights.model).sum()
    for k, run in enumerate(runs):
        for made, slope, depth in run.paths:
            squared = (share[k] ** 2).reshape([*share[k].shape, *[1] * depth])
            total = total + (squared * slope * made).sum()
    return Loss(_value(log_w, weights), -weights.scale * total - weights.rest)


def wake_sleep(runs: Sequence[Weighed]) -> Loss:
    r"""The importance-weighted bound, negative; the guide descends the inclusive divergence instead.

    .. math::
        \nabla_\phi = \sum_k \tilde w_k \, \nabla_\phi \log q_\phi(z_k), \qquad
        \nabla_\theta = \sum_k \tilde w_k \, \nabla_\theta \log p_\theta(x, z_k)

    with draws that are held: reweighted wake-sleep, wake phase. The mean of :math:`\nabla_\phi` tends to
    :math:`-\nabla_\phi \mathrm{KL}(p(z | x) \| q_\phi)` as :math:`K` grows, with a bias of :math:`O(1 / K)`. Its
    optimum covers the posterior, where that of the ELBO stays inside of it. No draw has to be differentiable.

    J. Bornschein and Y. Bengio (2015), *Reweighted Wake-Sleep*, https://arxiv.org/abs/1406.2751.

    Args:
        runs: What each of some runs adds, on draws that are held.

    Returns:
        The loss, whose gradient for the guide is not that of the surrogate; and the surrogate. Scalars in nats.
    """
    weights = _weights(runs)
    log_w = weights.model - weights.guide
    share = log_w.detach().softmax(0)
    pulled = (share * (weights.model + weights.guide)).sum()
    return Loss(_value(log_w, weights), -weights.scale * pulled - weights.rest)


def plates_of_units(particle: Traces) -> Plates:
    """The plates that hold every latent site and every statement after the first of them: name and dimension."""
    sites = [*_later(particle), *drawn(particle.guide).values()]
    plates = [_plates(site) for site in sites if not site["infer"].get("_deterministic")]
    return frozenset.intersection(*plates) if plates else frozenset()


def _weights(runs: Sequence[Weighed]) -> Weighed:
    """All runs' as one: log probabilities ``(K, *units)`` of model and guide, and the mean of the rest."""
    model, guide = torch.stack([run.model for run in runs]), torch.stack([run.guide for run in runs])
    return Weighed(model, guide, torch.stack([run.rest for run in runs]).mean(), runs[0].scale, None)


def _later(particle: Traces) -> list[Any]:
    """The model's statements from the first that the guide draws on: all that can hang on a draw."""
    sites, latent = drawn(particle.model), drawn(particle.guide)
    first = next((i for i, name in enumerate(sites) if name in latent), len(sites))
    return list(sites.values())[first:]


def _plates(site: dict[str, Any]) -> Plates:
    return frozenset((frame.name, frame.dim) for frame in site["cond_indep_stack"] if frame.vectorized)


def _scale(guide: poutine.Trace) -> float:
    """The number that all the guide's draws are weighed with; 1 if there is none."""
    scales = {site["scale"] if isinstance(site["scale"], int | float) else math.nan for site in drawn(guide).values()}
    return float(next(iter(scales))) if len(scales) == 1 and not math.isnan(next(iter(scales))) else 1.0


def _summed(terms: Sequence[Tensor], plates: Plates) -> Tensor:
    """The sum of terms of batch shape, with the dimensions of the plates left."""
    kept, total = {dim for _, dim in plates}, torch.zeros([1] * -min((dim for _, dim in plates), default=0))
    for term in terms:
        gone = [dim for dim in range(-term.dim(), 0) if dim not in kept]
        part = term.sum(gone, keepdim=True) if gone else term
        total = total + part.reshape(part.shape[max(0, part.dim() - total.dim()) :])
    return total


def _scores(guide: poutine.Trace, plates: Plates) -> Tensor | None:
    """What is added up of the scores of draws that cannot be differentiated, by unit; None without any."""
    scores = [site["score_parts"].score_function for site in drawn(guide).values()]
    scores = [score for score in scores if not is_identically_zero(score)]
    return _summed(scores, plates) if scores else None


def _bound(log_w: Tensor, alpha: float) -> Tensor:
    """Of each unit, from ``(K, *units)``."""
    order = 1 - alpha
    return ((order * log_w).logsumexp(0) - math.log(len(log_w))) / order


def _without_each(log_w: Tensor, alpha: float) -> Tensor:
    """The bound of each unit with the weight of one run replaced by the others' geometric mean, ``(K, *units)``."""
    count = len(log_w)
    if count == 1:
        return torch.zeros_like(log_w)
    others = (log_w.sum(0) - log_w) / (count - 1)
    own = torch.eye(count, dtype=torch.bool, device=log_w.device).reshape(count, count, *[1] * (log_w.dim() - 1))
    return _bound(torch.where(own, others, log_w[:, None]), alpha)


def _value(log_w: Tensor, weights: Weighed) -> Tensor:
    return -(weights.scale * _bound(log_w, 0.0).sum() + weights.rest).detach()
