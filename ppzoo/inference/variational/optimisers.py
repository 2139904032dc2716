r"""First-order optimisers: torch's own, and the same steps as plain operations on tensors.

With gradient :math:`g`, rate :math:`\eta` and step :math:`t = 1, 2, ...`, Adam takes

.. math::
    m \leftarrow m + (1 - \beta_1)(g - m), \quad v \leftarrow \beta_2 v + (1 - \beta_2) g^2, \quad
    \theta \leftarrow \theta - \eta\, \frac{m / (1 - \beta_1^t)}{\sqrt{v / (1 - \beta_2^t)} + \epsilon},

AdamW shrinks :math:`\theta` by :math:`1 - \eta w` before, gradient descent goes :math:`-\eta g`.

D. Kingma and J. Ba (2015), *Adam: A Method for Stochastic Optimization*, https://arxiv.org/abs/1412.6980; I. Loshchilov
and F. Hutter (2019), *Decoupled Weight Decay Regularization*, https://arxiv.org/abs/1711.05101.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["OPTIMISERS", "Optimiser"]

Moments = tuple[Tensor, ...]

_BETAS, _EPSILON, _WEIGHT_DECAY = (0.9, 0.999), 1e-8, 0.01  # torch's defaults
_FUSED = {"cpu", "cuda"}  # devices on which torch updates all parameters in one pass


class Optimiser(NamedTuple):
    """One optimiser in both forms.

    Attributes:
        kind: Torch's.
        moments: How many tensors of a parameter's shape it keeps, zero at first.
        update: ``parameter, gradient, moments, rate, t -> parameter, moments``; ``rate`` and ``t`` are scalar tensors.
    """

    kind: Callable[..., torch.optim.Optimizer]
    moments: int
    update: Callable[[Tensor, Tensor, Moments, Tensor, Tensor], tuple[Tensor, Moments]]

    def of(self, parameters: Sequence[Tensor], rate: float) -> torch.optim.Optimizer:
        """Torch's, for these parameters; in one pass over all of them where it can."""
        fused = all(p.is_floating_point() and p.device.type in _FUSED for p in parameters)
        return self.kind(list(parameters), lr=rate, fused=fused)


def _adam(p: Tensor, g: Tensor, moments: Moments, rate: Tensor, t: Tensor) -> tuple[Tensor, Moments]:
    (b1, b2), (m, v) = _BETAS, moments
    m, v = m + (g - m) * (1 - b1), v * b2 + g * g * (1 - b2)
    root = torch.sqrt(1 - b2**t).to(p.dtype)
    return p - (rate / (1 - b1**t)).to(p.dtype) * m / (torch.sqrt(v) / root + _EPSILON), (m, v)


def _adamw(p: Tensor, g: Tensor, moments: Moments, rate: Tensor, t: Tensor) -> tuple[Tensor, Moments]:
    return _adam(p * (1 - rate * _WEIGHT_DECAY).to(p.dtype), g, moments, rate, t)


def _descend(p: Tensor, g: Tensor, _: Moments, rate: Tensor, __: Tensor) -> tuple[Tensor, Moments]:
    return p - rate.to(p.dtype) * g, ()


OPTIMISERS = {
    "adam": Optimiser(torch.optim.Adam, 2, _adam),
    "adamw": Optimiser(torch.optim.AdamW, 2, _adamw),
    "sgd": Optimiser(torch.optim.SGD, 0, _descend),
}
