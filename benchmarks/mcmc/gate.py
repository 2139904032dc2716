"""When a timing counts: the run has converged and agrees with the reference.

Vehtari et al., *Rank-normalization, folding, and localization*, 2021, https://doi.org/10.1214/20-BA1221, for R-hat and
effective sample sizes. Arrays are ``(P, C, S)``: the scalars of all sites, chains, draws.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from mcmc.run import Floats
from ppzoo.diagnostics.ess import ess_bulk, ess_tail, mcse_mean, mcse_sd
from ppzoo.diagnostics.rhat import lasting_rhat, rhat

__all__ = ["Figures", "flat", "judge", "moments"]

R_HAT = 1.01
ESS = 400
ERRORS = 4.0  # combined Monte Carlo standard errors: each scalar exceeds them in 6e-5 of right runs, twice
SDS = 0.05  # posterior sds, and of log sds: a small ESS cannot hide a bias. It needs some 10,000 effective draws
MANY = 32  # chains from which on short ones are judged by what lasts of their disagreement


@dataclass(frozen=True)
class Figures:
    """What a run is worth.

    Attributes:
        ess: The least of bulk and tail ESS of all scalars and their squares.
        r_hat: The greatest; of short chains the bound on what lasts.
        failures: One sentence for each check that failed.
    """

    ess: float
    r_hat: float
    failures: list[str]


def flat(draws: dict[str, Floats]) -> tuple[list[str], Floats]:
    """Names of all scalars, and their draws ``(P, C, S)``."""
    names, rows = [], []
    for site, value in draws.items():
        inner = value.shape[2:]
        names += [site + (f"[{','.join(map(str, i))}]" if inner else "") for i in np.ndindex(inner)]
        rows.append(np.moveaxis(value.reshape(*value.shape[:2], -1), -1, 0))
    return names, np.concatenate(rows)


def moments(draws: dict[str, Floats]) -> dict[str, Any]:
    """Means and sds of all scalars with their Monte Carlo standard errors, for a reference."""
    names, x = flat(draws)
    return {
        "names": names,
        "mean": x.mean((1, 2)).tolist(),
        "mean_error": mcse_mean(x).tolist(),
        "sd": x.std((1, 2), ddof=1).tolist(),
        "sd_error": mcse_sd(x).tolist(),
    }


def judge(draws: dict[str, Floats], divergent: float, reference: dict[str, Any] | None) -> Figures:
    """Hold a run against the gate.

    Args:
        draws: By site, ``(C, S, ...)``.
        divergent: Share of divergent draws beyond the declared one; anything above 0 fails.
        reference: What :func:`moments` gave for a long run; ``None`` while that run itself is judged.
    """
    names, x = flat(draws)
    if not np.isfinite(x).all():
        return Figures(0.0, float("nan"), ["some draws are not finite"])
    short = x.shape[1] >= MANY
    r_hat = np.fmin(rhat(x), lasting_rhat(x)) if short else rhat(x)
    bulk, tail = np.minimum(ess_bulk(x), ess_bulk(x**2)), np.minimum(ess_tail(x), ess_tail(x**2))
    checks = [
        (f"R-hat {{:.4f}} > {R_HAT}", r_hat, r_hat <= R_HAT),
        (f"bulk ESS {{:.0f}} < {ESS}", bulk, bulk >= ESS),
        (f"tail ESS {{:.0f}} < {ESS}", tail, tail >= ESS),
    ]
    if reference is not None:
        checks += _against(names, x, reference)
    failures = [
        f"{names[i]}: {text.format(values[i])}" for text, values, passes in checks for i in np.flatnonzero(~passes)
    ]  # a comparison with NaN is a failure
    if divergent > 0:
        failures.append(f"divergent draws beyond the declared share: {divergent:.2%}")
    return Figures(float(min(bulk.min(), tail.min())), float(r_hat.max()), failures)


def _against(names: list[str], x: Floats, reference: dict[str, Any]) -> list[tuple[str, Floats, Any]]:
    order = [reference["names"].index(name) for name in names]
    mean, mean_error, sd, sd_error = (
        np.array(reference[key])[order] for key in ("mean", "mean_error", "sd", "sd_error")
    )
    gap, spread = np.abs(x.mean((1, 2)) - mean), x.std((1, 2), ddof=1)
    mean_z = gap / np.hypot(mcse_mean(x), mean_error)
    sd_z = np.abs(spread - sd) / np.hypot(mcse_sd(x), sd_error)
    log_sd = np.abs(np.log(spread / sd))
    return [
        (f"mean {{:.1f}} standard errors off, more than {ERRORS:.0f}", mean_z, mean_z <= ERRORS),
        (f"sd {{:.1f}} standard errors off, more than {ERRORS:.0f}", sd_z, sd_z <= ERRORS),
        (f"mean {{:.3f}} sd off, more than {SDS}", gap / sd, gap <= SDS * sd),
        (f"log sd {{:.3f}} off, more than {SDS}", log_sd, log_sd <= SDS),
    ]
