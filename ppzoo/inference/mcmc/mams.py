r"""Metropolis-adjusted microcanonical sampling, as a machine that takes one gradient at a time.

The velocity :math:`u` always has length one; the force only turns it. In :math:`d` coordinates, whitened by the metric,

.. math:: \dot q = u, \qquad \dot u = \frac{(1 - u u^\top) \, \nabla \log \pi(q)}{d - 1},

and the kinetic energy grows by :math:`\int u^\top \nabla \log \pi \, dt`. Of the two parts of a leapfrog, the
straight flight and the turn under a constant force, each is solved exactly. A trajectory begins in a direction drawn
uniformly, has a random length as in :mod:`~ppzoo.inference.mcmc.hmc`, and its end is taken with probability
:math:`\min(1, e^{-W})`, :math:`W` the change of the total energy (Robnik, Cohn-Gordon, Seljak, *Metropolis Adjusted
Microcanonical Hamiltonian Monte Carlo*, 2025, https://arxiv.org/abs/2503.01707). A flight of length
:math:`T \sqrt d` goes as far as one of Hamiltonian dynamics in the time :math:`T`, and is told by ``T``.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from ppzoo.errors import ModelError
from ppzoo.inference.mcmc.hmc import Noise, length_of
from ppzoo.inference.mcmc.integrator import LARGEST_ENERGY_ERROR, LogDensity
from ppzoo.inference.mcmc.kernel import Kernel, Settings

__all__ = ["Info", "Noise", "State", "build", "init", "step", "turned"]


class State(NamedTuple):
    """Everything one chain needs for its next leapfrog.

    Attributes:
        q, p, lp, g: The end of the trajectory that moves; ``p`` is its velocity, of length one.
        draw_q, draw_lp, draw_g: Where the trajectory began.
        kinetic: By how much the kinetic energy has grown since.
        length: Leapfrogs that the trajectory shall have.
        leapfrogs: Leapfrogs that it has.
        worst_error: Largest absolute energy error among them.
        step_size, inverse_mass: Of this trajectory.
        next_step_size, next_inverse_mass, limit: For trajectories to come; the limit is the longest ``T``.
    """

    q: Tensor
    p: Tensor
    lp: Tensor
    g: Tensor
    draw_q: Tensor
    draw_lp: Tensor
    draw_g: Tensor
    kinetic: Tensor
    length: Tensor
    leapfrogs: Tensor
    worst_error: Tensor
    step_size: Tensor
    inverse_mass: Tensor
    next_step_size: Tensor
    next_inverse_mass: Tensor
    limit: Tensor


class Info(NamedTuple):
    """A draw and what its trajectory did; meaningful where the step ended a trajectory."""

    q: Tensor
    g: Tensor
    lp: Tensor
    acceptance_rate: Tensor
    step_size: Tensor
    n_steps: Tensor
    diverging: Tensor
    energy_error: Tensor
    max_energy_error: Tensor


def build() -> Kernel:
    """The kernel."""
    return Kernel("mams", State, Info, Noise, init, step)


def init(q: Tensor, lp: Tensor, g: Tensor, noise: Noise, settings: Settings) -> State:
    """A chain at ``q (D,)``, with log density ``lp`` and gradient ``g`` there, about to take its first leapfrog.

    Raises:
        ModelError: If there is one coordinate: a velocity of length one has no other direction to turn to.
    """
    if len(q) < 2:
        raise ModelError(
            "has one unknown number, and microcanonical trajectories turn among two at least",
            argument="model",
            remedy="Use method='nuts' or 'hmc'.",
        )
    step_size, inverse_mass, limit = settings
    length = length_of(noise, step_size, limit * math.sqrt(len(q)))
    nothing = torch.zeros_like(lp, dtype=torch.float64)
    return State(
        q, _direction(noise), lp, g, q, lp, g, nothing,
        length, torch.zeros_like(length), nothing,
        step_size, inverse_mass, step_size, inverse_mass, limit,
    )  # fmt: skip  # in the order of the fields


def step(density: LogDensity, s: State, noise: Noise) -> tuple[State, Tensor, Info]:
    """One leapfrog; the new state, whether a trajectory has ended, and the draw that it gave."""
    scale = torch.sqrt(s.inverse_mass)
    u, before = turned(s.p, scale * s.g, 0.5 * s.step_size)
    end = s.q + s.step_size * (scale * u)
    end_lp, end_g = density(end)
    u, after = turned(u, scale * end_g, 0.5 * s.step_size)
    kinetic = s.kinetic + before + after
    error = kinetic - (end_lp.to(torch.float64) - s.draw_lp.to(torch.float64))
    error = torch.where(torch.isnan(error), torch.inf, error)
    leapfrogs = s.leapfrogs + 1
    worst_error = torch.maximum(s.worst_error, torch.abs(error))
    diverging = worst_error > LARGEST_ENERGY_ERROR
    ended = torch.isinf(error) | (leapfrogs >= s.length)

    acceptance = torch.exp(torch.clamp(-error, max=0.0))
    taken = noise.accept < acceptance
    q = torch.where(taken, end, s.draw_q)
    lp = torch.where(taken, end_lp, s.draw_lp)
    g = torch.where(taken, end_g, s.draw_g)
    info = Info(q, g, lp, acceptance, s.step_size, leapfrogs, diverging, torch.where(taken, error, 0.0), worst_error)

    state = State(
        torch.where(ended, q, end),
        torch.where(ended, _direction(noise), u),
        torch.where(ended, lp, end_lp),
        torch.where(ended, g, end_g),
        torch.where(ended, q, s.draw_q),
        torch.where(ended, lp, s.draw_lp),
        torch.where(ended, g, s.draw_g),
        torch.where(ended, torch.zeros_like(kinetic), kinetic),
        torch.where(ended, length_of(noise, s.next_step_size, s.limit * math.sqrt(len(q))), s.length),
        torch.where(ended, torch.zeros_like(leapfrogs), leapfrogs),
        torch.where(ended, torch.zeros_like(worst_error), worst_error),
        torch.where(ended, s.next_step_size, s.step_size),
        torch.where(ended, s.next_inverse_mass, s.inverse_mass),
        s.next_step_size,
        s.next_inverse_mass,
        s.limit,
    )
    return state, ended, info


def turned(u: Tensor, force: Tensor, time: Tensor) -> tuple[Tensor, Tensor]:
    r"""The velocity after some time under a constant force, and by how much the kinetic energy has grown.

    With :math:`e = f / |f|`, :math:`\delta = t |f| / (d - 1)` and :math:`c = e^\top u`,

    .. math::
        u' = \frac{u + e \, (\sinh\delta + c (\cosh\delta - 1))}{\cosh\delta + c \sinh\delta}, \qquad
        \Delta K = (d - 1) \log(\cosh\delta + c \sinh\delta),

    here times :math:`2 e^{-\delta}`, which leaves no range.

    Args:
        u: Of length one, ``(D,)``.
        force: ``(D,)``.
        time: A scalar.

    Example:
        >>> u, grown = turned(torch.tensor([0.0, 1.0]), torch.tensor([1.0, 0.0]), torch.tensor(1e4))
        >>> u.tolist(), round(float(grown))
        ([1.0, 0.0], 9999)
    """
    steep = torch.sqrt(torch.sum(force * force))
    towards = force / torch.clamp(steep, min=torch.finfo(force.dtype).tiny)
    freedom = len(u) - 1
    change = time * steep / freedom
    left = torch.exp(-change)
    along = torch.sum(u * towards)
    new = towards * ((1 - left) * (1 + left + along * (1 - left))) + 2 * left * u
    new = new / torch.sqrt(torch.sum(new * new))
    grown = freedom * (change - math.log(2.0) + torch.log(1 + along + (1 - along) * left * left))
    return new, grown.to(torch.float64)


def _direction(noise: Noise) -> Tensor:
    """Uniform on the sphere."""
    return noise.momentum / torch.sqrt(torch.sum(noise.momentum * noise.momentum))
