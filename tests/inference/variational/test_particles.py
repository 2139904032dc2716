"""All runs at once give what run after run gives for the same draws, by operations whose number they do not change."""

from __future__ import annotations

import operator
from collections import Counter
from functools import partial

import pyro
import pyro.distributions as dist
import pytest
import torch

from ppzoo.datasets.arguments import Arguments
from ppzoo.inference.program import Pair
from ppzoo.inference.variational.losses import Objective, loss_of
from ppzoo.inference.variational.minibatch import Minibatches
from ppzoo.inference.variational.step import Step
from ppzoo.isolation import isolated

Y = torch.tensor([0.9, 1.1, 1.6, 0.4, -0.3, 2.2], dtype=torch.float64)


def rows(y):
    with pyro.plate("row", len(y)):
        z = pyro.sample("z", dist.Normal(0.0, 1.0).expand([2]).to_event(1))
        pyro.sample("y", dist.StudentT(5.0, z.sum(-1), 1.0), obs=y)


def shared(y):
    mu, scale = pyro.sample("mu", dist.Normal(0.0, 1.0)), pyro.sample("scale", dist.HalfNormal(1.0))
    with pyro.plate("row", len(y)):
        pyro.sample("y", dist.Normal(mu, scale), obs=y)


def mixture(y):
    mu = pyro.sample("mu", dist.Normal(0.0, 1.0))
    with pyro.plate("row", len(y)):
        k = pyro.sample("k", dist.Bernoulli(0.4))
        pyro.sample("y", dist.Normal(mu + 2 * k, 1.0), obs=y)


def place(*values):
    return [torch.tensor(value, dtype=torch.float64, requires_grad=True) for value in values]


def of_rows(loc, log_scale):
    def guide(y):
        with pyro.plate("row", len(y)):
            pyro.sample("z", dist.Normal(loc * y[:, None], log_scale.exp()).expand([len(y), 2]).to_event(1))

    return guide


def of_shared(loc, log_scale):
    def guide(y):
        pyro.sample("mu", dist.Normal(loc, log_scale.exp()))
        pyro.sample("scale", dist.LogNormal(loc - 1, log_scale.exp()))

    return guide


def of_mixture(loc, log_scale):
    return lambda y: pyro.sample("mu", dist.Normal(loc, log_scale.exp()))


def deciding(loc, log_scale):
    """Draws that cannot be differentiated through, made of uniform numbers."""

    def guide(y):
        pyro.sample("mu", dist.Normal(loc, log_scale.exp()))
        with pyro.plate("row", len(y)):
            pyro.sample("k", Threshold(loc * y))

    return guide


class Threshold(dist.TorchDistribution):
    """A Bernoulli by its logits, drawn as a uniform number is above or below."""

    arg_constraints = {}  # noqa: RUF012  # as torch has it
    support = dist.constraints.boolean
    has_enumerate_support = False

    def __init__(self, logits):
        self._logits = logits
        super().__init__(logits.shape)

    def expand(self, shape, _instance=None):
        return Threshold(self._logits.expand(shape))

    def sample(self, shape=()):
        return (torch.rand(*shape, *self.batch_shape, dtype=torch.float64) < self._logits.sigmoid()).double().detach()

    def log_prob(self, value):
        return dist.Bernoulli(logits=self._logits).log_prob(value)


CASES = {
    "elbo": (shared, of_shared, {}),
    "beta": (shared, of_shared, {"beta": 0.5, "annealed": True}),
    "in a minibatch": (rows, of_rows, {"batch": 3}),
    "summed": (mixture, of_mixture, {}),
    "scores": (mixture, deciding, {}),
    "iwae": (rows, of_rows, {"name": "iwae", "batch": 3}),
    "of shared": (shared, of_shared, {"name": "iwae"}),
    "renyi": (rows, of_rows, {"name": "renyi", "alpha": 0.5}),
    "vimco": (mixture, deciding, {"name": "iwae"}),
    "dreg": (rows, of_rows, {"name": "dreg"}),
    "wake-sleep": (shared, of_shared, {"name": "wake-sleep"}),
}


def steps(model, guide, count, *, y=Y, batch=None, annealed=False, name="elbo", alpha=None, beta=1.0):
    """Two steps of the same loss, the second of which takes run after run; and their data and weight."""
    own = place(0.3, -0.4)
    pair = Pair(model, model, Arguments((y,), {}), guide(*own))
    batches = Minibatches(pair, batch, 1)
    loss, _ = loss_of(pair.rebind(batches.some), pair.guide, batches, Objective(name, count, alpha, beta, annealed))
    data = batches.example
    for each in (loss, partial(loss)):  # what wraps it is no :class:`Particles`
        yield Step(each, own, [], data, fixed=batches.fixed, weighed=annealed)
    yield data, torch.tensor(0.7, dtype=torch.float64) if annealed else None


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_the_same_draws_give_the_same_loss_and_gradients(case):
    model, guide, options = case
    with isolated(seed=0, dtype=torch.float64):
        together, after, (data, weight) = steps(model, guide, 6, **options)
        assert (together.reason, after.reason) == ("", "")
        found = []
        for step in (together, after):
            torch.manual_seed(5)
            found.append(step(data, weight))
        few, many = (next(steps(model, guide, count, **options)) for count in (10, 40))
    (mine, slopes), (theirs, expected) = found
    torch.testing.assert_close(mine, theirs, rtol=1e-12, atol=1e-12)
    for slope, other in zip(slopes, expected, strict=True):
        torch.testing.assert_close(slope, other, rtol=1e-10, atol=1e-10)
    more = Counter(call.target for call in many.graph.calls)
    more.subtract(call.target for call in few.graph.calls)
    assert len(many.draws) == 4 * len(few.draws) > 0
    numbers = {operator.getitem, torch.ops.aten.randn.default, torch.ops.aten.rand.default}
    assert sum(count for target, count in more.items() if target not in numbers) <= 5 * 30  # 85 and more in one run
    assert len(together.graph.calls) < len(after.graph.calls)


def test_what_cannot_be_done_at_once_is_done_run_after_run():
    """A gamma's numbers hang on its shape: they are no noise that could be drawn apart."""

    def gammas(loc, log_scale):
        def guide(y):
            pyro.sample("mu", dist.Normal(loc, 1.0))
            pyro.sample("scale", dist.Gamma(log_scale.exp() + 1, 1.0))

        return guide

    with isolated(seed=0, dtype=torch.float64):
        for guide, y in ((gammas, Y), (of_shared, Y.repeat(10_000))):  # and runs that are large go by a cache each
            together, after, _ = steps(shared, guide, 3, y=y)
            assert (together.reason, after.reason) == ("", "")
            assert len(together.graph.calls) == len(after.graph.calls)


class Through(torch.autograd.Function):
    """Between -1 and 1, with the gradient of what it was."""

    @staticmethod
    def forward(ctx, x):
        return x.clamp(-1, 1)

    @staticmethod
    def backward(ctx, slope):
        return slope


def apart(loc):
    """What is above a half of it has no gradient."""
    with torch.no_grad():
        over = (loc - 0.5).relu()
    return loc - over


@pytest.mark.parametrize("bent", [Through.apply, apart], ids=["its own", "none"])
def test_gradients_that_are_not_torchs_stay_the_programs(bent):
    """Where the step was traced they are torch's, and elsewhere not: a check at the start does not show it."""

    def model(y):
        z = pyro.sample("z", dist.Normal(0.0, 1.0))
        with pyro.plate("row", len(y)):
            pyro.sample("y", dist.Normal(0.01 * z + bent(own[0]), 1.0), obs=y)

    own = place(0.0, -0.4)
    pair = Pair(model, model, Arguments((Y,), {}), lambda _: pyro.sample("z", dist.Normal(0.0, own[1].exp())))
    batches = Minibatches(pair, None, 1)
    with isolated(seed=0, dtype=torch.float64):
        loss, _ = loss_of(pair, pair.guide, batches, Objective("elbo", 3, None, 1.0, False))
        step = Step(loss, own, [], batches.example, fixed=True)
        own[0].data.fill_(2.0)
        found = []
        for run in (step, step._by_program):
            torch.manual_seed(5)
            found.append(run(batches.example)[1][0])
    assert step.graph is not None
    torch.testing.assert_close(*found)
