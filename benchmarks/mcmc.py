"""Samplers against each other: on the same posterior, behind the same gate, in the same minutes of one machine.

    pip install -r benchmarks/mcmc/requirements.txt         the rivals, into an environment that has ppzoo
    python benchmarks/mcmc.py --check                       is each posterior the same in every language?
    python benchmarks/mcmc.py --reference nutpie            long runs, whose moments the others are held against
    python benchmarks/mcmc.py --confirm numpyro             another sampler's long runs, held against those
    python benchmarks/mcmc.py --models eight_schools --chains 4 64 --repeats 5
    python benchmarks/mcmc.py --device cuda --chains 1024 65536
    python benchmarks/mcmc.py --table                       only writes table and picture anew

Each run is a process of its own. The samplers take turns, each repeat with a seed of its own and with another one
first. A run is timed from the data to the draws in memory, so tracing, compilation and warm-up count; the import of
libraries does not, and is recorded beside it. What fails the gate has no speed. Each cell of the table is a record
under ``benchmarks/results/mcmc``; a rival that is not installed is left out, and its record says so.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from harness import records as store
from mcmc import records, tables
from mcmc.densities import LANGUAGES, gaps
from mcmc.gate import moments
from mcmc.picture import picture
from mcmc.posteriors import POSTERIORS
from mcmc.race import judged, run_once
from mcmc.run import Settings
from mcmc.samplers import DEVICES, SAMPLERS, check_device, why_not

from ppzoo.errors import FitError, ModelError

LONG = (64, 1000, 2000)  # chains, warm-up and draws of a reference
SEED = 20_261_121
SAME = 1e-6  # nats that log densities may differ by from point to point


def main(words: Sequence[str] | None = None) -> None:
    """Read the command line and do what it says.

    Raises:
        OptionError: If the machine has no such device.
        ModelError: If a posterior is not the same in two languages.
        FitError: If a reference cannot be made, or another sampler does not confirm it.
    """
    options = _options(words)
    check_device(options.device)
    if not options.table:
        for model in options.models:
            _task(options)(model, options)
    if options.check:
        return
    page = records.folder(options.device).with_suffix(".md")
    page.write_text(tables.page(options.device), encoding="utf-8")
    page.with_suffix(".png").write_bytes(picture(options.device))


def _options(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", choices=POSTERIORS, default=list(POSTERIORS))
    parser.add_argument("--chains", nargs="+", type=int, default=[4, 64, 256, 1024])
    parser.add_argument("--samplers", nargs="+", choices=SAMPLERS, default=list(SAMPLERS))
    parser.add_argument("--device", choices=DEVICES, default="cpu")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--warmup", type=int, default=500, help="adapting draws per chain")
    parser.add_argument("--draws", type=int, help="of all chains; by default as many as the posterior needs")
    parser.add_argument("--seed", type=int, default=SEED, help="of the first repeat")
    parser.add_argument("--limit", type=float, default=1800.0, help="seconds after which a run is stopped")
    instead = parser.add_mutually_exclusive_group()
    instead.add_argument("--check", action="store_true", help="compare log densities instead of racing")
    instead.add_argument("--reference", choices=SAMPLERS, help="make references with this sampler instead of racing")
    instead.add_argument("--confirm", choices=SAMPLERS, help="hold this sampler against the references")
    instead.add_argument("--table", action="store_true", help="only write table and picture anew")
    return parser.parse_args(words)


def _task(options: argparse.Namespace) -> Callable[[str, argparse.Namespace], None]:
    tasks = ((options.check, _check), (options.reference, _refer), (options.confirm, _confirm))
    return next((task for wanted, task in tasks if wanted), _race)


def _check(model: str, options: argparse.Namespace) -> None:
    """The log density of a posterior in every language that is installed."""
    for name in options.samplers:
        if name not in LANGUAGES or why_not(name) is not None:
            continue
        off = float(np.ptp(gaps(model, name)))
        print(f"{model}, {name}: log densities differ from Pyro's by a constant, to {off:.1e} nats", flush=True)
        if not off < SAME:
            raise ModelError(
                "is another posterior than in Pyro",
                argument=f"{model}, {name}",
                got=f"log densities {off} nats off",
                expected=f"{SAME} at most, after a constant",
            )


def _refer(model: str, options: argparse.Namespace) -> None:
    """One long run; it passes the gate's own checks, or there is no reference."""
    settings, run, drawn = _long(model, options.reference, options.seed - 1, options.limit)
    run = judged(model, run, drawn, None)
    print(f"{model}, reference by {options.reference}: {run}", flush=True)
    if run["failures"]:
        raise FitError("cannot be a reference", argument=f"{model}, {options.reference}", got=run["failures"][0])
    record = {"model": model, "sampler": options.reference, "settings": asdict(settings), "run": run}
    store.write(records.reference_path(model), record | store.about() | {"moments": moments(drawn)})


def _confirm(model: str, options: argparse.Namespace) -> None:
    """A long run of another sampler, with a seed of its own; what it says of the reference joins its record."""
    reference = _reference(model)
    settings, run, drawn = _long(model, options.confirm, options.seed - 2, options.limit)
    run = judged(model, run, drawn, reference["moments"])
    print(f"{model}, {options.confirm} against the reference: {run}", flush=True)
    if run["failures"]:
        raise FitError("does not confirm the reference", argument=f"{model}, {options.confirm}", got=run["failures"][0])
    confirmed = {"sampler": options.confirm, "settings": asdict(settings), "run": run} | store.about()
    store.write(records.reference_path(model), reference | {"confirmed": confirmed})


def _long(model: str, sampler: str, seed: int, limit: float) -> tuple[Settings, dict[str, Any], dict[str, Any]]:
    settings = Settings(*LONG, seed)
    return settings, *run_once(model, sampler, settings, limit)


def _reference(model: str) -> dict[str, Any]:
    found = store.read(records.reference_path(model))
    if found is None:
        raise FitError("has no reference", argument=model, remedy="Make it with --reference.")
    return found


def _race(model: str, options: argparse.Namespace) -> None:
    """All samplers on one posterior, for each number of chains."""
    reference = _reference(model)["moments"]
    for chains in options.chains:
        _race_with(model, chains, reference, options)


def _race_with(model: str, chains: int, reference: dict[str, Any], options: argparse.Namespace) -> None:
    """Turn by turn; what is done is on record at once."""
    left_out = {name: why_not(name) for name in _racing(chains, options)}
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in left_out}
    running = [name for name, reason in left_out.items() if reason is None]
    draws = POSTERIORS[model].draws_of_each(chains, options.draws)
    about = store.about(options.device)

    def record(name: str) -> None:
        settings = {"warmup": options.warmup, "draws": draws, "seed": options.seed, "repeats": len(runs[name])}
        found = records.cell(model, chains, name, runs[name]) | {"left_out": left_out[name], "settings": settings}
        store.write(records.result_path(model, chains, name, options.device), found | about)

    for name in set(left_out) - set(running):
        record(name)
    for repeat in range(options.repeats):
        first = repeat % max(1, len(running))
        for name in running[first:] + running[:first]:
            if any(run["seconds"] is None for run in runs[name]):
                continue  # it was not done in time, or failed: it would again
            settings = Settings(chains, options.warmup, draws, options.seed + repeat, options.device)
            run = judged(model, *run_once(model, name, settings, options.limit), reference)
            print(f"{model}, {chains} chains, {name}: {run}", flush=True)
            runs[name].append(run)
            record(name)


def _racing(chains: int, options: argparse.Namespace) -> list[str]:
    return [
        name
        for name in options.samplers
        if SAMPLERS[name].fewest <= chains <= SAMPLERS[name].most and options.device in SAMPLERS[name].devices
    ]


if __name__ == "__main__":
    main()
