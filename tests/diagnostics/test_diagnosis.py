"""Verdicts are the worst level found; everything shown is escaped; JSON is strict."""

from __future__ import annotations

import json
import math

import pytest

from ppzoo.diagnostics.diagnosis import Diagnosis, Finding, json_number
from ppzoo.errors import OptionError


@pytest.mark.parametrize(
    ("levels", "verdict"),
    [
        ((), "trust"),
        (("note", "note"), "trust"),
        (("note", "caution"), "caution"),
        (("reject", "caution", "note"), "reject"),
    ],
)
def test_the_verdict_is_the_worst_level(levels, verdict):
    assert Diagnosis(tuple(Finding(level, "found") for level in levels)).verdict == verdict


def test_an_unknown_level_is_refused():
    with pytest.raises(OptionError, match="level: not one of the known names"):
        Finding("warning", "found")


def test_text_shows_the_worst_first_with_evidence_and_remedy():
    diagnosis = Diagnosis((Finding("note", "minor"), Finding("reject", "major", "1.2 > 1.01", "Run longer.")))
    assert str(diagnosis).splitlines() == [
        "verdict: reject",
        "  [reject] major: 1.2 > 1.01. Run longer.",
        "  [note] minor.",
    ]


def test_html_is_escaped():
    diagnosis = Diagnosis((Finding("caution", "<script>alert(1)</script>", "a & b"),), {"<b>": 1.0})
    shown = diagnosis._repr_html_()
    assert "<script>" not in shown
    assert "&lt;script&gt;" in shown
    assert "<b>1" not in shown
    assert "&lt;b&gt;" in shown


def test_json_is_strict():
    diagnosis = Diagnosis((), {"nan": math.nan, "inf": math.inf, "minus": -math.inf, "half": 0.5})
    text = json.dumps(diagnosis.as_dict(), allow_nan=False)
    assert json.loads(text)["numbers"] == {"nan": None, "inf": "inf", "minus": "-inf", "half": 0.5}
    assert json_number(3) == 3.0


def test_counts_are_shown_in_full_and_other_numbers_by_four_digits():
    numbers = {"draws": 64_000.0, "k_hat": 0.123456, "inf": float("inf"), "nan": float("nan"), "large": 2e12}
    text = "draws 64000, k_hat 0.1235, inf inf, nan nan, large 2e+12"
    assert text in str(Diagnosis((), numbers))
    assert "<td>64000</td>" in Diagnosis((), numbers)._repr_html_()
