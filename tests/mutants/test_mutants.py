"""The list of planted bugs fits the source, and the record says that all were caught; planting them takes minutes."""

from __future__ import annotations

import ast

import pytest

from tests.mutants.mutants import MUTANTS
from tests.mutants.record import TABLE, read, table
from tests.mutants.running import ROOT, planted


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_bug_can_be_planted_and_its_tests_are_there(mutant):
    text = planted(mutant, (ROOT / "ppzoo" / mutant.file).read_text(encoding="utf-8"))
    assert mutant.source != mutant.planted
    if mutant.file.endswith(".py"):
        ast.parse(text)
    for test in mutant.tests:
        name, _, function = test.partition("::")
        tests = (ROOT / "tests" / name).read_text(encoding="utf-8")
        assert f"def {function.partition('[')[0]}(" in tests if function else "\ndef test_" in tests


def test_names_are_unique_and_none_is_only_for_the_reference_tests_without_need():
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS) >= 36
    assert all(test.startswith("reference/") == mutant.reference for mutant in MUTANTS for test in mutant.tests)


def test_the_record_is_of_these_bugs_and_all_were_caught():
    rows = read()
    assert list(rows) == [mutant.name for mutant in MUTANTS], "python -m tests.mutants writes it"
    assert [name for name, row in rows.items() if row["caught_by"] is None] == []
    files = {mutant.name: {test.partition("::")[0] for test in mutant.tests} for mutant in MUTANTS}
    assert [name for name, row in rows.items() if row["caught_by"].partition("::")[0] not in files[name]] == []
    assert TABLE.read_text(encoding="utf-8") == table(rows)
