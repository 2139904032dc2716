"""The generated parts of the README: figures from ``docs/records``, models from the zoo, verbs from the command line.

    python benchmarks/readme.py              writes them anew, from the records as they are
    python benchmarks/readme.py --measure    measures records and pictures anew first, some minutes on two cores

No figure of the README is typed by hand: it stands in a record, with its settings, seed and versions.
"""

from __future__ import annotations

import ast
import json
import platform
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import textwrap
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import typer

import ppzoo
from ppzoo.cli import app
from ppzoo.diagnostics import agreement, approximation, convergence

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
DOCS = ROOT / "docs"
RECORDS = DOCS / "records"
BLOCK = re.compile(r"(<!-- begin (\w+) -->\n).*?(<!-- end \2 -->)", re.DOTALL)
PACKAGES = ("torch", "pyro-ppl", "numpy", "arviz-stats", "scikit-learn")
SHOWN = ("mu", "tau", "theta[A]", "theta[H]")  # of the main job's table
EXAMPLES = {  # record, and its picture's name: the example that makes both, with its options
    "vae_digits": ("04_vae_digits.py",),
    "two_moons": ("05_flow_two_moons.py",),
    "gan_ring": ("06_gan_ring.py", "--three-seeds"),
}


def render(text: str) -> str:
    """The README with its generated parts as they should be."""
    made = blocks()
    return BLOCK.sub(lambda found: f"{found[1]}{made[found[2]]}\n{found[3]}", text)


def blocks() -> dict[str, str]:
    """The generated parts by name."""
    return {
        "printed": _printed(_record("eight_schools")),
        "examples": _examples(),
        "models": _models(),
        "verbs": _verbs(),
        "verdicts": _verdicts(_record("eight_schools")),
        "figures": _figures(),
    }


def first_command() -> str:
    """The main job as the README's first block has it, without the installation."""
    block = re.search(r"^```bash\n(.*?)^```", README.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    return block[1].replace("\\\n", " ").partition("&&")[2].strip() if block else ""


def _record(name: str) -> dict[str, Any]:
    record: dict[str, Any] = json.loads((RECORDS / f"{name}.json").read_text(encoding="utf-8"))
    return record


def _printed(record: dict[str, Any]) -> str:
    """The lines of some parameters and of all methods, and the sentence."""
    header, *lines = record["printed"]
    table, rest = lines[: lines.index("")], lines[lines.index("") :]
    starts = {line.split()[0]: i for i, line in enumerate(table) if not line.startswith(" ")}
    kept = [header]
    for name in SHOWN:
        kept += table[starts[name] : starts[name] + len(record["methods"])]
    omitted = f"... ({len(starts) - len(SHOWN)} more parameters)"
    wrapped = [piece for line in rest[:-1] for piece in textwrap.wrap(line, 119) or [""]]
    shown = "\n".join(line.rstrip() for line in [*kept, omitted, *wrapped, rest[-1]])
    where = f"{record['seconds']:.0f} s on {record['machine']}, with torch {record['versions']['torch']}"
    return f"```text\n{shown}\n```\n\nThat took {where}."


def _examples() -> str:
    """One line for each script: the first of its docstring."""
    lines = []
    for path in sorted((ROOT / "examples").glob("*.py")):
        first = str(ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))).splitlines()[0]
        lines.append(f"* [{path.name}](examples/{path.name}): {first}")
    return "\n".join(lines)


def _models() -> str:
    rows = ["| name | what it is | paper | data | methods |", "|---|---|---|---|---|"]
    for card in map(ppzoo.model_card, ppzoo.list_models()):
        methods = ", ".join(card.methods)
        rows.append(f"| `{card.name}` | {card.summary} | [{card.paper}]({card.link}) | `{card.data}` | {methods} |")
    return "\n".join(rows)


def _verbs() -> str:
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]  # it is a group
    codes = str(app.info.help).rpartition("Exit codes: ")[2]
    rows = [f"| `ppzoo {name}` | {_first_sentence(command.help)} |" for name, command in commands.items()]
    return "\n".join(["| verb | what it does |", "|---|---|", *rows, "", f"Exit codes: {codes}"])


def _verdicts(record: dict[str, Any]) -> str:
    a, q, c = agreement, approximation, convergence
    k_hat = record["diagnoses"]["svi"]["numbers"]["k_hat_threshold"]
    rows = [
        ("`gap/MCSE`", "difference of the means in Monte Carlo standard errors", f"up to {a.NOISE:g}: noise, no gap"),
        ("`gap/sd`", "the same in posterior sd", f"above {a.CAUTION:g} caution, above {a.REJECT:g} reject"),
        ("`sd ratio`", "sd over the reference's", f"off 1 by {a.CAUTION:g} caution, by {a.REJECT:g} reject"),
        ("`W1/sd`", "Wasserstein distance of the marginals", "for the eye: it judges nothing"),
        (
            "`k-hat`",
            "tail of its draws' importance weights",
            f"above {q.CAUTION:g} caution, above {k_hat:.2g} and its error reject",
        ),
        ("`R-hat`", "do the chains agree", f"above {c.R_HAT:g} reject"),
        ("`ESS`", "independent draws they are worth", f"below {c.ESS_PER_CHAIN} for each of up to 4 chains reject"),
        (
            "`divergent`",
            "steps the sampler could not follow",
            f"any caution, above {100 * c.DIVERGENT_SHARE:g} % reject",
        ),
    ]
    return "\n".join(["| column | what it says | verdict |", "|---|---|---|", *(f"| {' | '.join(r)} |" for r in rows)])


def _figures() -> str:
    vae, flow, gan = (_record(name)["figures"] for name in EXAMPLES)
    runs = gan["runs"]
    modes = [f"{run['modes_covered']} of {run['modes']}" for run in runs]
    rows = [
        ("`vae` on digits", "held-out ELBO, nats per image", f"{vae['elbo']:.1f} ± {vae['elbo_se']:.1f}"),
        ("", f"the same, importance-weighted, {vae['samples']} draws", f"{vae['bound']:.1f} ± {vae['bound_se']:.1f}"),
        ("`realnvp` on two moons", "held-out nats per row", f"{flow['flow']:.3f} ± {flow['flow_se']:.3f}"),
        ("", "a mixture of two full Gaussians", f"{flow['mixture']:.3f} ± {flow['mixture_se']:.3f}"),
        ("", "gain of the flow, row by row", f"{flow['gain']:.3f} ± {flow['gain_se']:.3f}"),
        ("`gan` on a ring", f"modes covered, seeds {', '.join(str(run['seed']) for run in runs)}", ", ".join(modes)),
        ("", "draws near a mode", _percents(runs, "high_quality")),
        ("", "data near a draw", _percents(runs, "coverage")),
        ("", "the same of a perfect generator", _percents(runs[:1], "coverage_expected")),
        ("", "verdict", ", ".join(f"`{run['verdict']}`" for run in runs)),
    ]
    return "\n".join(["| fit | what | measured |", "|---|---|---|", *(f"| {' | '.join(row)} |" for row in rows)])


def _percents(runs: list[dict[str, Any]], name: str) -> str:
    return ", ".join(f"{100 * run[name]:.0f} %" for run in runs)


def _first_sentence(text: str | None) -> str:
    return " ".join((text or "").split("\n\n")[0].split())


def measure() -> None:
    """Run the main job and the three examples with figures; write their records and pictures."""
    RECORDS.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        _measure_main(Path(folder) / "compare")
        for name, (script, *options) in EXAMPLES.items():
            seconds, _ = _run([sys.executable, str(ROOT / "examples" / script), folder, *options])
            figures = json.loads((Path(folder) / f"{name}.json").read_text(encoding="utf-8"))
            command = " ".join(["python", f"examples/{script}", *options])
            _write(name, {"command": command, "figures": figures}, seconds)
            shutil.copy(Path(folder) / f"{name}.png", DOCS / f"{name}.png")


def _measure_main(folder: Path) -> None:
    command = first_command()
    words = shlex.split(command)[1:]
    seconds, printed = _run([sys.executable, "-c", "from ppzoo.cli import main; main()", *words, "--out", str(folder)])
    summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    parts = {key: summary[key] for key in ("verdict", "sentence", "reference", "methods", "diagnoses")}
    lines = [line.rstrip() for line in printed.replace(str(folder), "runs/eight_schools-compare").splitlines()]
    _write("eight_schools", {"command": command, "seed": 0, **parts, "printed": lines}, seconds)
    shutil.copy(folder / "forest.png", DOCS / "compare.png")


def _run(command: list[str]) -> tuple[float, str]:
    began = time.perf_counter()
    done = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True)
    return time.perf_counter() - began, done.stdout


def _write(name: str, record: dict[str, Any], seconds: float) -> None:
    about = {
        "seconds": round(seconds, 1),
        "machine": f"one core of {platform.machine()}, Python {platform.python_version()}",
        "versions": {"ppzoo": ppzoo.__version__, **{package: version(package) for package in PACKAGES}},
    }
    text = json.dumps(record | about, indent=1, ensure_ascii=False)
    (RECORDS / f"{name}.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    if "--measure" in sys.argv[1:]:
        measure()
    README.write_text(render(README.read_text(encoding="utf-8")), encoding="utf-8")
