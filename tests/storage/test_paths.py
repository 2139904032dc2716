"""A path that cannot name a run folder is refused before anything is touched."""

from __future__ import annotations

from pathlib import Path

import pytest

from ppzoo.errors import StorageError
from ppzoo.storage.folder import check_writable, read_folder, write_folder
from ppzoo.storage.paths import some


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("x" * 300, "longer than 200 bytes"),
        ("é" * 101, "longer than 200 bytes"),
        ("x" * 300 + "/run", "longer than 200 bytes"),
        ("/".join(["x" * 150] * 40), "the path is longer than 3000 characters"),
        ("a\0b", "NUL"),
        ("a\udcff", "not valid UTF-8"),
        ("", "names no folder"),
        (".", "names no folder"),
        ("..", "names no folder"),
        ("../..", "names no folder"),
        ("/", "names no folder"),
        (b"run", "path: is not a path"),
        (None, "path: is not a path"),
        (7, "path: is not a path"),
    ],
)
def test_impossible_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str, message: str) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(StorageError, match=message):
        check_writable(path)
    with pytest.raises(StorageError, match=message):
        write_folder(path, {}, {})
    with pytest.raises(StorageError, match=message):
        read_folder(path)
    assert list(tmp_path.iterdir()) == []


def test_the_first_few_names() -> None:
    assert some({"b", "a"}) == "'a', 'b'"
    assert some([f"f{i}" for i in range(7)]) == "'f0', 'f1', 'f2', 'f3', 'f4' and 2 more"
