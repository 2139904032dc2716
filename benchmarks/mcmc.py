"""Samplers against each other: on the same posterior, behind the same gate, in the same minutes of one machine.

    pip install -r benchmarks/mcmc/requirements.txt         the rivals, into an environment that has ppzoo
    python benchmarks/mcmc.py --reference numpyro           long runs, whose moments the others are held against
    python benchmarks/mcmc.py --models eight_schools --chains 4 64 --repeats 5
    python benchmarks/mcmc.py --table                       only writes the table anew

Each run is a process of its own. The samplers take turns, each repeat with a seed of its own and with another one
first. A run is timed from the data to the draws in memory, so tracing, compilation and warm-up count; the import of
libraries does not, and is recorded beside it. What fails the gate has no speed. Each cell of the table is a record
under ``benchmarks/results/mcmc``; a rival that is not installed is left out, and its record says so.
"""

from __future__ import annotations

import argparse
import math
from dataclasses import asdict
from importlib.util import find_spec
from typing import Any

from mcmc import records
from mcmc.gate import moments
from mcmc.posteriors import POSTERIORS
from mcmc.race import run_once
from mcmc.run import Settings

NEEDS = {"ppzoo": (), "pyro": (), "numpyro": ("numpyro",), "nutpie": ("nutpie", "pymc")}
MOST_CHAINS = {"pyro": 4}  # one after the other
FEWEST_DRAWS = 50  # per chain
LONG = (64, 1000, 2000)  # chains, warm-up and draws of a reference
SEED = 20_261_121


def main() -> None:
    """Read the command line and do what it says."""
    options = _options()
    if options.reference:
        for model in options.models:
            _refer(model, options)
    elif not options.table:
        for model in options.models:
            for chains in options.chains:
                _race(model, chains, options)
    path = records.RESULTS.with_suffix(".md")
    path.write_text(records.table(), encoding="utf-8")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", choices=POSTERIORS, default=list(POSTERIORS))
    parser.add_argument("--chains", nargs="+", type=int, default=[4, 64, 256, 1024])
    parser.add_argument("--samplers", nargs="+", choices=NEEDS, default=list(NEEDS))
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--warmup", type=int, default=500, help="adapting draws per chain")
    parser.add_argument("--draws", type=int, default=20_000, help=f"of all chains; {FEWEST_DRAWS} or more of each")
    parser.add_argument("--seed", type=int, default=SEED, help="of the first repeat")
    parser.add_argument("--limit", type=float, default=1800.0, help="seconds after which a run is stopped")
    parser.add_argument("--reference", choices=NEEDS, help="make references with this sampler instead of racing")
    parser.add_argument("--table", action="store_true", help="only write the table anew")
    return parser.parse_args()


def _refer(model: str, options: argparse.Namespace) -> None:
    """One long run; it passes the gate's own checks, or there is no reference."""
    chains, warmup, draws = LONG
    settings = Settings(chains, warmup, draws, options.seed - 1)
    run, drawn = run_once(model, options.reference, settings, options.limit, None)
    print(f"{model}, reference by {options.reference}: {run}", flush=True)
    if run["failures"]:
        raise SystemExit(f"{model}: no reference, for {run['failures'][0]}")
    record = {"model": model, "sampler": options.reference, "settings": asdict(settings), "run": run}
    records.write(records.reference_path(model), record | records.about() | {"moments": moments(drawn)})


def _race(model: str, chains: int, options: argparse.Namespace) -> None:
    """All samplers on one posterior with so many chains, turn by turn; what is done is on record at once."""
    reference = records.read(records.reference_path(model))
    if reference is None:
        raise SystemExit(f"{model} has no reference: make it with --reference")
    racing = {name: _why_not(name) for name in options.samplers if chains <= MOST_CHAINS.get(name, chains)}
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in racing}
    running = [name for name, why_not in racing.items() if why_not is None]
    draws = max(FEWEST_DRAWS, math.ceil(options.draws / chains))
    about = records.about()

    def record(name: str) -> None:
        settings = {"warmup": options.warmup, "draws": draws, "seed": options.seed, "repeats": len(runs[name])}
        found = records.cell(model, chains, name, runs[name]) | {"left_out": racing[name], "settings": settings}
        records.write(records.result_path(model, chains, name), found | about)

    for name in set(racing) - set(running):
        record(name)
    for repeat in range(options.repeats):
        first = repeat % max(1, len(running))
        for name in running[first:] + running[:first]:
            settings = Settings(chains, options.warmup, draws, options.seed + repeat)
            run, _ = run_once(model, name, settings, options.limit, reference["moments"])
            print(f"{model}, {chains} chains, {name}: {run}", flush=True)
            runs[name].append(run)
            record(name)


def _why_not(sampler: str) -> str | None:
    missing = [package for package in NEEDS[sampler] if find_spec(package) is None]
    return f"not run: {' and '.join(missing)} not installed" if missing else None


if __name__ == "__main__":
    main()
