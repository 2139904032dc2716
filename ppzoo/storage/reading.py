"""Read a run folder and trust nothing: only bytes are read, nothing is interpreted, nothing is created.

The manifest must be the exact text that ppzoo wrote, the folder must hold exactly the files it lists, all of them plain
files, and each must have the listed size and SHA-256.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ppzoo.errors import StorageError
from ppzoo.storage import manifest as manifests
from ppzoo.storage import swap
from ppzoo.storage.manifest import Entry
from ppzoo.storage.paths import check_path, reported, some

__all__ = ["Folder", "read_folder", "read_manifest"]

_READ = os.O_RDONLY | sum(getattr(os, flag, 0) for flag in ("O_NOFOLLOW", "O_NONBLOCK", "O_CLOEXEC", "O_BINARY"))
_TRIES = 20


@dataclass(frozen=True)
class Folder:
    """What :func:`read_folder` found: the ``manifest`` and the contents of the ``files``, by name."""

    manifest: dict[str, object]
    files: dict[str, bytes]


def read_folder(path: str | os.PathLike[str], names: Collection[str] | None = None) -> Folder:
    """Read a folder that :func:`write_folder` wrote, every byte verified.

    Args:
        path: The folder.
        names: The files to read and to verify by SHA-256, all of them if None. Of the others only presence, kind and
            size are checked.

    Returns:
        The manifest and the contents.

    Raises:
        StorageError: When the folder is missing, or anything in it is damaged, edited, added, missing or not a plain
            file; the message names the file and the reason.
    """
    target = check_path(path, writing=False)
    with reported(target, "read"):
        return _read_steadily(target, names, _TRIES)


def _read_steadily(target: Path, names: Collection[str] | None, tries: int) -> Folder:
    """Read; if a writer replaced the folder in the meantime, read again."""
    place = swap.standing(target)
    before = _identity(place)
    try:
        return _read(place, names)
    except OSError:  # a StorageError too
        if tries == 0 or _identity(swap.standing(target)) == before:
            raise
    return _read_steadily(target, names, tries - 1)


def _identity(place: Path) -> tuple[int, int] | None:
    with suppress(FileNotFoundError, NotADirectoryError):
        status = os.stat(place)
        return status.st_ino, status.st_ctime_ns
    return None


def _read(place: Path, names: Collection[str] | None) -> Folder:
    if not place.is_dir():
        problem = "is not a folder" if place.exists() else "there is no such folder"
        raise StorageError(problem, argument=repr(str(place)), expected="a run folder", remedy="Check the path.")
    manifest = read_manifest(place)
    listed = manifests.entries(manifest, where=str(place / manifests.NAME))
    found = {entry.name for entry in os.scandir(place)}
    if added := found - set(listed) - {manifests.NAME}:
        raise StorageError(
            "holds files that its manifest does not list",
            argument=repr(str(place)),
            got=some(added),
            remedy="Move them elsewhere.",
        )
    wanted = listed if names is None else dict.fromkeys(names)
    if unknown := set(wanted) - set(listed):
        raise StorageError("holds no such file", argument=repr(str(place)), got=some(unknown), expected=some(listed))
    for name, entry in listed.items():
        _check_plain(place / name, entry.bytes)
    return Folder(manifest, {name: _read_listed(place / name, listed[name]) for name in wanted})


def read_manifest(place: Path) -> dict[str, object]:
    """The verified manifest of the folder at ``place``."""
    path = place / manifests.NAME
    size = _check_plain(path)
    if size > manifests.LIMIT:
        raise _damaged(path, "is too long", f"{size} bytes", f"at most {manifests.LIMIT}")
    return manifests.unseal(_read_plain(path, size), where=repr(str(path)))


def _read_listed(path: Path, entry: Entry) -> bytes:
    data = _read_plain(path, entry.bytes)
    if (found := manifests.digest(data)) != entry.sha256:
        raise _damaged(path, "has been damaged or edited", f"SHA-256 {found[:12]}...", f"{entry.sha256[:12]}...")
    return data


def _check_plain(path: Path, size: int | None = None) -> int:
    """The size of the file at ``path``, which is a plain file (of ``size`` bytes)."""
    try:
        status = os.lstat(path)
    except FileNotFoundError as error:
        raise _damaged(path, "is missing", "", "the file that the manifest lists") from error
    if not stat.S_ISREG(status.st_mode):
        raise _damaged(path, "is not a plain file", stat.filemode(status.st_mode), "a file, not a link, folder or pipe")
    if size is not None and status.st_size != size:
        raise _damaged(path, "has the wrong size", f"{status.st_size} bytes", f"{size} bytes")
    return status.st_size


def _read_plain(path: Path, size: int) -> bytes:
    handle = os.open(path, _READ)
    with open(handle, "rb") as stream:
        if not stat.S_ISREG(os.fstat(handle).st_mode):  # swapped since it was checked
            raise _damaged(path, "is not a plain file", "", "a file")
        try:
            data = stream.read(size + 1)
        except MemoryError as error:
            raise _damaged(path, "does not fit into memory", f"{size} bytes", "") from error
    if len(data) != size:
        raise _damaged(path, "has the wrong size", f"{len(data)} bytes or more", f"{size} bytes")
    return data


def _damaged(path: Path, problem: str, got: str, expected: str) -> StorageError:
    return StorageError(
        problem,
        argument=repr(str(path)),
        got=got,
        expected=expected,
        remedy="Restore the folder from a copy, or fit again.",
    )
