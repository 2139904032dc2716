"""What ppzoo raises: one parent, few children, each message with its remedy.

Every error names the argument, what it got, what it expected and how to mend it. All are raised before the
expensive work starts, except :class:`FitError`, which reports a computation that failed.
"""

from __future__ import annotations

__all__ = [
    "DataError",
    "FitError",
    "ModelError",
    "NotFittedError",
    "OptionError",
    "PPZooError",
    "StorageError",
]


class PPZooError(Exception):
    """Parent of every error that ppzoo raises on purpose.

    Args:
        problem: One sentence: what is wrong.
        argument: The argument (or option, site, file) that is at fault.
        got: What came.
        expected: What was expected.
        remedy: What to do about it.

    Example:
        >>> error = PPZooError("not a probability", argument="target_accept", got=1.5, expected="0 < x < 1")
        >>> print(error)
        target_accept: not a probability; got 1.5; expected 0 < x < 1
    """

    def __init__(
        self,
        problem: str,
        *,
        argument: str = "",
        got: object = "",
        expected: str = "",
        remedy: str = "",
    ) -> None:
        self.problem = problem
        self.argument = argument
        self.got = str(got)
        self.expected = expected
        self.remedy = remedy
        super().__init__(self._message())

    def _message(self) -> str:
        parts = [f"{self.argument}: {self.problem}" if self.argument else self.problem]
        if self.got:
            parts.append(f"got {self.got}")
        if self.expected:
            parts.append(f"expected {self.expected}")
        message = "; ".join(parts)
        return f"{message}. {self.remedy}" if self.remedy else message

    def as_dict(self) -> dict[str, str]:
        """The error as plain text fields, for ``--json``."""
        return {
            "error": type(self).__name__,
            "problem": self.problem,
            "argument": self.argument,
            "got": self.got,
            "expected": self.expected,
            "remedy": self.remedy,
        }


class DataError(PPZooError, ValueError):
    """The data cannot be used: shape, type, support, missing or infinite values."""


class OptionError(PPZooError, ValueError):
    """An option is unknown or outside its range."""


class ModelError(PPZooError, TypeError):
    """The program cannot do what is asked: no latent site, a guide that does not match, a missing contract."""


class NotFittedError(PPZooError, ValueError):
    """A fit was needed and an unfitted model came."""


class FitError(PPZooError, RuntimeError):
    """The computation failed: no finite starting point, or the loss stayed non-finite."""


class StorageError(PPZooError, OSError):
    """A folder cannot be written or read: damaged, edited, locked, of another model."""
