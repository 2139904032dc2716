"""The command line: the words of the API, each verb one public function.

Exit codes: 0 fine; 1 the computation failed; 2 your input; 3 the fit is not to be trusted; 130 interrupted.
"""

from __future__ import annotations

import dataclasses
import fnmatch
import os
import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

import ppzoo
from ppzoo.checks import check_integer, check_seed
from ppzoo.cli_card import model_options
from ppzoo.cli_exit import INTERRUPTED, Verbs
from ppzoo.cli_file import UserFiles, is_file_object
from ppzoo.cli_flags import DATA, FORCE, METHOD, RESUME, RUN, SAVED, Folder, Model, flag, takes
from ppzoo.cli_inputs import (
    check_comparable,
    check_has_data,
    check_is_fit,
    floating_type,
    make_methods,
    make_model,
    named_card,
    parse_pairs,
    parse_value,
    read_data,
    short_name,
)
from ppzoo.cli_output import STATUS, Answer, as_csv, as_npy, check_new_file, write_file
from ppzoo.datasets import list_datasets
from ppzoo.errors import OptionError
from ppzoo.report.tables import rich_table, text_table
from ppzoo.storage.folder import check_writable
from ppzoo.template import model_file
from ppzoo.zoo import list_models, model_card

if TYPE_CHECKING:
    import pandas as pd

    from ppzoo.result import Fit

__all__ = ["app", "main"]

_LOOKED_UP = ("guide", "proposal", "option")  # what stands for something else than its text
_ROWS = 40  # parameters that are printed
_HELP = """Fit latent-variable models in Pyro by SVI and by MCMC, and read whether to believe the answer.

MODEL is a name of `ppzoo list`, or path/to/file.py:object (a function, class, instance or PyroModule of yours).
Exit codes: 0 fine, 1 the computation failed, 2 your input, 3 the fit is not to be trusted, 130 interrupted."""


app = typer.Typer(cls=Verbs, help=_HELP, add_completion=False, pretty_exceptions_enable=False)


@app.callback(invoke_without_command=True)
def _top(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    if version or context.invoked_subcommand is None:
        typer.echo(f"ppzoo {ppzoo.__version__}" if version else context.get_help())
        raise typer.Exit


@app.command("list")
@takes({"datasets": flag("The built-in data sets.", "--datasets", kind=bool)})
def list_(
    pattern: Annotated[str, typer.Argument(metavar="PATTERN", help="Part of a name, or a pattern with * and ?.")] = "*",
    **given: Any,
) -> Answer:
    """The models of the zoo, or the built-in data sets."""
    typed, pattern = pattern, pattern if set(pattern) & set("*?[") else f"*{pattern}*"
    lines = list_datasets()
    if "datasets" in given:
        names = fnmatch.filter(lines, pattern)
        found: list[dict[str, Any]] = [{"name": name, "summary": lines[name]} for name in names]
        rows = [[name, lines[name]] for name in names]
    else:
        cards = [model_card(name) for name in list_models(pattern)]
        found = [{"name": card.name, "methods": card.methods, "summary": card.summary} for card in cards]
        rows = [[card.name, ", ".join(card.methods), card.summary] for card in cards]
    if not found:
        what, others = ("data set", list_models()) if "datasets" in given else ("model", list(lines))
        elsewhere = fnmatch.filter(others, pattern)
        also = f"; a {'model' if what == 'data set' else 'data set'} is: {', '.join(elsewhere)}" if elsewhere else ""
        return Answer([], f"no {what} is called like {typed!r}{also}")
    header = list(found[0])
    return Answer(found, text_table(header, rows, left=3), rich=rich_table(header, rows, left=3))


@app.command()
@takes()
def info(name: Annotated[str, typer.Argument(metavar="NAME", help="A name of ppzoo list.")]) -> Answer:
    """The card of a zoo model, and its options."""
    card = named_card(name)
    options = model_options(card)
    lines = [str(card), "  options  --set NAME=VALUE"]
    for option in options:
        default = f" = {option.default}" if option.default else ", required; from the data where it is not given"
        kind = f"{option.kind}{default}{', in Python only' if 'Module' in option.kind else ''}"
        lines.append(f"    {option.name}: {kind}")
        doc = option.doc.replace("``", "")
        lines += textwrap.wrap(doc, 100, initial_indent=" " * 8, subsequent_indent=" " * 8)
    document = dataclasses.asdict(card) | {"options": [dataclasses.asdict(option) for option in options]}
    return Answer(document, "\n".join(lines))


@app.command()
@takes(FORCE)
def new(file: Annotated[str, typer.Argument(metavar="FILE.py", help="The file to write.")], **given: Any) -> Answer:
    """Write a commented model and guide to start from."""
    target = check_new_file(file, suffixes=(".py",), force="force" in given)
    text = model_file(file)
    write_file(target, text.encode())
    first = " ".join(text.splitlines()[2].strip("# ").split())
    return Answer({"file": file, "next": first}, f"wrote {file}\nNow: {first}")


@app.command()
@takes(DATA)
def check(model: Model, **given: Any) -> Answer:
    """Run MODEL once on the data and list its sites; exit with 2 if inference could not start."""
    program, data = _model_and_data(model, given, seed=0, files=UserFiles(0))
    table = ppzoo.check(program, data, **_where(given))
    document = {"status": "ok" if table.ok else "fail", **table.as_dict(), "notes": table.notes}
    return Answer(document, repr(table), code=0 if table.ok else 2)


@app.command()
@takes(DATA, METHOD, RUN, RESUME)
def fit(
    model: Model,
    method: Annotated[
        str,
        typer.Option(
            help="svi, nuts, hmc, mams, chees, pyro-nuts, map, laplace, pathfinder, importance, exact, em, adversarial."
        ),
    ] = "svi",
    **given: Any,
) -> Answer:
    """Fit MODEL to data by one method: estimates with their error, and whether to believe them."""
    (answer,) = _fits(model, [method], given, run_dir=given.get("out")).values()
    summary, diagnosis = answer.summary(), answer.diagnose()
    document = {
        **_about(answer),
        "summary": summary.to_dict("index"),
        "diagnosis": diagnosis.as_dict(),
        "notes": answer.notes,
        "folder": given.get("out"),
    }
    shown = [repr(answer), _estimates(summary), str(diagnosis)]
    if "out" in given and not answer.outcome.interrupted:
        shown.append(f"written to {given['out']}")
    judged = _judged(document, "\n".join(shown), diagnosis.verdict, given)
    return dataclasses.replace(judged, code=INTERRUPTED) if answer.outcome.interrupted else judged


@app.command()
@takes(DATA, METHOD, RUN)
def compare(
    model: Model,
    methods: Annotated[str, typer.Option(help="Two or more, by commas.")] = "svi,nuts",
    **given: Any,
) -> Answer:
    """Fit MODEL by several methods and hold them side by side; pictures and summary.json go to a folder.

    An option goes to each method that has it.
    """
    check_comparable(model)
    names = [name.strip() for name in methods.split(",")]
    if len(names) < 2:
        remedy = f"Write them with commas, as in --methods svi,nuts; or fit it by itself: ppzoo fit {model}"
        raise OptionError("too few to compare", argument="--methods", got=repr(methods), expected="two", remedy=remedy)
    out = given.get("out", f"runs/{short_name(model)}-compare")
    check_writable(out)
    from rich.console import Group

    comparison = ppzoo.compare(_fits(model, names, given), run_dir=out)
    document = {"status": STATUS[comparison.verdict], "model": model, **comparison.as_dict(), "folder": out}
    where = f"summary.json and pictures are in {out}"
    return _judged(document, f"{comparison}\n{where}", comparison.verdict, given, rich=Group(comparison, where))


@app.command()
@takes(DATA, METHOD, {name: RUN[name] for name in ("seed", "quiet", "allow_unconverged")})
def calibrate(
    model: Model,
    method: Annotated[str, typer.Option(help="svi, nuts, hmc, mams, chees or exact.")] = "svi",
    replicates: Annotated[str, typer.Option(metavar="INT", help="How many truths; each takes a fit.")] = "100",
    **given: Any,
) -> Answer:
    """Fit MODEL to data that it simulates, many times: do the draws of a method hold the truth?"""
    seed = check_seed(parse_value(given.get("seed", "0")))
    files = UserFiles(seed)
    (value,) = make_methods([method], _method_options(given, files)).values()
    program, data = _model_and_data(model, given, seed=seed, files=files)
    settings = {**_where(given), "seed": seed, "progress": "quiet" not in given}
    found = ppzoo.calibrate(program, data, method=value, replicates=parse_value(replicates), **settings)
    return _judged(found.as_dict(), str(found), found.verdict, given)


@app.command()
@takes(SAVED, {"allow_unconverged": RUN["allow_unconverged"]})
def diagnose(folder: Folder, **given: Any) -> Answer:
    """Whether to believe a saved fit."""
    saved = _load(folder, given)
    diagnosis = saved.diagnose()
    document = {**_about(saved), "diagnosis": diagnosis.as_dict(), "folder": folder}
    return _judged(document, f"{saved!r}\n{diagnosis}", diagnosis.verdict, given)


@app.command()
@takes({"out": flag("A .npy or .csv file to write to.")}, SAVED, FORCE)
def sample(
    folder: Folder, n: Annotated[str, typer.Option("-n", metavar="INT", help="How many.")] = "16", **given: Any
) -> Answer:
    """New observations from a saved fit, as rows of a table."""
    count = check_integer("n", parse_value(n))
    out = given.get("out")
    target = check_new_file(out, suffixes=(".npy", ".csv"), force="force" in given) if out is not None else None
    saved = _load(folder, given)
    rows = saved.sample(count).numpy(force=True)
    columns = next((names for names in saved.pair.data.columns.values() if len(names) == rows[0].size), ())
    text = as_csv(columns, rows)
    if target is None:
        return Answer({"shape": rows.shape, "columns": columns, "sample": rows.tolist()}, text.rstrip())
    write_file(target, text.encode() if target.suffix == ".csv" else as_npy(rows))
    return Answer({"shape": rows.shape, "columns": columns, "file": out}, f"wrote {count} rows to {out}")


def _model_and_data(model: str, given: Mapping[str, Any], *, seed: int, files: UserFiles) -> tuple[Any, Any]:
    options = parse_pairs("--set", given.get("set", ()))
    data = read_data(model, given.get("data"), given.get("target"))
    program = make_model(model, data, options, seed=seed, files=files)
    check_has_data(program, data)
    return program, data


def _where(given: Mapping[str, Any]) -> dict[str, Any]:
    return {"device": given.get("device", "cpu"), "dtype": floating_type(given.get("dtype"))}


def _fits(model: str, names: Sequence[str], given: Mapping[str, Any], *, run_dir: str | None = None) -> dict[str, Fit]:
    """The model fitted by each method; whatever can be wrong with any of them is said before the first begins."""
    seed = check_seed(parse_value(given.get("seed", "0")))
    files = UserFiles(seed)
    methods = make_methods(names, _method_options(given, files) | _proposal(model, given))
    program, data = _model_and_data(model, given, seed=seed, files=files)
    for method in methods.values():
        method.check_model(program)
    settings = {**_where(given), "seed": seed, "progress": "quiet" not in given, "run_dir": run_dir}
    settings |= {"resume": "resume" in given, "log_dir": given.get("log_dir")}
    fits = {}
    for name, method in methods.items():
        fits[name] = ppzoo.fit(program, data, method=method, **settings)
        if fits[name].outcome.interrupted and len(methods) > 1:
            raise KeyboardInterrupt(f"while {name} was drawing")
    return fits


def _method_options(given: Mapping[str, Any], files: UserFiles) -> dict[str, Any]:
    options = {name: parse_value(given[name]) for name in METHOD if name in given and name not in _LOOKED_UP}
    for name, value in parse_pairs("--option", given.get("option", ())).items():
        if name in options:
            raise OptionError("is given twice", argument=name, got=f"{options[name]!r} and {value!r}")
        options[name] = value
    return options | _guide(given, files)


def _proposal(model: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """The saved fit to weigh, of the same model."""
    if "proposal" not in given:
        return {}
    return {"proposal": _load(given["proposal"], {"model": model} if is_file_object(model) else {})}


def _guide(given: Mapping[str, Any], files: UserFiles) -> dict[str, Any]:
    if "guide" not in given:
        return {}
    text = given["guide"]
    return {"guide": files.find(text, argument="guide") if is_file_object(text) else text}


def _load(folder: str, given: Mapping[str, Any]) -> Fit:
    check_is_fit(folder)
    files = UserFiles(0)
    model = make_model(given["model"], (), {}, seed=0, files=files) if "model" in given else None
    return ppzoo.load(os.path.abspath(folder), model=model, **_guide(given, files))


def _estimates(summary: pd.DataFrame) -> str:
    from ppzoo.diagnostics.arviz import format_summary

    shown = format_summary(summary.iloc[:_ROWS])
    return f"{shown}\n({len(summary) - _ROWS} more: see --json)" if len(summary) > _ROWS else shown


def _about(fit: Fit) -> dict[str, Any]:
    return {"model": fit.source["name"], "method": fit.method.name, "seed": fit.seed, "seconds": fit.seconds}


def _judged(document: dict[str, Any], shown: str, verdict: str, given: Mapping[str, Any], rich: Any = None) -> Answer:
    code = 3 if verdict == "reject" and "allow_unconverged" not in given else 0
    return Answer({"status": STATUS[verdict], **document}, shown, code, rich)


def main() -> None:
    """The program ``ppzoo``: reads the command line, answers, and exits."""
    typer.main.get_command(app).main()
