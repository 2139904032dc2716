"""The record of the last reference run of each file of tests, beside it."""

from __future__ import annotations

import json
import platform
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch


@pytest.fixture(scope="module")
def record(request: pytest.FixtureRequest) -> Iterator[dict[str, Any]]:
    """By posterior, what its run gave; when the file's tests are over, these rows replace those on file."""
    rows: dict[str, Any] = {}
    yield rows
    path = Path(request.path)
    path = path.with_name(f"{path.stem.removeprefix('test_')}.json")
    before = json.loads(path.read_text())["posteriors"] if path.exists() else {}
    made = {"torch": torch.__version__, "python": platform.python_version(), "command": "pytest -m reference"}
    path.write_text(
        json.dumps({"made with": made, "posteriors": dict(sorted((before | rows).items()))}, indent=1) + "\n"
    )
