"""An object from the user's own file, ``path/to/file.py:name``: their code, run once, as ``python file.py`` would.

Nothing of the process is left changed: neither ``sys.path`` nor ``sys.modules``, and no byte code beside the file.
"""

from __future__ import annotations

import importlib.util
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

from ppzoo.checks import nearest
from ppzoo.errors import ModelError, PPZooError
from ppzoo.rng import stream_seed

__all__ = ["UserFiles", "is_file_object"]


def is_file_object(text: str) -> bool:
    """Whether ``text`` means an object in a file: ``file.py`` or ``file.py:name``.

    Example:
        >>> is_file_object("models/mine.py:model"), is_file_object("eight_schools")
        (True, False)
    """
    return text.endswith(".py") or text.rpartition(":")[0].endswith(".py")


class UserFiles:
    """The files of one command. Each is run once, so that a model and a guide share what their file makes.

    Args:
        seed: Decides the starting values of networks that a file makes.
    """

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._modules: dict[Path, ModuleType] = {}

    def find(self, text: str, *, argument: str) -> Any:
        """The object that ``file.py:name`` names.

        Args:
            text: File and name.
            argument: What the object is for, in errors: ``"model"`` or ``"guide"``.

        Raises:
            ModelError: If the file is missing, does not parse or run, or has no such object.
        """
        place, name = (text, "") if text.endswith(".py") else text.rpartition(":")[::2]
        module = self._module(Path(place), argument)
        if name and hasattr(module, name):
            return getattr(module, name)
        here = [n for n, value in vars(module).items() if getattr(value, "__module__", "") == module.__name__]
        raise ModelError(
            f"the file has no {name!r}" if name else "needs the name of an object in the file",
            argument=argument,
            got=repr(text),
            expected=f"{place}:{argument if argument in here or not here else here[0]}",
            remedy=nearest(name, [n for n in here if not n.startswith("_")]),
        )

    def _module(self, path: Path, argument: str) -> ModuleType:
        key = path.resolve()
        if key not in self._modules:
            if not key.is_file():
                raise ModelError(
                    "there is no such file",
                    argument=argument,
                    got=repr(str(path)),
                    expected="a Python file",
                    remedy=f"Write one to start from: ppzoo new {path.name}",
                )
            from ppzoo.isolation import random_state

            with random_state(stream_seed(self._seed, "file", key.name)):
                self._modules[key] = _run(key, path, argument)
        return self._modules[key]


class _Source(SourceFileLoader):
    """The source as it is now: no byte code is read or written."""

    def get_code(self, fullname: str) -> CodeType:
        return self.source_to_code(self.get_data(self.path), self.path)


def _run(path: Path, shown: Path, argument: str) -> ModuleType:
    name = f"ppzoo_user_file_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path, loader=_Source(name, str(path)))
    if spec is None or spec.loader is None:  # pragma: no cover  # a loader was given
        raise ModelError("cannot be read", argument=argument, got=repr(str(shown)))
    module = importlib.util.module_from_spec(spec)
    try:
        with _importable(module, path.parent):
            spec.loader.exec_module(module)
    except PPZooError:
        raise
    except SyntaxError as error:
        where = f"{error.filename}, line {error.lineno}"
        raise ModelError(
            "the file does not parse",
            argument=argument,
            got=f"{where}: {error.msg}: {(error.text or '').strip()!r}",
            expected="Python",
        ) from error
    except (Exception, SystemExit) as error:
        lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
        where = f"{shown}, line {lines[-1]}" if lines else str(shown)
        raise ModelError(
            "the file failed when it was run",
            argument=argument,
            got=f"{where}: {type(error).__name__}: {' '.join(str(error).split())[:400]}",
            expected="a file that can be imported",
            remedy="The file itself should define things, not run them; --debug shows where it failed.",
        ) from error
    return module


@contextmanager
def _importable(module: ModuleType, folder: Path) -> Iterator[None]:
    """Within: the module and its neighbours in the folder can be imported, after everything that is installed."""
    before = set(sys.modules)
    path = list(sys.path)
    sys.modules[module.__name__] = module  # dataclasses look their module up
    sys.path.append(str(folder))
    try:
        yield
    finally:
        sys.path[:] = path
        for name in sys.modules.keys() - before:
            if name == module.__name__ or _stands_in(folder, sys.modules.get(name.partition(".")[0])):
                sys.modules.pop(name, None)


def _stands_in(folder: Path, module: ModuleType | None) -> bool:
    """Whether a top-level module is a file or a package right in the folder."""
    file = getattr(module, "__file__", None)
    if file is None:
        return False
    return (Path(file).parent if Path(file).name != "__init__.py" else Path(file).parents[1]) == folder
