"""A traced step gives the program's loss and gradients for the same draws, and keeps off what it would get wrong."""

from __future__ import annotations

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import nn

from ppzoo.datasets.arguments import Arguments
from ppzoo.inference.variational.objectives import Loss, elbo, terms
from ppzoo.inference.variational.runs import traces
from ppzoo.inference.variational.step import Step
from ppzoo.isolation import isolated

Y = torch.tensor([0.9, 1.1, 1.6, 0.4], dtype=torch.float64)


def parameters():
    return [torch.tensor(value, dtype=torch.float64, requires_grad=True) for value in ([0.3, 0.1], [-0.4, 0.2], 7.0)]


def model(y, scale=1.0):
    mu = pyro.sample("mu", dist.Normal(0.0, 1.0).expand([2]).to_event(1))
    sigma = pyro.sample("sigma", dist.Gamma(2.0, 1.0))
    with pyro.plate("row", len(y)):
        pyro.sample("y", dist.Normal(mu.sum(), sigma * scale), obs=y)


def loss_of(loc, log_scale, _unused, model=model):
    def guide(y, scale=1.0):
        pyro.sample("mu", dist.Normal(loc, log_scale.exp()).to_event(1))
        pyro.sample("sigma", dist.Gamma(log_scale[0].exp() + 1, 2.0))

    return lambda data: elbo([terms(traces(model, guide, data))])


def test_the_same_draws_give_the_same_loss_and_gradients():
    given = parameters()
    data = Arguments((Y,), {"scale": 2.0})
    with isolated(seed=3, dtype=torch.float64):
        step = Step(loss_of(*given), given, [], data, fixed=True)
        assert (step.graph is not None, step.reason) == (True, "")
        traced = [step(data) for _ in range(5)]
    with isolated(seed=3, dtype=torch.float64):  # tracing has drawn nothing
        plain = [loss_of(*given)(data) for _ in range(5)]
    assert len({float(value) for value, _ in traced}) == 5
    for (value, gradients), loss in zip(traced, plain, strict=True):
        torch.testing.assert_close(value, loss.value, rtol=1e-13, atol=0)
        expected = torch.autograd.grad(loss.surrogate, given[:2])
        torch.testing.assert_close(gradients[:2], list(expected), rtol=1e-11, atol=1e-12)
        assert gradients[2] is None


def test_noise_is_no_constant_of_the_graph():
    given = parameters()[:1]

    def normal(y):
        mu = pyro.sample("mu", dist.Normal(0.0, 1.0).expand([2]).to_event(1))
        with pyro.plate("row", len(y)):
            pyro.sample("y", dist.Normal(mu.sum(), 1.0), obs=y)

    def guide(y):
        pyro.sample("mu", dist.Normal(given[0], 0.5).to_event(1))

    data = Arguments((Y,), {})
    with isolated(seed=0, dtype=torch.float64):
        step = Step(lambda data: elbo([terms(traces(normal, guide, data))]), given, [], data, fixed=True)
        assert step.graph is not None
        assert len({float(step(data)[0]) for _ in range(20)}) == 20


def test_it_sees_the_parameters_and_the_rows_of_its_day():
    given = parameters()
    with isolated(seed=0, dtype=torch.float64):
        step = Step(loss_of(*given), given, [], Arguments((Y,), {}), fixed=False)
        with torch.no_grad():
            given[0].add_(1.0)
        other = Arguments((3 * Y,), {})
        with torch.random.fork_rng():
            found = step(other)
        expected = loss_of(*given)(other)
    torch.testing.assert_close(found[0], expected.value, rtol=1e-13, atol=0)
    torch.testing.assert_close(found[1][0], torch.autograd.grad(expected.surrogate, given[0])[0])


def test_a_weight_is_no_constant_of_the_graph():
    given, data = parameters()[:1], Arguments((Y,), {})

    def loss(data, weight):
        return Loss(data.args[0].sum(), weight * (given[0] ** 2).sum())

    step = Step(loss, given, [], data, fixed=False, weighed=True)
    assert step.graph is not None
    for weight in (0.0, 0.3, 2.0):
        _, (gradient,) = step(data, torch.tensor(weight, dtype=torch.float64))
        torch.testing.assert_close(gradient, 2 * weight * given[0].detach())


def test_modules_remember_what_they_would_have_remembered():
    x = torch.rand(6, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    networks = []
    for road in ("graph", "program"):
        with isolated(seed=1, dtype=torch.float64):
            network = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(0.5), nn.Linear(4, 1)).train()

            def program(x, network=network):
                with pyro.plate("row", len(x)):
                    pyro.sample("y", dist.Normal(network(x)[:, 0], 1.0), obs=torch.zeros(len(x)))

            data = Arguments((x,), {})
            step = Step(
                lambda data, program=program: elbo([terms(traces(program, lambda _: None, data))]),
                list(network.parameters()),
                list(network.buffers()),
                data,
                fixed=False,
            )
            assert step.graph is not None
            call = step if road == "graph" else step._by_program
            torch.manual_seed(5)
            values = [float(call(data)[0]) for _ in range(4)]
        networks.append((values, [buffer.clone() for buffer in network.buffers()]))
    assert networks[0][0] == pytest.approx(networks[1][0], rel=1e-12)
    torch.testing.assert_close(networks[0][1], networks[1][1])
    assert int(networks[0][1][2]) == 4  # batches tracked: tracing counts for none


def count_up(state=[0]):  # noqa: B006  # a program with a memory, which is the point
    state[0] += 1
    return float(state[0])


@pytest.mark.parametrize(
    ("scale", "reason"),
    [
        (lambda y: count_up(), "changes from run to run"),
        (lambda y: float(np.random.rand()) + 1, "changes from run to run"),  # noqa: NPY002  # users do
        (lambda y: 2.0 if float(y[0]) > 0 else 1.0, "data-dependent"),
        (lambda y: 1 + y[y > 0.5].sum(), "data-dependent"),
    ],
    ids=["counter", "numpy", "branch", "shape"],
)
def test_what_a_replay_would_get_wrong_is_left_to_the_program(scale, reason):
    given = parameters()

    def changing(y):
        mu = pyro.sample("mu", dist.Normal(0.0, 1.0).expand([2]).to_event(1))
        pyro.sample("sigma", dist.Gamma(2.0, 1.0))
        with pyro.plate("row", len(y)):
            pyro.sample("y", dist.Normal(mu.sum(), scale(y)), obs=y)

    data = Arguments((Y,), {})
    with isolated(seed=0, dtype=torch.float64):
        step = Step(loss_of(*given, model=changing), given, [], data, fixed=False)
        value, gradients = step(data)
    assert step.graph is None
    assert reason in step.reason
    assert bool(value.isfinite())
    assert gradients[0] is not None


def test_a_program_that_will_change_later_is_left_to_itself():
    """Its first runs are all alike: only what it counts tells."""
    given, calls = parameters(), []

    def warming_up(y):
        calls.append(None)
        mu = pyro.sample("mu", dist.Normal(0.0, 1.0).expand([2]).to_event(1))
        pyro.sample("sigma", dist.Gamma(2.0, 1.0))
        with pyro.plate("row", len(y)):
            pyro.sample("y", dist.Normal(mu.sum(), 1.0 if len(calls) < 100 else 2.0), obs=y)

    with isolated(seed=0, dtype=torch.float64):
        loss = loss_of(*given, model=warming_up)
        step = Step(loss, given, [], Arguments((Y,), {}), fixed=True, programs=[warming_up])
    assert (step.graph, step.reason) == (None, "it remembers something from run to run")


def test_without_parameters_there_is_a_loss():
    data = Arguments((Y,), {})
    with isolated(seed=0, dtype=torch.float64):
        step = Step(loss_of(*[p.detach() for p in parameters()]), [], [], data, fixed=True)
        value, gradients = step(data)
    assert gradients == []
    assert bool(value.isfinite())
