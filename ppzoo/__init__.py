"""ppzoo: the probabilistic-programming model zoo on Pyro and PyTorch.

Declare a latent-variable model as plain Pyro, fit it by SVI and by MCMC, and learn whether to believe the answer::

    import ppzoo

    data = ppzoo.load_dataset("eight_schools")
    model = ppzoo.create_model("eight_schools")
    svi = ppzoo.fit(model, data, method="svi", seed=0)
    nuts = ppzoo.fit(model, data, method="nuts", chains=4, seed=0)
    print(ppzoo.compare({"svi": svi, "nuts": nuts}))

The names below are imported on first use, so that ``import ppzoo`` costs nothing beyond itself.
"""

from __future__ import annotations

import random
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ppzoo.calibrating import Calibration, calibrate
    from ppzoo.checking import SiteTable, check
    from ppzoo.comparison import Comparison, compare
    from ppzoo.datasets import list_datasets, load_dataset
    from ppzoo.datasets.record import Dataset
    from ppzoo.diagnostics.diagnosis import Diagnosis, Finding
    from ppzoo.errors import (
        DataError,
        FitError,
        ModelError,
        NotFittedError,
        OptionError,
        PPZooError,
        StorageError,
    )
    from ppzoo.fitting import fit
    from ppzoo.inference.adversarial import Adversarial
    from ppzoo.inference.approximate.approximations import MAP, Laplace, Pathfinder
    from ppzoo.inference.approximate.importance import Importance
    from ppzoo.inference.em import EM
    from ppzoo.inference.exact import Exact
    from ppzoo.inference.mcmc.pyro_nuts import PyroNUTS
    from ppzoo.inference.mcmc.samplers import HMC, MAMS, NUTS, ChEES
    from ppzoo.inference.variational.svi import SVI
    from ppzoo.result import Fit
    from ppzoo.saving import load
    from ppzoo.zoo import Card, create_model, list_models, model_card

__version__ = "0.1.0"

_HOMES = {
    "Adversarial": "ppzoo.inference.adversarial",
    "Calibration": "ppzoo.calibrating",
    "Card": "ppzoo.zoo",
    "ChEES": "ppzoo.inference.mcmc.samplers",
    "Comparison": "ppzoo.comparison",
    "DataError": "ppzoo.errors",
    "Dataset": "ppzoo.datasets.record",
    "Diagnosis": "ppzoo.diagnostics.diagnosis",
    "EM": "ppzoo.inference.em",
    "Exact": "ppzoo.inference.exact",
    "Finding": "ppzoo.diagnostics.diagnosis",
    "Fit": "ppzoo.result",
    "FitError": "ppzoo.errors",
    "HMC": "ppzoo.inference.mcmc.samplers",
    "Importance": "ppzoo.inference.approximate.importance",
    "Laplace": "ppzoo.inference.approximate.approximations",
    "MAMS": "ppzoo.inference.mcmc.samplers",
    "MAP": "ppzoo.inference.approximate.approximations",
    "ModelError": "ppzoo.errors",
    "NUTS": "ppzoo.inference.mcmc.samplers",
    "NotFittedError": "ppzoo.errors",
    "OptionError": "ppzoo.errors",
    "PPZooError": "ppzoo.errors",
    "Pathfinder": "ppzoo.inference.approximate.approximations",
    "PyroNUTS": "ppzoo.inference.mcmc.pyro_nuts",
    "SVI": "ppzoo.inference.variational.svi",
    "SiteTable": "ppzoo.checking",
    "StorageError": "ppzoo.errors",
    "calibrate": "ppzoo.calibrating",
    "check": "ppzoo.checking",
    "compare": "ppzoo.comparison",
    "create_model": "ppzoo.zoo",
    "fit": "ppzoo.fitting",
    "list_datasets": "ppzoo.datasets",
    "list_models": "ppzoo.zoo",
    "load": "ppzoo.saving",
    "load_dataset": "ppzoo.datasets",
    "model_card": "ppzoo.zoo",
}

__all__ = [  # noqa: RUF022  # grouped by what a reader looks for
    "fit", "compare", "calibrate", "check", "load",
    "create_model", "list_models", "model_card", "load_dataset", "list_datasets",
    "SVI", "NUTS", "HMC", "MAMS", "ChEES", "PyroNUTS", "MAP", "Laplace", "Pathfinder", "Importance",
    "Exact", "EM", "Adversarial",
    "Fit", "Comparison", "Calibration", "Diagnosis", "Finding", "SiteTable", "Card", "Dataset",
    "PPZooError", "DataError", "OptionError", "ModelError", "NotFittedError", "FitError", "StorageError",
]  # fmt: skip


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'ppzoo' has no attribute {name!r}")
    state = random.getstate()  # an import must not cost a number: rich draws one for its own use
    try:
        return getattr(import_module(_HOMES[name]), name)
    finally:
        random.setstate(state)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
