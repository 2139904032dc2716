"""Plans of a small regression's steps, and what they end at."""

from __future__ import annotations

import math

import pyro
import pyro.distributions as dist
import torch

from ppzoo.datasets.arguments import Arguments
from ppzoo.inference.program import Pair
from ppzoo.inference.variational.descent import cosine_decay
from ppzoo.inference.variational.minibatch import Minibatches
from ppzoo.inference.variational.objectives import elbo, terms
from ppzoo.inference.variational.optimisers import OPTIMISERS
from ppzoo.inference.variational.plan import Plan
from ppzoo.inference.variational.runs import traces
from ppzoo.inference.variational.step import Step
from ppzoo.inference.variational.stepwise import Stepwise
from ppzoo.isolation import isolated

Y = torch.tensor([0.9, 1.1, 1.6, 0.4, -0.3, 2.2], dtype=torch.float64)
X = torch.linspace(-1, 1, 6, dtype=torch.float64)


def regression(x, y):
    slope = pyro.sample("slope", dist.Normal(0.0, 2.0))
    scale = pyro.sample("scale", dist.HalfNormal(1.0))
    with pyro.plate("row", len(x)):
        pyro.sample("y", dist.Normal(slope * x, scale), obs=y)


def planned(  # what a test may want to be otherwise
    *,
    model=regression,
    noisy=True,
    optimiser="adam",
    clip=math.inf,
    batch=None,
    replicas=1,
    seed=5,
    steps=100,
    dtype=torch.float64,
    weight=None,
    units=(),
):
    starts = [[0.5, 0.2, -1.0, -1.0]] * replicas
    own = [torch.tensor(value, dtype=dtype, requires_grad=True) for value in starts[0]]

    def guide(x, y):
        for name, loc, log_width in (("slope", own[0], own[2]), ("scale", own[1], own[3])):
            fn = dist.Normal(loc, log_width.exp()) if noisy else dist.Delta(loc)
            if name == "scale":
                fn = (
                    dist.TransformedDistribution(fn, [dist.transforms.ExpTransform()])
                    if noisy
                    else dist.Delta(loc.exp())
                )
            pyro.sample(name, fn)

    data = Arguments((X.to(dtype), Y.to(dtype)), {})
    batches = Minibatches(Pair(model, model, data, guide), batch, seed)
    weighed = batches.weighed(model), batches.weighed(guide)
    step = Step(
        lambda d, w=None: elbo([terms(traces(*weighed, d), w)]),
        own,
        [],
        batches.example,
        fixed=batches.fixed,
        weighed=weight is not None,
    )
    parameters = [torch.tensor(column, dtype=dtype) for column in zip(*starts, strict=True)]
    decay = cosine_decay(steps)
    return Plan(
        step,
        batches,
        parameters,
        [],
        OPTIMISERS[optimiser],
        lambda t: 0.05 * decay(t),
        clip,
        seed,
        steps,
        weight,
        [torch.tensor(unit, dtype=dtype) for unit in units],
    )


def trained(kind, steps=100, **options):
    with isolated(seed=0, dtype=options.get("dtype", torch.float64)):
        plan = planned(steps=steps, **options)
        trainer = Stepwise(plan, "") if kind is Stepwise else kind(plan, plan.step.graph)
        losses = torch.cat([trainer.advance(n) for n in (steps // 2, steps - steps // 2)], 1)
    return losses, torch.stack([p.detach() for p in plan.parameters])
