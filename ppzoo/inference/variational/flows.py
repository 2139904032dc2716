r"""Guides that bend: a Gaussian over the joint unconstrained vector, with a normalising flow below it.

.. math:: z = c + F (\mu + \mathrm{diag}(\sigma) L\, T_\phi(\varepsilon)), \qquad \varepsilon \sim \mathcal{N}(0, I_D)

as the guide ``"mvn"`` has it; :math:`T_\phi` is a stack of autoregressive layers, each the identity at the start:
training begins where ``"mvn"`` begins, at the start's location with scale 0.1 and no correlation, and a Gaussian
posterior lies within reach whatever :math:`T_\phi` can do.

Shapes: ``D`` unconstrained numbers in all continuous latent sites, ``M`` bins of a spline.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Any

import torch
from pyro.distributions import constraints
from pyro.distributions.transforms import AffineAutoregressive
from pyro.nn import AutoRegressiveNN
from torch import Tensor, nn
from torch.distributions import Transform
from torch.nn import functional

from ppzoo.inference.variational.gaussian import Multivariate

__all__ = ["InverseAutoregressive", "NeuralSpline", "rational_quadratic"]

_LAYERS = 2  # the second in reverse order, so that every number is bent by every other
_WIDTH = 32  # hidden units, where D does not need more
_BINS, _BOUND = 10, 5.0  # of a spline; beyond five standard deviations of the base its tails are a Gaussian's
_GAIN = 0.2  # of a network: an optimiser moves every weight by its rate, and the sum of them must not jump
_LEAST = 1e-3  # width and height of a bin, as a share of the box, and slope at a knot


class _Flow(Multivariate):
    """Location, scale and correlations above the layers; a kind of flow says what its layers are."""

    _outputs: tuple[int, ...]  # of the network of a layer, for each number
    _bends_one: bool  # whether a layer makes more of a single number than a scale and a location do

    def _setup_prototype(self, *args: Any, **kwargs: Any) -> None:
        super()._setup_prototype(*args, **kwargs)
        order = torch.arange(len(self.loc))
        orders = [order if k % 2 == 0 else order.flip(0) for k in range(_LAYERS)]
        useful = len(self.loc) > 1 or self._bends_one
        self.networks = nn.ModuleList(_Network(each, self._outputs) for each in (orders if useful else ()))

    def _layers(self) -> list[Transform]:
        return list(map(self._layer, self.networks))

    def _layer(self, network: nn.Module) -> Transform:
        raise NotImplementedError


class InverseAutoregressive(_Flow):
    r"""An inverse autoregressive flow: each number is moved and scaled by functions of those before it.

    .. math:: T(x)_d = s_d(x_{<d})\, x_d + m_d(x_{<d})

    Given the numbers before it, each is Gaussian below :math:`L`: it follows bananas and funnels, and cannot make a
    skewed or heavy-tailed posterior of one number. With ``D = 1`` it is the normal guide.

    D. P. Kingma, T. Salimans, R. Jozefowicz, X. Chen, I. Sutskever and M. Welling (2016), *Improving Variational
    Inference with Inverse Autoregressive Flow*, https://arxiv.org/abs/1606.04934.
    """

    _outputs, _bends_one = (1, 1), False

    def _layer(self, network: nn.Module) -> Transform:
        layer: Transform = AffineAutoregressive(network)
        return layer


class NeuralSpline(_Flow):
    r"""An autoregressive neural spline flow: each number is bent by a monotone rational quadratic spline.

    .. math:: T(x)_d = g(x_d;\, \theta_d(x_{<d}))

    on :math:`[-5, 5]` and the identity beyond, so that its tails are Gaussian. It makes any shape of one number, skewed
    or with several modes.

    C. Durkan, A. Bekasov, I. Murray and G. Papamakarios (2019), *Neural Spline Flows*,
    https://arxiv.org/abs/1906.04032.
    """

    _outputs, _bends_one = (_BINS, _BINS, _BINS - 1), True

    def _layer(self, network: nn.Module) -> Transform:
        return _SplineAutoregressive(network)


class _SplineAutoregressive(Transform):
    """A layer of splines. Pyro's has the same name and picks entries by masks, which no graph of a step can hold."""

    domain = codomain = constraints.real_vector
    bijective = True

    def __init__(self, network: Callable[[Tensor], Any]) -> None:
        super().__init__(cache_size=1)  # what was drawn is weighed; other values are never inverted
        self._network = network

    def _call(self, x: Tensor) -> Tensor:
        y, self._log_slope = rational_quadratic(x, *(part.mT for part in self._network(x)), bound=_BOUND)
        return y

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        """Of the values drawn last, ``(...)`` for ``(..., D)``."""
        if self._cached_x_y[0] is not x or self._cached_x_y[1] is not y:
            self(x)
        return self._log_slope.sum(-1)


def rational_quadratic(
    x: Tensor, widths: Tensor, heights: Tensor, slopes: Tensor, *, bound: float
) -> tuple[Tensor, Tensor]:
    r"""A monotone rational quadratic spline from :math:`[-B, B]` to itself, the identity beyond.

    With bin :math:`k` from :math:`(x_k, y_k)`, its width :math:`w`, height :math:`h`, mean slope :math:`s = h / w`,
    slopes :math:`\delta_k, \delta_{k+1}` at its ends, and :math:`\xi = (x - x_k) / w`,

    .. math:: y = y_k + \frac{h\,[s \xi^2 + \delta_k \xi (1 - \xi)]}
                             {s + [\delta_{k+1} + \delta_k - 2 s]\, \xi (1 - \xi)}

    It is the identity where the last three arguments are zero. J. A. Gregory and R. Delbourgo (1982), *Piecewise
    Rational Quadratic Interpolation to Monotonic Data*, https://doi.org/10.1093/imanum/2.2.123; Durkan et al. (2019),
    equations 4 and 5.

    Args:
        x: Where, ``(...)``.
        widths: Of the ``M`` bins, as logits, ``(..., M)``.
        heights: Of the ``M`` bins, as logits, ``(..., M)``.
        slopes: At the ``M - 1`` knots inside, before softplus, ``(..., M - 1)``.
        bound: :math:`B > 0`.

    Returns:
        :math:`y` and :math:`\log dy/dx`, both ``(...)``.
    """
    inside = x.abs() < bound
    x_in = torch.where(inside, x, torch.zeros_like(x))  # so that no gradient comes from bins that x is not in
    w, left = _bins(widths, bound)
    h, below = _bins(heights, bound)
    ends = functional.pad(_LEAST + functional.softplus(slopes + math.log(math.expm1(1 - _LEAST))), (1, 1), value=1.0)
    reached = (x_in[..., None] >= left).to(x.dtype)
    here = reached - functional.pad(reached[..., 1:], (0, 1))  # 1 for the bin of x, by no index: a plain product

    def of(each: Tensor) -> Tensor:
        return (here * each).sum(-1)

    w_k, h_k, slope, next_slope = of(w), of(h), of(ends[..., :-1]), of(ends[..., 1:])
    s = h_k / w_k
    xi = (x_in - of(left)) / w_k
    rest = xi * (1 - xi)
    denominator = s + (next_slope + slope - 2 * s) * rest
    y = of(below) + h_k * (s * xi**2 + slope * rest) / denominator
    numerator = s**2 * (next_slope * xi**2 + 2 * s * rest + slope * (1 - xi) ** 2)
    log_slope = torch.log(numerator) - 2 * torch.log(denominator)
    return torch.where(inside, y, x), torch.where(inside, log_slope, torch.zeros_like(x))


def _bins(logits: Tensor, bound: float) -> tuple[Tensor, Tensor]:
    """Sizes that sum to ``2 * bound``, and where each bin begins, ``(..., M)`` both."""
    bins = logits.shape[-1]
    sizes = 2 * bound * (_LEAST + (1 - bins * _LEAST) * functional.softmax(logits, -1))
    return sizes, torch.cumsum(sizes, -1) - sizes - bound


class _Network(nn.Module):
    """A masked network (MADE) that says nothing at the start."""

    def __init__(self, order: Any, outputs: tuple[int, ...]) -> None:  # Pyro asks for a LongTensor, which torch has not
        super().__init__()
        size, tanh = len(order), nn.Tanh()
        with warnings.catch_warnings():  # of one number it makes constants, as it should
            warnings.filterwarnings("ignore", message=".*input_dim = 1")
            self.masked = AutoRegressiveNN(size, [max(_WIDTH, 2 * size)], list(outputs), order, nonlinearity=tanh)
        for parameter in self.masked.layers[-1].parameters():
            nn.init.zeros_(parameter)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """``(..., D)`` to one ``(..., D)`` or ``(..., M, D)`` for each of the outputs."""
        return tuple(_GAIN * part for part in self.masked(x))
