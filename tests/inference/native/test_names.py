"""In the body of a loop places and numbers come from tables; elsewhere they stand in the text."""

from __future__ import annotations

import torch

from ppzoo.inference.native.names import BodyNames, Names
from ppzoo.inference.native.schedule import Placement
from ppzoo.inference.native.values import Buffer, Slot

ONE, OTHER, SINGLE = Buffer(3, torch.float64), Buffer(2, torch.int64), Buffer(4, torch.float32)
DATA, NUMBER = Slot(torch.float64, torch.ones(5)), Slot(torch.float64, torch.ones(1))
PLACED = Placement({ONE: 4, OTHER: 7, SINGLE: 9}, set(), 11)


def test_places_are_numbers_in_the_text():
    names = Names(PLACED, {DATA: 0, NUMBER: 1})
    assert names.pointer(ONE) == "((D *)(a + 4))"
    assert names.pointer(OTHER, 1) == "((I *)(a + 8))"
    assert names.pointer(SINGLE, 3) == "(((F *)(a + 9)) + 3)"  # two of them lie in one double
    assert names.data(DATA, 2) == "(((const double *)d[0]) + 2)"
    assert names.start(NUMBER) == "((const double *)d[1])"
    assert names.literal("splat_d(2.5)") == "splat_d(2.5)"
    assert [names.temporary(buffer) for buffer in (ONE, OTHER, ONE)] == ["t0", "t1", "t0"]


def test_in_a_body_they_are_entries_of_its_row():
    names = BodyNames(PLACED, {DATA: 0, NUMBER: 1})
    texts = [names.pointer(ONE), names.pointer(ONE, 2), names.data(DATA, 3), names.pointer(ONE), names.data(NUMBER)]
    assert texts == [
        *("((D *)(a + o[0]))", "((D *)(a + o[1]))", "(((const double *)d[o[2]]) + o[3])"),
        *("((D *)(a + o[0]))", "((const double *)d[o[4]])"),
    ]
    assert names.places == [4, 6, 0, 3, 1]


def test_two_runs_over_other_buffers_have_one_text():
    """Also where in one of them two places are the same number by chance."""
    runs = []
    for placed, (first, second) in ((PLACED, (ONE, OTHER)), (Placement({ONE: 5, OTHER: 5}, set(), 9), (ONE, OTHER))):
        names = BodyNames(placed, {})
        runs.append((names.pointer(first), names.pointer(second)))
    assert runs[0] == runs[1]


def test_numbers_of_a_body_are_entries_but_for_those_that_simplify():
    names = BodyNames(PLACED, {})
    codes = ["splat_d(2.5)", "splat_f(-1e-07)", "splat_d(2.5)", "splat_d(0.0)", "splat_d(1.0)", "splat_i(7LL)"]
    texts = ["splat_d(v[0])", "splat_f(v[1])", "splat_d(v[2])", "splat_d(0.0)", "splat_d(1.0)", "splat_i(7LL)"]
    assert [names.literal(code) for code in [*codes, "splat_d(-INFINITY)"]] == [*texts, "splat_d(-INFINITY)"]
    assert names.values == [2.5, -1e-07, 2.5]
