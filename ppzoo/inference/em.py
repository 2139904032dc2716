r"""Expectation maximisation: :math:`\theta \leftarrow \arg\max_\theta \mathbb{E}_{p(z \mid x, \theta')} \log p(x, z)`.

The log likelihood never falls from one iteration to the next. Dempster, Laird and Rubin, *Maximum Likelihood from
Incomplete Data via the EM Algorithm*, 1977, https://doi.org/10.1111/j.2517-6161.1977.tb01600.x.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch

from ppzoo.checks import check_choice, check_integer, check_real
from ppzoo.diagnostics.diagnosis import Finding
from ppzoo.errors import FitError, ModelError
from ppzoo.inference.outcome import Outcome, Run
from ppzoo.inference.program import Pair, has_method
from ppzoo.progress import Progress

__all__ = ["EM"]


@dataclass(frozen=True, kw_only=True)
class EM:
    """Options of a fit by EM.

    Attributes:
        steps: Largest number of iterations.
        tolerance: Stop when the log likelihood per row rises by less, in nats.
        restarts: Independent starting points; the best end is kept.
        init: ``"data"`` draws each start from the data, ``"model"`` starts once, from the parameters as they are.
    """

    name: ClassVar[str] = "em"
    prefers_float64: ClassVar[bool] = True
    needs_guide: ClassVar[bool] = True
    resumable: ClassVar[bool] = False
    streams: ClassVar[bool] = False

    steps: int = 500
    tolerance: float = 1e-8
    restarts: int = 5
    init: str = "data"

    def __post_init__(self) -> None:
        check_integer("steps", self.steps)
        check_integer("restarts", self.restarts)
        check_real("tolerance", self.tolerance, at_least=0.0)
        check_choice("init", self.init, ("data", "model"))

    def check_model(self, model: object) -> None:
        """The model has an E step and an M step."""
        if not (has_method(model, "e_step") and has_method(model, "m_step")):
            raise ModelError(
                "has no E step and M step",
                argument="model",
                got=f"a {type(model).__name__}",
                expected="a model with e_step(*data) and m_step(statistics, *data), such as 'gmm'",
                remedy='Use method="svi".',
            )

    def run(self, pair: Pair, run: Run) -> Outcome:
        """Climb from each starting point; the parameters of the best end are kept."""
        pair.guide = pair.owner.guide
        pair.first_run()
        restarts = 1 if self.init == "model" else self.restarts
        best, best_state, converged = np.array([-math.inf]), pair.owner.state_dict(), False
        with Progress(restarts * self.steps, "em", run.progress, run.log) as progress:
            for _ in range(restarts):
                if self.init == "data":
                    pair.owner.initialise(*pair.data.args, **pair.data.kwargs)
                path, done = self._climb(pair, progress)
                if path[-1] > best[-1]:
                    best, converged = path, done
                    best_state = {name: value.clone() for name, value in pair.owner.state_dict().items()}
        if not math.isfinite(best[-1]):
            raise FitError("no start led to a finite log likelihood", got=f"{restarts} starts")
        pair.owner.load_state_dict(best_state)
        return Outcome(
            losses=-best,
            numbers={"log_likelihood": float(best[-1]), "iterations": float(len(best)), "converged": float(converged)},
            findings=() if converged else (_not_converged(self.steps),),
        )

    @torch.no_grad()
    def _climb(self, pair: Pair, progress: Progress) -> tuple[np.ndarray, bool]:
        path: list[float] = []
        rows = len(pair.data.args[0] if pair.data.args else next(iter(pair.data.kwargs.values())))
        for _ in range(self.steps):
            statistics, log_likelihood = pair.owner.e_step(*pair.data.args, **pair.data.kwargs)
            path.append(float(log_likelihood))
            progress.step({"log likelihood": path[-1]})
            if len(path) > 1 and path[-1] - path[-2] <= self.tolerance * rows:
                return np.asarray(path), True
            pair.owner.m_step(statistics, *pair.data.args, **pair.data.kwargs)
        return np.asarray(path), False


def _not_converged(steps: int) -> Finding:
    return Finding(
        "caution",
        "EM had not converged",
        f"the log likelihood still rose after {steps} iterations",
        "Raise steps, or ask for fewer components.",
    )
