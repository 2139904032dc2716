"""One writer at a time: an advisory lock beside the folder, ``.<name>.ppzoo.lock``.

The lock is ``flock`` where there is one, so that it ends with its holder, however that ends; it also holds between
threads. Elsewhere it is a file that only one process can create, and that a killed one leaves behind.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NoReturn

from ppzoo.errors import StorageError

if sys.platform != "win32":
    import fcntl

__all__ = ["folder_lock"]

_BUSY = (errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES)


@contextmanager
def folder_lock(target: Path) -> Iterator[None]:
    """Hold the right to write ``target`` within the ``with`` block.

    Args:
        target: The folder to be written; its parent exists.

    Raises:
        StorageError: When another process or thread holds it; the message names the process.
        OSError: When the lock file cannot be made.
    """
    path = target.with_name(f".{target.name}.ppzoo.lock")
    handle = _take(path, target)
    try:
        os.ftruncate(handle, 0)
        os.write(handle, str(os.getpid()).encode())
        yield
    finally:
        # Unlinked while still held: whoever opened the old file before finds, in _flock, that it is no longer the lock.
        with suppress(OSError):
            path.unlink()
        os.close(handle)


def _flock(path: Path, target: Path) -> int:
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK, 0o666)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_at(handle, path):
                return handle
        except OSError as error:
            holder = os.pread(handle, 20, 0) if error.errno in _BUSY else b""
            os.close(handle)
            if error.errno in _BUSY:
                _refuse(target, holder, "Wait until it has finished, or choose another folder.")
            raise
        os.close(handle)


def _is_at(handle: int, path: Path) -> bool:
    """Whether the open file is still the one at ``path``: its last holder may have removed it in between."""
    with suppress(FileNotFoundError):
        return os.path.samestat(os.fstat(handle), os.lstat(path))
    return False


def _create(path: Path, target: Path) -> int:
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
    except FileExistsError:
        _refuse(target, path.read_bytes()[:20], f"Wait until it has finished; if it was killed, delete {path.name!r}.")


def _refuse(target: Path, holder: bytes, remedy: str) -> NoReturn:
    pid = holder.decode("ascii", "replace")
    who = f"process {pid}" if pid.isdigit() else "a process that just started"
    raise StorageError("another process is writing here", argument=repr(str(target)), got=who, remedy=remedy)


_take = _create if sys.platform == "win32" else _flock
