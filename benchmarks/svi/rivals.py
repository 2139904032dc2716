"""The rows of the table: who trains, and how."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["RIVALS", "Rival"]


class Rival(NamedTuple):
    """A way to train: its title, its file, what that is told, and a package that it needs."""

    title: str
    module: str
    variant: str = ""
    package: str = "torch"


RIVALS = {
    "ppzoo": Rival("ppzoo", "with_ppzoo"),
    "ppzoo-compiled": Rival("ppzoo, torch's compiler", "with_ppzoo", "compiled"),
    "torch": Rival("torch by hand", "with_torch"),
    "torch-compiled": Rival("torch by hand, compiled", "with_torch", "compiled"),
    "pyro": Rival("Pyro", "with_pyro"),
    "numpyro": Rival("NumPyro", "with_numpyro", package="numpyro"),
}
