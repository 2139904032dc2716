"""Whole log densities with their gradients are those of torch; what has no native code is named."""

from __future__ import annotations

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer.mcmc.util import initialize_model

from ppzoo.inference.graph.recording import record
from ppzoo.inference.native import Unsupported, compile_map

F = torch.float64


def eight_schools():
    y = torch.tensor([28.0, 8, -3, 7, -1, 1, 18, 12], dtype=F)
    s = torch.tensor([15.0, 10, 16, 11, 9, 11, 10, 18], dtype=F)
    mu, tau = pyro.sample("mu", dist.Normal(_(0), 5)), pyro.sample("tau", dist.HalfCauchy(_(5)))
    with pyro.plate("school", 8):
        z = pyro.sample("z", dist.Normal(_(0), 1))
        pyro.sample("y", dist.Normal(mu + tau * z, s), obs=y)


def logistic_regression():
    x = torch.linspace(-2, 2, 120, dtype=F).view(40, 3).sin()
    b = pyro.sample("b", dist.Normal(_(0), 1).expand([3]).to_event(1))
    with pyro.plate("row", 40):
        pyro.sample("y", dist.Bernoulli(logits=x @ b), obs=(torch.arange(40) % 3 == 0).to(F))


def gaussian_process():
    x = torch.linspace(-2, 2, 9, dtype=F)
    length, scale = pyro.sample("l", dist.Gamma(_(25), _(4))), pyro.sample("a", dist.HalfNormal(_(2)))
    noise = pyro.sample("s", dist.HalfNormal(_(1)))
    K = scale**2 * torch.exp(-0.5 * ((x[:, None] - x) / length) ** 2) + (noise**2 + 1e-6) * torch.eye(9, dtype=F)
    pyro.sample("y", dist.MultivariateNormal(torch.zeros(9, dtype=F), K), obs=torch.sin(2 * x))


def mixture():
    w = pyro.sample("w", dist.Dirichlet(torch.ones(3, dtype=F)))
    m = pyro.sample("m", dist.Normal(_(0), 5).expand([3]).to_event(1))
    s = pyro.sample("s", dist.HalfNormal(_(2)).expand([3]).to_event(1))
    with pyro.plate("row", 20):
        parts = dist.MixtureSameFamily(dist.Categorical(w), dist.Normal(m, s))
        pyro.sample("y", parts, obs=torch.linspace(-3, 5, 20, dtype=F))


def enumerated_mixture():
    w = pyro.sample("w", dist.Dirichlet(torch.ones(3, dtype=F)))
    m = pyro.sample("m", dist.Normal(_(0), 5).expand([3]).to_event(1))
    with pyro.plate("row", 20):
        z = pyro.sample("z", dist.Categorical(w), infer={"enumerate": "parallel"})
        pyro.sample("y", dist.Normal(m[z], 1.0), obs=torch.linspace(-3, 5, 20, dtype=F))


def state_space():
    s, r = pyro.sample("s", dist.HalfNormal(_(1))), pyro.sample("r", dist.HalfNormal(_(1)))
    x = torch.zeros((), dtype=F)
    for t in range(12):
        x = pyro.sample(f"x{t}", dist.Normal(0.9 * x, s))
        pyro.sample(f"y{t}", dist.Normal(x, r), obs=torch.tensor(0.1 * t, dtype=F))


def correlated():
    scale = pyro.sample("scale", dist.HalfNormal(_(1)).expand([4]).to_event(1))
    L = pyro.sample("L", dist.LKJCholesky(4, _(1)))
    with pyro.plate("row", 6):
        rows = dist.MultivariateNormal(torch.zeros(4, dtype=F), scale_tril=scale[:, None] * L)
        pyro.sample("y", rows, obs=torch.linspace(-1, 1, 24, dtype=F).view(6, 4))


def counts():
    a = pyro.sample("a", dist.Gamma(_(2), _(1)))
    b = pyro.sample("b", dist.Beta(_(2), a))
    with pyro.plate("row", 20):
        pyro.sample("y", dist.NegativeBinomial(a, b), obs=torch.arange(20, dtype=F))


def varying_intercepts():
    group = torch.arange(30) % 5
    mu, tau = pyro.sample("mu", dist.Normal(_(0), 1)), pyro.sample("tau", dist.LogNormal(_(0), 1))
    with pyro.plate("group", 5):
        a = pyro.sample("a", dist.StudentT(_(4), mu, tau))
    with pyro.plate("row", 30):
        pyro.sample("y", dist.Poisson(a[group].exp()), obs=(torch.arange(30) % 4).to(F))


def _(number: float) -> torch.Tensor:
    return torch.tensor(float(number), dtype=F)


MODELS = (
    *(eight_schools, logistic_regression, gaussian_process, mixture, enumerated_mixture, state_space, correlated),
    *(counts, varying_intercepts),
)


def _potential(model):
    """U(q) of one flat vector, its gradient, and a point."""
    with pyro.validation_enabled(False):
        _, potential, transforms, trace = initialize_model(model, (), {}, max_plate_nesting=1, initial_params={})
    shapes = {name: transforms[name](trace.nodes[name]["value"]).shape for name in transforms}
    sizes = [shape.numel() for shape in shapes.values()]

    def value_and_gradient(q):
        q = q.detach().requires_grad_()
        parts = {name: part.reshape(shape) for (name, shape), part in zip(shapes.items(), q.split(sizes), strict=True)}
        with pyro.validation_enabled(False):
            value = potential(parts)
        return value.detach(), torch.autograd.grad(value, q)[0]

    return value_and_gradient, sum(sizes)


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_log_densities_and_gradients_are_torch_s(seeded, model):
    function, size = _potential(model)
    q = torch.rand(19, size, dtype=F) * 2 - 1
    native = compile_map(record(function, [q[0]]), [q[0]])
    values, gradients = native(q)
    for c in range(19):
        value, gradient = function(q[c])
        assert torch.allclose(values[c], value, rtol=1e-10, atol=1e-10)
        assert torch.allclose(gradients[c], gradient, rtol=1e-10, atol=1e-10 * gradient.abs().max())


def test_writing_in_place_is_done_on_copies(seeded, hold):
    def function(x):
        y = x.clone()
        y[1:].mul_(2)
        y[0] = x.sum()
        return y + x

    hold({"in place": (function, torch.randn(5, 4, dtype=F))})


def test_what_depends_on_no_input_is_computed_by_torch():
    x = torch.zeros(3, dtype=F)
    graph = record(lambda x: x + torch.linalg.inv(torch.eye(3, dtype=F) * 2).sum(0), [x])
    (result,) = compile_map(graph, [x])(x[None])
    assert result.tolist() == [[0.5, 0.5, 0.5]]


def test_a_graph_of_another_default_type_is_unsupported():
    """A quotient of whole numbers has the default type of the place where it is taken."""
    i = torch.arange(3)
    before = torch.get_default_dtype()
    try:
        torch.set_default_dtype(F)
        graph = record(lambda i: i / 2, [i])
        native = compile_map(graph, [i])
    finally:
        torch.set_default_dtype(before)
    assert native(i[None])[0].tolist() == [[0.0, 0.5, 1.0]]
    with pytest.raises(Unsupported, match="recorded as"):
        compile_map(graph, [i])


@pytest.mark.parametrize(
    ("function", "name"),
    [
        (torch.linalg.eigvalsh, "eigh"),
        (lambda x: torch.nn.functional.conv2d(x[None, None], x[None, None]), "convolution"),
        (lambda x: torch.polygamma(3, x), "polygamma of order 3"),
        (lambda x: x.to(torch.int16), "torch.int16"),
    ],
)
def test_what_has_no_native_code_is_named(function, name):
    x = torch.eye(3, dtype=F)
    with pytest.raises(Unsupported, match=name):
        compile_map(record(function, [x]), [x])
