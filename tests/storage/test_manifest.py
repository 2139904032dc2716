"""A manifest says what is in a folder, and no other text passes for it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable

import pytest

from ppzoo.errors import StorageError
from ppzoo.storage.manifest import digest, entries, entry_of, seal, unseal
from ppzoo.storage.text import dump_json

CONTENTS = {"a.bin": b"abc", "b.bin": b""}
FILES = {name: entry_of(data) for name, data in CONTENTS.items()}


def forged(**changes: object) -> bytes:
    """A manifest with fields changed and the digest made right again, as a careful attacker would."""
    content = json.loads(seal(FILES, {"seed": 1})) | changes
    content.pop("sha256")
    return dump_json({**content, "sha256": digest(dump_json(content))})


def test_round_trip() -> None:
    content = unseal(seal(FILES, {"seed": 1, "name": "\u00e9"}), where="here")
    assert (content["seed"], content["name"]) == (1, "\u00e9")
    listed = entries(content, where="here")
    assert {name: (entry.bytes, entry.sha256) for name, entry in listed.items()} == {
        name: (len(data), digest(data)) for name, data in CONTENTS.items()
    }
    assert unseal(forged(), where="here") == unseal(seal(FILES, {"seed": 1}), where="here")


@pytest.mark.parametrize(
    ("files", "fields", "message"),
    [
        ({"../x": b""}, {}, "'../x': not a plain file name"),
        ({"a/b": b""}, {}, "not a plain file name"),
        ({"/etc/x": b""}, {}, "not a plain file name"),
        ({"": b""}, {}, "not a plain file name"),
        ({".hidden": b""}, {}, "not a plain file name"),
        ({"a.": b""}, {}, "not a plain file name"),
        ({"x" * 101: b""}, {}, "not a plain file name"),
        ({"a\n": b""}, {}, "not a plain file name"),
        ({"Manifest.json": b""}, {}, "not a plain file name"),
        ({1: b""}, {}, "not a plain file name"),
        ({"a": b"", "A": b""}, {}, "differ only in case"),
        ({}, {"sha256": 1}, "names are taken; got sha256"),
        ({}, {"x": object()}, "manifest.x: cannot be written as JSON; got object"),
        ({}, {"x": {1: 2}}, "manifest.x: cannot be written as JSON"),
        ({}, {"x": "y" * 2**20}, "manifest.json: is too long"),
    ],
)
def test_what_cannot_be_sealed(files: dict[str, bytes], fields: dict[str, object], message: str) -> None:
    with pytest.raises(StorageError, match=message):
        seal({name: entry_of(data) for name, data in files.items()}, fields)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda text: text.replace(b"\n", b"\r\n"), "damaged or edited"),
        (lambda text: text.replace(b"  ", b" "), "damaged or edited"),
        (lambda text: text + b"\n", "damaged or edited"),
        (lambda text: text.replace(b"\\u00e9", b"\\u00E9"), "damaged or edited"),
        (lambda text: text.replace(b"\\u00e9", "\u00e9".encode()), "damaged or edited"),
        (lambda text: text.replace(b'"seed": 1', b'"seed": 2'), "damaged or edited"),
        (lambda text: text.replace(b'"seed": 1,', b'"seed": 1, "seed": 1,'), "the key 'seed' twice"),
        (lambda text: text.replace(b"1", b"NaN"), "not the JSON"),
        (lambda text: b"\xef\xbb\xbf" + text, "not the JSON"),
        (lambda text: text.decode().encode("utf-16"), "not the JSON"),
        (lambda text: b"[" * 10**6, "not the JSON"),
        (lambda text: b"[]", "not the manifest of a ppzoo folder"),
        (lambda text: b"{}", "not the manifest of a ppzoo folder"),
        (lambda text: b"", "not the JSON"),
    ],
)
def test_any_other_text_is_refused(change: Callable[[bytes], bytes], expected: str) -> None:
    with pytest.raises(StorageError, match=expected):
        unseal(change(seal(FILES, {"seed": 1, "name": "\u00e9"})), where="here")


def test_every_flipped_bit_and_every_truncation_is_found() -> None:
    text = seal(FILES, {"seed": 1, "name": "\u00e9", "lr": 1e-5})
    for index in range(len(text)):
        with pytest.raises(StorageError, match="here"):
            unseal(text[:index], where="here")
        for bit in range(8):
            flipped = bytearray(text)
            flipped[index] ^= 1 << bit
            with pytest.raises(StorageError):
                unseal(bytes(flipped), where="here")


SHA = "0" * 64


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"format": "another"}, "not the manifest of a ppzoo folder"),
        ({"format_version": 2}, "cannot read; got format_version 2; expected format_version 1"),
        ({"format_version": True}, "cannot read"),
        ({"format_version": 1.0}, "cannot read"),
        ({"files": None}, "lists no files"),
        ({"files": []}, "lists no files"),
        ({"files": {"../x": {"sha256": SHA, "bytes": 1}}}, "'../x': not a plain file name"),
        ({"files": {"/etc/passwd": {"sha256": SHA, "bytes": 1}}}, "not a plain file name"),
        ({"files": {"a/b": {"sha256": SHA, "bytes": 1}}}, "not a plain file name"),
        ({"files": {"a\\b": {"sha256": SHA, "bytes": 1}}}, "not a plain file name"),
        ({"files": {"manifest.json": {"sha256": SHA, "bytes": 1}}}, "not a plain file name"),
        ({"files": {"a": {"sha256": SHA, "bytes": 1}, "A": {"sha256": SHA, "bytes": 1}}}, "differ only in case"),
        ({"files": {"a": 7}}, "lists 'a' without its size and SHA-256"),
        ({"files": {"a": {"sha256": SHA}}}, "without its size"),
        ({"files": {"a": {"sha256": SHA, "bytes": -1}}}, "without its size"),
        ({"files": {"a": {"sha256": SHA, "bytes": 1.0}}}, "without its size"),
        ({"files": {"a": {"sha256": SHA, "bytes": True}}}, "without its size"),
        ({"files": {"a": {"sha256": SHA[1:], "bytes": 1}}}, "without its size"),
        ({"files": {"a": {"sha256": "G" * 64, "bytes": 1}}}, "without its size"),
        ({"files": {"a": {"sha256": SHA, "bytes": 1, "run": "x"}}}, "without its size"),
    ],
)
def test_a_forged_manifest_is_refused(changes: dict[str, object], expected: str) -> None:
    with pytest.raises(StorageError, match=re.escape(expected)):
        unseal(forged(**changes), where="here")
