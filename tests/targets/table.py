"""The one table of targets with known answers: name to a factory that takes the folder of shared data.

A target is a plain Pyro program, its data and a reference: draws or moments made elsewhere, by another sampler from
another program. The folder mirrors no source file, for every sampler is held against it.

* ``target.py`` says what a target is; ``posteriordb.py`` and ``inference_gym.py`` read the two collections.
* The other files hold the programs, by family, each saying its equation first. Letters: N rows, K predictors or
  states, T steps, P scalars that are compared, D unconstrained dimensions.
* What proves a program right needs no sampler: ``scores.py`` holds its gradient against reference draws (two identities
  of every posterior), ``integration.py`` integrates the programs that have moments only.

Left out: ``mcycle_gp-accel_gp`` of posteriordb: its draws are not in the shared data, and nobody checked its program.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tests.targets.brownian import brownian_motion, brownian_motion_unknown_scales
from tests.targets.gaussian_process import gp_pois_regr
from tests.targets.german_credit import german_credit, german_credit_sparse
from tests.targets.hidden_markov import hmm_drive, hmm_example
from tests.targets.hierarchical import eight_schools
from tests.targets.item_response import item_response
from tests.targets.linear import LINEAR, kilpisjarvi_mod, sblrc
from tests.targets.pharmacokinetics import one_comp_mm_elim_abs
from tests.targets.radon import radon
from tests.targets.series import arK, garch11
from tests.targets.target import Target

_WITH_DRAWS: dict[str, Callable[[Path, str], Target]] = {
    **{name: row.target for name, row in LINEAR.items()},
    "sblrc-blr": sblrc,
    "kilpisjarvi_mod-kilpisjarvi": kilpisjarvi_mod,
    "eight_schools-eight_schools_noncentered": eight_schools,
    "arK-arK": arK,
    "garch-garch11": garch11,
    "gp_pois_regr-gp_pois_regr": gp_pois_regr,
    "hmm_example-hmm_example": hmm_example,
    "bball_drive_event_0-hmm_drive_0": hmm_drive,
    "one_comp_mm_elim_abs-one_comp_mm_elim_abs": one_comp_mm_elim_abs,
}

_WITH_MOMENTS: dict[str, Callable[[Path, str], Target]] = {
    "german_credit_numeric_logistic_regression": german_credit,
    "german_credit_numeric_sparse_logistic_regression": german_credit_sparse,
    "brownian_motion_missing_middle_observations": brownian_motion,
    "brownian_motion_unknown_scales_missing_middle_observations": brownian_motion_unknown_scales,
    "synthetic_item_response_theory": item_response,
    "radon_contextual_effects_minnesota": radon,
    "radon_contextual_effects_minnesota_halfnormal": radon,
    "radon_contextual_effects_indiana": radon,
    "radon_contextual_effects_indiana_halfnormal": radon,
}


def _bound(name: str, factory: Callable[[Path, str], Target]) -> Callable[[Path], Target]:
    def target(folder: Path) -> Target:
        return factory(folder, name)

    return target


POSTERIORDB = {name: _bound(name, factory) for name, factory in _WITH_DRAWS.items()}
INFERENCE_GYM = {name: _bound(name, factory) for name, factory in _WITH_MOMENTS.items()}
TARGETS = {**POSTERIORDB, **INFERENCE_GYM}
