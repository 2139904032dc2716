"""A function of one tensor together with its gradient, as a density comes."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def with_gradient(function: Callable[[Tensor], Tensor]) -> Callable[[Tensor], tuple[Tensor, Tensor]]:
    def both(x: Tensor) -> tuple[Tensor, Tensor]:
        leaf = x.detach().requires_grad_(True)
        value = function(leaf)
        return value.detach(), torch.autograd.grad(value, leaf)[0]

    return both
