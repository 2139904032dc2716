"""What a planted bug is."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["Mutant"]


class Mutant(NamedTuple):
    """A fault that somebody could make, and the tests that must see it.

    Attributes:
        name: Its name in the record.
        fault: What is wrong.
        file: Inside of ``ppzoo``.
        source: What the file says, exactly once.
        planted: What it says instead.
        tests: Files or tests, inside of ``tests``, in the order in which they run: the first failure ends the run.
        reference: Whether only tests of minutes see it, those of ``pytest -m reference``.
    """

    name: str
    fault: str
    file: str
    source: str
    planted: str
    tests: tuple[str, ...]
    reference: bool = False
