"""How much more probable draws of a guide are under the posterior: importance weights.

Shapes: ``S`` draws, ``N`` rows.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from ppzoo.datasets.arguments import Arguments
from ppzoo.inference.draws import ELEMENTS_AT_ONCE, Values, densities, factors_of, guide_of, map_draws
from ppzoo.inference.program import Pair, Site, nodes_of, sites_of, trace_of

__all__ = ["common_plate", "log_weights", "log_weights_in_parts"]


@torch.no_grad()
def log_weights(pair: Pair, n: int) -> tuple[Tensor, Values] | None:
    """``log p(x, z) - log q(z)`` for ``n`` draws of the guide, and the draws.

    The weights are ``(S,)``, or ``(S, N)`` where rows are independent.

    ``None`` where a site of the guide is scaled, or a discrete site cannot be summed out row by row: these are no
    importance weights.
    """
    if not _weighable(pair):
        return None
    trace = pair.trace_model()
    plate, sites = common_plate(pair), list(sites_of(trace))
    by_name = {s.name: s for s in (*sites, *factors_of(trace))}

    def one(_: Values) -> Values:
        guide = trace_of(guide_of(pair), pair.data)
        guide.compute_log_prob()
        drawn = list(sites_of(guide))
        values = {s.name: s.value for s in drawn if s.name in by_name}
        log_q = sum((_to_plate(nodes_of(guide)[s.name]["log_prob"], s, plate) for s in drawn), torch.zeros(()))
        log_p = sum(
            (
                _to_plate(value, by_name[name.partition("/")[2]], plate)
                for name, value in densities(pair, sites, values).items()
                if not name.startswith("value/") and name.partition("/")[2] in by_name
            ),
            torch.zeros(()),
        )
        return {**values, "": log_p - log_q}

    found = dict(map_draws(one, {}, n).values)
    return found.pop(""), found


@torch.no_grad()
def log_weights_in_parts(
    pair: Pair, n: int, parts: Iterator[Arguments], rows: frozenset[str]
) -> tuple[Tensor, Values] | None:
    """As :func:`log_weights`, ``(S,)``, of data that come in parts, where no latent site is of a row.

    Args:
        pair: On rows that stand for all.
        n: Number of draws ``S``.
        parts: Each row once.
        rows: The plates over rows: what is outside of them counts once.
    """
    part = next(parts, None)
    if part is None or not _weighable(pair):
        return None
    names = {s.name for s in sites_of(pair.trace_model())}

    def draw(_: Values) -> Values:
        guide = trace_of(guide_of(pair), pair.data)
        guide.compute_log_prob()
        drawn = [s for s in sites_of(guide) if s.name in names]
        log_q = sum((nodes_of(guide)[s.name]["log_prob"].sum() for s in drawn), torch.zeros(()))
        return {**{s.name: s.value for s in drawn}, "": -log_q}

    found = dict(map_draws(draw, {}, n).values)
    weights, counted = found.pop("").double(), False
    while part is not None:
        weights = weights + _log_density(pair.rebind(part), found, n, rows, again=counted)
        part, counted = next(parts, None), True
    return weights, found


def _log_density(pair: Pair, draws: Values, n: int, rows: frozenset[str], *, again: bool) -> Tensor:
    """Of each draw, ``(S,)``: of every statement, or ``again`` for other rows, of those in the plates over rows."""
    trace = pair.trace_model()
    sites = list(sites_of(trace))
    inside = {s.name for s in (*sites, *factors_of(trace)) if not rows.isdisjoint(name for name, _, _ in s.plates)}

    def one(values: Values) -> Values:
        terms = {name.partition("/")[::2]: value for name, value in densities(pair, sites, values).items()}
        wanted = [v for (kind, site), v in terms.items() if kind != "value" and (not again or site in inside)]
        return {"": sum((value.sum().double() for value in wanted), torch.zeros((), dtype=torch.float64))}

    step = max(1, ELEMENTS_AT_ONCE // max(1, pair.data.rows))
    some = [{name: value[begin : begin + step] for name, value in draws.items()} for begin in range(0, n, step)]
    return torch.cat([map_draws(one, part, min(step, n - i * step)).values[""] for i, part in enumerate(some)])


def common_plate(pair: Pair) -> str | None:
    """The outermost plate that holds every latent and observed site and factor, if one does and there are latent sites.

    A guide that draws all rows at once, by a site outside of the plate, has none.
    """
    trace = pair.trace_model()
    sites = [s for s in (*sites_of(trace), *factors_of(trace)) if s.kind != "deterministic"]
    if not any(s.kind in ("latent", "discrete") for s in sites):
        return None
    if pair.guide is not None:
        with torch.random.fork_rng(range(torch.cuda.device_count())):
            sites += sites_of(trace_of(pair.guide, pair.data))
    shared = set.intersection(*({name for name, _, _ in s.plates} for s in sites))
    dims = {name: dim for s in sites for name, dim, _ in s.plates if name in shared}
    return min(dims, key=lambda name: dims[name], default=None)


def _weighable(pair: Pair) -> bool:
    guide = trace_of(guide_of(pair), pair.data)
    given = {s.name for s in sites_of(guide)}
    sites = list(sites_of(pair.trace_model()))
    hidden = [s for s in sites if s.kind == "discrete" and s.name not in given]
    scaled = any(not isinstance(guide.nodes[name]["scale"], float) or guide.nodes[name]["scale"] != 1 for name in given)
    if not given or scaled or not hidden:
        return bool(given) and not scaled
    found = densities(pair, sites, {s.name: s.value for s in sites_of(guide)})
    probable = [s for s in sites if s.kind != "deterministic" and s not in hidden]
    return all(f"{'likelihood' if s.kind == 'observed' else 'prior'}/{s.name}" in found for s in probable)


def _to_plate(log_prob: Tensor, site: Site, plate: str | None) -> Tensor:
    dim = next((dim for name, dim, _ in site.plates if name == plate), None)
    if dim is None:
        return log_prob.sum()
    others = [i for i in range(-log_prob.dim(), 0) if i != dim]
    return log_prob.sum(others) if others else log_prob
