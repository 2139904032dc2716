"""The closed form: parameters at their optimum, the guide the exact posterior, the log evidence a number."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ppzoo.errors import ModelError
from ppzoo.inference.outcome import Outcome, Run
from ppzoo.inference.program import Pair, has_method

__all__ = ["Exact"]


@dataclass(frozen=True, kw_only=True)
class Exact:
    """A fit in closed form; it has no options."""

    name: ClassVar[str] = "exact"
    prefers_float64: ClassVar[bool] = True
    needs_guide: ClassVar[bool] = True
    resumable: ClassVar[bool] = False
    streams: ClassVar[bool] = False

    def check_model(self, model: object) -> None:
        """The model knows its closed form."""
        if not has_method(model, "solve"):
            raise ModelError(
                "has no closed-form answer",
                argument="model",
                got=f"a {type(model).__name__}",
                expected="a model with solve(*data), such as 'ppca' or 'linear_regression'",
                remedy='Use method="svi" or method="nuts".',
            )

    def run(self, pair: Pair, run: Run) -> Outcome:
        """Solve; draws then come from the guide, which is the exact posterior."""
        pair.guide = pair.owner.guide
        pair.first_run()
        log_evidence = pair.owner.solve(*pair.data.args, **pair.data.kwargs)
        return Outcome(numbers={"log_evidence": float(log_evidence)})
