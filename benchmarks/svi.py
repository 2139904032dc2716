"""Variational fits against each other: the same model, guide, rate and batches, in the same minutes of one machine.

    pip install -r benchmarks/mcmc/requirements.txt         NumPyro, into an environment that has ppzoo
    python benchmarks/svi.py --repeats 5
    python benchmarks/svi.py --problems radon --rivals ppzoo pyro
    python benchmarks/svi.py --device cuda                  where there is one; a record of its own
    python benchmarks/svi.py --table                        only writes the table anew

Each run is a process of its own, and they take turns. What tracing and compilation take is told beside the time of a
step, and the time to a loss that all reach counts both. Who does not reach it has no speed.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from harness import records
from harness.watched import watched
from mcmc.samplers import DEVICES, check_device
from svi.problems import PROBLEMS, Settings
from svi.rivals import RIVALS
from svi.tables import page, reached, record

SEED = 20_261_121


def main(words: Sequence[str] | None = None) -> None:
    """Read the command line and do what it says."""
    options = _options(words)
    check_device(options.device)
    path = record(options.device)
    if not options.table:
        runs: list[dict[str, Any]] = (records.read(path) or {"runs": []})["runs"]
        runs = [run for run in runs if run["problem"] not in options.problems or run["rival"] not in options.rivals]
        for repeat in range(options.repeats):
            for problem in options.problems:
                turns = options.rivals[repeat % len(options.rivals) :] + options.rivals[: repeat % len(options.rivals)]
                runs += [_run(problem, name, repeat, options) for name in turns if problem not in RIVALS[name].without]
        records.write(path, {"runs": runs} | records.about(options.device))
    path.with_suffix(".md").write_text(page(options.device), encoding="utf-8")


def _options(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--problems", nargs="+", choices=PROBLEMS, default=list(PROBLEMS))
    parser.add_argument("--rivals", nargs="+", choices=RIVALS, default=list(RIVALS))
    parser.add_argument("--device", choices=DEVICES, default="cpu")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--limit", type=float, default=600.0, help="seconds after which a run is stopped")
    parser.add_argument("--table", action="store_true", help="only write the table anew")
    return parser.parse_args(words)


def _run(problem: str, rival: str, repeat: int, options: argparse.Namespace) -> dict[str, Any]:
    run: dict[str, Any] = {"problem": problem, "rival": rival, "seed": SEED + repeat}
    if find_spec(RIVALS[rival].package) is None:
        return run | {"failures": [f"{RIVALS[rival].package} is not installed"], "others": None}
    settings = Settings(SEED + repeat, PROBLEMS[problem].steps, options.device)
    wanted = {"problem": problem, "rival": rival, "settings": asdict(settings)}
    with tempfile.TemporaryDirectory() as folder:
        run |= watched("svi.worker", wanted, Path(folder), options.limit)
    if "losses" in run:
        run |= reached(run.pop("losses"), PROBLEMS[problem])
    print(run, flush=True)
    return run


if __name__ == "__main__":
    main()
