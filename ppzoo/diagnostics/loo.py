r"""Leave-one-out predictive density by importance sampling, from draws of the posterior or of an approximation to it.

.. math:: \mathrm{elpd} = \sum_n \log p(y_n \mid y_{-n}), \qquad
          p(y_n \mid y_{-n}) \approx \frac{\sum_s w_{ns}\, p(y_n \mid z_s)}{\sum_s w_{ns}}, \qquad
          w_{ns} = \frac{1}{p(y_n \mid z_s)} \frac{p(y, z_s)}{q(z_s)}

with Pareto-smoothed weights; the second factor is one where the draws are the posterior's. Vehtari, Gelman and Gabry,
*Practical Bayesian Model Evaluation Using Leave-One-Out Cross-Validation and WAIC*, 2017,
https://arxiv.org/abs/1507.04544; Magnusson, Andersen, Jonasson and Vehtari, *Bayesian Leave-One-Out Cross-Validation
for Large Data*, 2019, https://proceedings.mlr.press/v97/magnusson19a.html.
"""

from __future__ import annotations

import warnings
from typing import Any

import arviz_stats
import numpy as np
import xarray as xr
from arviz_stats.utils import ELPDData
from numpy.typing import NDArray

from ppzoo.errors import ModelError, OptionError

__all__ = ["leave_one_out"]

_stats: Any = arviz_stats  # untyped


def leave_one_out(
    tree: xr.DataTree, *, var_name: str | None = None, log_weights: NDArray[np.float64] | None = None
) -> ELPDData:
    """PSIS-LOO of the draws in a tree, with the density and the k-hat of each observation.

    Args:
        tree: With groups ``posterior`` and ``log_likelihood``, both ``(chain, draw, ...)``.
        var_name: The observed site; needed where there are several.
        log_weights: ``log p(x, z) - log q(z)`` of the draws, in nats, ``(S,)``, where they are an approximation's.

    Returns:
        ``elpd`` and its standard error ``se``, the effective number of parameters ``p``, and ``elpd_i`` and
        ``pareto_k`` of each observation. Where a k-hat is above ``good_k``, the observation's density is not known.

    Raises:
        ModelError: The tree has no pointwise likelihood.
        OptionError: ``var_name`` is no observed site, or there are several and none is named.
    """
    sites = [str(name) for name in tree["log_likelihood"].data_vars] if "log_likelihood" in tree.children else []
    if not sites:
        raise ModelError(
            "has no likelihood of each observation",
            argument="fit",
            got="no observed site whose likelihood is known row by row",
            expected="a site with obs=, inside a plate over the rows",
        )
    if var_name not in sites and (var_name is not None or len(sites) > 1):
        raise OptionError(
            "is not an observed site" if var_name is not None else "must say which observed site is meant",
            argument="var_name",
            got=repr(var_name),
            expected=" or ".join(map(repr, sites)),
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that a k-hat is large: the result says so for each observation
        if log_weights is None:
            found: ELPDData = _stats.loo(tree, var_name=var_name, pointwise=True)
        else:  # only the difference of the two densities matters
            two = {"log_p": log_weights, "log_q": np.zeros_like(log_weights)}
            found = _stats.loo_approximate_posterior(tree, **two, var_name=var_name, pointwise=True)
    return found
