"""The benchmark of rows on disk: its table is made from the record, and a run leaves what the table shows."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _importable(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))


def test_the_table_is_that_of_the_record():
    import streaming

    assert streaming.RECORD.with_suffix(".md").read_text(encoding="utf-8") == streaming.table()
    runs = json.loads(streaming.RECORD.read_text(encoding="utf-8"))["runs"]
    assert {(run["rows"], run["where"]) for run in runs} == {(n, w) for n in streaming.ROWS for w in streaming.WHERE}
    assert {run["road"] for run in runs} == {"Steps: machine code."}


@pytest.mark.parametrize("where", ["disk", "memory"])
def test_a_run_leaves_its_figures(where, tmp_path):
    streamed = pytest.importorskip("svi.streamed")
    if not Path("/proc/self/status").is_file():
        pytest.skip("the system does not tell peaks")
    streamed.write(tmp_path, 3000, 5)
    spec = {"rows": 3000, "batch": 100, "steps": 60, "seed": 1, "where": where}
    streamed.main(json.dumps(spec), tmp_path)
    found = json.loads((tmp_path / "run.json").read_text(encoding="utf-8"))
    assert 0 < found["before"] <= found["peak"]
    assert found["step"] > 0
