"""A folder comes back as it was written; what cannot be written is refused before anything is touched."""

from __future__ import annotations

import math
import os
import random
from functools import partial
from pathlib import Path

import pytest

from ppzoo.errors import StorageError
from ppzoo.storage import reading
from ppzoo.storage.folder import check_writable, read_folder, write_folder

FILES = {"a.bin": bytes(range(256)), "empty.bin": b"", "b.json": b"{}\n"}
FIELDS = {"seed": 2**64 - 1, "lr": 0.1, "clip": math.inf, "name": "é $x", "nested": {"b": [1, None, True], "a": -0.0}}


def names_in(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_round_trip(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "run", FILES, FIELDS)
    read = read_folder(folder)
    assert read.files == FILES
    assert {key: read.manifest[key] for key in FIELDS} == FIELDS
    assert list(read.manifest) == ["format", "format_version", *FIELDS, "files", "sha256"]
    assert names_in(tmp_path) == {"run", "run/manifest.json", *(f"run/{name}" for name in FILES)}
    assert read_folder(folder, ["b.json"]).files == {"b.json": b"{}\n"}
    with pytest.raises(StorageError, match=r"holds no such file; got 'c.bin'"):
        read_folder(folder, ["c.bin"])


def test_a_file_may_be_written_by_a_function(tmp_path: Path) -> None:
    plain = write_folder(tmp_path / "plain", FILES, FIELDS)
    writers = {name: partial(_put, data) for name, data in FILES.items()}
    written = write_folder(tmp_path / "written", writers, FIELDS)
    assert contents(written) == contents(plain)
    before = contents(written)
    with pytest.raises(StorageError, match="cannot write this folder; got no room"):
        write_folder(written, {"a.bin": b"new", "b.bin": _fail}, FIELDS)
    assert contents(written) == before
    assert names_in(tmp_path) == {"plain", "written"} | {
        f"{folder}/{name}" for folder in ("plain", "written") for name in before
    }


def _put(data: bytes, path: Path) -> None:
    path.write_bytes(data)


def _fail(path: Path) -> None:
    path.write_bytes(b"half")
    raise OSError(28, "no room", str(path))


def test_random_folders_round_trip(tmp_path: Path) -> None:
    draw = random.Random(3)
    for _ in range(20):
        files = {f"f{i}.bin": draw.randbytes(draw.choice([0, 1, 7, 5000])) for i in range(draw.randint(0, 5))}
        fields = {f"k{i}": draw.choice([None, True, draw.random(), -(2**70), "text", [1, [2]]]) for i in range(4)}
        read = read_folder(write_folder(tmp_path / "run", files, fields))
        assert read.files == files
        assert {key: read.manifest[key] for key in fields} == fields


def test_same_content_gives_the_same_bytes(tmp_path: Path) -> None:
    first, second = (write_folder(tmp_path / name, FILES, FIELDS) for name in ("first", "second"))
    assert (first / "manifest.json").read_bytes() == (second / "manifest.json").read_bytes()


def test_replaces_its_own_folder_and_an_empty_one(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    for number in range(3):
        write_folder(tmp_path / "run", {f"{number}.bin": b"x"}, {"number": number})
        assert read_folder(tmp_path / "run").manifest["number"] == number
        assert names_in(tmp_path) == {"run", "run/manifest.json", f"run/{number}.bin"}


def test_missing_parents_are_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert write_folder("a/b/run", FILES, {}) == tmp_path / "a/b/run"
    assert write_folder("a/../a/b/run", FILES, {"seed": 2}) == tmp_path / "a/b/run"


def test_what_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    unsealable = [
        ({"../x": b""}, {}, "plain file name"),
        ({}, {"x": object()}, "JSON"),
        ({"x": "text"}, {}, "is not bytes; got str"),
    ]
    for files, fields, message in unsealable:
        with pytest.raises(StorageError, match=message):
            write_folder(tmp_path / "a" / "run", files, fields)
    assert names_in(tmp_path) == set()


def _foreign(folder: Path) -> None:
    folder.mkdir()
    (folder / "thesis.txt").write_text("mine")


def _foreign_manifest(folder: Path) -> None:
    folder.mkdir()
    (folder / "manifest.json").write_text('{"manifest_version": 3, "name": "a browser extension"}')


def _added_file(folder: Path) -> None:
    write_folder(folder, FILES, {})
    (folder / "notes.txt").write_text("mine")


def _damaged(folder: Path) -> None:
    write_folder(folder, FILES, {})
    (folder / "manifest.json").write_bytes((folder / "manifest.json").read_bytes()[:-9])


def _file(folder: Path) -> None:
    folder.write_text("mine")


def _link(folder: Path) -> None:
    write_folder(folder.with_name("elsewhere"), FILES, {})
    folder.symlink_to("elsewhere")


def _broken_link(folder: Path) -> None:
    folder.symlink_to("nowhere")


@pytest.mark.parametrize(
    ("occupy", "message"),
    [
        (_foreign, "is not a run folder of ppzoo and will not be overwritten; got a folder with 'thesis.txt'"),
        (_foreign_manifest, "has a manifest that ppzoo did not write"),
        (_damaged, "has a manifest that ppzoo did not write, or that is damaged"),
        (_added_file, "holds files that ppzoo did not write and will not be overwritten; got 'notes.txt'"),
        (_file, "is a file; expected a folder"),
        (_link, "is a symbolic link; got a link to 'elsewhere'"),
        (_broken_link, "is a symbolic link"),
    ],
)
def test_never_overwrites_what_is_not_its_own(tmp_path: Path, occupy: object, message: str) -> None:
    assert callable(occupy)
    target = tmp_path / "run"
    occupy(target)
    before = contents(tmp_path)
    with pytest.raises(StorageError, match=message):
        check_writable(target)
    with pytest.raises(StorageError, match=message):
        write_folder(target, FILES, {})
    assert contents(tmp_path) == before


def test_a_parent_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    for path in (tmp_path / "file" / "run", tmp_path / "file" / "deeper" / "run"):
        with pytest.raises(StorageError, match="cannot write this folder"):
            check_writable(path)
    with pytest.raises(StorageError, match="there is no such folder"):
        read_folder(tmp_path / "file" / "run")
    assert names_in(tmp_path) == {"file"}


def test_check_writable_leaves_nothing(tmp_path: Path) -> None:
    assert check_writable(tmp_path / "a/b/run") == tmp_path / "a/b/run"
    assert names_in(tmp_path) == set()
    write_folder(tmp_path / "run", FILES, FIELDS)
    before = names_in(tmp_path)
    check_writable(tmp_path / "run")
    assert names_in(tmp_path) == before
    assert read_folder(tmp_path / "run").files == FILES


def test_a_read_only_parent(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    if os.access(tmp_path, os.W_OK):
        pytest.skip("the superuser may write everywhere")
    with pytest.raises(StorageError, match="cannot write this folder; got Permission denied"):
        check_writable(tmp_path / "run")
    tmp_path.chmod(0o700)


def test_a_read_only_file_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **kwargs: object) -> int:
        raise OSError(30, "Read-only file system", str(args[0]))

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(StorageError, match="cannot write this folder; got Read-only file system"):
        check_writable(tmp_path / "run")


def test_reading_creates_nothing_and_follows_a_link_to_the_folder(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"there is no such folder; expected a run folder"):
        read_folder(tmp_path / "run")
    assert names_in(tmp_path) == set()
    write_folder(tmp_path / "run", FILES, {})
    (tmp_path / "latest").symlink_to("run")
    before = names_in(tmp_path)
    assert read_folder(tmp_path / "latest").files == FILES
    assert names_in(tmp_path) == before


def test_a_reader_whose_folder_is_replaced_midway_reads_the_new_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = write_folder(tmp_path / "run", {"old.bin": b"old"}, {"number": 0})
    genuine, calls = reading.read_manifest, []

    def replaced_meanwhile(place: Path) -> dict[str, object]:
        manifest = genuine(place)
        calls.append(place)
        if len(calls) < 4:
            write_folder(target, {"new.bin": bytes([len(calls)])}, {"number": len(calls)})
        return manifest

    monkeypatch.setattr(reading, "read_manifest", replaced_meanwhile)
    read = read_folder(target)
    assert (read.files, read.manifest["number"]) == ({"new.bin": b"\3"}, 3)
    assert len(calls) == 4
