"""What a fitted pair says, draw by draw: latent values, likelihoods, predictions, importance weights.

Every quantity is a function of one draw, mapped over all of them: by ``torch.func.vmap`` where the program allows it,
else one draw at a time. Both give the same numbers; :class:`Mapped` says which road was taken.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from pyro import poutine
from pyro.poutine.messenger import Messenger
from torch import Tensor
from torch.overrides import TorchFunctionMode

from ppzoo.datasets.arguments import Arguments
from ppzoo.errors import ModelError
from ppzoo.inference.program import Pair, Site, nodes_of, sites_of, trace_of

__all__ = ["Mapped", "common_plate", "draw_guide", "evaluate", "log_weights", "log_weights_in_parts", "map_draws"]
__all__ += ["predict", "simulate"]

_ELEMENTS_AT_ONCE = 300_000  # of results; networks inside hold some thirty times as many

_EMPTY = frozenset({torch.empty, torch.empty_like, Tensor.new, Tensor.new_empty})
_DATA: Any = Tensor.data.__get__  # type: ignore[attr-defined]  # a descriptor, to the type checker a tensor

Values = dict[str, Tensor]


@dataclass(frozen=True)
class Mapped:
    """Named results, each with the draws as first dimension ``(S, ...)``, and the road: mapped or one by one."""

    values: Values
    vectorised: bool


def map_draws(function: Callable[[Values], Values], draws: Values, n: int) -> Mapped:
    """``function`` of each of ``n`` draws, stacked.

    Args:
        function: From the values of one draw to named tensors; it may draw at random.
        draws: Named tensors ``(S, ...)``; may be empty.
        n: Number of draws ``S``.
    """
    if n == 0:
        return Mapped({}, vectorised=True)
    state = torch.get_rng_state()
    inputs = {**draws, "": torch.zeros(n)}  # the empty name carries the draw index when there is nothing else

    def one(values: Values) -> Values:
        with _Mappable(values[""]):
            return function({name: value for name, value in values.items() if name})

    first = one({name: value[0] for name, value in inputs.items()})
    size = max((value.numel() for value in first.values()), default=1)
    torch.set_rng_state(state)
    try:
        warnings.filterwarnings("ignore", message="There is a performance drop")  # vmap loops over some operation
        mapped = torch.func.vmap(one, randomness="different")
        made = {name: value.new_empty((n, *value.shape)) for name, value in first.items()}
        step = max(1, _ELEMENTS_AT_ONCE // max(1, size))
        for begin in range(0, n, step):
            part = slice(begin, begin + step)
            for name, value in mapped({name: value[part] for name, value in inputs.items()}).items():
                made[name][part] = value  # into its place: a list of the parts would take as much again
        return Mapped(made, vectorised=True)
    except (RuntimeError, ValueError, NotImplementedError, TypeError):
        torch.set_rng_state(state)  # vmap has no rule for something in this program: a genuine error shows again below
    rows = [one({name: value[i] for name, value in inputs.items()}) for i in range(n)]
    return Mapped({name: torch.stack([row[name] for row in rows]) for name in first}, vectorised=False)


@torch.no_grad()
def draw_guide(pair: Pair, n: int, given: Values | None = None) -> Mapped:
    """``n`` draws of every latent site of the model from the guide on the pair's data.

    Args:
        pair: A pair with its guide.
        n: Number of draws.
        given: Draws of some sites, ``(n, ...)``, on which the others are conditioned.
    """
    wanted = {s.name for s in sites_of(pair.trace_model()) if s.kind in ("latent", "discrete")}

    def one(values: Values) -> Values:
        trace = trace_of(poutine.condition(_guide(pair), values), pair.data)
        return {s.name: s.value for s in sites_of(trace) if s.kind != "observed" and s.name in wanted}

    return map_draws(one, given or {}, n)


@torch.no_grad()
def evaluate(pair: Pair, draws: Values, n: int, kinds: Collection[str] = ("value", "prior", "likelihood")) -> Mapped:
    """Per draw: ``value/<site>`` of deterministic sites, ``prior/<site>`` and ``likelihood/<site>`` log densities.

    Those of the ``kinds`` that are wanted.

    Finite discrete sites that the draws do not hold are summed out of the pointwise likelihood where that is
    defined: one observed site, in the same plates as every such site, on which no site with draws depends. Elsewhere
    the likelihood is left out, as are prior and value of a site that depends on them.
    """
    sites = list(sites_of(pair.trace_model()))

    def one(values: Values) -> Values:
        found = _densities(pair, sites, values)
        return {name: value for name, value in found.items() if name.partition("/")[0] in kinds}

    return map_draws(one, draws, n)


@torch.no_grad()
def predict(pair: Pair, draws: Values, n: int, observed: Collection[str]) -> Mapped:
    """Per draw: a new value of each of the ``observed`` sites, given the latent values of the draw."""

    def one(values: Values) -> Values:
        program = poutine.condition(_Unobserve()(pair.model), values)  # observed anew, latent as drawn
        trace = trace_of(program, pair.data)
        return {
            name: node["value"]
            for name, node in nodes_of(trace).items()
            if node["type"] == "sample" and name in observed
        }

    return map_draws(one, draws, n)


@torch.no_grad()
def simulate(pair: Pair, n: int) -> Values:
    """``n`` joint draws of the program: every latent, deterministic and observed site, ``(n, ...)``."""

    def one(_: Values) -> Values:
        return {site.name: site.value for site in sites_of(trace_of(_Unobserve()(pair.model), pair.data))}

    return map_draws(one, {}, n).values


@torch.no_grad()
def log_weights(pair: Pair, n: int) -> tuple[Tensor, Values] | None:
    """``log p(x, z) - log q(z)`` for ``n`` draws of the guide, and the draws.

    The weights are ``(S,)``, or ``(S, N)`` where rows are independent.

    ``None`` where a site of the guide is scaled, or a discrete site cannot be summed out row by row, or stands beside a
    factor: these are no importance weights.
    """
    if not _weighable(pair):
        return None
    plate, sites = common_plate(pair), list(sites_of(pair.trace_model()))
    by_name = {s.name: s for s in sites}

    def one(_: Values) -> Values:
        guide = trace_of(_guide(pair), pair.data)
        guide.compute_log_prob()
        drawn = list(sites_of(guide))
        values = {s.name: s.value for s in drawn if s.name in by_name}
        log_q = sum((_to_plate(nodes_of(guide)[s.name]["log_prob"], s, plate) for s in drawn), torch.zeros(()))
        log_p = sum(
            (
                value.sum() if name.startswith("factor/") else _to_plate(value, by_name[name.partition("/")[2]], plate)
                for name, value in _densities(pair, sites, values).items()
                if not name.startswith("value/")
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

    ``None`` also where there is a factor, which does not say whether it is of a part or of all rows.

    Args:
        pair: On rows that stand for all.
        n: Number of draws ``S``.
        parts: Each row once.
        rows: The plates over rows: what is outside of them counts once.
    """
    part = next(parts, None)
    if part is None or not _weighable(pair) or _factors(pair.trace_model()):
        return None
    names = {s.name for s in sites_of(pair.trace_model())}

    def draw(_: Values) -> Values:
        guide = trace_of(_guide(pair), pair.data)
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
    sites = list(sites_of(pair.trace_model()))
    inside = {s.name for s in sites if not rows.isdisjoint(name for name, _, _ in s.plates)}

    def one(values: Values) -> Values:
        terms = {name.partition("/")[::2]: value for name, value in _densities(pair, sites, values).items()}
        wanted = [v for (kind, site), v in terms.items() if kind != "value" and (not again or site in inside)]
        return {"": sum((value.sum().double() for value in wanted), torch.zeros((), dtype=torch.float64))}

    step = max(1, _ELEMENTS_AT_ONCE // max(1, pair.data.rows))
    some = [{name: value[begin : begin + step] for name, value in draws.items()} for begin in range(0, n, step)]
    return torch.cat([map_draws(one, part, min(step, n - i * step)).values[""] for i, part in enumerate(some)])


def common_plate(pair: Pair) -> str | None:
    """The outermost plate that holds every latent and observed site, if one does and there are latent sites.

    A guide that draws all rows at once, by a site outside of the plate, has none; nor has a program with a factor.
    """
    trace = pair.trace_model()
    sites = [s for s in sites_of(trace) if s.kind != "deterministic"]
    if _factors(trace) or not any(s.kind in ("latent", "discrete") for s in sites):
        return None
    if pair.guide is not None:
        with torch.random.fork_rng(range(torch.cuda.device_count())):
            sites += sites_of(trace_of(pair.guide, pair.data))
    shared = set.intersection(*({name for name, _, _ in s.plates} for s in sites))
    dims = {name: dim for s in sites for name, dim, _ in s.plates if name in shared}
    return min(dims, key=lambda name: dims[name], default=None)


def _guide(pair: Pair) -> Callable[..., Any]:
    if pair.guide is None:
        raise ModelError("has no guide to draw from", argument="fit")
    return pair.guide


def _densities(pair: Pair, sites: list[Site], values: Values) -> Values:
    hidden = [s for s in sites if s.kind == "discrete" and s.name not in values]
    depth = max((-dim for s in sites for _, dim, _ in s.plates), default=0)
    model: Callable[..., Any] = poutine.condition(
        pair.model, {n: v for n, v in values.items() if any(s.name == n for s in sites)}
    )
    if hidden:
        conditioned = Pair(pair.owner, model, pair.data).enumerated()
        model = poutine.enum(conditioned, first_available_dim=-1 - depth)
    trace = trace_of(model, pair.data)
    trace.compute_log_prob()
    nodes = nodes_of(trace)
    drawn = [s for s in sites if s.kind != "observed" and s not in hidden]
    free = [s for s in drawn if not hidden or not _enumerated(nodes[s.name], s, depth)]
    found: Values = {f"factor/{name}": nodes[name]["log_prob"] for name in _factors(trace)}
    for site in free:
        if site.kind == "deterministic":
            found[f"value/{site.name}"] = nodes[site.name]["value"]
        else:
            found[f"prior/{site.name}"] = nodes[site.name]["log_prob"]
    summable = _summable(sites, hidden) and all(s in free for s in drawn if s.kind != "deterministic")
    for site in sites:
        if site.kind == "observed" and not hidden:
            found[f"likelihood/{site.name}"] = nodes[site.name]["log_prob"]
        elif site.kind == "observed" and summable:
            found[f"likelihood/{site.name}"] = _sum_out(nodes, site, hidden, depth)
    return found


def _factors(trace: poutine.Trace) -> list[str]:
    """Names of the statements by ``pyro.factor``, which observes an empty value."""
    nodes = [(name, node["value"]) for name, node in nodes_of(trace).items() if node["type"] == "sample"]
    return [name for name, value in nodes if isinstance(value, Tensor) and value.numel() == 0]


def _enumerated(node: dict[str, Any], site: Site, depth: int) -> bool:
    """Whether a site depends on sites that are summed out, whose dimensions lie to the left of every plate."""
    if site.kind == "deterministic":
        return bool(node["value"].shape != site.shape)
    return bool(node["log_prob"].dim() > depth)


def _sum_out(nodes: dict[str, Any], site: Site, hidden: list[Site], depth: int) -> Tensor:
    """Log-sum-exp over the enumerated dimensions, which lie to the left of every plate."""
    joint: Tensor = nodes[site.name]["log_prob"] + sum(nodes[s.name]["log_prob"] for s in hidden)
    flat = joint.reshape(-1, *joint.shape[joint.dim() - depth :]) if depth else joint.reshape(-1)
    return flat.logsumexp(0)


def _summable(sites: list[Site], hidden: list[Site]) -> bool:
    observed = [s for s in sites if s.kind == "observed"]
    return len(observed) == 1 and all(set(s.plates) == set(observed[0].plates) for s in hidden)


def _weighable(pair: Pair) -> bool:
    guide = trace_of(_guide(pair), pair.data)
    given = {s.name for s in sites_of(guide)}
    sites = list(sites_of(pair.trace_model()))
    hidden = [s for s in sites if s.kind == "discrete" and s.name not in given]
    scaled = any(not isinstance(guide.nodes[name]["scale"], float) or guide.nodes[name]["scale"] != 1 for name in given)
    if not given or scaled or not hidden:
        return bool(given) and not scaled
    found = _densities(pair, sites, {s.name: s.value for s in sites_of(guide)})
    if any(name.startswith("factor/") for name in found):
        return False
    probable = [s for s in sites if s.kind != "deterministic" and s not in hidden]
    return all(f"{'likelihood' if s.kind == 'observed' else 'prior'}/{s.name}" in found for s in probable)


def _to_plate(log_prob: Tensor, site: Site, plate: str | None) -> Tensor:
    dim = next((dim for name, dim, _ in site.plates if name == plate), None)
    if dim is None:
        return log_prob.sum()
    others = [i for i in range(-log_prob.dim(), 0) if i != dim]
    return log_prob.sum(others) if others else log_prob


class _Mappable(TorchFunctionMode):
    """Lets vmap through where it refuses what Pyro and torch do.

    Torch's distributions fill empty tensors with noise in place, which vmap refuses where the tensor is shared by all
    draws: fresh tensors are made to depend on the draw. Pyro's enumeration reads ``value.data``, only for its shape:
    the same without gradient is allowed.
    """

    def __init__(self, index: Tensor) -> None:
        super().__init__()
        self._zero = index * 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = (Tensor.detach if func == _DATA else func)(*args, **(kwargs or {}))
        return made + self._zero.to(made.dtype) if func in _EMPTY and made.is_floating_point() else made


class _Unobserve(Messenger):
    """Draws observed sites anew; deterministic sites, which Pyro's own handler would draw too, are computed."""

    def _pyro_sample(self, msg: dict[str, Any]) -> None:
        if msg["is_observed"] and not msg["infer"].get("_deterministic"):
            msg["is_observed"], msg["value"], msg["done"] = False, None, False
