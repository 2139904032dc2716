"""The records of the last reference runs, beside the tests that write them."""

from __future__ import annotations

import json
import platform
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

Rows = dict[str, Any]


@pytest.fixture(scope="session")
def record() -> Iterator[Rows]:
    """By posterior, what a sampler's run gave."""
    yield from kept("posteriors")


@pytest.fixture(scope="session")
def distances() -> Iterator[Rows]:
    """By posterior, how far approximations are from it."""
    yield from kept("approximations")


def kept(name: str) -> Iterator[Rows]:
    """Rows to fill; when the tests are over, they replace those on file."""
    path = Path(__file__).with_name(f"{name}.json")
    rows: Rows = {}
    yield rows
    before = json.loads(path.read_text())["posteriors"] if path.exists() else {}
    made = {"torch": torch.__version__, "python": platform.python_version(), "command": "pytest -m reference"}
    path.write_text(
        json.dumps({"made with": made, "posteriors": dict(sorted((before | rows).items()))}, indent=1) + "\n"
    )
