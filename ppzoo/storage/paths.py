"""Which paths can be a folder, and how what the system reports about one is passed on."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from ppzoo.errors import StorageError

__all__ = ["check_path", "reported", "some"]

_LONGEST_NAME = 200  # bytes; file systems take 255, and the names beside the folder are longer than its own
_LONGEST_PATH = 3000


def check_path(path: object, *, writing: bool = True) -> Path:
    """``path`` as an absolute path, if it is text that names a folder of its own."""
    text = os.fspath(path) if isinstance(path, str | os.PathLike) else path
    if not isinstance(text, str):
        raise StorageError("is not a path", argument="path", got=f"{text!r:.80}", expected="text or a pathlib.Path")
    if problem := _name_problem(Path(text)):
        raise StorageError(problem, argument=f"{text!r:.200}", remedy="Choose another name, such as 'runs/first'.")
    target = Path(os.path.abspath(text))
    if writing and os.path.islink(target):
        raise StorageError(
            "is a symbolic link",
            argument=repr(str(target)),
            got=f"a link to {os.readlink(target)!r}",
            expected="a folder",
            remedy="Name the folder that it leads to, or remove the link.",
        )
    return target


def _name_problem(path: Path) -> str:
    if "\0" in str(path):
        return "the path holds a NUL character"
    if path.name in ("", ".."):
        return "the path names no folder of its own"
    try:
        longest = max(len(part.encode("utf-8")) for part in path.parts)
    except UnicodeEncodeError:
        return "the path is not valid UTF-8"
    if len(str(path)) > _LONGEST_PATH:
        return f"the path is longer than {_LONGEST_PATH} characters"
    return f"a name in the path is longer than {_LONGEST_NAME} bytes" if longest > _LONGEST_NAME else ""


@contextmanager
def reported(target: Path, action: str) -> Iterator[None]:
    """What the system reports becomes a :class:`StorageError` that names the folder and the reason."""
    remedies = {"write": "Free space or choose another folder.", "read": "Check the path and its permissions."}
    try:
        yield
    except StorageError:
        raise
    except OSError as error:
        where = f" ({str(error.filename)!r})" if error.filename else ""
        raise StorageError(
            f"cannot {action} this folder",
            argument=repr(str(target)),
            got=f"{error.strerror or error}{where}",
            remedy=remedies[action],
        ) from error


def some(names: Collection[str]) -> str:
    """The first few of ``names``, for an error."""
    shown = ", ".join(f"{name!r:.80}" for name in sorted(names)[:5])
    return f"{shown} and {len(names) - 5} more" if len(names) > 5 else shown
