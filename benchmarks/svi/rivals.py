"""The rows of the table: who trains, and how."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["RIVALS", "Rival"]


class Rival(NamedTuple):
    """A way to train: its title, its file, what that is told, a package that it needs, and problems it is not for."""

    title: str
    module: str
    variant: str = ""
    package: str = "torch"
    without: frozenset[str] = frozenset()


RIVALS = {
    "ppzoo": Rival("ppzoo", "with_ppzoo"),
    "ppzoo-compiled": Rival("ppzoo, torch's compiler", "with_ppzoo", "compiled"),
    "ppzoo-16": Rival("ppzoo, 16 replicas", "with_ppzoo", "16 replicas", without=frozenset({"vae_400", "vae_64"})),
    "torch": Rival("torch by hand", "with_torch"),
    "torch-compiled": Rival("torch by hand, compiled", "with_torch", "compiled"),
    "pyro": Rival("Pyro", "with_pyro"),
    "numpyro": Rival("NumPyro", "with_numpyro", package="numpyro"),
}
