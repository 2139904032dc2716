"""One way out for every verb: its answer is printed here, and every error becomes a line and an exit code.

0 fine; 1 the computation failed; 2 the user's input; 3 the fit is not to be trusted; 130 interrupted.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence
from typing import Any

import typer
from typer.core import TyperGroup

from ppzoo.cli_output import Answer, complain, give
from ppzoo.errors import FitError, OptionError, PPZooError

__all__ = ["INTERRUPTED", "Verbs"]

INTERRUPTED = 130

# typer carries its own copy of click since 0.22: the common parent of usage errors is reached through what it exports
_UsageError: Any = typer.BadParameter.__mro__[2]


class Verbs(TyperGroup):
    """One way out for every verb: its answer is printed here, and every error becomes a line and an exit code."""

    def main(self, args: Sequence[str] | None = None, *_: Any, **extra: Any) -> None:
        """Answer a command line and exit; ``None`` is that of the process. The rest is what click passes."""
        arguments = list(sys.argv[1:] if args is None else args)
        sys.exit(_run(self, arguments))


def _run(verbs: Verbs, arguments: list[str]) -> int:
    as_json, debug = "--json" in arguments, "--debug" in arguments
    try:
        with verbs.make_context("ppzoo", arguments) as context:
            answer = verbs.invoke(context)
        if isinstance(answer, Answer):
            if _answers():
                give(answer, as_json=as_json)
            return answer.code
    except typer.Exit as stop:
        return stop.exit_code
    except (KeyboardInterrupt, typer.Abort) as stop:
        problem = f"interrupted {stop}".rstrip()
        complain({"error": "Interrupted", "problem": problem}, problem, as_json=as_json)
        return INTERRUPTED
    except _UsageError as error:
        return _report(_usage(error, verbs, arguments), as_json=as_json, debug=debug)
    except PPZooError as error:
        return _report(error, as_json=as_json, debug=debug)
    except BrokenPipeError:
        sys.stdout = None  # whoever read it has left: nothing to flush at exit
        return 1
    except Exception as error:  # noqa: BLE001  # a bug, or the user's own code: said in one line
        if debug:
            traceback.print_exc()
        kind, text = type(error).__name__, " ".join(str(error).split())
        remedy = "" if debug else " Say --debug to see where."
        complain({"error": kind, "problem": text}, f"failed unexpectedly: {kind}: {text}.{remedy}", as_json=as_json)
        return 1
    return 0


def _answers() -> bool:
    """Whether this is the only process, or the first that torchrun has started: all have the same answer."""
    return "TORCHELASTIC_RUN_ID" not in os.environ or os.environ.get("RANK", "0") == "0"


def _report(error: PPZooError, *, as_json: bool, debug: bool) -> int:
    if debug:
        traceback.print_exception(error)
    complain(error.as_dict(), f"{type(error).__name__}: {error}", as_json=as_json)
    return 1 if isinstance(error, FitError) else 2


def _usage(error: Any, verbs: Verbs, arguments: list[str]) -> OptionError:
    """A usage error of the parser, as one of ours."""
    names = getattr(getattr(error, "param", None), "opts", None) or [getattr(error, "option_name", "")]
    problem, ask, guess = error.format_message().rstrip(".").partition(" Did you mean ")
    remedy = f"See {' '.join(['ppzoo', *[word for word in arguments[:1] if word in verbs.commands]])} --help."
    return OptionError(
        problem.rstrip("."), argument=str(names[0]), remedy=f"{ask.lstrip()}{guess}{ask and ' '}{remedy}"
    )
