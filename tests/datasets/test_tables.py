"""Files: what they hold comes back exactly, and what is wrong with them is said before anything is run."""

from __future__ import annotations

import importlib.util
import os
import pickle
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from ppzoo.datasets import load_dataset
from ppzoo.datasets.tables import read_file, record_from_array
from ppzoo.errors import DataError

BAD_CSV = {
    "semicolons": (b"a;b\n1,5;2\n", r"t\.csv: is separated by semicolons; got 'a;b'.*sep=';', decimal=','"),
    "tabs": (b"a\tb\n1\t2\n", r"is separated by tabs; .*sep='\\t'"),
    "decimal commas": (b"a,b\n1,5,2,5\n", r"line 2 has the wrong length; got 4 fields; expected 2 .*decimal points"),
    "quoted decimal commas": (b'a,b\n"1,5",2\n', r"column 'a': holds text; got '1,5' at row 0.*decimal comma"),
    "header only": (b"a,b\n", r"has a header and no rows"),
    "header and blank lines": (b"a,b\n\n\n", r"has a header and no rows"),
    "empty": (b"", r"t\.csv: is empty; got no header"),
    "duplicate header": (b"a,b,a\n1,2,3\n", r"two columns have one name; got 'a'"),
    "no header": (b"1,2\n3,4\n", r"has no header; got 1, 2.*Add a line of names"),
    "index column": (b",a\n0,1\n", r"a column has no name; got column 0.*index=False"),
    "unclosed quote": (b'a,b\n"1,2\n3,4\n', r"is not well-formed; .*never closed"),
    "stray quote": (b'a,b\n"1"2,3\n', r"is not well-formed.*line 2"),
    "short line": (b"a,b\n1,2\n3\n", r"line 3 has the wrong length; got 1 field;"),
    "long line": (b"a,b\n1,2,3\n", r"line 2 has the wrong length; got 3 fields"),
    "utf-16": ("a,b\n1,2\n".encode("utf-16"), r"is UTF-16 text.*Save it as 'CSV UTF-8'"),
    "latin-1": (b"gr\xf6\xdfe,b\n1,2\n", r"is not UTF-8 text"),
    "bytes": (b"a\x00b\n1\n", r"is no text; got a NUL byte"),
    "text": (b"a,b\n1,red\n", r"column 'b': holds text; got 'red' at row 0"),
    "large integer": (b"a\n9007199254740993\n", r"column 'a': holds integers too large"),
    "larger integer": (b"a\n99999999999999999999999\n", r"column 'a'"),
}


@pytest.mark.parametrize("case", BAD_CSV)
def test_a_bad_csv_is_explained(case: str, tmp_path: Path):
    text, message = BAD_CSV[case]
    (tmp_path / "t.csv").write_bytes(text)
    with pytest.raises(DataError, match=message):
        read_file(tmp_path / "t.csv")


def test_a_csv_is_x_with_its_columns_in_their_types(tmp_path: Path):
    path = tmp_path / "people.csv"
    path.write_text("height,age,smokes\n1.5,30,True\n1.8,40,False\n")
    record = load_dataset(str(path), seed=1)
    assert record.name == "people.csv"
    assert record.source == str(path)
    np.testing.assert_array_equal(record.data["x"], [[1.5, 30, 1], [1.8, 40, 0]])
    assert record.data["age"].dtype == np.int64
    assert record.data["smokes"].dtype == np.bool_
    assert {name: len(rows) for name, rows in record.splits.items()} == {"train": 2, "test": 0}


def test_a_byte_order_mark_is_skipped_and_said(tmp_path: Path):
    (tmp_path / "t.csv").write_bytes(b"\xef\xbb\xbfa,b\r\n1,2\r\n")
    record = read_file(tmp_path / "t.csv")
    assert record.columns["x"] == ("a", "b")
    assert "byte-order mark" in record.description


def test_missing_numbers_in_a_csv_stay_missing(tmp_path: Path):
    (tmp_path / "t.csv").write_text("a,b\n1,\n2,NA\n3,4\n")
    np.testing.assert_array_equal(read_file(tmp_path / "t.csv").data["x"][:, 1], [np.nan, np.nan, 4])


def test_hostile_column_names_are_kept_as_they_are(tmp_path: Path):
    names = ["$\\frac{", "[/x]", "<script>", "_x", "two\nlines", "\u202eright to left", "n" * 10_000]
    pd.DataFrame([range(len(names))], columns=names).to_csv(tmp_path / "t.csv", index=False)
    record = read_file(tmp_path / "t.csv")
    assert record.columns["x"] == tuple(names)
    assert "<script>" not in record._repr_html_()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("missing.csv", r"missing\.csv: no such file; got .*missing\.csv.*working directory"),
        ("folder.csv", r"folder\.csv: is a folder; expected a \.csv, \.npy, \.npz, \.parquet file"),
        (".", r"is a folder"),
        ("data.xlsx", r"data\.xlsx: unknown kind of file; got '\.xlsx'; expected one of \.csv"),
        ("data.pkl", r"unknown kind of file; got '\.pkl'"),
        ("data.pt", r"unknown kind of file"),
        ("no_suffix", r"unknown kind of file; got ''"),
    ],
)
def test_a_path_that_is_no_data_file_is_refused(name: str, message: str, tmp_path: Path):
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(DataError, match=message):
        load_dataset(tmp_path / name)


def test_a_file_that_cannot_be_opened_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "locked.csv"
    path.write_text("a\n1\n")

    def refuse(*arguments, **options):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)  # a test run as root may read everything
    with pytest.raises(DataError, match=r"locked\.csv: cannot be read; got .*Permission denied"):
        read_file(path)


def test_npy_and_npz_come_back_exactly(tmp_path: Path):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(10, 3)), np.arange(10)
    np.save(tmp_path / "x.npy", x.astype(np.float32))
    np.savez_compressed(tmp_path / "both.npz", x=x, y=y)
    np.savez(tmp_path / "uneven.npz", x=x, scale=np.array(2.0))
    alone, both, uneven = (read_file(tmp_path / name) for name in ("x.npy", "both.npz", "uneven.npz"))
    assert alone.data["x"].dtype == np.float32
    np.testing.assert_array_equal(alone.data["x"], x.astype(np.float32))
    np.testing.assert_array_equal(both.data["x"], x)
    np.testing.assert_array_equal(both.data["y"], y)
    assert len(both.splits["train"]) == 8
    assert uneven.splits == {}


class _Trap:
    def __reduce__(self):
        return os.mkdir, (self.path,)


def test_nothing_pickled_is_ever_run(tmp_path: Path):
    trap = _Trap()
    trap.path = str(tmp_path / "sprung")
    np.save(tmp_path / "objects.npy", np.array([trap], dtype=object), allow_pickle=True)
    np.savez(tmp_path / "objects.npz", x=np.array([trap], dtype=object))
    (tmp_path / "renamed.npy").write_bytes(pickle.dumps(trap))
    for name in ("objects.npy", "objects.npz", "renamed.npy"):
        with pytest.raises(DataError, match=rf"{name}: holds Python objects.*never loaded"):
            read_file(tmp_path / name)
    assert not (tmp_path / "sprung").exists()


def test_a_sparse_matrix_in_a_file_is_refused(tmp_path: Path):
    sparse.save_npz(tmp_path / "t.npz", sparse.csr_matrix(np.eye(3)))
    with pytest.raises(DataError, match=r"t\.npz: holds a sparse matrix.*toarray"):
        read_file(tmp_path / "t.npz")


@pytest.mark.parametrize("suffix", ["npy", "npz"])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_a_truncated_file_is_damaged(suffix: str, share: float, tmp_path: Path):
    path = tmp_path / f"t.{suffix}"
    np.save(path, np.ones(100)) if suffix == "npy" else np.savez(path, x=np.ones(100))
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(DataError, match=rf"t\.{suffix}: (is damaged|holds Python objects)"):
        read_file(path)


def test_text_in_npy_is_refused(tmp_path: Path):
    np.save(tmp_path / "t.npy", np.array(["a"]))
    with pytest.raises(DataError, match="x: holds text; got 'a'"):
        read_file(tmp_path / "t.npy")
    np.savez(tmp_path / "empty.npz")
    with pytest.raises(DataError, match=r"empty\.npz: is empty"):
        read_file(tmp_path / "empty.npz")


def test_parquet_comes_back_exactly(tmp_path: Path):
    pytest.importorskip("pyarrow")
    frame = pd.DataFrame({"a": [1.5, 2.5], "n": [1, 2]}, index=[7, 8])
    frame.to_parquet(tmp_path / "t.parquet")
    record = read_file(tmp_path / "t.parquet")
    np.testing.assert_array_equal(record.data["x"], frame.to_numpy())
    assert record.columns["x"] == ("a", "n")
    (tmp_path / "bad.parquet").write_bytes(b"PAR1 and nothing else")
    with pytest.raises(DataError, match=r"bad\.parquet: is damaged"):
        read_file(tmp_path / "bad.parquet")


def test_parquet_without_pyarrow_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "t.parquet").write_bytes(b"")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(DataError, match=r't\.parquet: needs pyarrow.*pip install "ppzoo\[parquet\]"'):
        read_file(tmp_path / "t.parquet")


def test_a_record_from_an_array():
    record = record_from_array(np.ones((5, 2)), name="mine")
    assert (record.name, record.shape) == ("mine", {"x": (5, 2)})
    with pytest.raises(DataError, match="x: holds text"):
        record_from_array(["a"])
