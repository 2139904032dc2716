"""The most memory that one fit takes, in a process of its own: ``python -m mcmc.footprint SPEC FOLDER``."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch

import ppzoo
from mcmc.posteriors import POSTERIORS
from mcmc.pyro_models import MODELS
from ppzoo.inference.keeping import Memory
from ppzoo.unfinished import Unfinished

__all__ = ["main", "peak"]

STATUS = Path("/proc/self/status")


def peak() -> float:
    """The most that this process has held so far, in MB of 1e6 bytes; what started it does not count."""
    line = next(line for line in STATUS.read_text(encoding="utf-8").splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024 / 1e6


def main(spec: str, folder: Path) -> None:
    """Fit as the JSON ``{"model", "rows", "chains", "draws", "warmup", "seed", "on_disk"}`` says.

    Of the data as many ``rows`` as wanted, the first ones again after the last; as they are, if none are.

    Leaves ``peak.json`` with the MB before the fit, when all draws were made and before any was read, and at its end.
    """
    wanted = json.loads(spec)
    data = POSTERIORS[wanted["model"]].data()
    if rows := wanted["rows"]:
        data = {name: np.resize(value, (rows, *value.shape[1:])) for name, value in data.items()}
    tensors = {name: torch.from_numpy(value) for name, value in data.items()}
    found = {"before": peak()}

    def noting(keeper: type) -> Any:
        take = keeper.take

        def noted(self: Any, name: str) -> Any:
            found.setdefault("sampled", peak())
            return take(self, name)

        return mock.patch.object(keeper, "take", noted)

    options = {name: wanted[name] for name in ("chains", "draws", "warmup", "seed")}
    run_dir = folder / "fit" if wanted["on_disk"] else None
    with noting(Memory), noting(Unfinished):
        ppzoo.fit(MODELS[wanted["model"]], tensors, method="nuts", progress=False, run_dir=run_dir, **options)
    found["whole"] = peak()
    (folder / "peak.json").write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
