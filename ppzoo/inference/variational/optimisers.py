r"""First-order optimisers: by torch's kernels, and the same steps as plain operations on tensors.

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
from typing import Any, NamedTuple

import torch
from torch import Tensor

__all__ = ["OPTIMISERS", "InPlace", "Optimiser", "forget_traces"]

Moments = tuple[Tensor, ...]
Kernel = Callable[[list[Tensor], list[Tensor], list[list[Tensor]], list[Tensor], float], None]

_TRACE = 1e8  # times the smallest number with all its digits: 175 steps of the first moment
_BETAS, _EPSILON, _WEIGHT_DECAY = (0.9, 0.999), 1e-8, 0.01  # torch's defaults


class Optimiser(NamedTuple):
    """One optimiser in both forms.

    Attributes:
        moments: How many tensors of a parameter's shape it keeps, zero at first.
        update: ``parameter, gradient, moments, rate, t -> parameter, moments``; ``rate`` and ``t`` are scalar tensors.
        kernel: ``parameters, gradients, moments, steps, rate``, in place: one pass over all parameters.
    """

    moments: int
    update: Callable[[Tensor, Tensor, Moments, Tensor, Tensor], tuple[Tensor, Moments]]
    kernel: Kernel


class InPlace:
    """Takes steps with parameters where they stand.

    Torch's own optimisers run the same kernels; the first of them that is made loads torch's compiler, a second or two.

    Args:
        optimiser: How.
        parameters: What is trained.
    """

    def __init__(self, optimiser: Optimiser, parameters: Sequence[Tensor]) -> None:
        self._kernel, self._parameters = optimiser.kernel, list(parameters)
        self._moments = [[torch.zeros_like(p) for p in parameters] for _ in range(optimiser.moments)]
        self._steps = [torch.zeros((), dtype=torch.float32, device=p.device) for p in parameters]

    @property
    def state(self) -> dict[str, Tensor]:
        """What its steps change beside the parameters, in place."""
        moments = {f"moment {j} of {i}": value for j, each in enumerate(self._moments) for i, value in enumerate(each)}
        return moments | {f"count {i}": count for i, count in enumerate(self._steps)}

    def step(self, gradients: Sequence[Tensor | None], rate: float) -> None:
        """One step; parameters without a gradient stay."""
        known = [i for i, gradient in enumerate(gradients) if gradient is not None]
        given = [gradient for gradient in gradients if gradient is not None]

        def of(each: list[Tensor]) -> list[Tensor]:
            return [each[i] for i in known]

        with torch.no_grad():
            for count in of(self._steps):
                count += 1
            self._kernel(of(self._parameters), given, [of(each) for each in self._moments], of(self._steps), rate)

    def forget_traces(self) -> None:
        """As :func:`forget_traces`, of its moments."""
        forget_traces([moment for each in self._moments for moment in each])


def forget_traces(moments: Sequence[Tensor]) -> None:
    """Let what is left of gradients long gone be zero, in place: far below what Adam tells from zero.

    A weight whose gradient has become zero, that of a unit that is never active again, has a moment that dies out for
    ever. Its last numbers are too small to have all their digits, and a processor takes a hundred times as long for
    each of these: some thousand steps later, half of the time of a step would go into them.
    """
    for moment in moments:
        moment.masked_fill_(moment.abs() < torch.finfo(moment.dtype).tiny * _TRACE, 0.0)


def _adam(p: Tensor, g: Tensor, moments: Moments, rate: Tensor, t: Tensor) -> tuple[Tensor, Moments]:
    (b1, b2), (m, v) = _BETAS, moments
    m, v = m + (g - m) * (1 - b1), v * b2 + g * g * (1 - b2)
    root = torch.sqrt(1 - b2**t).to(p.dtype)
    return p - (rate / (1 - b1**t)).to(p.dtype) * m / (torch.sqrt(v) / root + _EPSILON), (m, v)


def _adamw(p: Tensor, g: Tensor, moments: Moments, rate: Tensor, t: Tensor) -> tuple[Tensor, Moments]:
    return _adam(p * (1 - rate * _WEIGHT_DECAY).to(p.dtype), g, moments, rate, t)


def _descend(p: Tensor, g: Tensor, _: Moments, rate: Tensor, __: Tensor) -> tuple[Tensor, Moments]:
    return p - rate.to(p.dtype) * g, ()


def _fused(kernel: Callable[..., Any], decay: float) -> Kernel:
    """Torch's kernel of Adam for all parameters at once."""

    def step(p: list[Tensor], g: list[Tensor], moments: list[list[Tensor]], steps: list[Tensor], rate: float) -> None:
        numbers = {"lr": rate, "beta1": _BETAS[0], "beta2": _BETAS[1], "weight_decay": decay, "eps": _EPSILON}
        kernel(p, g, *moments, [], steps, **numbers, amsgrad=False, maximize=False)

    return step


def _descent_kernel(p: list[Tensor], g: list[Tensor], _: list[list[Tensor]], __: list[Tensor], rate: float) -> None:
    torch._foreach_add_(p, g, alpha=-rate)  # torch's only name for it


OPTIMISERS = {
    "adam": Optimiser(2, _adam, _fused(torch._fused_adam_, 0.0)),  # torch has no other name for it
    "adamw": Optimiser(2, _adamw, _fused(torch._fused_adamw_, _WEIGHT_DECAY)),  # likewise
    "sgd": Optimiser(0, _descend, _descent_kernel),
}
