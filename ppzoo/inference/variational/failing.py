"""Which batch, site and value made a loss or a gradient non-finite."""

from __future__ import annotations

import torch
from pyro import poutine
from torch import Tensor

from ppzoo.datasets.arguments import Arguments
from ppzoo.inference.program import Guide, Pair, trace_of
from ppzoo.inference.variational.minibatch import Minibatches
from ppzoo.inference.variational.runs import drawn

__all__ = ["what_failed"]

_TRIES = 20  # draws of the guide


def what_failed(pair: Pair, guide: Guide, batches: Minibatches, step: int, replica: int) -> str:
    """Where the first number that is not finite comes from, at the parameters as they stand.

    Args:
        pair: With the parameters at which the steps failed.
        guide: The guide.
        batches: The data of each step.
        step: Which failed.
        replica: Whose.
    """
    data = batches.whole_batch(step, replica)
    where = f"step {step:,}"
    if batches.streamed:
        where += f", on a batch of {data.rows} rows"
    elif not batches.fixed:
        rows = batches.rows(step, replica)
        some = ", ".join(map(str, rows[:5].tolist()))
        where += f", on rows {some}{f', ... ({len(rows)} in all)' if len(rows) > len(rows[:5]) else ''}"
    with torch.no_grad():
        broken = [name for name, p in _named(pair).items() if not bool(p.isfinite().all())]
        if broken:
            return f"{where}: parameter {broken[0]!r} is not finite"
        for _ in range(_TRIES):
            found = _first_bad_site(pair, guide, data)
            if found:
                return f"{where}: {found}"
    return f"{where}: the gradient alone, every log probability is finite"


def _named(pair: Pair) -> dict[str, Tensor]:
    named = {name: p for module in pair.modules().values() for name, p in module.named_parameters()}
    return named | dict(pair.store.params)


def _first_bad_site(pair: Pair, guide: Guide, data: Arguments) -> str:
    first = trace_of(guide, data)
    second = trace_of(poutine.replay(pair.model, trace=first), data)
    for role, trace in (("guide", first), ("model", second)):
        for name, node in drawn(trace).items():
            value, fn = node["value"], node["fn"]
            kind = f"site {name!r} of the {role}"
            if value.is_floating_point() and not bool(value.isfinite().all()):
                return f"{kind} has the value {_worst(value)}"
            log_prob = fn.log_prob(value)
            if not bool(log_prob.isfinite().all()):
                culprit = value if value.shape == log_prob.shape else value.reshape(-1)
                at = culprit[~log_prob.isfinite()] if culprit.shape == log_prob.shape else culprit
                example = f" at the value {float(at.reshape(-1)[0]):.6g}" if at.numel() else ""
                return f"{kind} has log probability {_worst(log_prob)}{example}"
    return ""


def _worst(value: Tensor) -> str:
    return str(float(value[~value.isfinite()].reshape(-1)[0]))
