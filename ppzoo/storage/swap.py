"""One folder takes the place of another, so that a crash at any instant leaves the old or the new, whole.

For a target ``a`` the new folder is filled as ``.a.ppzoo.new``; then ``a`` becomes ``.a.ppzoo.old`` and
``.a.ppzoo.new`` becomes ``a``. Between these two renames nothing is called ``a``, so readers look at ``.a.ppzoo.old``
too, and the next writer puts it back. Files and folders are synced before each step that relies on them.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

from ppzoo.storage.manifest import NAME, Entry, digest_file, entry_of

__all__ = ["Content", "Seal", "discard", "fill", "recover", "replace", "standing", "sync_folder"]

Content = bytes | Callable[[Path], None]
Seal = Callable[[Mapping[str, Entry]], bytes]


def standing(target: Path) -> Path:
    """Where the whole folder lies: at ``target``, or aside if a writer was killed halfway."""
    old = _old(target)
    return old if not os.path.lexists(target) and os.path.lexists(old / NAME) else target


def recover(target: Path) -> None:
    """Undo or finish what a killed writer began; call it with the lock held."""
    if standing(target) != target:
        os.rename(_old(target), target)
        sync_folder(target.parent)
    discard(_new(target))
    discard(_old(target))


def replace(target: Path, files: Mapping[str, Content], seal: Seal) -> None:
    """Put a folder of ``files`` and their manifest where ``target`` is; on any failure leave all as it was."""
    new, old = _new(target), _old(target)
    made: os.stat_result | None = None
    try:
        fill(new, files, seal)
        made = os.lstat(new)
        if os.path.lexists(target):
            os.rename(target, old)
        os.rename(new, target)
        sync_folder(target.parent)
    except BaseException:
        with suppress(OSError):  # what cannot be undone now, the next writer undoes; readers find the old one
            _undo(target, made)
        raise
    with suppress(OSError):  # the new folder is in place; what is left of the old one goes at the next write
        discard(old)


def fill(folder: Path, files: Mapping[str, Content], seal: Seal) -> None:
    """Make ``folder`` with ``files``, in this order, and last their manifest, all of it synced."""
    os.mkdir(folder)
    entries = {}
    for name, content in files.items():
        if isinstance(content, bytes):
            _write(folder / name, content)
            entries[name] = entry_of(content)
        else:
            content(folder / name)
            os.chmod(folder / name, os.stat(folder).st_mode & 0o666)  # as the user's other files, whoever made it
            entries[name] = _synced(folder / name)
    _write(folder / NAME, seal(entries))
    sync_folder(folder)


def discard(folder: Path) -> None:
    """Delete ``folder`` if it is there, its manifest first: without one it never counts as whole."""
    if os.path.islink(folder):  # not ours: never delete what it leads to
        os.unlink(folder)
    elif os.path.lexists(folder):
        (folder / NAME).unlink(missing_ok=True)
        shutil.rmtree(folder)


def sync_folder(folder: Path) -> None:
    """Make the entries of ``folder`` durable, where the system can."""
    if os.name == "nt":
        return
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some network file systems cannot sync a folder
            raise
    finally:
        os.close(handle)


def _undo(target: Path, made: os.stat_result | None) -> None:
    new, old = _new(target), _old(target)
    if made and os.path.lexists(target) and os.path.samestat(os.lstat(target), made):
        os.rename(target, new)
    if os.path.lexists(old) and not os.path.lexists(target):
        os.rename(old, target)
    discard(new)


def _write(path: Path, data: bytes) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)
    handle = os.open(path, flags, 0o666)
    try:
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(handle, rest) :]
        os.fsync(handle)
    finally:
        os.close(handle)


def _synced(path: Path) -> Entry:
    """What the manifest says of a file that another has written."""
    handle = os.open(path, os.O_RDWR | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0))
    try:
        os.fsync(handle)
        return Entry(os.fstat(handle).st_size, digest_file(handle))
    finally:
        os.close(handle)


def _new(target: Path) -> Path:
    return target.with_name(f".{target.name}.ppzoo.new")


def _old(target: Path) -> Path:
    return target.with_name(f".{target.name}.ppzoo.old")
