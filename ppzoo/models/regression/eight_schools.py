"""Eight schools: effects of coaching in parallel experiments, partially pooled.

    mu ~ N(0, 5),  tau ~ HalfCauchy(5),  theta_j ~ N(mu, tau),  y_j ~ N(theta_j, sigma_j)

D. B. Rubin (1981), "Estimation in parallel randomized experiments", https://doi.org/10.3102/10769986006004377; priors
as in posteriordb, https://github.com/stan-dev/posteriordb.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyro
import pyro.distributions as dist
from pyro.nn import PyroModule

from ppzoo.checks import check_flag, check_positive, check_rows, check_vector

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["EightSchools"]


class EightSchools(PyroModule):
    """Hierarchical normal model of J effects, each measured once with a known standard error.

    The non-centred form draws ``z_j ~ N(0, 1)`` and sets ``theta_j = mu + tau z_j``; the posterior of ``mu``, ``tau``
    and ``theta`` is the same, without the funnel that stops a sampler in the centred form (Papaspiliopoulos et al.,
    2007, https://doi.org/10.1214/088342307000000014). ``z`` is what posteriordb calls ``theta_trans``.

    Sites: ``mu``, ``tau``; in the plate ``"school"`` ``theta`` (a deterministic site of ``z`` when non-centred) and
    the observed ``y``.

    Args:
        centred: Draw ``theta`` itself in place of the standardised ``z``.

    Raises:
        OptionError: If ``centred`` is not a bool.

    Example:
        >>> import torch
        >>> EightSchools().check(y=torch.tensor([28.0, 8.0]), sigma=torch.tensor([15.0, -10.0]))
        Traceback (most recent call last):
        ppzoo.errors.DataError: sigma: must be positive; got -10 at index (1,) (1 such); expected values > 0. ...
    """

    def __init__(self, *, centred: bool = False) -> None:
        super().__init__()
        self.centred = check_flag("centred", centred)

    def model(self, y: Tensor, sigma: Tensor) -> Tensor:
        """Draw the population, the effect of each school and its estimate.

        Args:
            y: Estimated effect of each school, ``(J,)``.
            sigma: Its standard error, ``(J,)``.

        Returns:
            The effects ``theta``, ``(J,)``.
        """
        zero = y.new_zeros(())
        mu = pyro.sample("mu", dist.Normal(zero, 5.0))
        tau = pyro.sample("tau", dist.HalfCauchy(zero + 5.0))
        with pyro.plate("school", len(y)):
            if self.centred:
                theta = pyro.sample("theta", dist.Normal(mu, tau))
            else:
                z = pyro.sample("z", dist.Normal(zero, 1.0))
                theta = pyro.deterministic("theta", mu + tau * z)
            pyro.sample("y", dist.Normal(theta, sigma), obs=y)
        return theta

    def check(self, y: Tensor, sigma: Tensor) -> None:
        """Two schools or more, a positive standard error for each.

        Raises:
            DataError: If the vectors differ in length, hold fewer than two schools, or an error is not positive.
        """
        check_vector("y", y)
        check_rows("y", y, minimum=2, why="for the spread between schools to mean anything")
        check_vector("sigma", sigma, length=len(y), like="y")
        check_positive("sigma", sigma)
