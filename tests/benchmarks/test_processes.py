"""The benchmark of several processes: its table is made from the record, and a run leaves what the table shows."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _importable(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))


def test_the_table_is_that_of_the_record():
    import processes

    assert processes.RECORD.with_suffix(".md").read_text(encoding="utf-8") == processes.table()
    record = json.loads(processes.RECORD.read_text(encoding="utf-8"))
    assert {(run["batch"], run["processes"]) for run in record["runs"]} == {
        (batch, n) for batch in processes.BATCHES for n in (1, 2)
    }
    assert {run["road"] for run in record["runs"] if run["processes"] == 2} == {
        "Steps: traced graph, rows divided among 2 processes."
    }
    assert {(kill["named"], kill["code"]) for kill in record["kills"]} == {(1, 1)}


def test_a_run_leaves_its_figures(tmp_path):
    divided = pytest.importorskip("svi.divided")
    if not divided.SHARED.is_dir():
        pytest.skip("no shared data: set PPZOO_DATA to the folder")
    threads = torch.get_num_threads()
    divided.main(json.dumps({"batch": 64, "steps": 3, "seed": 1, "kept": False}), tmp_path)
    torch.set_num_threads(threads)
    found = json.loads((tmp_path / "run.json").read_text(encoding="utf-8"))
    assert len(found["losses"]) == 3
    assert found["step"] > 0
