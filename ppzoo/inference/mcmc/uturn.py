r"""When a trajectory turns back: the criterion, and which earlier leaves to hold it against.

A stretch of trajectory with momenta :math:`p_1 \dots p_n` turns when

.. math:: v_1 \cdot \Bigl(\rho - \tfrac{p_1 + p_n}{2}\Bigr) \le 0 \quad\text{or}\quad
          v_n \cdot \Bigl(\rho - \tfrac{p_1 + p_n}{2}\Bigr) \le 0, \qquad
          \rho = \sum_i p_i, \; v = M^{-1} p

(Betancourt, *Identifying the optimal integration time in Hamiltonian Monte Carlo*, 2016,
https://arxiv.org/abs/1601.00225). A tree of :math:`2^k` leaves is built leaf by leaf in memory :math:`O(k)`: leaf
:math:`n` closes the balanced subtrees whose last leaf it is, and only their first leaves are remembered (Phan, Pradhan,
Jankowiak, *Composable effects for flexible and accelerated probabilistic programming in NumPyro*, 2019, appendix A,
https://arxiv.org/abs/1912.11554).
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["closed_subtrees", "turns"]


def turns(first: Tensor, last: Tensor, total: Tensor, inverse_mass: Tensor) -> Tensor:
    """Whether stretches with end momenta ``first``, ``last`` and momentum sum ``total``, each ``(..., D)``, turn."""
    rho = inverse_mass * (total - 0.5 * (first + last))
    return (torch.sum(first * rho, -1) <= 0) | (torch.sum(last * rho, -1) <= 0)


def closed_subtrees(leaf: Tensor, depth: int) -> tuple[Tensor, Tensor]:
    """Where leaf ``n`` (int64 scalar) is remembered, and which remembered leaves open a subtree that it closes.

    Returns:
        Two masks ``(depth,)`` over the remembered leaves: the slot that an even leaf is written to (none for an odd
        leaf), and the slots whose subtrees an odd leaf closes (none for an even leaf).
    """
    slots = torch.arange(depth, device=leaf.device)
    even = leaf % 2 == 0
    top = _ones(leaf >> 1, depth)
    ending = _ones((leaf ^ (leaf + 1)) >> 1, depth)  # trailing ones of the leaf's number
    return (slots == top) & even, (slots <= top) & (slots > top - ending) & ~even


def _ones(number: Tensor, bits: int) -> Tensor:
    """How many of the lower ``bits`` bits are one."""
    return torch.sum((number >> torch.arange(bits, device=number.device)) & 1)
