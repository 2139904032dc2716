"""Whatever is wrong with a folder is found, named and not run."""

from __future__ import annotations

import io
import json
import os
import pickle
import random
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from ppzoo.errors import StorageError
from ppzoo.storage import reading
from ppzoo.storage.folder import read_folder, write_folder
from ppzoo.storage.manifest import digest
from ppzoo.storage.text import dump_json

FILES = {"tensors.bin": bytes(range(60)), "empty.bin": b"", "settings.json": b'{"lr": 0.1}\n'}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_folder(tmp_path / "run", FILES, {"seed": 1, "name": "é"})


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_flip_in_any_byte_is_found_and_its_file_named(folder: Path) -> None:
    # every bit of the manifest: test_manifest.py; any bit of another file changes its SHA-256
    for name, data in contents(folder).items():
        for index in range(len(data)):
            flipped = bytearray(data)
            flipped[index] ^= 1 << index % 8
            (folder / name).write_bytes(flipped)
            with pytest.raises(StorageError) as caught:
                read_folder(folder)
            assert name in str(caught.value), (name, index)
        (folder / name).write_bytes(data)
    assert read_folder(folder).files == FILES


def test_truncation_at_every_byte_and_every_extension_is_found(folder: Path) -> None:
    for name, data in contents(folder).items():
        for wrong in [*(data[:length] for length in range(len(data))), data + b"\n", data + b"\0", data + data + b"x"]:
            (folder / name).write_bytes(wrong)
            with pytest.raises(StorageError) as caught:
                read_folder(folder)
            assert name in str(caught.value)
        (folder / name).write_bytes(data)
    assert read_folder(folder).files == FILES


def test_two_files_exchanged_are_found(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "run", {"a.bin": b"11", "b.bin": b"22"}, {})
    (folder / "a.bin").rename(folder / "c.bin")
    (folder / "b.bin").rename(folder / "a.bin")
    (folder / "c.bin").rename(folder / "b.bin")
    with pytest.raises(StorageError, match="has been damaged or edited"):
        read_folder(folder)


def test_only_the_wanted_files_are_read_but_all_must_be_there(folder: Path) -> None:
    (folder / "tensors.bin").write_bytes(bytes(60))
    assert read_folder(folder, ["settings.json"]).files == {"settings.json": FILES["settings.json"]}
    (folder / "tensors.bin").write_bytes(bytes(59))
    with pytest.raises(StorageError, match=r"tensors\.bin': has the wrong size; got 59 bytes; expected 60 bytes"):
        read_folder(folder, ["settings.json"])


def forge(folder: Path, **changes: object) -> None:
    """A manifest with fields changed and its digest made right again, as a careful attacker would."""
    content = json.loads((folder / "manifest.json").read_bytes()) | changes
    content.pop("sha256")
    (folder / "manifest.json").write_bytes(dump_json({**content, "sha256": digest(dump_json(content))}))


def listing(folder: Path, **more: bytes) -> dict[str, object]:
    files: dict[str, object] = json.loads((folder / "manifest.json").read_bytes())["files"]
    return files | {name: {"sha256": digest(data), "bytes": len(data)} for name, data in more.items()}


def _outside(folder: Path) -> None:
    (folder.parent / "secret").write_bytes(b"secret")
    forge(folder, files=listing(folder, **{"../secret": b"secret"}))


def _absolute(folder: Path) -> None:
    forge(folder, files=listing(folder, **{"/etc/hostname": b""}))


def _subfolder(folder: Path) -> None:
    (folder / "sub").mkdir()
    (folder / "sub" / "x").write_bytes(b"x")
    forge(folder, files=listing(folder, **{"sub/x": b"x"}))


def _linked(folder: Path) -> None:
    (folder / "settings.json").rename(folder.parent / "settings.json")
    (folder / "settings.json").symlink_to("../settings.json")


def _linked_manifest(folder: Path) -> None:
    (folder / "manifest.json").rename(folder.parent / "manifest.json")
    (folder / "manifest.json").symlink_to("../manifest.json")


def _dangling(folder: Path) -> None:
    (folder / "settings.json").unlink()
    (folder / "settings.json").symlink_to("nowhere")


def _extra(folder: Path) -> None:
    (folder / "extra.py").write_bytes(b"raise SystemExit")


def _extra_folder(folder: Path) -> None:
    (folder / "__pycache__").mkdir()


def _missing(folder: Path) -> None:
    (folder / "settings.json").unlink()


def _no_manifest(folder: Path) -> None:
    (folder / "manifest.json").unlink()


def _huge_manifest(folder: Path) -> None:
    with open(folder / "manifest.json", "r+b") as file:
        file.truncate(2**40)  # sparse: it takes no room on the disk


def _huge_file(folder: Path) -> None:
    with open(folder / "settings.json", "r+b") as file:
        file.truncate(2**40)


def _empty_manifest(folder: Path) -> None:
    (folder / "manifest.json").write_bytes(b"")


def _folder_for_file(folder: Path) -> None:
    (folder / "settings.json").unlink()
    (folder / "settings.json").mkdir()


def _folder_for_manifest(folder: Path) -> None:
    (folder / "manifest.json").unlink()
    (folder / "manifest.json").mkdir()


def _pipe(folder: Path) -> None:
    (folder / "settings.json").unlink()
    os.mkfifo(folder / "settings.json")


def _pipe_for_manifest(folder: Path) -> None:
    (folder / "manifest.json").unlink()
    os.mkfifo(folder / "manifest.json")


def _pickled_manifest(folder: Path) -> None:
    (folder / "manifest.json").write_bytes(pickle.dumps({"format": "ppzoo folder"}))


def _next_version(folder: Path) -> None:
    forge(folder, format_version=2)


def _twice(folder: Path) -> None:
    text = (folder / "manifest.json").read_bytes()
    (folder / "manifest.json").write_bytes(text.replace(b'"seed": 1,', b'"seed": 1,\n  "seed": 2,'))


def _file_for_folder(folder: Path) -> None:
    folder.rename(folder.parent / "elsewhere")
    folder.write_bytes(b"")


HOSTILE: list[tuple[Callable[[Path], None], str]] = [
    (_outside, "'../secret': not a plain file name"),
    (_absolute, "'/etc/hostname': not a plain file name"),
    (_subfolder, "'sub/x': not a plain file name"),
    (_linked, "settings.json': is not a plain file; got l"),
    (_linked_manifest, "manifest.json': is not a plain file; got l"),
    (_dangling, "settings.json': is not a plain file; got l"),
    (_extra, "holds files that its manifest does not list; got 'extra.py'"),
    (_extra_folder, "holds files that its manifest does not list; got '__pycache__'"),
    (_missing, "settings.json': is missing"),
    (_no_manifest, "manifest.json': is missing"),
    (_huge_manifest, "manifest.json': is too long; got 1099511627776 bytes; expected at most 1048576"),
    (_huge_file, "settings.json': has the wrong size; got 1099511627776 bytes"),
    (_empty_manifest, "manifest.json': is not the JSON that ppzoo writes"),
    (_folder_for_file, "settings.json': is not a plain file; got d"),
    (_folder_for_manifest, "manifest.json': is not a plain file; got d"),
    (_pipe, "settings.json': is not a plain file; got p"),
    (_pipe_for_manifest, "manifest.json': is not a plain file; got p"),
    (_pickled_manifest, "manifest.json': is not the JSON that ppzoo writes"),
    (_next_version, "manifest.json': has a format that this ppzoo cannot read; got format_version 2"),
    (_twice, "manifest.json': is not the JSON that ppzoo writes; got the key 'seed' twice"),
    (_file_for_folder, "run': is not a folder"),
]


@pytest.mark.parametrize(("plant", "message"), HOSTILE)
def test_hostile_folders(folder: Path, plant: Callable[[Path], None], message: str) -> None:
    plant(folder)
    before = sorted(folder.parent.rglob("*"))
    with pytest.raises(StorageError) as caught:
        read_folder(folder)
    assert message in str(caught.value)
    assert sorted(folder.parent.rglob("*")) == before


def test_a_pipe_put_in_place_of_a_checked_file_does_not_hang(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    genuine = reading._check_plain

    def checked(path: Path, size: int | None = None) -> int:
        found = genuine(path, size)
        if path.name == "settings.json":
            _pipe(folder)
        return found

    monkeypatch.setattr(reading, "_check_plain", checked)
    with pytest.raises(StorageError, match=r"settings\.json': is not a plain file"):
        read_folder(folder)


def test_a_file_larger_than_memory_is_reported(folder: Path) -> None:
    with pytest.raises(StorageError, match=r"settings\.json': does not fit into memory; got 4611686018427387904 bytes"):
        reading._read_plain(folder / "settings.json", 2**62)


def test_a_fault_of_the_disk_is_reported(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: object, **kwargs: object) -> int:
        raise OSError(5, "Input/output error", str(args[0]))

    monkeypatch.setattr(os, "open", fail)
    with pytest.raises(StorageError, match="cannot read this folder; got Input/output error"):
        read_folder(folder)


class Payload:
    """Unpickled, it makes a file: proof that code ran."""

    def __init__(self, proof: Path) -> None:
        self.proof = proof

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.proof),)


def hostile_bytes(proof: Path) -> Iterator[bytes]:
    """Files that pass every digest, since their author made the manifest, and that only the loaders can refuse."""
    pickles = [pickle.dumps(Payload(proof), protocol=protocol) for protocol in range(6)]
    array = io.BytesIO()
    np.save(array, np.array([Payload(proof)], dtype=object), allow_pickle=True)
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("archive/data.pkl", pickles[2])
        file.writestr("archive/version", "3")
    script = b"import os; os.mkdir(%r)" % str(proof).encode()
    wrapped = (json.dumps({"x": {"dtype": "O", "shape": [1], "data_offsets": [0, 9]}}).encode(), b"\x93NUMPY")
    yield from (*pickles, array.getvalue(), archive.getvalue(), script, b"#!/bin/sh\nmkdir proof\n", *wrapped)
    yield from (len(data).to_bytes(8, "little") + data for data in (*pickles, script))


def mutants(data: bytes, count: int) -> Iterator[bytes]:
    draw = random.Random(9)
    for _ in range(count):
        mutant = bytearray(data)
        for _ in range(draw.randint(1, 4)):
            mutant[draw.randrange(len(mutant))] = draw.randrange(256)
        yield bytes(mutant)


def attempts(work: Path) -> list[Callable[[], object]]:
    """Every hostile folder and file, ready to be read; what the loaders import when first used is imported."""
    import torch
    import xarray

    from ppzoo.storage.netcdf import load_datatree, write_datatree
    from ppzoo.storage.tensors import dump_tensors, load_tensors

    tensors = dump_tensors({"x": torch.ones(3), "y": torch.zeros(2, 2)})
    file = io.BytesIO()
    write_datatree(xarray.DataTree.from_dict({"p": xarray.Dataset({"x": (("d",), [1.0]), "s": "text"})}), file)
    tree = file.getvalue()
    load_tensors(tensors)
    load_datatree(tree)
    prepared: list[Callable[[], object]] = []
    for number, (plant, _) in enumerate(HOSTILE):
        folder = write_folder(work / str(number) / "run", FILES, {"seed": 1})
        plant(folder)
        prepared.append(partial(read_folder, folder))
    for data in hostile_bytes(work / "proof"):
        prepared += [partial(load_tensors, data), partial(load_datatree, data)]
    prepared += [partial(load_tensors, data) for data in mutants(tensors, 300)]
    prepared += [partial(load_datatree, tree[:length]) for length in range(0, len(tree), 101)]
    return prepared


def audited(work: Path) -> None:
    """Make all attempts while Python itself reports what is run; print what should not have been."""
    prepared = attempts(work)
    events: list[tuple[str, str]] = []

    def watch(event: str, details: tuple[object, ...]) -> None:
        elsewhere = event == "open" and isinstance(details[0], str | Path) and work not in Path(details[0]).parents
        if watching and (event in FORBIDDEN or event.startswith(FORBIDDEN_FAMILIES) or elsewhere):
            events.append((event, str(details)[:200]))

    watching = True
    sys.addaudithook(watch)
    refused = sum(map(_refuses, prepared))
    found = list(events)
    pickle.loads(pickle.dumps(Payload(work / "control")))  # the watch is awake: this it must see
    watching = False  # a hook cannot be removed
    proof = (work / "proof").exists()
    print(json.dumps({"events": found, "all": events, "refused": refused, "tried": len(prepared), "proof": proof}))


def _refuses(attempt: Callable[[], object]) -> bool:
    try:
        attempt()
    except StorageError:
        return True
    return False


FORBIDDEN = ("exec", "compile", "import", "marshal.loads", "os.system", "os.exec", "os.fork", "os.mkdir", "os.rename")
FORBIDDEN_FAMILIES = (
    "pickle", "code.", "function.", "ctypes", "socket", "subprocess", "os.spawn", "os.posix_spawn",
    "os.remove", "os.rmdir", "os.link", "os.symlink", "os.truncate", "os.ch", "os.putenv", "shutil", "urllib", "http",
    "ftplib", "smtplib", "sqlite3", "cpython.run", "builtins.input", "mmap", "pty", "tempfile", "webbrowser",
)  # fmt: skip


def test_nothing_runs_while_hostile_files_are_read(tmp_path: Path) -> None:
    code = f"import pathlib, runpy; runpy.run_path({__file__!r})['audited'](pathlib.Path({str(tmp_path)!r}))"
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout.splitlines()[-1])
    assert report["proof"] is False
    assert report["events"] == []
    assert {event for event, _ in report["all"]} >= {"pickle.find_class", "os.mkdir"}
    assert report["tried"] > 400
    # the other mutants changed numbers only: valid files, which the digest in the manifest tells from the genuine one
    assert report["refused"] > 150
