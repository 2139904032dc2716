r"""ChEES-HMC: Hamiltonian Monte Carlo whose trajectory length many chains learn together.

The kernel is that of :mod:`~ppzoo.inference.mcmc.hmc`; its draws are the same. What it also reports is what the *change
in the estimator of the expected square* is made of (Hoffman, Radul, Sountsov 2021,
https://proceedings.mlr.press/v130/hoffman21a.html),

.. math:: \mathrm{ChEES} = \tfrac14 \mathbb E\bigl[(\|q' - \mathbb E q'\|^2 - \|q - \mathbb E q\|^2)^2\bigr]

whose derivative by the length needs where a trajectory began and ended, and its velocity there;
:class:`~ppzoo.inference.mcmc.adaptation.TrajectoryLength` climbs it during warm-up.
"""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from ppzoo.inference.mcmc import hmc
from ppzoo.inference.mcmc.hmc import Noise, State, init
from ppzoo.inference.mcmc.integrator import LogDensity
from ppzoo.inference.mcmc.kernel import Kernel

__all__ = ["Info", "Noise", "State", "build", "init", "step"]


class Info(NamedTuple):
    """A draw and what its trajectory did; last, what its length is judged by."""

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
    begin_q: Tensor
    end_q: Tensor
    end_velocity: Tensor


def build() -> Kernel:
    """The kernel."""
    return Kernel("chees", State, Info, Noise, init, step)


def step(density: LogDensity, s: State, noise: Noise) -> tuple[State, Tensor, Info]:
    """One leapfrog; the new state, whether a trajectory has ended, and the draw that it gave."""
    state, ended, info, z = hmc.move(density, s, noise)
    return state, ended, Info(*info, s.draw_q, z.q, s.inverse_mass * z.p)
