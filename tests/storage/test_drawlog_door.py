"""What does not fit a log is refused by name, before anything is written."""

from __future__ import annotations

import numpy as np
import pytest

from ppzoo.errors import OptionError, StorageError

torch = pytest.importorskip("torch")

from ppzoo.storage.drawlog_door import check_counts, check_new, first_record  # noqa: E402  # needs torch

FIELDS = {"q": (torch.float64, (2,)), "diverging": (torch.bool, ())}
ROWS = {"q": torch.zeros(3, 4, 2, dtype=torch.float64), "diverging": torch.zeros(3, 4, dtype=torch.bool)}
RECORD = first_record(FIELDS, 3, 9, {"seed": (1, 2)})


def test_the_first_record_counts_nothing() -> None:
    assert [(field.name, field.type, field.shape) for field in RECORD.fields] == [
        ("q", "float64", (2,)),
        ("diverging", "bool", ()),
    ]
    assert RECORD.header == {"seed": [1, 2]}
    assert (RECORD.counts.tolist(), RECORD.sums.tolist()) == ([0] * 3, [[0] * 3] * 2)


@pytest.mark.parametrize(
    ("fields", "chains", "draws", "header", "message"),
    [
        (FIELDS, 0, 9, {}, r"chains: must be a whole number in range; got 0"),
        (FIELDS, 3, 2.5, {}, r"draws: must be a whole number in range; got 2\.5"),
        (FIELDS, 2**31, 1, {}, r"chains: must be a whole number in range"),
        (FIELDS, 2**31 - 1, 2**31 - 1, {}, "'q': has a shape that no file can hold"),
        ({}, 3, 9, {}, "fields: cannot be the fields of a log"),
        ({"q": (torch.int8, ()), "Q": (torch.int8, ())}, 3, 9, {}, "names that differ in more than case"),
        ({"q": (torch.bfloat16, ())}, 3, 9, {}, "'q': has a type that a draw log does not keep; got bfloat16"),
        ({"a/b": (torch.int8, ())}, 3, 9, {}, "'a/b.draws': not a plain file name"),
        (FIELDS, 3, 9, {"x": object()}, r"header\.x: cannot be written as JSON"),
    ],
)
def test_what_cannot_be_a_log(fields: object, chains: int, draws: int, header: object, message: str) -> None:
    with pytest.raises((StorageError, OptionError), match=message):
        first_record(fields, chains, draws, header)  # type: ignore[arg-type]


@pytest.mark.parametrize("dtype", [torch.int64, torch.int32, torch.uint8])
def test_counts_of_any_whole_type(dtype: torch.dtype) -> None:
    fresh = check_counts(torch.tensor([0, 9, 4], dtype=dtype), RECORD)
    assert fresh.dtype == np.int64
    assert fresh.tolist() == [0, 9, 4]


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        (
            torch.tensor([1, 2]),
            r"counts: are not one for each chain; got int64 of shape \(2,\); expected whole .* \(3,\)",
        ),
        (torch.tensor(3), "are not one for each chain"),
        (torch.tensor([1.0, 2.0, 3.0]), "are not one for each chain; got float32"),
        (torch.tensor([True, True, False]), "are not one for each chain; got bool"),
        (torch.tensor([0, -1, 0]), r"counts\[1\]: is out of range; got -1 new draws after 0; expected at most 9"),
        (torch.tensor([0, 0, 10]), r"counts\[2\]: is out of range; got 10 new draws after 0"),
        (torch.tensor([0, 0, 2**63 - 1]), "is out of range"),
    ],
)
def test_counts_that_do_not_fit(counts: torch.Tensor, message: str) -> None:
    with pytest.raises(StorageError, match=message):
        check_counts(counts, RECORD)


def test_rows_are_cut_to_the_most_that_any_chain_gives() -> None:
    rows = {"q": torch.randn(3, 4, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))}
    rows |= {"diverging": torch.tensor([[True, False, True, False]]).expand(3, 4)}
    arrays = check_new(rows, np.array([0, 2, 1]), RECORD.fields)
    assert list(arrays) == ["q", "diverging"]
    assert (arrays["q"] == rows["q"][:, :2].numpy()).all()
    assert arrays["diverging"].tolist() == [[True, False]] * 3


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ({}, r"rows: are not those of the log; expected 'diverging', 'q'"),
        ({**ROWS, "lp": ROWS["q"]}, "are not those of the log; got 'diverging', 'lp', 'q'"),
        ({**ROWS, "q": ROWS["q"].float()}, r"rows\['q'\]: does not fit its field; got float32 of shape \(3, 4, 2\)"),
        ({**ROWS, "q": ROWS["q"][:2]}, r"expected float64 of shape \(3, 3 or more, 2\)"),
        ({**ROWS, "q": ROWS["q"][:, :2]}, r"got float64 of shape \(3, 2, 2\)"),
        ({**ROWS, "q": ROWS["q"][..., :1]}, "does not fit its field"),
        ({**ROWS, "q": ROWS["q"][..., 0]}, "does not fit its field"),
        ({**ROWS, "diverging": torch.tensor(True)}, r"rows\['diverging'\]: does not fit its field"),
    ],
)
def test_rows_that_do_not_fit(rows: dict[str, torch.Tensor], message: str) -> None:
    with pytest.raises(StorageError, match=message):
        check_new(rows, np.array([0, 3, 1]), RECORD.fields)
