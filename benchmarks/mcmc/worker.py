"""One run of one sampler in a process of its own: ``python -m mcmc.worker SPEC FOLDER``, from ``benchmarks``."""

from __future__ import annotations

import json
import sys
import time
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import numpy as np

from mcmc.posteriors import POSTERIORS
from mcmc.run import Settings
from mcmc.samplers import SAMPLERS


def main(spec: str, folder: Path) -> None:
    """Sample as the JSON ``{"model", "sampler", "settings"}`` says; leave ``draws.npz`` and ``run.json``."""
    wanted = json.loads(spec)
    sampler, settings = SAMPLERS[wanted["sampler"]], Settings(**wanted["settings"])
    began = time.perf_counter()
    module = import_module(f"mcmc.{sampler.module}")
    imported = time.perf_counter() - began
    drawn = module.sample(wanted["model"], POSTERIORS[wanted["model"]], replace(settings, method=sampler.method))
    np.savez(folder / "draws.npz", **drawn.draws)
    record = {key: value for key, value in vars(drawn).items() if key != "draws"} | {"import_seconds": imported}
    (folder / "run.json").write_text(json.dumps(record), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
