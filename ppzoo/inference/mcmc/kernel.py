"""What every sampler's file offers: ``State``, ``Info``, ``Noise``, ``init``, ``step``, for one chain.

A kernel is a machine that takes one gradient per step. It has no loop and no branch on values, only selections, so that
it can be traced, mapped over chains and compiled. What tunes it is not its own: it reads ``step_size``,
``inverse_mass`` and a ``limit`` on its trajectories from its :class:`Settings` when a trajectory begins.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from torch import Tensor

__all__ = ["Kernel", "Settings"]


class Settings(NamedTuple):
    """For trajectories to come: a step size, a diagonal inverse mass ``(D,)``, and a limit that is the kernel's own."""

    step_size: Tensor
    inverse_mass: Tensor
    limit: Tensor


@dataclass(frozen=True)
class Kernel:
    """The parts of a sampler's file.

    Attributes:
        name: The method's name.
        State: Everything one chain needs for its next step; its last fields are those of :class:`Settings`.
        Info: A draw and its statistics, meaningful where a step ended a trajectory; its first are ``q, g, lp``.
        Noise: What one step may need: uniform numbers, and last a standard normal momentum ``(D,)``.
        init: ``(q, lp, g, noise, settings) -> State``.
        step: ``(density, state, noise) -> (state, whether a trajectory ended, info)``.
    """

    name: str
    State: Any
    Info: Any
    Noise: Any
    init: Callable[..., Any]
    step: Callable[..., tuple[Any, Tensor, Any]]
