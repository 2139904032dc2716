"""The printed comparison: estimates with the digits they are worth, blanks where a number has no meaning."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from ppzoo.report.side_by_side import as_html, as_rich, as_text, shown_first

ESTIMATES = {"mean": 4.41712, "sd": 3.0, "q5": -1.23, "q25": 2.0, "q50": 4.4, "q75": 6.0, "q95": 9.6}
ERRORS = {"mcse_mean": 0.031, "mcse_sd": 0.02}
GAPS = ("gap_mcse", "gap_sd", "sd_ratio", "wasserstein")
CHAINS = ("r_hat", "ess_bulk", "ess_tail", "ess_per_second")


def comparison_of(parameters=("mu",), gaps=(0.25,)):
    rows = {}
    for name, gap in zip(parameters, gaps, strict=True):
        rows[name, "svi"] = ESTIMATES | ERRORS | dict(zip(GAPS, (-0.01, gap, 0.8, 0.3), strict=True))
        rows[name, "nuts"] = ESTIMATES | ERRORS | dict(zip(CHAINS, (1.0042, 812.3, 700.0, 400.0), strict=True))
    table = pd.DataFrame.from_dict(rows, orient="index")
    table.index = pd.MultiIndex.from_tuples(rows, names=["parameter", "fit"])
    numbers = {"r_hat": 1.0042, "ess_bulk": 812.3, "ess_tail": 700.0, "divergences": 3.0, "ess_per_second": 406.0}
    methods = pd.DataFrame.from_dict(
        {
            "svi": {"method": "svi", "verdict": "trust", "k_hat": 0.31, "seconds": 1.0},
            "nuts": {"method": "nuts", "verdict": "caution", "seconds": 2.0, **numbers},
        },
        orient="index",
    )
    return SimpleNamespace(
        table=table, methods=methods, reference="nuts", verdict="caution", sentence="Nearly.", not_shared=()
    )


def test_text():
    lines = as_text(comparison_of()).splitlines()
    svi, nuts = lines[1].split(), lines[2].split()
    assert svi == ["mu", "svi", "4.42", "±", "0.03", "3.00", "-1.23", "4.40", "9.60", "0.0", "0.25", "0.80", "0.30"]
    assert nuts == ["nuts", "4.42", "±", "0.03", "3.00", "-1.23", "4.40", "9.60", "1.004", "812"]
    assert lines[5].split() == ["svi", "svi", "trust", "0.31", "1.0"]
    assert lines[6].split() == ["nuts", "(reference)", "nuts", "caution", "1.004", "700", "406", "3", "2.0"]
    assert lines[-1] == "verdict: caution. Nearly."


def test_html_has_every_row():
    assert as_html(comparison_of()).count("<tr>") == 1 + 2 + 1 + 2


@pytest.mark.parametrize(("width", "parts"), [(200, 4), (60, 6)])
def test_a_narrow_terminal_gets_the_table_in_halves(width, parts):
    assert len(list(as_rich(comparison_of(), width))) == parts


def test_the_worst_come_first_only_where_not_all_are_shown():
    few = comparison_of(("a", "b"), (0.1, 0.9))
    assert shown_first(few.table) == ["a", "b"]
    names = [f"z[{i}]" for i in range(50)]
    many = comparison_of(names, np.arange(50) / 10)
    assert shown_first(many.table)[:2] == ["z[49]", "z[48]"]
    assert "40 of 50 parameters are shown" in as_text(many)


def test_what_is_not_shared_is_named():
    comparison = comparison_of()
    comparison.not_shared = tuple("abcdefg")
    assert "not compared: a, b, c, d, e and 2 more." in as_text(comparison)
