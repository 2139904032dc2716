"""Fits on a device that is not the CPU, held against the same fits on the CPU; one JSON document, by name of the run.

    python runs.py device.so

A process of its own, because torch keeps a device's name for good.
"""

from __future__ import annotations

import json
import sys
import tempfile
import traceback
import types

import pyro
import pyro.distributions as dist
import torch

import ppzoo
from ppzoo.datasets import tensors
from ppzoo.inference.mcmc import machines
from ppzoo.inference.variational import together, trainers

NAME = "other"
SHORT = {"chains": 4, "warmup": 20, "draws": 8, "max_tree_depth": 3}
PLAIN = {"chains": 8, "warmup": 20, "draws": 8}


def schools(y, sigma):
    mu, tau = pyro.sample("mu", dist.Normal(0.0, 5.0)), pyro.sample("tau", dist.HalfCauchy(5.0))
    with pyro.plate("school", len(y)):
        theta = pyro.deterministic("theta", mu + tau * pyro.sample("eta", dist.Normal(0.0, 1.0)))
        pyro.sample("y", dist.Normal(theta, sigma), obs=y)


def mixture(y):
    weight = pyro.sample("weight", dist.Dirichlet(torch.ones(2)))
    mu = pyro.sample("mu", dist.Normal(torch.tensor([-1.0, 1.0]), 1.0).to_event(1))
    with pyro.plate("row", len(y)):
        pyro.sample("y", dist.Normal(mu[pyro.sample("z", dist.Categorical(weight))], 1.0), obs=y)


def correlated(y):
    factor = pyro.sample("factor", dist.LKJCholesky(2, 1.0))
    scale = pyro.sample("scale", dist.LogNormal(0.0, 1.0).expand([2]).to_event(1))
    with pyro.plate("row", len(y)):
        pyro.sample("y", dist.MultivariateNormal(torch.zeros(2), scale_tril=scale[:, None] * factor), obs=y)


def branching(y):
    mu = pyro.sample("mu", dist.Normal(0.0, 1.0))
    pyro.sample("y", dist.Normal(mu, 1.0 if mu > 0 else 2.0).expand([len(y)]).to_event(1), obs=y)


SCHOOLS = {
    "y": torch.tensor([28.0, 8.0, -3.0, 7.0, -1.0, 1.0, 18.0, 12.0]),
    "sigma": torch.tensor([15.0, 10.0, 16.0, 11.0, 9.0, 11.0, 10.0, 18.0]),
}
Y = torch.linspace(-2.0, 2.0, 12)
PAIRS = torch.stack([Y, Y.flip(0) + Y**2], 1)

RUNS = {
    "nuts": (schools, SCHOOLS, {"method": "nuts", **SHORT}),
    "hmc": (schools, SCHOOLS, {"method": "hmc", **PLAIN}),
    "mams": (schools, SCHOOLS, {"method": "mams", **PLAIN}),
    "chees": (schools, SCHOOLS, {"method": "chees", **PLAIN}),
    "svi": (schools, SCHOOLS, {"method": "svi", "steps": 50}),
    "svi as one graph": (schools, SCHOOLS, {"method": "svi", "steps": 300, "replicas": 4}),
    "per chain": (schools, SCHOOLS, {"method": "nuts", "adapt": "per_chain", **SHORT}),
    **{f"from {init}": (schools, SCHOOLS, {"method": "nuts", "init": init, **SHORT})
       for init in ("prior", "map", "pathfinder")},
    "in batches": (schools, SCHOOLS, {"method": "nuts", "max_chains_per_batch": 3, **SHORT}),
    "thinned": (schools, SCHOOLS, {"method": "nuts", "thin": 2, **SHORT}),
    "in a folder": (schools, SCHOOLS, {"method": "nuts", "run_dir": True, **SHORT}),
    "in float32": (schools, SCHOOLS, {"method": "nuts", "dtype": torch.float32, **SHORT}),
    "discrete sites": (mixture, Y, {"method": "nuts", **SHORT}),
    "matrices": (correlated, PAIRS, {"method": "nuts", **SHORT}),
    "no graph": (branching, Y, {"method": "nuts", **SHORT}),
    "map": (schools, SCHOOLS, {"method": "map", "jacobian": True}),
    "laplace": (correlated, PAIRS, {"method": "laplace", "draws": 50}),
    "pathfinder": (mixture, Y, {"method": "pathfinder", "draws": 50}),
}  # fmt: skip  # the starts are one line


def main() -> None:
    """Load the device, run, and print what came of it."""
    load(sys.argv[1])
    print(json.dumps({name: outcome(*run) for name, run in RUNS.items()}))


def load(path: str) -> None:
    """Make the device known to torch, and let ppzoo have it."""
    torch.ops.load_library(path)
    torch.utils.rename_privateuse1_backend(NAME)
    module = types.ModuleType(f"torch.{NAME}")
    module.is_available = module.is_initialized = lambda: True
    module.device_count, module.current_device = lambda: 1, lambda: 0
    module.get_amp_supported_dtype = lambda: [torch.float32]
    module._is_in_bad_fork, module.manual_seed_all = lambda: False, lambda seed: None
    torch._register_device_module(NAME, module)
    torch.utils.generate_methods_for_privateuse1_backend()
    tensors.check_device = lambda device, **_: torch.device(device)
    machines.Native = machines.Replayed  # the same road on the CPU
    trainers._CAPTURING.add(NAME)
    together.Captured._capture = staticmethod(lambda function: function)  # all but the capture itself


def outcome(model, data, options) -> dict[str, object]:
    """How far the draws on the two devices are apart, and where they are; or the error."""
    try:
        with tempfile.TemporaryDirectory() as folder:
            kept = {"run_dir": f"{folder}/run"} if options.get("run_dir") else {}
            there = ppzoo.fit(model, data, device=NAME, progress=False, **options | kept)
        here = ppzoo.fit(model, data, progress=False, **{**options, "run_dir": None})
        ours, theirs = there.draws(), here.draws()
        there.summary(), there.diagnose(), there.to_arviz(), there.predict()
    except Exception:  # noqa: BLE001  # whatever it is, the test shows it
        return {"error": traceback.format_exc()}
    gaps = [float((ours[name].to("cpu", torch.float64) - theirs[name]).abs().max()) for name in theirs]
    devices = sorted({value.device.type for value in ours.values()})
    return {"gap": max(gaps), "devices": devices, "notes": list(there.notes)}


if __name__ == "__main__":
    main()
