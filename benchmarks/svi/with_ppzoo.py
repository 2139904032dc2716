"""ppzoo: ``fit``, as a user would call it."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import torch
from mcmc.pyro_models import MODELS
from pyro.infer.autoguide import AutoIAFNormal, AutoNormal

import ppzoo
from ppzoo.inference.variational import trainers
from svi.problems import PIXELS, Problem, Settings, Trained

__all__ = ["train"]


def train(_: str, problem: Problem, settings: Settings, variant: str) -> Trained:
    """A fit; ``"compiled"``: by torch's compiler, as in a run long enough for it to pay; ``"16 replicas"``: so many."""
    data = {key: torch.from_numpy(x) for key, x in problem.data().items()}
    if problem.model:
        model: Any = MODELS[problem.model]
    else:
        model = ppzoo.create_model("vae", features=PIXELS, latents=problem.latents, hidden=(problem.hidden,))
    if variant == "compiled":
        trainers._TORCH_COMPILER = 0.0  # noqa: SLF001  # what it takes is measured here, not weighed
    began = time.perf_counter()
    fit = ppzoo.fit(
        model,
        data,
        method="svi",
        steps=settings.steps,
        batch_size=problem.batch,
        lr=problem.rate,
        schedule="constant",
        replicas=16 if variant == "16 replicas" else 1,
        guide=_guide(model, problem),
        seed=settings.seed,
        device=settings.device,
        progress=False,
    )
    total, steps = time.perf_counter() - began, fit.outcome.numbers["seconds_steps"]
    rows = max(len(x) for x in data.values())
    return Trained(total - steps, steps, (np.asarray(fit.losses) / rows).tolist(), list(fit.notes))


def _guide(model: Any, problem: Problem) -> Any:
    """Pyro's, which start where all others start: those by name would be near the end before the first step."""
    if problem.hidden:
        return None
    return AutoIAFNormal(model, hidden_dim=[problem.flow]) if problem.flow else AutoNormal(model)
