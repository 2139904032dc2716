"""Sums of logarithms are logarithms of products, normalised exponentials are quotients: the same, with fewer calls."""

from __future__ import annotations

import pytest
import torch

from ppzoo.inference.graph.tracing import trace
from ppzoo.inference.native.call import compile_map
from ppzoo.inference.native.program import map_source

C, N = 3, 40
TINY = torch.finfo(torch.float64).tiny
OTHER = torch.linspace(-1.0, 1.0, N, dtype=torch.float64)


def calls(function, example):
    """How often the program for a function takes a logarithm, multiplies for one, and takes an exponential."""
    source = map_source(trace(function, [example[0]]), [example[0]], 2).text
    body = source[source.index("static void part0") :]
    return tuple(body.count(name) for name in ("log_d(", "log1p_d(", "log_times(", "exp_d("))


def held(function, x, *, rtol=1e-13, atol=1e-13):
    """The function, compiled, of each row is torch's."""
    graph = trace(lambda row: (function(row),), [x[0]])
    (found,) = compile_map(graph, [x[0]])(x)
    torch.testing.assert_close(found, torch.stack([function(row) for row in x]), rtol=rtol, atol=atol, equal_nan=True)


SUMS = {
    "log": (lambda x: x.log().sum(), (0, 0, 1, 0)),
    "minus log1p": (lambda x: (OTHER - x.log1p()).sum(), (0, 0, 1, 0)),
    "both, and more": (lambda x: (x * OTHER - (x.log() - (1.5 * x).log1p()) + 3).sum(), (0, 0, 2, 0)),
    "negative": (lambda x: (0.5 - x.log()).neg().sum(), (0, 0, 1, 0)),
    "log sigmoid": (lambda x: torch.nn.functional.logsigmoid(x - 1).sum(), (0, 0, 1, 1)),
    "matrix": (lambda x: x.view(5, 8).log().sum(), (0, 0, 1, 0)),
    "diagonal": (lambda x: (x[:, None] * OTHER.exp()).diagonal().log().sum(), (0, 0, 1, 0)),
    "mean of a density": (lambda x: x.log().mean(), (0, 0, 1, 0)),
    "scaled, which is no sum of logarithms": (lambda x: (OTHER * x.log()).sum(), (1, 0, 0, 0)),
    "by rows, which is no sum of all": (lambda x: x.view(5, 8).log().sum(1), (1, 0, 0, 0)),
    "read elsewhere too": (lambda x: (y := x.log()).sum() + y.amax(), (1, 0, 0, 0)),
    "of few": (lambda x: x[:3].log().sum(), (1, 0, 0, 0)),
}


@pytest.mark.parametrize(("function", "expected"), SUMS.values(), ids=SUMS)
def test_sums_of_logarithms(seeded, function, expected):
    x = torch.rand(C, N, dtype=torch.float64) * 3 + 0.01
    assert calls(lambda row: (function(row),), x) == expected
    held(function, x)


@pytest.mark.parametrize("size", [4, 1000, 20_000])
@pytest.mark.parametrize("scale", [1e-300, 1.0, 1e300])
def test_products_leave_no_range(seeded, size, scale):
    held(lambda x: x.log().sum(), torch.rand(C, size, dtype=torch.float64) * scale)


@pytest.mark.parametrize("rare", [0.0, -1.0, torch.inf, -torch.inf, torch.nan, TINY / 8, 1e308, TINY])
def test_what_is_rare_is_torch_s(seeded, rare):
    """In one lane; the chains beside it do not notice."""
    x = torch.rand(C, N, dtype=torch.float64) + 0.5
    x[1, 7] = rare
    held(lambda x: x.log().sum(), x)
    held(lambda x: (x - 1).log1p().sum(), x)


def test_what_cancels_keeps_its_digits(seeded):
    """To a rounding of one for each term."""
    x = 1 + 1e-9 * torch.randn(C, N, dtype=torch.float64)
    held(lambda x: x.log().sum(), x, rtol=0, atol=N * 1.2e-16)


def mixture(x):
    """Of three normals, its log density at 40 points."""
    parts = -0.5 * (OTHER[:, None] - x[:3]) ** 2 - x[3:6]
    return parts.logsumexp(-1).sum()


def test_a_mixture_and_its_gradient(seeded):
    def both(x):
        return torch.func.grad_and_value(mixture)(x)[::-1]

    x = torch.randn(C, 6, dtype=torch.float64)
    assert calls(both, x) == (0, 0, 1, 1)
    graph = trace(both, [x[0]])
    for found, expected in zip(compile_map(graph, [x[0]])(x), torch.func.vmap(both)(x), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("dims", [0, 1, (0, 1)])
def test_normalised_exponentials_along_any_dimension(seeded, dims):
    def function(x):
        y = x.view(5, 8)
        return (y - y.logsumexp(dims, keepdim=True)).exp()

    x = torch.randn(C, N, dtype=torch.float64)
    assert calls(lambda row: (function(row),), x)[3] == 1
    held(function, x)
    x[0] = -torch.inf
    x[1, 4] = torch.inf
    held(function, x)


@pytest.mark.parametrize(
    "function",
    [
        lambda y: (y - (2 * y).logsumexp(1, keepdim=True)).exp(),
        lambda y: (y - y.T.logsumexp(1, keepdim=True)).exp(),
        lambda y: (y.logsumexp(1, keepdim=True) - y).exp(),
        lambda y: (y - y.logsumexp(0, keepdim=True).T).exp(),
    ],
    ids=["another's", "across", "the other way round", "transposed"],
)
def test_other_exponentials_stay(seeded, function):
    x = torch.randn(C, 16, dtype=torch.float64)
    assert calls(lambda row: (function(row.view(4, 4)),), x)[3] == 2
    held(lambda row: function(row.view(4, 4)), x)
