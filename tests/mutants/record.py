"""What came of the planted bugs: ``result.json``, and the same to be read by people, ``result.md``."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tests.mutants.mutants import MUTANTS

__all__ = ["read", "table", "write"]

HERE = Path(__file__).parent
JSON, TABLE = HERE / "result.json", HERE / "result.md"

Rows = Mapping[str, Mapping[str, Any]]  # by name of the bug: caught_by (None where it survived), seconds


def read() -> dict[str, dict[str, Any]]:
    """The rows that were written; none before the first time."""
    if not JSON.is_file():
        return {}
    rows: dict[str, dict[str, Any]] = json.loads(JSON.read_text(encoding="utf-8"))["mutants"]
    return rows


def write(rows: Rows) -> None:
    """Write both files, in the order of the table of bugs."""
    versions = {"python": platform.python_version()} | {name: version(name) for name in ("torch", "pyro-ppl", "pytest")}
    ordered = {mutant.name: dict(rows[mutant.name]) for mutant in MUTANTS if mutant.name in rows}
    JSON.write_text(json.dumps({"versions": versions, "mutants": ordered}, indent=1) + "\n", encoding="utf-8")
    TABLE.write_text(table(ordered), encoding="utf-8")


def table(rows: Rows) -> str:
    """The rows as Markdown."""
    known = [mutant for mutant in MUTANTS if mutant.name in rows]
    caught = sum(rows[mutant.name]["caught_by"] is not None for mutant in known)
    lines = [
        "# Planted bugs",
        "",
        f"{caught} of {len(known)} are caught. `python -m tests.mutants` plants each in a copy of the source, runs the",
        "tests that its row in `tests/mutants` names, and writes this page.",
        "",
        "| bug | in `ppzoo/` | what is wrong | the first test that fails | seconds |",
        "|---|---|---|---|--:|",
    ]
    for mutant in known:
        row = rows[mutant.name]
        test = f"`{row['caught_by']}`" if row["caught_by"] else "**none**"
        where = f"{test} (`-m reference`)" if mutant.reference else test
        lines.append(f"| {mutant.name} | `{mutant.file}` | {mutant.fault} | {where} | {row['seconds']} |")
    return "\n".join(lines) + "\n"
