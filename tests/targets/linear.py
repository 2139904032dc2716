"""Linear regressions of posteriordb: N rows, K predictors with the intercept first where there is one.

    y ~ N(X beta, sigma)

Each row of :data:`LINEAR` is a program, the response, and the predictors after the intercept; the data are those of
Gelman and Hill, *Data Analysis Using Regression and Multilevel/Hierarchical Models*, 2006.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor

from tests.targets import posteriordb
from tests.targets.target import Target

Columns = dict[str, Tensor]


def flat(X: Tensor, y: Tensor) -> None:
    """beta and sigma flat."""
    sigma = pyro.sample("sigma", dist.ImproperUniform(dist.constraints.positive, (), ()))
    _regress(X, y, sigma)


def half_cauchy(X: Tensor, y: Tensor) -> None:
    """Beta flat, sigma ~ HalfCauchy(2.5)."""
    sigma = pyro.sample("sigma", dist.HalfCauchy(2.5))
    _regress(X, y, sigma)


def _regress(X: Tensor, y: Tensor, sigma: Tensor) -> None:
    beta = pyro.sample("beta", dist.ImproperUniform(dist.constraints.real_vector, (), (X.shape[1],)))
    with pyro.plate("row", len(y)):
        pyro.sample("y", dist.Normal(X @ beta, sigma), obs=y)


def normal(X: Tensor, y: Tensor) -> None:
    """beta ~ N(0, 10), sigma ~ HalfNormal(10)."""
    beta = pyro.sample("beta", dist.Normal(0.0, 10.0).expand([X.shape[1]]).to_event(1))
    sigma = pyro.sample("sigma", dist.HalfNormal(10.0))
    with pyro.plate("row", len(y)):
        pyro.sample("y", dist.Normal(X @ beta, sigma), obs=y)


def kilpisjarvi(x: Tensor, y: Tensor, alpha_prior: Tensor, beta_prior: Tensor) -> None:
    """Temperature by year, not centred: alpha ~ N(alpha_prior), beta ~ N(beta_prior), sigma flat; a long ridge."""
    alpha = pyro.sample("alpha", dist.Normal(alpha_prior[0], alpha_prior[1]))
    beta = pyro.sample("beta", dist.Normal(beta_prior[0], beta_prior[1]))
    sigma = pyro.sample("sigma", dist.ImproperUniform(dist.constraints.positive, (), ()))
    with pyro.plate("row", len(y)):
        pyro.sample("y", dist.Normal(alpha + beta * x, sigma), obs=y)


@dataclass(frozen=True)
class Linear:
    """One regression: a program, its response, its predictors after the intercept."""

    model: Callable[..., None]
    response: Callable[[Columns], Tensor]
    predictors: Callable[[Columns], tuple[Tensor, ...]]

    def target(self, folder: Path, name: str) -> Target:
        """The target of that name."""
        c = posteriordb.columns(folder, name)
        y = self.response(c)
        X = torch.stack((torch.ones_like(y), *self.predictors(c)), -1)
        return posteriordb.target(folder, name, self.model, {"X": X, "y": y})


def sblrc(folder: Path, name: str) -> Target:
    """Simulated data with correlated predictors, no intercept."""
    c = posteriordb.columns(folder, name)
    return posteriordb.target(folder, name, normal, {"X": c["X"], "y": c["y"]})


def kilpisjarvi_mod(folder: Path, name: str) -> Target:
    """Summer temperatures of Kilpisjärvi."""
    c = posteriordb.columns(folder, name)
    priors = {f"{p}_prior": torch.stack((c[f"pmu{p}"], c[f"ps{p}"])) for p in ("alpha", "beta")}
    return posteriordb.target(folder, name, kilpisjarvi, {"x": c["x"], "y": c["y"], **priors})


def _centred(x: Tensor) -> Tensor:
    return x - x.mean()


def _by_two_sds(x: Tensor) -> Tensor:
    return _centred(x) / (2 * x.std())


def _with_product(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    return a, b, a * b


def _levels(x: Tensor, *levels: int) -> tuple[Tensor, ...]:
    return tuple((x == level).to(x) for level in levels)


def _score(c: Columns) -> Tensor:
    return c["kid_score"]


_KIDIQ = {
    "kidiq-kidscore_momhs": Linear(half_cauchy, _score, lambda c: (c["mom_hs"],)),
    "kidiq-kidscore_momiq": Linear(half_cauchy, _score, lambda c: (c["mom_iq"],)),
    "kidiq-kidscore_interaction": Linear(half_cauchy, _score, lambda c: _with_product(c["mom_hs"], c["mom_iq"])),
    "kidiq_with_mom_work-kidscore_interaction_c": Linear(
        flat, _score, lambda c: _with_product(_centred(c["mom_hs"]), _centred(c["mom_iq"]))
    ),
    "kidiq_with_mom_work-kidscore_interaction_c2": Linear(
        flat, _score, lambda c: _with_product(c["mom_hs"] - 0.5, c["mom_iq"] - 100)
    ),
    "kidiq_with_mom_work-kidscore_interaction_z": Linear(
        flat, _score, lambda c: _with_product(_by_two_sds(c["mom_hs"]), _by_two_sds(c["mom_iq"]))
    ),
    "kidiq_with_mom_work-kidscore_mom_work": Linear(flat, _score, lambda c: _levels(c["mom_work"], 2, 3, 4)),
}


def _log_earn(c: Columns) -> Tensor:
    return c["earn"].log()


_EARNINGS = {
    "earnings-earn_height": Linear(flat, lambda c: c["earn"], lambda c: (c["height"],)),
    "earnings-logearn_height": Linear(flat, _log_earn, lambda c: (c["height"],)),
    "earnings-log10earn_height": Linear(flat, lambda c: c["earn"].log10(), lambda c: (c["height"],)),
    "earnings-logearn_height_male": Linear(flat, _log_earn, lambda c: (c["height"], c["male"])),
    "earnings-logearn_logheight_male": Linear(flat, _log_earn, lambda c: (c["height"].log(), c["male"])),
    "earnings-logearn_interaction_z": Linear(
        flat, _log_earn, lambda c: _with_product(_centred(c["height"]) / c["height"].std(), c["male"])
    ),
}


def _log_weight(c: Columns) -> Tensor:
    return c["weight"].log()


def _area(c: Columns) -> Tensor:
    return c["diam1"] * c["diam2"]


def _volume(c: Columns) -> Tensor:
    return _area(c) * c["canopy_height"]


def _sizes(c: Columns) -> tuple[Tensor, ...]:
    return tuple(c[name] for name in ("diam1", "diam2", "canopy_height", "total_height", "density"))


_MESQUITE = {
    "mesquite-mesquite": Linear(flat, lambda c: c["weight"], lambda c: (*_sizes(c), c["group"])),
    "mesquite-logmesquite": Linear(flat, _log_weight, lambda c: (*(x.log() for x in _sizes(c)), c["group"])),
    "mesquite-logmesquite_logvolume": Linear(flat, _log_weight, lambda c: (_volume(c).log(),)),
    "mesquite-logmesquite_logva": Linear(flat, _log_weight, lambda c: (_volume(c).log(), _area(c).log(), c["group"])),
    "mesquite-logmesquite_logvas": Linear(
        flat,
        _log_weight,
        lambda c: (
            _volume(c).log(),
            _area(c).log(),
            (c["diam1"] / c["diam2"]).log(),
            c["total_height"].log(),
            c["density"].log(),
            c["group"],
        ),
    ),
}

_NES = {
    f"nes{year}-nes": Linear(
        flat,
        lambda c: c["partyid7"],
        lambda c: (
            c["real_ideo"],
            c["race_adj"],
            *_levels(c["age_discrete"], 2, 3, 4),
            c["educ1"],
            c["gender"],
            c["income"],
        ),
    )
    for year in (1972, 1976, 1980, 1984, 1988, 1992, 2000)
}

LINEAR = {**_KIDIQ, **_EARNINGS, **_MESQUITE, **_NES}
