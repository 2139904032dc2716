r"""A Pyro program and its data as a log density over unconstrained values, and a finite place to start.

With :math:`x_s = t_s(u_s)` for each continuous latent site :math:`s`, the potential energy is

.. math:: U(u) = -\log p(\mathrm{data}, t(u)) - \sum_s \log |\det J_{t_s}(u_s)|

Finite discrete sites are summed out by parallel enumeration, as Pyro does.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from pyro import poutine
from pyro.distributions import Unit
from pyro.infer.mcmc.util import initialize_model
from pyro.ops.integrator import potential_grad
from torch import Tensor

from ppzoo.errors import FitError, ModelError
from ppzoo.inference.program import Pair, Site, nodes_of, sites_of
from ppzoo.inference.start import near_zero, uniform

__all__ = ["Density", "SiteReport", "density_of", "find_start", "report_sites"]

_TRIES = 100  # as Stan


@dataclass(frozen=True)
class Density:
    """The potential energy of a program on its data.

    Attributes:
        potential: ``u -> U(u)``, from a dict of unconstrained values to a scalar, in nats.
        transforms: For each site the map from constrained to unconstrained values.
        shapes: Shape of each site's unconstrained value.
        sites: Every statement of the program, in order.
    """

    potential: Callable[[dict[str, Tensor]], Tensor]
    transforms: dict[str, Any]
    shapes: dict[str, torch.Size]
    sites: tuple[Site, ...]

    def constrain(self, u: dict[str, Tensor]) -> dict[str, Tensor]:
        """The sites' values in their own supports."""
        return {name: self.transforms[name].inv(value) for name, value in u.items()}

    def value_and_gradient(self, u: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """``U(u)`` and its gradient."""
        gradient, value = potential_grad(self.potential, u)
        return value, gradient


@dataclass(frozen=True)
class SiteReport:
    """One site of the program at the point where inference would start."""

    name: str
    kind: str
    distribution: str
    support: str
    shape: tuple[int, ...]
    plates: tuple[str, ...]
    value: str
    log_prob: float
    gradient_finite: bool | None


def density_of(pair: Pair) -> Density:
    """The density of the pair's program.

    Raises:
        ModelError: If there is no continuous latent site, a discrete one cannot be enumerated, or a plate subsamples.
    """
    sites = tuple(sites_of(pair.trace_model(near_zero)))
    latent = [site for site in sites if site.kind == "latent"]
    endless = [s.name for s in sites if s.kind == "discrete" and not s.distribution.has_enumerate_support]
    if endless:
        raise ModelError(
            "has discrete latent sites that cannot be enumerated",
            argument="model",
            got=f"sites {', '.join(map(repr, endless))}",
            expected="continuous or finite discrete latent sites",
            remedy="Sum them out by hand, or use a continuous relaxation.",
        )
    if not latent:
        raise ModelError(
            "has no continuous latent site to sample",
            argument="model",
            got=f"sites {', '.join(repr(s.name) for s in sites) or '(none)'}",
            expected="at least one pyro.sample without obs=",
            remedy="Put priors on the parameters (the Bayesian variant of a zoo model), or fit by SVI or EM.",
        )
    depth = max((-dim for site in sites for _, dim, _ in site.plates), default=0)
    try:
        _, potential, transforms, _ = initialize_model(
            pair.model,
            pair.data.args,
            pair.data.kwargs,
            max_plate_nesting=depth,
            init_strategy=near_zero,
            initial_params={},
        )
    except NotImplementedError as error:
        raise ModelError(
            "subsamples a plate, which a sampler of the full posterior cannot follow",
            argument="model",
            got=str(error),
            remedy="Remove subsample_size and pass batch_size to SVI instead.",
        ) from error
    shapes = {site.name: transforms[site.name](site.value).shape for site in latent}
    return Density(potential, transforms, shapes, sites)


def find_start(density: Density, pair: Pair) -> dict[str, Tensor]:
    """A point with finite density and gradient, uniform in (-2, 2) per unconstrained coordinate.

    Raises:
        FitError: If 100 draws found none; the message holds the table of sites.
    """
    for _ in range(_TRIES):
        trace = pair.trace_model(uniform)
        u = {name: density.transforms[name](trace.nodes[name]["value"]).detach() for name in density.shapes}
        value, gradient = density.value_and_gradient(u)
        if bool(torch.isfinite(value)) and all(bool(torch.isfinite(g).all()) for g in gradient.values()):
            return u
    raise FitError(
        f"no starting point with finite density and gradient in {_TRIES} tries",
        argument="model",
        got="\n" + format_sites(report_sites(pair, uniform)) + "\n",
        expected="a finite log density for values near zero in unconstrained space",
        remedy="Look at the sites that are not finite: data outside the support, or a scale that can reach zero.",
    )


def report_sites(pair: Pair, start: Callable[[dict[str, Any]], Tensor] = near_zero) -> list[SiteReport]:
    """What each site is and whether its log probability and gradient are finite at a starting point."""
    trace = pair.trace_model(start)
    sites = list(sites_of(trace))
    leaves = {site.name: site.value.detach().clone().requires_grad_(True) for site in sites if site.kind == "latent"}
    conditioned = Pair(pair.owner, _conditioned(pair.model, leaves), pair.data).trace_model(start)
    conditioned.compute_log_prob()
    nodes = nodes_of(conditioned)
    total = conditioned.log_prob_sum() + torch.zeros(())
    gradients: dict[str, bool] = {}
    if leaves:
        found = torch.autograd.grad(total, list(leaves.values()), allow_unused=True)
        gradients = {n: g is None or bool(g.isfinite().all()) for n, g in zip(leaves, found, strict=True)}  # type: ignore[redundant-expr]  # allow_unused gives None
    known = {site.name for site in sites}
    factors = [
        SiteReport(name, "factor", "", "", (), (), "", float(node["log_prob_sum"].detach()), None)
        for name, node in nodes.items()
        if node["type"] == "sample" and name not in known and isinstance(node["fn"], Unit)
    ]
    return [_report(site, nodes[site.name], gradients.get(site.name)) for site in sites] + factors


def _report(site: Site, node: dict[str, Any], gradient_finite: bool | None) -> SiteReport:
    return SiteReport(
        name=site.name,
        kind=site.kind,
        distribution=_name(site.distribution),
        support="" if site.kind == "deterministic" else _support(site.distribution),
        shape=site.shape,
        plates=tuple(plate for plate, _, _ in site.plates),
        value=_brief(site.value),
        log_prob=float(node["log_prob_sum"].detach()),
        gradient_finite=gradient_finite,
    )


def format_sites(rows: list[SiteReport]) -> str:
    """The table of sites as aligned plain text."""
    head = ("site", "kind", "distribution", "support", "shape", "value", "log prob", "gradient")
    finite = {True: "finite", False: "NOT FINITE", None: ""}
    cells = [head] + [
        (
            r.name,
            r.kind,
            r.distribution,
            r.support,
            str(r.shape),
            r.value,
            f"{r.log_prob:.4g}",
            finite[r.gradient_finite],
        )
        for r in rows
    ]
    widths = [max(len(row[i]) for row in cells) for i in range(len(head))]
    return "\n".join("  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in cells)


def _conditioned(model: Callable[..., Any], values: dict[str, Tensor]) -> Callable[..., Any]:
    conditioned: Callable[..., Any] = poutine.condition(model, values)
    return conditioned


def _name(distribution: Any) -> str:
    while hasattr(distribution, "base_dist") and type(distribution).__name__ in (
        "Independent",
        "MaskedDistribution",
        "ExpandedDistribution",
    ):
        distribution = distribution.base_dist
    return type(distribution).__name__


def _support(distribution: Any) -> str:
    support = distribution.support
    return str(getattr(support, "base_constraint", support)).removesuffix("()")


def _brief(value: Tensor) -> str:
    flat = value.detach().reshape(-1)
    if flat.numel() == 1:
        return f"{flat.item():.4g}"
    return f"{flat.min().item():.4g} .. {flat.max().item():.4g}" if flat.numel() else "(empty)"
