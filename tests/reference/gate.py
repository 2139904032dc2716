"""When a sampler has found a posterior: the gate that every reference run passes before its figures are quoted."""

from __future__ import annotations

import numpy as np

from ppzoo.diagnostics.arviz import mcmc_numbers
from tests.targets.target import TAILS, Array, Reference, summarised

R_HAT = 1.01
ESS = 400
ERRORS = 4.0  # combined Monte Carlo standard errors
SDS = 0.05  # posterior sds, so that few effective draws cannot hide a bias
LOG_SD = 0.05


def gate(draws: Array, reference: Reference) -> list[str]:
    """What speaks against draws of a posterior; nothing for a run that passes.

    R-hat at most 1.01, bulk and tail ESS at least 400; means within 4 combined standard errors of the reference and
    within 0.05 sd; log sds within 0.05; 5 % and 95 % quantiles within 4 combined standard errors where there are some.
    (Vehtari et al., 2021, https://doi.org/10.1214/20-BA1221, for the first two.)

    The ceiling of 0.05 sd needs some 10,000 effective draws, or Monte Carlo error alone breaks it. Four standard
    errors are exceeded in 6e-5 of the comparisons of a right sampler, three for each scalar.

    Args:
        draws: ``(chain, draw, P)``.
        reference: Of the same P scalars.

    Returns:
        One sentence for each failure.
    """
    ours = summarised(draws, reference.names)
    measured = mcmc_numbers(np.moveaxis(draws, -1, 0))
    gap = np.abs(ours.mean - reference.mean)
    errors = gap / np.hypot(ours.mean_error, reference.mean_error)
    spread = np.abs(np.log(ours.sd / reference.sd))
    checks = [
        (f"R-hat {{:.4f}} > {R_HAT}", measured["r_hat"], measured["r_hat"] <= R_HAT),
        (f"bulk ESS {{:.0f}} < {ESS}", measured["ess_bulk"], measured["ess_bulk"] >= ESS),
        (f"tail ESS {{:.0f}} < {ESS}", measured["ess_tail"], measured["ess_tail"] >= ESS),
        (f"mean {{:.1f}} standard errors off, more than {ERRORS:.0f}", errors, errors <= ERRORS),
        (f"mean {{:.3f}} sd off, more than {SDS}", gap / reference.sd, gap <= SDS * reference.sd),
        (f"log sd {{:.3f}} off, more than {LOG_SD}", spread, spread <= LOG_SD),
    ]
    if reference.quantiles is not None and ours.quantiles is not None:
        z = np.abs(ours.quantiles.value - reference.quantiles.value)
        z /= np.hypot(ours.quantiles.error, reference.quantiles.error)
        for prob, column in zip(TAILS, z.T, strict=True):
            text = f"{prob:.0%} quantile {{:.1f}} standard errors off, more than {ERRORS:.0f}"
            checks.append((text, column, column <= ERRORS))
    return [
        f"{reference.names[i]}: {text.format(values[i])}"
        for text, values, passes in checks
        for i in np.flatnonzero(~passes)  # a comparison with NaN is a failure
    ]
