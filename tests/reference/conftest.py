"""The records of the last reference runs, beside the tests that write them."""

from __future__ import annotations

import json
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

HERE = Path(__file__).parent


@pytest.fixture(scope="session")
def record() -> Iterator[dict[str, Any]]:
    """By posterior, what its run by a sampler gave."""
    with _rows_of(HERE / "posteriors.json", "posteriors") as rows:
        yield rows


@pytest.fixture(scope="session")
def verdicts() -> Iterator[dict[str, Any]]:
    """By posterior, guide and steps, how far a fit by SVI was off and what was said of it."""
    with _rows_of(HERE / "approximations.json", "fits") as rows:
        yield rows


@contextmanager
def _rows_of(path: Path, what: str) -> Iterator[dict[str, Any]]:
    """New rows; when the tests are over, they replace those on file."""
    rows: dict[str, Any] = {}
    yield rows
    before = json.loads(path.read_text())[what] if path.exists() else {}
    made = {"torch": torch.__version__, "python": platform.python_version(), "command": "pytest -m reference"}
    path.write_text(json.dumps({"made with": made, what: dict(sorted((before | rows).items()))}, indent=1) + "\n")
