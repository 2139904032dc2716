"""The system's C compiler: source text in, loaded library out.

The source is compiled in a fresh private folder that is deleted as soon as the library is loaded: no code is ever
loaded from a folder that was there before.
"""

from __future__ import annotations

import ctypes
import os
import platform
import shutil
import subprocess
import tempfile
from collections import OrderedDict
from functools import cache
from importlib import resources
from pathlib import Path
from threading import Lock

from ppzoo.inference.native.values import Unsupported

__all__ = ["available", "fewest_lanes", "lanes", "load"]

# Exact where C is: NaN, infinities and signed zeros stay (no -ffast-math). Only errno and traps go, which nobody reads,
# and a * b + c may be one operation.
_FLAGS = (
    *("-std=gnu11", "-O2", "-fPIC", "-shared", "-pipe", "-w", "-fno-strict-aliasing"),
    *("-fno-math-errno", "-fno-trapping-math", "-ffp-contract=fast"),
)
_GCC_FLAGS = (
    *("-ftree-vectorize", "-fvect-cost-model=dynamic"),  # loops over lanes, also before GCC 12
    "--param=avoid-fma-max-bits=0",  # else sums contract at some numbers of lanes and not at others
)
_FEWEST_LANES = 4
_PATIENCE = 300.0  # seconds for one compilation
_KEPT = 64
_libraries: OrderedDict[tuple[str, ...], ctypes.CDLL] = OrderedDict()
_lock = Lock()


def available() -> str | None:
    """The path of a C compiler: ``$CC``, ``cc``, ``gcc`` or ``clang``; None if there is none."""
    candidates = [os.environ.get("CC", ""), "cc", "gcc", "clang"]
    return next((path for name in candidates if name and (path := shutil.which(name))), None)


def _target() -> list[str]:
    return ["-mcpu=native"] if platform.machine() in {"arm64", "aarch64"} else ["-march=native"]


def _run(arguments: list[str], source: str = "", **variables: str) -> str:
    try:
        done = subprocess.run(  # noqa: S603  # a list, no shell
            arguments,
            input=source,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=_PATIENCE,
            check=False,
            env={**os.environ, **variables},
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Unsupported(f"the C compiler failed: {error}") from error
    if done.returncode != 0:
        raise Unsupported("the C compiler failed: " + "\n".join(done.stderr.strip().splitlines()[-5:]))
    return done.stdout


def _compiler() -> str:
    compiler = available()
    if compiler is None:
        raise Unsupported("there is no C compiler: set CC or install cc, gcc or clang")
    return compiler


@cache
def _macros(compiler: str) -> frozenset[str]:
    """What the compiler says of itself and of the machine."""
    lines = _run([compiler, *_target(), "-dM", "-E", "-x", "c", "-"]).splitlines()
    return frozenset(line.split()[1] for line in lines if line.startswith("#define "))


def lanes() -> int:
    """How many doubles the machine's vectors hold."""
    macros = _macros(_compiler())
    return 8 if "__AVX512DQ__" in macros else 4 if "__AVX2__" in macros else 2


def fewest_lanes(chains: int, threads: int) -> int:
    """How wide vectors need be for each thread to hold its share of the chains at once; four lanes at least.

    Wider ones are no quicker then: they compute what nobody asked for, and many processors halve them. Narrower ones
    take the compiler longer.
    """
    width = lanes()
    while width > _FEWEST_LANES and threads * width // 2 >= chains:
        width //= 2
    return width


def header(name: str) -> str:
    """The text of one of this package's C headers."""
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")


def load(source: str) -> ctypes.CDLL:
    """Compile and load; the same source once per process.

    Raises:
        Unsupported: If there is no compiler, or it fails.
    """
    compiler = _compiler()
    command = [compiler, *_FLAGS, *(() if "__clang__" in _macros(compiler) else _GCC_FLAGS), *_target()]
    key = (source, *command)
    with _lock:
        if key not in _libraries:
            _libraries[key] = _compile(command, source)
            while len(_libraries) > _KEPT:
                _libraries.popitem(last=False)
        _libraries.move_to_end(key)
        return _libraries[key]


def _compile(command: list[str], source: str) -> ctypes.CDLL:
    with tempfile.TemporaryDirectory(prefix="ppzoo-") as folder:
        library = str(Path(folder) / "native.so")
        _run([*command, "-x", "c", "-", "-o", library, "-lm"], source, TMPDIR=folder)
        try:
            return ctypes.CDLL(library)
        except OSError as error:
            raise Unsupported(f"the compiled library cannot be loaded: {error}") from error
