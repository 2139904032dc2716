"""``manifest.json``: what is in a folder, and how to tell that nothing has changed.

It is the exact text that :func:`seal` makes: the fields in order, ``files`` with the size and SHA-256 of each file, and
last ``sha256``, the digest of the text without that field. :func:`unseal` makes the text anew from what it has read and
compares bytes, so that no change of any bit goes unseen, be it in a value, an escape or a blank.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass

from ppzoo.errors import StorageError
from ppzoo.storage.text import dump_json, load_json

__all__ = [
    "LIMIT",
    "MARK",
    "NAME",
    "Entry",
    "check_name",
    "digest",
    "digest_file",
    "entries",
    "entry_of",
    "seal",
    "unseal",
]

NAME = "manifest.json"
LIMIT = 2**20
_FORMAT, _VERSION = "ppzoo folder", 1
MARK = f'{{\n  "format": "{_FORMAT}",\n'.encode()
_RESERVED = ("format", "format_version", "files", "sha256")
_FILE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}(?<!\.)")
_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Entry:
    """What the manifest says of one file: its length in ``bytes`` and its ``sha256`` in hex."""

    bytes: int
    sha256: str


def check_name(name: object) -> str:
    """``name`` if it is a plain file name: letters, digits, ``_ - .``, at most 100, no folder.

    Example:
        >>> check_name("../x")
        Traceback (most recent call last):
        ppzoo.errors.StorageError: '../x': not a plain file name; expected letters, digits, '_', '-', '.', at most 100
    """
    if isinstance(name, str) and _FILE_NAME.fullmatch(name) and name.lower() != NAME:
        return name
    raise StorageError(
        "not a plain file name", argument=f"{name!r:.200}", expected="letters, digits, '_', '-', '.', at most 100"
    )


def entry_of(data: bytes) -> Entry:
    """What the manifest says of a file that holds ``data``."""
    return Entry(len(data), digest(data))


def seal(files: Mapping[str, Entry], fields: Mapping[str, object]) -> bytes:
    """The text of ``manifest.json`` for ``files`` with the caller's own ``fields``.

    Raises:
        StorageError: For a file name that is not plain, two names that differ only in case, a field that is not JSON or
            whose name is taken, or more than 1 MB of text.
    """
    lowered = {check_name(name).lower() for name in files}
    if len(lowered) < len(files):
        raise StorageError("two names differ only in case", argument="files", got=", ".join(sorted(files)))
    if taken := [key for key in fields if key in _RESERVED]:
        raise StorageError("these names are taken", argument="manifest", got=", ".join(taken), remedy="Rename them.")
    listing = {name: {"sha256": entry.sha256, "bytes": entry.bytes} for name, entry in files.items()}
    content = {"format": _FORMAT, "format_version": _VERSION, **fields, "files": listing}
    text = _sealed(content)
    if len(text) > LIMIT:
        raise StorageError(
            "is too long",
            argument=NAME,
            got=f"{len(text)} bytes",
            expected=f"at most {LIMIT}",
            remedy="Put the long part into a file of its own.",
        )
    return text


def unseal(text: bytes, *, where: str) -> dict[str, object]:
    """The fields of a manifest, once its own digest and every field of ours has been checked.

    Args:
        text: The bytes of ``manifest.json``.
        where: Its path, for the error.

    Raises:
        StorageError: For text that :func:`seal` did not write, or that another version of it wrote.
    """
    content = load_json(text, name=where)
    if not isinstance(content, dict) or content.get("format") != _FORMAT:
        raise StorageError("is not the manifest of a ppzoo folder", argument=where, remedy="Check the path.")
    version = content.get("format_version")
    if type(version) is not int or version != _VERSION:
        raise StorageError(
            "has a format that this ppzoo cannot read",
            argument=where,
            got=f"format_version {version!r:.40}",
            expected=f"format_version {_VERSION}",
            remedy="Read it with the ppzoo that wrote it, or install a newer one.",
        )
    stated = {key: value for key, value in content.items() if key != "sha256"}
    if _sealed(stated) != text:
        raise StorageError("has been damaged or edited", argument=where, got="a SHA-256 that does not match its text")
    entries(content, where=where)
    return content


def entries(content: Mapping[str, object], *, where: str) -> dict[str, Entry]:
    """The listed files of a manifest, names and numbers checked."""
    listing = content.get("files")
    if not isinstance(listing, dict):
        raise StorageError("lists no files", argument=where, got=f"{listing!r:.80}", expected="a table of files")
    listed = {check_name(name): _entry(name, stated, where) for name, stated in listing.items()}
    if len({name.lower() for name in listed}) < len(listed):
        raise StorageError("lists two names that differ only in case", argument=where, got=", ".join(sorted(listed)))
    return listed


def digest(data: bytes) -> str:
    """The SHA-256 of ``data`` in hex."""
    return hashlib.sha256(data).hexdigest()


def digest_file(handle: int) -> str:
    """The SHA-256 of a whole file in hex, read in pieces; the handle stays open."""
    with open(handle, "rb", closefd=False) as stream:
        stream.seek(0)
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _entry(name: str, stated: object, where: str) -> Entry:
    if isinstance(stated, dict) and set(stated) == {"sha256", "bytes"}:
        length, code = stated["bytes"], stated["sha256"]
        if type(length) is int and length >= 0 and isinstance(code, str) and _DIGEST.fullmatch(code):
            return Entry(length, code)
    raise StorageError(
        f"lists {name!r} without its size and SHA-256", argument=where, got=f"{stated!r:.80}", expected="sha256, bytes"
    )


def _sealed(content: Mapping[str, object]) -> bytes:
    return dump_json({**content, "sha256": digest(dump_json(content, name="manifest"))}, name="manifest")
