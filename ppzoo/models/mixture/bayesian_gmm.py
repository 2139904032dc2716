"""Bayesian Gaussian mixture with independent columns; the assignments are summed out.

    weights ~ Dirichlet(1, ..., 1),  loc_kd ~ N(0, s),  scale_kd ~ LogNormal(log(s / 100), 2),
    z_n ~ Categorical(weights),  x_nd | z_n = k ~ N(loc_kd, scale_kd),  with loc_11 < loc_21 < ... < loc_K1

J. Diebolt and C. P. Robert (1994), "Estimation of finite mixture distributions through Bayesian sampling",
https://doi.org/10.1111/j.2517-6161.1994.tb01985.x. On ordering: M. Stephens (2000), "Dealing with label switching in
mixture models", https://doi.org/10.1111/1467-9868.00265.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar

import pyro
import pyro.distributions as dist
import torch
from pyro.distributions import constraints
from pyro.distributions.torch_distribution import TorchDistribution
from pyro.nn import PyroModule

from ppzoo.checks import check_integer, check_matrix, check_reach, check_real, check_rows, check_varies

if TYPE_CHECKING:
    from torch import Size, Tensor

    Shape = Size | list[int] | tuple[int, ...]

__all__ = ["BayesianGaussianMixture"]


class BayesianGaussianMixture(PyroModule):
    """Mixture of ``K`` normals with diagonal covariances and a posterior over weights, means and scales.

    Without more, the posterior has ``K!`` equal copies, one for each naming of the components, and chains that sit in
    different copies look as if they disagreed. So the components are named by their mean in the first column, the
    lowest first: ``loc_first`` is ``K`` independent draws of ``N(0, s)``, sorted. That prior is ``K!`` times the
    product of the normal densities where the means are in order, and zero elsewhere; every density of ``x`` is as
    without it. Put a column first in which the components differ; where they do not, names may still switch.

    The prior of a scale vanishes at zero faster than any power, so no component can collapse onto tied rows.

    Sites: ``weights``, ``(K,)``; ``loc_first``, ``(K,)``; ``loc_rest``, ``(K, D - 1)``, where ``D > 1``; in the plates
    ``"component"`` and ``"feature"`` ``scale`` and (deterministic, put together) ``loc``, ``(K, D)``; in the plate
    ``"row"`` ``z``, enumerated, and the observed ``x``.

    Args:
        features: ``D``, columns of ``x``.
        components: ``K``, components of the mixture.
        prior_scale: ``s``, prior standard deviation of a mean, in units of ``x``; scales are a hundredth of it, give
            or take a factor of 50. The default is weak for data within some hundreds of zero.

    Raises:
        OptionError: If a size is not a whole number in its range or ``prior_scale`` not positive.

    Example:
        >>> import torch
        >>> x = torch.randn(20, 2, generator=torch.Generator().manual_seed(0))
        >>> BayesianGaussianMixture(features=2, components=3).check(x)
    """

    def __init__(self, *, features: int, components: int = 2, prior_scale: float = 100.0) -> None:
        super().__init__()
        self.features = check_integer("features", features)
        self.components = check_integer("components", components)
        self.prior_scale = check_real("prior_scale", prior_scale, above=0)

    def model(self, x: Tensor) -> None:
        """Draw weights, means and scales, then the component of each row and the row.

        Args:
            x: Observations, ``(N, D)``.
        """
        K, D, s = self.components, self.features, self.prior_scale
        component, feature = pyro.plate("component", K, dim=-2), pyro.plate("feature", D, dim=-1)
        weights = pyro.sample("weights", dist.Dirichlet(x.new_ones(K)))
        loc = self._means(x)
        with component, feature:
            pyro.deterministic("loc", loc)
            scale = pyro.sample("scale", dist.LogNormal(x.new_full((), math.log(s / 100)), 2.0))
        with pyro.plate("row", len(x)):
            z = pyro.sample("z", dist.Categorical(weights), infer={"enumerate": "parallel"})
            pyro.sample("x", dist.Normal(loc[z], scale[z]).to_event(1), obs=x)

    def check(self, x: Tensor) -> None:
        """``features`` columns that vary, on the scale of the prior, and at least as many rows as components.

        Raises:
            DataError: If a shape is wrong, a column is constant or out of the prior's reach, or rows are too few.
        """
        check_matrix("x", x, columns=self.features)
        check_rows("x", x, minimum=max(2, self.components), why=f"for components={self.components}")
        check_varies("x", x)
        check_reach("x", x, option="prior_scale", scale=self.prior_scale)

    def _means(self, x: Tensor) -> Tensor:
        """``loc``, sorted by its first column, shape ``(K, D)``."""
        K, D, prior = self.components, self.features, dist.Normal(x.new_zeros(()), self.prior_scale)
        first = pyro.sample("loc_first", _Sorted(prior.expand([K])))
        if D == 1:
            return first.unsqueeze(-1)
        rest = pyro.sample("loc_rest", prior.expand([K, D - 1]).to_event(2))
        return torch.cat([first.unsqueeze(-1), rest], dim=-1)


class _Sorted(TorchDistribution):
    """Independent draws of one distribution, sorted: the order statistics of a sample of ``K``.

    Equation:
        p(v_1, ..., v_K) = K! p(v_1) ... p(v_K)  where v_1 < ... < v_K

    Args:
        base: The distribution of the draws, batch shape ``(..., K)``.
    """

    support = constraints.ordered_vector
    arg_constraints: ClassVar[dict[str, constraints.Constraint]] = {}
    has_rsample = True

    def __init__(self, base: TorchDistribution) -> None:
        self.base = base
        super().__init__(base.batch_shape[:-1], base.batch_shape[-1:])

    def expand(self, batch_shape: Shape, _instance: None = None) -> _Sorted:
        """The same distribution with another batch shape."""
        return _Sorted(self.base.expand((*batch_shape, *self.event_shape)))

    def rsample(self, sample_shape: Shape = ()) -> Tensor:
        """Draw and sort."""
        return self.base.rsample(torch.Size(sample_shape)).sort(-1).values

    def log_prob(self, value: Tensor) -> Tensor:
        """Log density of sorted values, in nats."""
        if self._validate_args:
            self._validate_sample(value)
        return self.base.log_prob(value).sum(-1) + math.lgamma(self.event_shape[0] + 1)
