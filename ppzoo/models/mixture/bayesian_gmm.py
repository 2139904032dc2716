"""Bayesian Gaussian mixture with independent columns; the assignments are summed out.

    weights ~ Dirichlet(1, ..., 1),  loc_kd ~ N(0, s),  scale_kd ~ LogNormal(log(s / 10), 1),
    z_n ~ Categorical(weights),  x_nd | z_n = k ~ N(loc_kd, scale_kd)

J. Diebolt and C. P. Robert (1994), "Estimation of finite mixture distributions through Bayesian sampling",
https://doi.org/10.1111/j.2517-6161.1994.tb01985.x. On naming the components after sampling: M. Stephens (2000),
"Dealing with label switching in mixture models", https://doi.org/10.1111/1467-9868.00265.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pyro
import pyro.distributions as dist
from pyro.nn import PyroModule

from ppzoo.checks import check_integer, check_matrix, check_reach, check_real, check_rows, check_varies

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["BayesianGaussianMixture"]


class BayesianGaussianMixture(PyroModule):
    """Mixture of ``K`` normals with diagonal covariances and a posterior over weights, means and scales.

    The posterior has ``K!`` equal copies, one for each naming of the components, and a chain stays in the one where it
    starts. So what is drawn, ``weights_free``, ``loc_free`` and ``scale_free``, are auxiliary sites; what is reported,
    ``weights``, ``loc`` and ``scale``, has the components sorted by their mean in the first column. These are draws
    under the prior of components named in that order, whose density is ``K!`` times the one above where the means are
    in order, and zero elsewhere; chains in any copy agree on them. (A constraint on the order while sampling gives the
    same posterior, but traps chains that start in the wrong one.) Put a column first in which the components differ;
    where they hardly do, their names mix.

    The prior of a scale vanishes at zero faster than any power, so no component can collapse onto tied rows.

    Sites: ``weights_free``, ``(K,)``, and ``weights``, its sorted form; in the plates ``"component"`` and ``"feature"``
    ``loc_free``, ``scale_free`` and their sorted forms ``loc``, ``scale``, ``(K, D)``; in the plate ``"row"`` ``z``,
    enumerated, and the observed ``x``.

    Args:
        features: ``D``, columns of ``x``.
        components: ``K``, components of the mixture.
        prior_scale: ``s``, prior standard deviation of a mean, in units of ``x``; a scale is a tenth of it, give or
            take a factor of 7. The default suits standardised columns and others of size one to some tens.

    Raises:
        OptionError: If a size is not a whole number in its range or ``prior_scale`` not positive.

    Example:
        >>> import torch
        >>> x = torch.randn(20, 2, generator=torch.Generator().manual_seed(0))
        >>> BayesianGaussianMixture(features=2, components=3).check(x)
    """

    def __init__(self, *, features: int, components: int = 2, prior_scale: float = 10.0) -> None:
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
        weights = pyro.sample("weights_free", dist.Dirichlet(x.new_ones(K)), infer={"is_auxiliary": True})
        with component, feature:
            loc = pyro.sample("loc_free", dist.Normal(x.new_zeros(()), s), infer={"is_auxiliary": True})
            prior = dist.LogNormal(x.new_full((), math.log(s / 10)), 1.0)
            scale = pyro.sample("scale_free", prior, infer={"is_auxiliary": True})
        order = loc[:, 0].argsort()
        weights = pyro.deterministic("weights", weights[order])
        with component, feature:
            loc, scale = pyro.deterministic("loc", loc[order]), pyro.deterministic("scale", scale[order])
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
