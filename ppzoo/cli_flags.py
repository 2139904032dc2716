"""The flags of the command line: each is declared once, under the name that the API has, and shared by the verbs.

Values of options are passed on as they are typed, so that the same check answers here and in the API.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Mapping
from contextlib import redirect_stdout
from typing import Annotated, Any

import typer

__all__ = ["DATA", "FORCE", "METHOD", "RESUME", "RUN", "SAVED", "Folder", "Model", "flag", "takes"]


def flag(text: str, *names: str, kind: Any = str, metavar: str | None = None, panel: str = "Options") -> Any:
    """A flag as typer declares it: its line of help, its names if they are not the argument's, and its type."""
    option = typer.Option(*names, help=text, metavar=metavar, rich_help_panel=panel, show_default=False)
    return Annotated[kind, option] if kind is bool else Annotated[kind | None, option]


def _value(text: str, metavar: str, kind: Any = str) -> Any:
    return flag(text, kind=kind, metavar=metavar, panel="Options of the method")


SHOW = {
    "json": flag("Print one JSON document, also for errors.", "--json", kind=bool),
    "debug": flag("Show the traceback of an error.", "--debug", kind=bool),
}
DATA = {
    "data": flag(
        "Name of a data set, or a .csv .npy .npz .parquet file. Default: the zoo model's own.", metavar="DATA"
    ),
    "target": flag("The column of a table that becomes y; the others stay in x.", metavar="COLUMN"),
    "set": flag("An option of the model, such as latents=8.", kind=list[str], metavar="NAME=VALUE"),
    "device": flag("cpu, cuda, or for samplers auto.", metavar="DEVICE"),
    "dtype": flag(
        "float32 or float64. Default: the data's for svi and adversarial, else float64.",
        metavar="DTYPE",
    ),
}
METHOD = {
    "guide": _value(
        "normal, mvn, lowrank, iaf, spline, structured, amortised, delta or file.py:object. "
        "Default: the zoo model's, else normal.",
        "GUIDE",
    ),
    "steps": _value("Gradient steps (svi, adversarial), or auto (svi); largest number of iterations (em).", "INT"),
    "epochs": _value("Passes over the data instead of steps (svi).", "INT"),
    "lr": _value("Learning rate (svi, adversarial).", "FLOAT"),
    "batch_size": _value("Rows of a step (svi, adversarial).", "INT"),
    "particles": _value("Draws of the guide per step (svi).", "INT"),
    "chains": _value("Number of chains (nuts, hmc, mams, chees).", "INT"),
    "warmup": _value("Steps per chain that adapt and are not kept (nuts, hmc, mams, chees).", "INT"),
    "draws": _value("Draws per chain (nuts, hmc, mams, chees), or in all (laplace, pathfinder, importance).", "INT"),
    "target_accept": _value("Acceptance that the step size is tuned to (nuts, hmc, mams, chees).", "FLOAT"),
    "proposal": _value("The fit whose draws are weighed, as --out has written it (importance).", "FOLDER"),
    "option": _value("Any other option of the method.", "NAME=VALUE", list[str]),
}  # fmt: skip
RUN = {
    "seed": flag("Decides everything random of the fit.", metavar="INT"),
    "out": flag("Folder to write to. Default: none of fit, runs/MODEL-compare of compare.", metavar="FOLDER"),
    "quiet": flag("No progress.", "--quiet", kind=bool),
    "log_dir": flag("Folder for TensorBoard: loss and rate by step.", metavar="FOLDER"),
    "allow_unconverged": flag("Exit with 0 where the answer is not to be trusted.", "--allow-unconverged", kind=bool),
}
RESUME = {"resume": flag("Go on with the run that was stopped on its way to --out.", "--resume", kind=bool)}
SAVED = {
    "model": flag("file.py:object that was fitted, if it is not the zoo's.", metavar="MODEL"),
    "guide": flag("file.py:object that was its guide, if it has no name.", metavar="GUIDE"),
}
FORCE = {"force": flag("Replace the file.", "--force", kind=bool)}
Model = Annotated[str, typer.Argument(metavar="MODEL", help="Zoo name or file.py:object.")]
Folder = Annotated[str, typer.Argument(metavar="FOLDER", help="A fit that was written with --out.")]


def takes(*groups: Mapping[str, Any]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Give a verb the flags of the groups, and ``SHOW``: those that were typed reach its ``**given``.

    ``--json`` and ``--debug`` are for :mod:`ppzoo.cli_exit` and do not.
    """
    shared = {name: kind for group in groups for name, kind in group.items()}

    def decorate(verb: Callable[..., Any]) -> Callable[..., Any]:
        own = [p for p in inspect.signature(verb, eval_str=True).parameters.values() if p.kind is not p.VAR_KEYWORD]

        def run(**typed: Any) -> Any:
            given = {name: typed[name] for name in shared if typed[name] not in (None, False, [])}
            with redirect_stdout(sys.stderr):  # what a user's file prints is not the answer
                return verb(**{p.name: typed[p.name] for p in own}, **given)

        signature = inspect.Signature([*own, *map(_keyword, *zip(*(shared | SHOW).items(), strict=True))])
        run.__name__, run.__doc__ = verb.__name__, verb.__doc__
        run.__signature__ = signature  # type: ignore[attr-defined]  # typer reads it
        run.__annotations__ = {p.name: p.annotation for p in signature.parameters.values()}
        return run

    return decorate


def _keyword(name: str, kind: Any) -> inspect.Parameter:
    default = False if kind.__origin__ is bool else None
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=kind, default=default)
