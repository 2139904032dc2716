"""Whether a program remembers something from run to run: a counter, a list that grows, an attribute that is set.

Such a program cannot be replaced by what one of its runs did.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import suppress
from types import BuiltinFunctionType, CodeType, FunctionType, MethodType, ModuleType
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Transform

__all__ = ["remembered"]

_MOST = 20_000  # values that are looked at
_LIBRARIES = {"builtins", "numpy", "pyro", "torch"}  # whose functions remember nothing of a program
_SHOWN = (bool, int, float, complex, str, bytes, type(None), itertools.count)  # by what they show of themselves
_ATOMS = (type, ModuleType, BuiltinFunctionType, CodeType)  # the same while they are the same object


def remembered(*programs: Any) -> list[object]:
    """What functions and objects hold in attributes, closures, defaults and the global variables that they name.

    Two results are equal unless something was set or grew in between. A tensor counts as the same while it is the same
    object, whatever is written into it; another one that is equal counts too, for a plate makes its indices anew.

    Example:
        >>> count = []
        >>> def program():
        ...     count.append(None)
        >>> before = remembered(program)
        >>> program()
        >>> before == remembered(program)
        False
    """
    return list(itertools.islice(_walk(programs, {}), _MOST))


class _Same:
    """Equal for one tensor, and for two of equal numbers."""

    __hash__ = None  # type: ignore[assignment]  # numbers change

    def __init__(self, tensor: Tensor) -> None:
        self._tensor = tensor

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, _Same):
            return False
        a, b = self._tensor, other._tensor
        return a is b or (a.dtype == b.dtype and a.device == b.device and torch.equal(a, b))


def _walk(value: Any, seen: dict[int, Any]) -> Iterator[object]:
    if isinstance(value, _SHOWN):
        yield repr(value)
    elif isinstance(value, Tensor):
        yield _Same(value)
    elif isinstance(value, _ATOMS) or id(value) in seen:
        yield id(value)
    else:
        seen[id(value)] = value  # and stays alive, for its number is a key
        yield id(type(value))
        for part in _parts(value):
            yield from _walk(part, seen)


def _parts(value: Any) -> Iterator[Any]:
    """What an object is made of."""
    if isinstance(value, dict):
        yield len(value)
        yield from itertools.chain.from_iterable(value.items())
    elif isinstance(value, (list, tuple, set, frozenset)):
        yield len(value)
        yield from value
    elif isinstance(value, MethodType):
        yield from (value.__self__, value.__func__)
    elif isinstance(value, FunctionType):
        if (value.__module__ or "").partition(".")[0] not in _LIBRARIES:
            yield from _parts_of_function(value)
    elif isinstance(value, Transform):  # it keeps the values that it had last, and its inverse, anew in each run
        yield {name: part for name, part in vars(value).items() if not name.startswith(("_cache", "_inv"))}
    elif hasattr(value, "__dict__"):
        yield vars(value)


def _parts_of_function(function: FunctionType) -> Iterator[Any]:
    yield from (function.__defaults__, function.__kwdefaults__, function.__dict__)
    for cell in function.__closure__ or ():
        with suppress(ValueError):  # one that nothing was put into yet
            yield cell.cell_contents
    yield from (function.__globals__[name] for name in _names(function.__code__) if name in function.__globals__)


def _names(code: CodeType) -> Iterator[str]:
    """The global names in a function and in those that are defined in it."""
    yield from code.co_names
    for inner in code.co_consts:
        if isinstance(inner, CodeType):
            yield from _names(inner)
