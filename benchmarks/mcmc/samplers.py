"""The samplers that race: whose they are, what they need, how many chains and which devices they are for."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec

from ppzoo.errors import OptionError

__all__ = ["DEVICES", "SAMPLERS", "Sampler", "check_device", "why_not"]

DEVICES = ("cpu", "cuda")


@dataclass(frozen=True)
class Sampler:
    """A column of the table.

    Attributes:
        title: Its heading.
        module: The file beside this one that runs it.
        method: Which of ppzoo's, where it is one of them.
        needs: Packages beside ppzoo's own.
        fewest: Chains that it needs.
        most: Chains from which on nobody would take it: one after the other, they take hours.
        devices: Where it runs.
    """

    title: str
    module: str
    method: str = ""
    needs: tuple[str, ...] = ()
    fewest: int = 1
    most: int = 2**16
    devices: tuple[str, ...] = DEVICES


SAMPLERS = {
    "ppzoo": Sampler("ppzoo NUTS", "with_ppzoo", "nuts"),
    "ppzoo-hmc": Sampler("ppzoo HMC", "with_ppzoo", "hmc"),
    "ppzoo-mams": Sampler("ppzoo MAMS", "with_ppzoo", "mams"),
    "ppzoo-chees": Sampler("ppzoo ChEES", "with_ppzoo", "chees", fewest=8),
    "pyro": Sampler("Pyro NUTS, JIT", "with_pyro", most=4, devices=("cpu",)),
    "numpyro": Sampler("NumPyro NUTS, vectorised", "with_numpyro", needs=("numpyro",)),
    "nutpie": Sampler("nutpie, numba", "with_nutpie", needs=("nutpie", "pymc"), most=1024, devices=("cpu",)),
}


def why_not(name: str) -> str | None:
    """Why a sampler is left out on this machine; ``None`` where it can run."""
    missing = [package for package in SAMPLERS[name].needs if find_spec(package) is None]
    return f"not run: {' and '.join(missing)} not installed" if missing else None


def check_device(device: str) -> None:
    """Raise :class:`OptionError` where the machine has no such device."""
    import torch  # here: a rival's process is to be without it

    if device == "cuda" and not torch.cuda.is_available():
        raise OptionError(
            "is not on this machine",
            argument="--device",
            got=device,
            expected="a GPU that torch can use",
            remedy="Race on the CPU, or on a machine with a GPU and a torch built for it.",
        )
