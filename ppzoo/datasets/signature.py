"""What a model's function takes: the names, in order, and which of them it cannot do without."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ppzoo.checks import nearest
from ppzoo.errors import DataError

__all__ = ["Signature", "signature_of"]

_POSITIONAL = {inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD}
_KEYWORD = {inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD}


@dataclass(frozen=True)
class Signature:
    """The arguments of a function, by name.

    Args:
        positional: Names that can be given by position, in order.
        keyword: Names that can be given by keyword.
        required: Names without a default.
        star: Name of ``*args``, empty where there is none.
        any_keyword: Whether there is a ``**kwargs``.
    """

    positional: tuple[str, ...]
    keyword: tuple[str, ...]
    required: tuple[str, ...]
    star: str
    any_keyword: bool

    @property
    def names(self) -> tuple[str, ...]:
        """All names, in order."""
        return (*self.positional, *(name for name in self.keyword if name not in self.positional))

    def by_position(self, values: Sequence[Any]) -> dict[str, Any]:
        """The values under the names that they take by position; :class:`DataError` for one too many."""
        if len(values) > len(self.positional) and not self.star:
            raise DataError(
                "more arguments than the model takes",
                argument="data",
                got=f"{len(values)} of them",
                expected=self._expected(),
                remedy="A tuple is one argument per entry, () is none; wrap rows into one array or tensor.",
            )
        more = (f"{self.star}[{i}]" for i in range(len(values)))
        return dict(zip((*self.positional, *more), values, strict=False))

    def check_keywords(self, names: Sequence[object]) -> None:
        """:class:`DataError` for a keyword that the function does not take."""
        for name in names:
            if not isinstance(name, str):
                raise DataError("keys must be argument names", argument="data", got=repr(name), expected="strings")
            if name not in self.keyword and not self.any_keyword:
                remedy = nearest(name, self.keyword)
                raise DataError("the model takes no such argument", argument=name, remedy=remedy)

    def check_complete(self, given: Mapping[str, Any], *, remedy: str) -> None:
        """:class:`DataError` where a required argument is not among those given."""
        missing = [name for name in self.required if name not in given]
        if missing:
            raise DataError(
                "the model needs what the data do not give",
                argument=", ".join(missing),
                got=", ".join(given) or "no argument",
                expected=self._expected(),
                remedy=remedy,
            )

    def _expected(self) -> str:
        return f"arguments {', '.join(self.names)}" if self.names else "no argument: the model takes no data"


def signature_of(function: Callable[..., Any]) -> Signature:
    """The arguments of a function, method, partial, callable object or module (then those of its ``forward``).

    Example:
        >>> signature_of(lambda x, y=None, **more: ...).required
        ('x',)
    """
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(function, torch.nn.Module):
        function = function.forward
    try:
        parameters = inspect.signature(function).parameters.values()
    except ValueError:  # written in C: it takes what it takes
        return Signature((), (), (), "args", any_keyword=True)
    stars = {p.kind: p.name for p in parameters}
    return Signature(
        positional=tuple(p.name for p in parameters if p.kind in _POSITIONAL),
        keyword=tuple(p.name for p in parameters if p.kind in _KEYWORD),
        required=tuple(p.name for p in parameters if p.kind in _POSITIONAL | _KEYWORD and p.default is p.empty),
        star=stars.get(inspect.Parameter.VAR_POSITIONAL, ""),
        any_keyword=inspect.Parameter.VAR_KEYWORD in stars,
    )
