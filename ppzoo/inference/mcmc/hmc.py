r"""Hamiltonian Monte Carlo with trajectories of random length, as a machine that takes one gradient at a time.

A trajectory of :math:`L = \lceil u T / \varepsilon \rceil` leapfrogs, :math:`u` uniform on (0, 1), ends in a state that
is taken with probability :math:`\min(1, e^{H - H'})`; else the chain stays where the trajectory began (Duane, Kennedy,
Pendleton, Roweth 1987, https://doi.org/10.1016/0370-2693(87)91197-X). A fixed length can be a period of the target, on
which the chain never mixes; a random one cannot (Neal, *MCMC using Hamiltonian dynamics*, 2011, section 3.2,
https://arxiv.org/abs/1206.1901). On a standard normal the next draw is :math:`q \cos uT + p \sin uT`: with
:math:`T = \pi` it is uncorrelated with the one before it.

As in :mod:`~ppzoo.inference.mcmc.nuts`, :func:`step` advances one chain by one leapfrog, and a chain whose trajectory
has ended begins the next one in the same step: nobody waits for a longer trajectory.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ppzoo.inference.mcmc.integrator import LARGEST_ENERGY_ERROR, LogDensity, Point, energy_of, leapfrog
from ppzoo.inference.mcmc.kernel import Kernel, Settings

__all__ = ["MOST_LEAPFROGS", "Info", "Noise", "State", "build", "init", "length_of", "move", "step"]

MOST_LEAPFROGS = 1023  # of a trajectory, as many as a tree of depth ten has


class State(NamedTuple):
    """Everything one chain needs for its next leapfrog.

    Attributes:
        q, p, lp, g: The end of the trajectory that moves.
        draw_q, draw_lp, draw_g: Where the trajectory began.
        energy: Energy there.
        length: Leapfrogs that the trajectory shall have.
        leapfrogs: Leapfrogs that it has.
        worst_error: Largest absolute energy error among them.
        step_size, inverse_mass: Of this trajectory.
        next_step_size, next_inverse_mass, limit: For trajectories to come; the limit is the longest time ``T``.
    """

    q: Tensor
    p: Tensor
    lp: Tensor
    g: Tensor
    draw_q: Tensor
    draw_lp: Tensor
    draw_g: Tensor
    energy: Tensor
    length: Tensor
    leapfrogs: Tensor
    worst_error: Tensor
    step_size: Tensor
    inverse_mass: Tensor
    next_step_size: Tensor
    next_inverse_mass: Tensor
    limit: Tensor


class Noise(NamedTuple):
    """What one step may need: two uniform numbers and a standard normal momentum ``(D,)``."""

    accept: Tensor
    length: Tensor
    momentum: Tensor


class Info(NamedTuple):
    """A draw and what its trajectory did; meaningful where the step ended a trajectory."""

    q: Tensor
    g: Tensor
    lp: Tensor
    acceptance_rate: Tensor
    step_size: Tensor
    n_steps: Tensor
    diverging: Tensor
    energy: Tensor
    energy_error: Tensor
    max_energy_error: Tensor


def build() -> Kernel:
    """The kernel."""
    return Kernel("hmc", State, Info, Noise, init, step)


def init(q: Tensor, lp: Tensor, g: Tensor, noise: Noise, settings: Settings) -> State:
    """A chain at ``q (D,)``, with log density ``lp`` and gradient ``g`` there, about to take its first leapfrog."""
    step_size, inverse_mass, limit = settings
    p = noise.momentum / torch.sqrt(inverse_mass)
    length = length_of(noise, step_size, limit)
    return State(
        q, p, lp, g, q, lp, g, energy_of(p, lp, inverse_mass),
        length, torch.zeros_like(length), torch.zeros_like(lp, dtype=torch.float64),
        step_size, inverse_mass, step_size, inverse_mass, limit,
    )  # fmt: skip  # in the order of the fields


def step(density: LogDensity, s: State, noise: Noise) -> tuple[State, Tensor, Info]:
    """One leapfrog; the new state, whether a trajectory has ended, and the draw that it gave."""
    state, ended, info, _ = move(density, s, noise)
    return state, ended, info


def move(density: LogDensity, s: State, noise: Noise) -> tuple[State, Tensor, Info, Point]:
    """As :func:`step`, and where the leapfrog led, whether that was taken or not."""
    z = leapfrog(density, Point(s.q, s.p, s.lp, s.g), s.step_size, s.inverse_mass)
    error = energy_of(z.p, z.lp, s.inverse_mass) - s.energy
    error = torch.where(torch.isnan(error), torch.inf, error)
    leapfrogs = s.leapfrogs + 1
    worst_error = torch.maximum(s.worst_error, torch.abs(error))
    diverging = worst_error > LARGEST_ENERGY_ERROR
    ended = torch.isinf(error) | (leapfrogs >= s.length)  # to end at 1000 would not be the same backwards

    acceptance = torch.exp(torch.clamp(-error, max=0.0))
    taken = noise.accept < acceptance
    q = torch.where(taken, z.q, s.draw_q)
    lp = torch.where(taken, z.lp, s.draw_lp)
    g = torch.where(taken, z.g, s.draw_g)
    info = Info(
        q, g, lp, acceptance, s.step_size, leapfrogs, diverging, s.energy, torch.where(taken, error, 0.0), worst_error
    )

    fresh = noise.momentum / torch.sqrt(s.next_inverse_mass)
    count = torch.zeros_like(leapfrogs)
    state = State(
        torch.where(ended, q, z.q),
        torch.where(ended, fresh, z.p),
        torch.where(ended, lp, z.lp),
        torch.where(ended, g, z.g),
        torch.where(ended, q, s.draw_q),
        torch.where(ended, lp, s.draw_lp),
        torch.where(ended, g, s.draw_g),
        torch.where(ended, energy_of(fresh, lp, s.next_inverse_mass), s.energy),
        torch.where(ended, length_of(noise, s.next_step_size, s.limit), s.length),
        torch.where(ended, count, leapfrogs),
        torch.where(ended, torch.zeros_like(worst_error), worst_error),
        torch.where(ended, s.next_step_size, s.step_size),
        torch.where(ended, s.next_inverse_mass, s.inverse_mass),
        s.next_step_size,
        s.next_inverse_mass,
        s.limit,
    )
    return state, ended, info, z


def length_of(noise: Noise, step_size: Tensor, limit: Tensor) -> Tensor:
    """``ceil(u T / step_size)``, at least one leapfrog."""
    return torch.clamp(torch.ceil(noise.length * limit / step_size), 1, MOST_LEAPFROGS).to(torch.int64)
