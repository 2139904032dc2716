"""One run in a process of its own: ``python -m svi.worker WANTED FOLDER``, from ``benchmarks``."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from importlib import import_module
from pathlib import Path

from svi.problems import PROBLEMS, Settings
from svi.rivals import RIVALS


def main(wanted: str, folder: Path) -> None:
    """Train as the JSON ``{"problem", "rival", "settings"}`` says; leave ``run.json``."""
    asked = json.loads(wanted)
    rival, name = RIVALS[asked["rival"]], asked["problem"]
    module = import_module(f"svi.{rival.module}")
    trained = module.train(name, PROBLEMS[name], Settings(**asked["settings"]), rival.variant)
    (folder / "run.json").write_text(json.dumps(asdict(trained)), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
