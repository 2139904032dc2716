"""The record of the last reference runs, beside the tests that write it."""

from __future__ import annotations

import json
import platform
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

RECORD = Path(__file__).with_name("posteriors.json")


@pytest.fixture(scope="session")
def record() -> Iterator[dict[str, Any]]:
    """By posterior, what its run gave; when the tests are over, these rows replace those on file."""
    rows: dict[str, Any] = {}
    yield rows
    before = json.loads(RECORD.read_text())["posteriors"] if RECORD.exists() else {}
    made = {"torch": torch.__version__, "python": platform.python_version(), "command": "pytest -m reference"}
    RECORD.write_text(
        json.dumps({"made with": made, "posteriors": dict(sorted((before | rows).items()))}, indent=1) + "\n"
    )
