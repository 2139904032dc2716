"""What a process of a job does: every fit of a table, or one that is killed on the way; told in a file of its own.

torchrun --standalone --nproc-per-node 2 fits.py FOLDER [killed | unharmed]
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

import pyro
import pyro.distributions as dist
import torch
import torch.distributed
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import ppzoo
from ppzoo.errors import PPZooError
from ppzoo.inference.variational import training
from ppzoo.inference.variational.stepwise import Stepwise

RANK = int(os.environ.get("RANK", "0"))
NOISE = torch.Generator().manual_seed(0)
X = torch.randn(101, 3, generator=NOISE, dtype=torch.float64)
Y = X @ torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
Y = Y + 0.3 * torch.randn(101, generator=NOISE, dtype=torch.float64)
PIXELS = torch.rand(150, 16, generator=NOISE)
CALLS: list[None] = []


def regression(x, y):
    """Sites that all rows share."""
    slope = pyro.sample("slope", dist.Normal(torch.zeros(3), 1.0).to_event(1))
    scale = pyro.sample("scale", dist.HalfNormal(1.0))
    with pyro.plate("row", len(x)):
        pyro.sample("y", dist.Normal(x @ slope, scale), obs=y)


def mixture(y):
    """A discrete site in each row, summed out."""
    weight = pyro.sample("weight", dist.Beta(2.0, 2.0))
    with pyro.plate("row", len(y)):
        z = pyro.sample("z", dist.Bernoulli(weight))
        pyro.sample("y", dist.Normal(4 * z - 2, 1.0), obs=y)


def effects(y):
    """A site of each row, whose guide has a parameter for each."""
    mu = pyro.sample("mu", dist.Normal(0.0, 1.0))
    with pyro.plate("row", len(y)):
        z = pyro.sample("z", dist.Normal(mu, 1.0))
        pyro.sample("y", dist.Normal(z, 1.0), obs=y)


def counting(y):
    """A program with a memory, which no graph has."""
    CALLS.append(None)
    mu = pyro.sample("mu", dist.Normal(0.0, 1.0))
    with pyro.plate("row", len(y)):
        pyro.sample("y", dist.Normal(mu, 1.0), obs=y)


class Counting(nn.Module):
    """Such a program, with a site of each row."""

    def model(self, y):
        """Of one global site and one of each row."""
        CALLS.append(None)
        effects(y)

    def guide(self, y):
        """The exact posterior given the mean, in three numbers for all rows."""
        CALLS.append(None)
        at = pyro.param("at", torch.tensor(0.0, dtype=torch.float64))
        mu = pyro.sample("mu", dist.Normal(at, 0.1))
        with pyro.plate("row", len(y)):
            pyro.sample("z", dist.Normal((mu + y) / 2, 0.5**0.5))


class Normed(nn.Module):
    """A network that remembers statistics of the batches it has seen."""

    def __init__(self) -> None:
        super().__init__()
        self.network = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 1))

    def model(self, x, y):
        """Rows are normed by those of their own process."""
        pyro.module("network", self.network)
        mu = pyro.sample("mu", dist.Normal(0.0, 1.0))
        with pyro.plate("row", len(x)):
            pyro.sample("y", dist.Normal(mu + self.network(x)[:, 0], 1.0), obs=y)


def vae():
    """Networks, and a site of each row that one of them computes."""
    return ppzoo.create_model("vae", features=16, latents=2, hidden=(8,))


def loader():
    """Batches of 40 of 101 rows, the last of 21."""
    return DataLoader(TensorDataset(X, Y), batch_size=40, shuffle=True)


FITS = {
    "all rows": (lambda: regression, lambda: (X, Y), {"steps": 120, "guide": "mvn"}),
    "until it has settled": (lambda: regression, lambda: (X, Y), {}),
    "machine code": (lambda: regression, lambda: (X, Y), {"steps": 5000, "batch_size": 50}),
    "batches": (lambda: regression, lambda: (X, Y), {"steps": 120, "batch_size": 33, "clip": 50.0}),
    "replicas": (vae, lambda: PIXELS, {"steps": 60, "replicas": 2}),
    "a code of each row": (vae, lambda: PIXELS, {"steps": 120, "batch_size": 31}),
    "importance weights": (vae, lambda: PIXELS, {"steps": 60, "batch_size": 32, "objective": "iwae", "particles": 4}),
    "summed sites": (lambda: mixture, lambda: Y, {"steps": 60, "batch_size": 50}),
    "a loader": (lambda: regression, loader, {"steps": 60}),
    "the program itself": (lambda: counting, lambda: Y, {"steps": 100, "batch_size": 20}),
}
OTHERS = {
    "numbers of its own": (Counting, lambda: Y, {"steps": 400, "batch_size": 100, "lr": 0.005}),
    "batch statistics": (lambda: Normed().model, lambda: (X, Y), {"steps": 100, "batch_size": 32}),
    "a parameter of each row": (lambda: effects, lambda: Y, {"steps": 60}),
    "weights of all rows": (vae, lambda: PIXELS, {"steps": 60, "objective": "iwae", "particles": 4}),
    "another method": (lambda: regression, lambda: (X, Y), {"method": "nuts", "draws": 50, "warmup": 50}),
}
REFUSED = {
    "other data": (lambda: regression, lambda: (X + RANK, Y), {"steps": 10}),
    "another seed": (lambda: regression, lambda: (X, Y), {"steps": 10, "seed": RANK}),
    "small batches": (lambda: regression, lambda: (X, Y), {"steps": 10, "batch_size": 1}),
    "a folder": (lambda: regression, lambda: (X, Y), {"steps": 10, "run_dir": "/proc/run"}),
}


def told(model, data, options):
    """One fit, as what can be compared."""
    torch.manual_seed(0)  # the networks'
    fit = ppzoo.fit(model(), data(), progress=False, **options)
    losses = [] if fit.outcome.losses is None else fit.outcome.losses.tolist()
    state = {name: value.double().sum().item() for name, value in fit.pair.state().items()}
    draws = {name: value.double().sum().item() for name, value in (fit.outcome.draws or {}).items()}
    return {"losses": losses, "notes": fit.notes, "learnt": state | draws}


def refused(model, data, options):
    """The error of one."""
    try:
        told(model, data, options)
    except PPZooError as error:
        return f"{type(error).__name__}: {error}"
    return ""


def long(folder: Path, *, harmed: bool) -> None:
    """A fit whose process 1 is killed after some windows when the job runs for the first time, if it is to be."""
    training._SECONDS = 0.0  # every window goes to disk
    advance, windows = Stepwise.advance, []

    def advance_some(self, steps):
        windows.append(None)
        if harmed and RANK == 1 and len(windows) == 4 and os.environ.get("TORCHELASTIC_RESTART_COUNT") == "0":
            os.kill(os.getpid(), signal.SIGKILL)
        return advance(self, steps)

    Stepwise.advance = advance_some
    fit = ppzoo.fit(vae(), PIXELS, steps=500, batch_size=32, run_dir=folder / "run", progress=False)
    document = {"losses": fit.outcome.losses.tolist(), "windows": len(windows)}
    (folder / f"killed {RANK}.json").write_text(json.dumps(document), encoding="utf-8")


def main() -> None:
    """All of the table."""
    folder = Path(sys.argv[1])
    if sys.argv[2:]:
        long(folder, harmed=sys.argv[2] == "killed")
        return
    hook = sys.excepthook
    document = {name: told(*row) for name, row in (FITS | OTHERS).items()}
    model, data, options = FITS["batches"]
    document["saved"] = told(model, data, options | {"run_dir": folder / "run"})
    document["loaded"] = ppzoo.load(folder / "run", model=regression).outcome.losses.tolist()
    if "RANK" in os.environ:
        document |= {name: refused(*row) for name, row in REFUSED.items()}
        document["left"] = not torch.distributed.is_initialized() and sys.excepthook is hook
        torch.distributed.init_process_group("gloo")
        document["a group of the caller's"] = told(model, data, options)
        document["kept"] = torch.distributed.is_initialized()
        torch.distributed.destroy_process_group()
    name = f"{os.environ.get('WORLD_SIZE', '1')} {RANK}.json"
    (folder / name).write_text(json.dumps(document), encoding="utf-8")


if __name__ == "__main__":
    main()
