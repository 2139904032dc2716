"""A verdict and the findings behind it: what is wrong, how we know, what to do."""

from __future__ import annotations

import html
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from ppzoo.checks import check_choice

__all__ = ["Diagnosis", "Finding", "Level", "Verdict", "json_number"]

Level = Literal["note", "caution", "reject"]
Verdict = Literal["trust", "caution", "reject"]

_SEVERITY: dict[str, int] = {"note": 0, "caution": 1, "reject": 2}
_COUNT = 1e9  # beyond it digits say nothing
_VERDICTS: tuple[Verdict, Verdict, Verdict] = ("trust", "caution", "reject")


@dataclass(frozen=True)
class Finding:
    """One thing that a diagnosis found.

    Args:
        level: ``"note"`` (good to know), ``"caution"`` (look before you use it), ``"reject"`` (do not use it).
        what: One sentence: what was found.
        evidence: The numbers that show it, with their threshold.
        remedy: What to do about it.

    Example:
        >>> print(Finding("caution", "one chain cannot show its convergence", "1 chain", "Run at least 4."))
        [caution] one chain cannot show its convergence: 1 chain. Run at least 4.
    """

    level: Level
    what: str
    evidence: str = ""
    remedy: str = ""

    def __post_init__(self) -> None:
        check_choice("level", self.level, _SEVERITY)

    def __str__(self) -> str:
        sentence = f"{self.what}: {self.evidence}" if self.evidence else self.what
        return f"[{self.level}] {sentence}." + (f" {self.remedy}" if self.remedy else "")

    def as_dict(self) -> dict[str, str]:
        """The finding as plain text fields, for ``--json``."""
        return {"level": self.level, "what": self.what, "evidence": self.evidence, "remedy": self.remedy}


@dataclass(frozen=True, repr=False)
class Diagnosis:
    """The findings about one fit, the numbers they rest on, and the verdict they add up to.

    Args:
        findings: What was found, in any order.
        numbers: The measured quantities by name, such as ``r_hat``; NaN where one could not be computed.

    Example:
        >>> diagnosis = Diagnosis((Finding("caution", "E-BFMI is low", "0.21 < 0.3"),), {"bfmi": 0.21})
        >>> diagnosis.verdict
        'caution'
        >>> Diagnosis().verdict
        'trust'
    """

    findings: tuple[Finding, ...] = ()
    numbers: Mapping[str, float] = field(default_factory=dict)

    @property
    def verdict(self) -> Verdict:
        """The worst level found; ``"trust"`` when there is nothing above a note."""
        worst = max((_SEVERITY[finding.level] for finding in self.findings), default=0)
        return _VERDICTS[worst]

    def __str__(self) -> str:
        ordered = sorted(self.findings, key=lambda finding: -_SEVERITY[finding.level])
        lines = [f"verdict: {self.verdict}", *(f"  {finding}" for finding in ordered)]
        if self.numbers:
            lines.append("  " + ", ".join(f"{name} {_shown(value)}" for name, value in self.numbers.items()))
        return "\n".join(lines)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        ordered = sorted(self.findings, key=lambda finding: -_SEVERITY[finding.level])
        items = "".join(f"<li>{html.escape(str(finding))}</li>" for finding in ordered)
        cells = "".join(
            f"<tr><th>{html.escape(name)}</th><td>{_shown(value)}</td></tr>" for name, value in self.numbers.items()
        )
        return f"<p><b>verdict: {self.verdict}</b></p><ul>{items}</ul><table>{cells}</table>"

    def as_dict(self) -> dict[str, object]:
        """The diagnosis as strict JSON values: NaN becomes ``None``, infinities ``"inf"`` and ``"-inf"``."""
        return {
            "verdict": self.verdict,
            "findings": [finding.as_dict() for finding in self.findings],
            "numbers": {name: json_number(value) for name, value in self.numbers.items()},
        }


def _shown(value: float) -> str:
    """Four digits; counts in full."""
    return f"{value:.0f}" if abs(value) < _COUNT and value == round(value) else f"{value:.4g}"


def json_number(value: float) -> float | str | None:
    """``value`` as strict JSON can hold it: NaN becomes ``None``, infinities ``"inf"`` and ``"-inf"``.

    Example:
        >>> json_number(float("nan")), json_number(float("-inf")), json_number(0.5)
        (None, '-inf', 0.5)
    """
    number = float(value)
    if math.isnan(number):
        return None
    return number if math.isfinite(number) else str(number)
