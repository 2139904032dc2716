r"""The No-U-Turn sampler as a machine that takes one gradient at a time.

A trajectory is doubled, forwards or backwards at random, until it turns or diverges; its next state is drawn from all
its points with weights :math:`e^{-H}`, multinomially inside the new half and with a bias towards it at each doubling
(Hoffman and Gelman 2014, https://jmlr.org/papers/v15/hoffman14a.html; Betancourt 2017,
https://arxiv.org/abs/1701.02434). It turns when the tree or any balanced subtree of it does, by one criterion:
only then is each state as likely to have begun the trajectory as another. (A check that only the whole tree must pass,
such as one over the seam of its last two halves, breaks that.)

:func:`step` advances **one chain by one leapfrog**: it has no loop and no branch, only selections, so that any number
of chains advance together, each inside its own tree. A chain whose tree has ended reports its draw and starts the next
tree in the same step; nobody waits for a longer tree. All of it is for one chain, and is traced, mapped over chains
and compiled together with the log density.

Letters: ``K`` is the largest depth of a tree; a tree of depth ``k`` has at most ``2**k - 1`` leapfrogs.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from ppzoo.inference.mcmc.integrator import LARGEST_ENERGY_ERROR, LogDensity, Point, energy_of, leapfrog
from ppzoo.inference.mcmc.kernel import Kernel, Settings
from ppzoo.inference.mcmc.uturn import closed_subtrees, turns

__all__ = ["Info", "Noise", "State", "build", "init", "step"]


class State(NamedTuple):
    """Everything one chain needs for its next leapfrog.

    Attributes:
        q, p, lp, g: The end of the trajectory that moves.
        left_q, left_p, left_g, right_q, right_p, right_g: The two ends of the tree.
        draw_q, draw_lp, draw_g, draw_energy: The state drawn from the tree so far.
        new_q, new_lp, new_g, new_energy: The state drawn from the half under construction.
        log_weight, new_log_weight: Logarithms of their total weights, relative to the start of the trajectory.
        momentum, new_momentum: Sums of their momenta.
        leaves_p, leaves_momentum: Remembered leaves of the new half, ``(K, D)``.
        leaf: Number of the next leaf in the new half.
        depth: Doublings that were completed.
        direction: +1 or -1.
        energy: Energy at the start of the trajectory.
        acceptance: Sum over leaves of ``min(1, exp(energy - H))``.
        leapfrogs: Leaves of this trajectory.
        worst_error: Largest absolute energy error among them.
        step_size, inverse_mass: Of this trajectory.
        next_step_size, next_inverse_mass, limit: For trajectories to come; the limit is the largest depth.
    """

    q: Tensor
    p: Tensor
    lp: Tensor
    g: Tensor
    left_q: Tensor
    left_p: Tensor
    left_g: Tensor
    right_q: Tensor
    right_p: Tensor
    right_g: Tensor
    draw_q: Tensor
    draw_lp: Tensor
    draw_g: Tensor
    draw_energy: Tensor
    new_q: Tensor
    new_lp: Tensor
    new_g: Tensor
    new_energy: Tensor
    log_weight: Tensor
    new_log_weight: Tensor
    momentum: Tensor
    new_momentum: Tensor
    leaves_p: Tensor
    leaves_momentum: Tensor
    leaf: Tensor
    depth: Tensor
    direction: Tensor
    energy: Tensor
    acceptance: Tensor
    leapfrogs: Tensor
    worst_error: Tensor
    step_size: Tensor
    inverse_mass: Tensor
    next_step_size: Tensor
    next_inverse_mass: Tensor
    limit: Tensor


class Noise(NamedTuple):
    """What one step may need: three uniform numbers and a standard normal momentum ``(D,)``."""

    leaf: Tensor
    tree: Tensor
    direction: Tensor
    momentum: Tensor


class Info(NamedTuple):
    """A draw and what its trajectory did; meaningful where the step ended a tree."""

    q: Tensor
    g: Tensor
    lp: Tensor
    acceptance_rate: Tensor
    step_size: Tensor
    tree_depth: Tensor
    n_steps: Tensor
    diverging: Tensor
    reached_max_treedepth: Tensor
    energy: Tensor
    energy_error: Tensor
    max_energy_error: Tensor


def build(max_depth: int) -> Kernel:
    """The kernel for trees of at most ``max_depth`` doublings."""
    return Kernel("nuts", State, Info, Noise, partial(init, memory=max_depth), step)


def init(q: Tensor, lp: Tensor, g: Tensor, noise: Noise, settings: Settings, *, memory: int) -> State:
    """A chain at ``q (D,)``, with log density ``lp`` and gradient ``g`` there, about to take its first leapfrog.

    ``memory`` is ``K``, the most that the limit on the depth can be.
    """
    step_size, inverse_mass, limit = settings
    zero, count = torch.zeros_like(lp, dtype=torch.float64), torch.zeros_like(limit, dtype=torch.int64)
    p = noise.momentum / torch.sqrt(inverse_mass)
    leaves = torch.zeros_like(q).expand(memory, -1) + 0
    energy = energy_of(p, lp, inverse_mass)
    return State(
        q, p, lp, g, q, p, g, q, p, g, q, lp, g, energy, q, lp, g, energy,
        zero, zero - torch.inf, p, torch.zeros_like(p),
        leaves, leaves, count, count, _sign(noise), energy, zero, count, zero,
        step_size, inverse_mass, step_size, inverse_mass, limit,
    )  # fmt: skip  # in the order of the fields


def step(density: LogDensity, s: State, noise: Noise) -> tuple[State, Tensor, Info]:
    """One leapfrog; the new state, whether a tree has ended, and the draw that it gave."""
    depth_limit = s.leaves_p.shape[0]
    z = leapfrog(density, Point(s.q, s.p, s.lp, s.g), s.direction * s.step_size, s.inverse_mass)

    # the new leaf: its weight, and whether it becomes the new half's draw
    energy = energy_of(z.p, z.lp, s.inverse_mass)
    energy = torch.where(torch.isnan(energy), torch.inf, energy)
    error = energy - s.energy
    diverging = error > LARGEST_ENERGY_ERROR
    new_log_weight = torch.logaddexp(s.new_log_weight, -error)
    taken = noise.leaf < torch.exp(-error - new_log_weight)
    new_q, new_lp, new_g = _pick(taken, (z.q, z.lp, z.g), (s.new_q, s.new_lp, s.new_g))
    new_energy = torch.where(taken, energy, s.new_energy)
    new_momentum = s.new_momentum + z.p
    acceptance = s.acceptance + torch.exp(torch.clamp(-error, max=0.0))
    worst_error = torch.maximum(s.worst_error, torch.abs(error))
    leapfrogs = s.leapfrogs + 1

    # does it close a subtree that turns?
    write, closed = closed_subtrees(s.leaf, depth_limit)
    sums = new_momentum - s.leaves_momentum + s.leaves_p
    turned = torch.any(closed & turns(s.leaves_p, z.p.expand_as(s.leaves_p), sums, s.inverse_mass))
    leaves_p = torch.where(write[:, None], z.p, s.leaves_p)
    leaves_momentum = torch.where(write[:, None], new_momentum, s.leaves_momentum)

    # a whole new half joins the tree
    full = s.leaf + 1 >= (torch.ones_like(s.leaf) << s.depth)
    joined = full & ~turned & ~diverging
    swapped = joined & (noise.tree < torch.exp(new_log_weight - s.log_weight))
    draw_q, draw_lp, draw_g = _pick(swapped, (new_q, new_lp, new_g), (s.draw_q, s.draw_lp, s.draw_g))
    draw_energy = torch.where(swapped, new_energy, s.draw_energy)
    log_weight = torch.where(joined, torch.logaddexp(s.log_weight, new_log_weight), s.log_weight)
    forwards = s.direction > 0
    left = _pick(joined & ~forwards, (z.q, z.p, z.g), (s.left_q, s.left_p, s.left_g))
    right = _pick(joined & forwards, (z.q, z.p, z.g), (s.right_q, s.right_p, s.right_g))
    momentum = torch.where(joined, s.momentum + new_momentum, s.momentum)
    depth = s.depth + joined.to(s.depth.dtype)
    turned_back = turns(left[1], right[1], momentum, s.inverse_mass)
    ended = turned | diverging | (full & (turned_back | (depth.to(s.limit.dtype) >= s.limit)))
    info = Info(
        draw_q, draw_g, draw_lp, acceptance / leapfrogs, s.step_size, depth, leapfrogs, diverging,
        ~(turned | diverging | turned_back) & ended, s.energy, draw_energy - s.energy, worst_error,
    )  # fmt: skip  # in the order of the fields

    # what moves next: the same end; an end of the doubled tree; a new trajectory from the draw
    doubled = joined & ~ended
    direction = torch.where(full | ended, _sign(noise), s.direction)
    ahead = direction > 0
    q, p, g = _pick(doubled, _pick(ahead, right, left), (z.q, z.p, z.g))
    step_size = torch.where(ended, s.next_step_size, s.step_size)
    inverse_mass = torch.where(ended, s.next_inverse_mass, s.inverse_mass)
    fresh = noise.momentum / torch.sqrt(inverse_mass)
    q, p, g, lp = _pick(ended, (draw_q, fresh, draw_g, draw_lp), (q, p, g, z.lp))
    left, right = _pick(ended, (q, p, g), left), _pick(ended, (q, p, g), right)
    start = energy_of(fresh, draw_lp, inverse_mass)
    zero = torch.zeros_like(s.log_weight)
    log_weight, acceptance, worst_error = _pick(ended, (zero, zero, zero), (log_weight, acceptance, worst_error))
    count = torch.zeros_like(s.leaf)
    depth, leapfrogs = _pick(ended, (count, count), (depth, leapfrogs))
    begins = full | ended
    state = State(
        q, p, lp, g, left[0], left[1], left[2], right[0], right[1], right[2],
        draw_q, draw_lp, draw_g, torch.where(ended, start, draw_energy),
        new_q, new_lp, new_g, new_energy, log_weight,
        torch.where(begins, zero - torch.inf, new_log_weight),
        torch.where(ended, p, momentum), torch.where(begins, torch.zeros_like(p), new_momentum),
        leaves_p, leaves_momentum, torch.where(begins, count, s.leaf + 1), depth, direction,
        torch.where(ended, start, s.energy), acceptance, leapfrogs, worst_error,
        step_size, inverse_mass, s.next_step_size, s.next_inverse_mass, s.limit,
    )  # fmt: skip  # in the order of the fields
    return state, ended, info


def _sign(noise: Noise) -> Tensor:
    return torch.where(noise.direction < 0.5, -1.0, 1.0).to(noise.momentum.dtype)


def _pick(condition: Tensor, yes: tuple[Tensor, ...], no: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Each of ``yes`` where the condition holds, else of ``no``."""
    return tuple(torch.where(condition, a, b) for a, b in zip(yes, no, strict=True))
