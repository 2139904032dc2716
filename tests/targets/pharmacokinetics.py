"""One compartment with first-order absorption and Michaelis-Menten elimination, of posteriordb. T measurements.

    dC/dt = exp(-k_a t) D k_a / V - (V_m / V) C / (K_m + C),  C(0) = 0,   C_hat_t ~ LogNormal(ln C(t), sigma)

Stan solves it to 1e-6; here classical Runge-Kutta steps do, short ones first because C leaves zero fast (at the
reference draws ln C is within 2e-5 of the exact solution, against an sd of 0.02).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor

from tests.targets import posteriordb
from tests.targets.target import Target, Values

_FIRST, _LATER = 8, 2  # steps up to the first measurement, and between two
_HEAVY = ("K_m", "V_m")


def one_compartment(times: Tensor, C_hat: Tensor, D: Tensor, V: Tensor) -> None:
    """k_a, K_m, V_m, sigma ~ HalfCauchy(1)."""
    k_a, K_m, V_m, sigma = (pyro.sample(name, dist.HalfCauchy(1.0)) for name in ("k_a", "K_m", "V_m", "sigma"))

    def slope(t: Tensor, C: Tensor) -> Tensor:
        return torch.exp(-k_a * t) * D * k_a / V - V_m / V * C / (K_m + C)

    C = concentration(slope, times)
    with pyro.plate("time", len(times)):
        pyro.sample("C_hat", dist.LogNormal(C.log(), sigma), obs=C_hat)


def concentration(slope: Callable[[Tensor, Tensor], Tensor], times: Tensor) -> Tensor:
    """The solution of ``dC/dt = slope(t, C)``, ``C(0) = 0``, at the times, ``(T,)``."""
    t = C = times.new_zeros(())
    found = []
    for i, end in enumerate(times):
        fractions = (
            [(s / _FIRST) ** 3 for s in range(1, _FIRST + 1)] if i == 0 else [s / _LATER for s in range(1, _LATER + 1)]
        )
        start = t
        for fraction in fractions:
            step = start + fraction * (end - start) - t
            C = _runge_kutta(slope, t, C, step)
            t = t + step
        found.append(C)
    return torch.stack(found)


def _runge_kutta(slope: Callable[[Tensor, Tensor], Tensor], t: Tensor, C: Tensor, h: Tensor) -> Tensor:
    a = slope(t, C)
    b = slope(t + h / 2, C + h / 2 * a)
    c = slope(t + h / 2, C + h / 2 * b)
    d = slope(t + h, C + h * c)
    return C + h / 6 * (a + 2 * b + 2 * c + d)


def one_comp_mm_elim_abs(folder: Path, name: str) -> Target:
    """Twenty simulated measurements; K_m and V_m have so heavy tails that their logarithms are compared."""
    c = posteriordb.columns(folder, name)
    data = {key: c[key] for key in ("times", "C_hat", "D", "V")}
    reference = posteriordb.reference(folder, name, _with_logarithms)
    return Target(name, one_compartment, data, reference, _with_logarithms, _without_logarithms)


def _with_logarithms(sites: Values) -> Values:
    return {"k_a": sites["k_a"], "sigma": sites["sigma"]} | {f"log {n}": sites[n].log() for n in _HEAVY}


def _without_logarithms(parameters: Values) -> Values:
    return {"k_a": parameters["k_a"], "sigma": parameters["sigma"]} | {n: parameters[f"log {n}"].exp() for n in _HEAVY}
