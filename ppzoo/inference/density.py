r"""A Pyro program and its data as a log density over unconstrained values, and a finite place to start.

With :math:`x_s = t_s(u_s)` for each continuous latent site :math:`s`, where :math:`t_s` maps the reals onto the
support that the site has at this point (it may depend on earlier sites), the log density is

.. math:: \log \pi(u) = \log p(\mathrm{data}, t(u)) + \sum_s \log |\det J_{t_s}(u_s)|

Finite discrete sites are summed out by parallel enumeration, as Pyro does.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from pyro import poutine
from pyro.distributions import Unit
from pyro.infer.mcmc.util import TraceEinsumEvaluator
from pyro.poutine.messenger import Messenger
from pyro.poutine.subsample_messenger import _Subsample
from torch import Tensor
from torch.distributions import biject_to

from ppzoo.errors import FitError, ModelError
from ppzoo.inference.enumeration import Enumeration, enumeration_of
from ppzoo.inference.program import Pair, Site, nodes_of, sites_of
from ppzoo.inference.start import near_zero, uniform

__all__ = ["TRIES", "Density", "SiteReport", "density_of", "find_start", "format_sites", "no_start", "report_sites"]

TRIES = 100  # starting points, as Stan


@dataclass(frozen=True)
class Density:
    """The log density of a program on its data, over unconstrained values of its continuous latent sites.

    Attributes:
        sites: Every statement of the program, in order.
        shapes: Shape of each continuous latent site's unconstrained value, in the order of the program.
        plates: Number of dimensions that plates use.
        enumeration: How discrete sites are summed out; ``None`` without any.
        jacobian: Whether the Jacobians count. Without them it is the density of the constrained values, at the places
            where the unconstrained ones put them: for looking for its mode, not for sampling.
    """

    sites: tuple[Site, ...]
    shapes: dict[str, torch.Size]
    plates: int
    enumeration: Enumeration | None
    jacobian: bool
    _program: Callable[[], poutine.Trace]
    _log_prob: Callable[[poutine.Trace], Tensor]

    @property
    def size(self) -> int:
        """Number of unconstrained coordinates, ``D``."""
        return sum(shape.numel() for shape in self.shapes.values())

    @property
    def enumerates(self) -> bool:
        """Whether discrete sites are summed out."""
        return self.enumeration is not None

    def named(self, q: Tensor) -> dict[str, Tensor]:
        """Vectors ``(..., D)`` cut into unconstrained values ``(..., *shape)`` by site, in the order of the program."""
        parts = q.split([shape.numel() for shape in self.shapes.values()], -1)
        return {
            name: part.reshape((*q.shape[:-1], *shape))
            for (name, shape), part in zip(self.shapes.items(), parts, strict=True)
        }

    def log_density(self, u: dict[str, Tensor]) -> Tensor:
        """``log pi(u)``, a scalar in nats, for one value per site."""
        trace, jacobians = self._run(u)
        return self._log_prob(trace) + sum((j.sum() for j in jacobians), torch.zeros(()))

    def log_densities(self, q: Tensor) -> Tensor:
        """``log pi(q)`` of many vectors ``(C, D)`` in one run of the program, which has them left of its plates.

        Only for programs without sums over discrete sites, and right only where the program broadcasts: the caller
        compares it with :meth:`log_density`.
        """
        rows = len(q)
        batch = {site.name: len(site.shape) - site.event_dim for site in self.sites}
        u = {
            name: value.reshape(rows, *[1] * (self.plates - batch[name]), *value.shape[1:])
            for name, value in self.named(q).items()
        }
        trace, jacobians = self._run(u)
        trace.compute_log_prob()
        terms = [node["log_prob"] for node in nodes_of(trace).values() if node["type"] == "sample"]
        shared = [term for term in terms if term.dim() <= self.plates]
        own = [term for term in [*terms, *jacobians] if term.dim() > self.plates]
        value: Tensor = sum((term.reshape(rows, -1).sum(1) for term in own), q.new_zeros(rows))
        return value + sum((term.sum() for term in shared), q.new_zeros(()))

    def potential(self, u: dict[str, Tensor]) -> Tensor:
        """The potential energy ``-log pi(u)``."""
        return -self.log_density(u)

    def constrain(self, u: dict[str, Tensor]) -> dict[str, Tensor]:
        """The sites' values in their own supports."""
        nodes = nodes_of(self._run(u)[0])
        return {name: nodes[name]["value"] for name in self.shapes}

    def _run(self, u: dict[str, Tensor]) -> tuple[poutine.Trace, list[Tensor]]:
        with _Substitute(u) as substitute:
            trace = self._program()
        return trace, substitute.log_jacobians if self.jacobian else []

    def unconstrain(self, trace: poutine.Trace) -> dict[str, Tensor]:
        """The unconstrained values of a run of the program."""
        nodes = nodes_of(trace)
        return {
            name: biject_to(nodes[name]["fn"].support).inv(nodes[name]["value"]).reshape(shape)
            for name, shape in self.shapes.items()
        }

    def value_and_gradient(self, u: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """``log pi(u)`` and its gradient; a coordinate without influence has gradient zero."""
        leaves = {name: value.detach().requires_grad_(True) for name, value in u.items()}
        value = self.log_density(leaves)
        found: Any = torch.autograd.grad(value, list(leaves.values()), allow_unused=True)
        gradient = {
            name: torch.zeros_like(leaf) if g is None else g
            for (name, leaf), g in zip(leaves.items(), found, strict=True)
        }
        return value.detach(), gradient


class _Substitute(Messenger):
    """Gives each latent site the image of its unconstrained value, and adds up the Jacobians."""

    def __init__(self, u: dict[str, Tensor]) -> None:
        super().__init__()
        self._u = u
        self.log_jacobians: list[Tensor] = []

    def _pyro_sample(self, msg: dict[str, Any]) -> None:
        u = self._u.get(msg["name"])
        if u is None or msg["is_observed"]:
            return
        transform = biject_to(msg["fn"].support)
        x = transform(u)
        self.log_jacobians.append(transform.log_abs_det_jacobian(u, x))
        msg["value"], msg["done"] = x, True


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


def density_of(pair: Pair, *, jacobian: bool = True) -> Density:
    """The density of the pair's program, over unconstrained values unless ``jacobian`` says otherwise.

    Raises:
        ModelError: If there is no continuous latent site, a discrete one cannot be enumerated or is marked not to be,
            discrete sites of plates that cross depend on each other, or a plate subsamples.
    """
    trace = pair.trace_model(near_zero)
    sites = tuple(sites_of(trace))
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
    plates = [node["fn"] for node in nodes_of(trace).values() if isinstance(node.get("fn"), _Subsample)]
    if any(plate.subsample_size is not None and plate.subsample_size < plate.size for plate in plates):
        raise ModelError(
            "subsamples a plate, which a sampler of the full posterior cannot follow",
            argument="model",
            got="a plate with subsample_size",
            remedy="Remove subsample_size and pass batch_size to SVI instead.",
        )
    depth = max((-dim for site in sites for _, dim, _ in site.plates), default=0)
    discrete = any(site.kind == "discrete" for site in sites)
    program = poutine.enum(pair.enumerated(), first_available_dim=-1 - depth) if discrete else pair.model

    def trace_program() -> poutine.Trace:
        return poutine.trace(program).get_trace(*pair.data.args, **pair.data.kwargs)

    shapes = {s.name: biject_to(s.distribution.support).inv(s.value).shape for s in latent}
    with _Substitute({name: torch.full(shape, 0.1) for name, shape in shapes.items()}):
        first = trace_program()
    evaluator = TraceEinsumEvaluator(first, has_enumerable_sites=discrete, max_plate_nesting=depth)
    enumeration = enumeration_of(first, sites) if discrete else None
    return Density(sites, shapes, depth, enumeration, jacobian, trace_program, evaluator.log_prob)


def find_start(density: Density, pair: Pair) -> dict[str, Tensor]:
    """A point with finite density and gradient, uniform in (-2, 2) per unconstrained coordinate.

    Raises:
        FitError: If 100 draws found none; the message holds the table of sites.
    """
    for _ in range(TRIES):
        trace = pair.trace_model(uniform)
        u = {name: value.detach() for name, value in density.unconstrain(trace).items()}
        value, gradient = density.value_and_gradient(u)
        if bool(torch.isfinite(value)) and all(bool(torch.isfinite(g).all()) for g in gradient.values()):
            return u
    raise no_start(pair)


def no_start(pair: Pair) -> FitError:
    """The error after :data:`TRIES` points without finite density and gradient; its message has the table of sites."""
    return FitError(
        f"no starting point with finite density and gradient in {TRIES} tries",
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
