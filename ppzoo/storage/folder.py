"""A run folder: flat files and ``manifest.json``, written whole or not at all, verified whenever it is read.

Writing fills a folder beside the target, syncs it and renames it into place, one writer at a time.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from ppzoo.errors import StorageError
from ppzoo.storage import manifest as manifests
from ppzoo.storage import swap
from ppzoo.storage.lock import folder_lock
from ppzoo.storage.paths import check_path, reported, some
from ppzoo.storage.reading import Folder, read_folder, read_manifest
from ppzoo.storage.swap import Content

__all__ = ["Folder", "check_writable", "read_folder", "write_folder"]


def write_folder(path: str | os.PathLike[str], files: Mapping[str, Content], manifest: Mapping[str, object]) -> Path:
    """Write ``files`` and a manifest as the folder ``path``, whole or not at all.

    A crash or a power cut at any instant leaves the old folder or the new one, and an error leaves the old one. What a
    killed writer left beside the folder (``.<name>.ppzoo.*``) is cleaned up by the next.

    Args:
        path: The folder. Missing parents are made. It must be new, empty, or a run folder that ppzoo wrote and to which
            nobody has added a file; that one is replaced.
        files: Contents by plain file name (letters, digits, ``_ - .``): bytes, or a function that writes the file that
            it is given, where the contents are too large to be held whole.
        manifest: Fields to be kept in ``manifest.json``: JSON values, see :func:`ppzoo.storage.text.dump_json`.

    Returns:
        The absolute path of the folder.

    Raises:
        StorageError: When the path cannot be used, another process is writing there, or the system reports a fault.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as parent:
        ...     folder = write_folder(f"{parent}/run", {"x.bin": b"123"}, {"seed": 7})
        ...     read_folder(folder).manifest["seed"], read_folder(folder).files
        (7, {'x.bin': b'123'})
    """
    target = check_path(path)
    for name, content in files.items():
        if not isinstance(content, bytes) and not callable(content):
            raise StorageError(
                "is not bytes",
                argument=name,
                got=type(content).__name__,
                expected="bytes, or a function that writes them",
            )
    manifests.seal(dict.fromkeys(files, manifests.entry_of(b"")), manifest)  # what it refuses is told before a write
    with _prepared(target):
        swap.replace(target, files, lambda entries: manifests.seal(entries, manifest))
    return target


def check_writable(path: str | os.PathLike[str]) -> Path:
    """Find out, before any computation, whether :func:`write_folder` could write ``path``; leave nothing behind.

    Args:
        path: The folder to be written later.

    Returns:
        The absolute path of the folder.

    Raises:
        StorageError: As :func:`write_folder` would.
    """
    target = check_path(path)
    probe = target.with_name(f".{target.name}.ppzoo.new")
    with ExitStack() as made_parents, _prepared(target, made_parents):
        try:
            swap.fill(probe, {}, lambda _: b"probe")
        finally:
            with suppress(OSError):
                swap.discard(probe)
    return target


@contextmanager
def _prepared(target: Path, made_parents: ExitStack | None = None) -> Iterator[None]:
    """Parents made (removed again on an error, or by ``made_parents``), lock held, leftovers gone, target free."""
    with reported(target, "write"), ExitStack() as on_error:
        _make_parents(target.parent, made_parents or on_error)
        with folder_lock(target):
            swap.recover(target)
            _check_replaceable(target)
            yield
        on_error.pop_all()


def _make_parents(parent: Path, made: ExitStack) -> None:
    missing = [folder for folder in (parent, *parent.parents) if not folder.exists()]
    for folder in reversed(missing):
        with suppress(FileExistsError):  # another process made it meanwhile
            folder.mkdir()
            made.callback(_remove_empty, folder)
        swap.sync_folder(folder.parent)


def _remove_empty(folder: Path) -> None:
    with suppress(OSError):  # another process has begun to use it
        folder.rmdir()


def _check_replaceable(target: Path) -> None:
    """Nothing of value is at ``target``: it is missing, empty, or holds only what ppzoo wrote."""
    if not os.path.lexists(target):
        return
    if not target.is_dir():
        raise StorageError("is a file", argument=repr(str(target)), expected="a folder", remedy="Choose another name.")
    found = {entry.name for entry in os.scandir(target)}
    if not found:
        return
    remedy = "Choose another folder, or delete this one first."
    if manifests.NAME not in found:
        raise StorageError(
            "is not a run folder of ppzoo and will not be overwritten",
            argument=repr(str(target)),
            got=f"a folder with {some(found)}",
            remedy=remedy,
        )
    try:
        listed = manifests.entries(read_manifest(target), where=str(target))
    except StorageError as error:
        raise StorageError(
            "has a manifest that ppzoo did not write, or that is damaged, and will not be overwritten",
            argument=repr(str(target)),
            got=error.problem,
            remedy=remedy,
        ) from error
    if added := found - set(listed) - {manifests.NAME}:
        raise StorageError(
            "holds files that ppzoo did not write and will not be overwritten",
            argument=repr(str(target)),
            got=some(added),
            remedy="Move them elsewhere, or choose another folder.",
        )
