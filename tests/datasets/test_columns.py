"""Notes on a table: each is there when its table asks for it, and no built-in table is told what is not so."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from ppzoo.datasets import list_datasets, load_dataset  # noqa: E402  # needs torch
from ppzoo.datasets.arguments import arguments_for  # noqa: E402
from ppzoo.datasets.columns import table_notes  # noqa: E402

X = torch.randn(50, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
NAMES = ("a", "b", "c", "d", "e")


def more(column: torch.Tensor) -> torch.Tensor:
    return torch.cat([X, column.reshape(-1, 1)], dim=1)


@pytest.mark.parametrize(
    ("x", "note"),
    [
        (X[:1], "x: one row: "),
        (X[:3], "x: fewer rows (3) than columns (4): "),
        (more(torch.ones(50)), "x: column 'e' is constant: it tells a model nothing"),
        (torch.cat([X[:, :3], torch.ones(50, 2)], 1), "x: 2 columns are constant ('d', 'e'): they tell"),
        (more(X[:, 1]), "x: column 'e' is a copy or a linear combination of the columns before"),
        (more(3 - 2 * X[:, 1]), "x: column 'e' is a copy"),
        (more(1e6 * X.sum(1)), "x: column 'e' is a copy"),
        (more(X.sum(1)).float(), "x: column 'e' is a copy"),
        (torch.cat([X[:, :3], X[:, :2]], 1), "x: 2 columns are a copy or a linear combination ('d', 'e') of"),
        (torch.eye(3, dtype=torch.int64).repeat(5, 1), "x: column 'c' is a copy"),  # dummies of all three levels
        (
            torch.arange(12).reshape(6, 2) * (torch.arange(6) != 2)[:, None],
            "x: 1 of 6 rows hold zeros only, the first at row 2",
        ),
    ],
)
def test_a_table_that_stands_out_is_noted(x: torch.Tensor, note: str):
    assert [found for found in table_notes("x", x, NAMES[: x.shape[1]]) if found.startswith(note)]


@pytest.mark.parametrize(
    "x",
    [
        X,
        X.float() * 1e-12,
        more(X[:, 1] + 1e-9 * X[:, 0].square()),  # close is not equal
        1e6 + X,
        X[:, 0],
        torch.zeros(0, 3),
        torch.tensor(2.0),
        (X > 0).to(torch.int64),
    ],
)
def test_other_data_have_none(x: torch.Tensor):
    assert [note for note in table_notes("x", x) if "zeros only" not in note] == []


def test_the_columns_that_are_counted_are_numbered_where_they_have_no_names():
    assert table_notes("x", torch.cat([X[:, :1], torch.ones(50, 7)], 1)) == [
        "x: 7 columns are constant (1, 2, 3, 4, 5 ...): they tell a model nothing"
    ]


def test_a_table_too_large_to_look_at_is_left_alone(monkeypatch):
    monkeypatch.setattr("ppzoo.datasets.columns._WORK", 50 * 5**2 - 1)
    assert table_notes("x", more(X[:, 1])) == []


@pytest.mark.parametrize("name", list_datasets())
def test_of_the_built_in_tables_only_digits_has_blank_pixels(name: str):
    notes = arguments_for(lambda **data: None, dict(load_dataset(name).data)).notes
    blank = ["x: 3 columns are constant (0, 32, 39): they tell a model nothing"]
    assert list(notes) == (blank if name == "digits" else [])


def test_a_note_comes_through_the_door():
    table = np.column_stack([np.arange(5.0), np.ones(5)])
    assert arguments_for(lambda x: None, table).notes == ("x: column 1 is constant: it tells a model nothing",)
