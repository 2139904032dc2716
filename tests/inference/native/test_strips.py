"""Strips of rows change no number, and need memory for a strip where all rows needed it."""

from __future__ import annotations

import pytest
import torch

from ppzoo.inference.graph.recording import record
from ppzoo.inference.native import compile_map
from ppzoo.inference.native.program import map_source
from tests.inference.native.gradients import with_gradient

N, K = 1100, 7
F = torch.float64
DATA = torch.randn(N, K, dtype=F, generator=torch.Generator().manual_seed(0))
Y = (DATA[:, 0] > 0).to(F)
GROUP = torch.arange(N) % 5


def logistic(x):
    return torch.nn.functional.binary_cross_entropy_with_logits(DATA.to(x.dtype) @ x, Y.to(x.dtype), reduction="sum")


def mixture(x):
    """Several numbers for each row, and a sum over them within the row."""
    terms = -((DATA[:, :1].to(x.dtype) - x[:3]) ** 2) * x[3:6].exp() + x[3:6]
    return terms.logsumexp(1).sum() + (DATA[:, 1].to(x.dtype) * x[6]).cos().square().sum()


def centred(x):
    """What all rows together say of each: a second loop has to wait for the first."""
    eta = (DATA.to(x.dtype) @ x).tanh()
    return ((eta - eta.mean()) ** 2).sum() + eta.max()


def totals(x):
    """The same without anything in between."""
    eta = (DATA.to(x.dtype) @ x).tanh()
    return (eta * eta.sum() + eta.amax()).square().sum()


def steps(x):
    """A row looks at the one before it."""
    eta = (DATA.to(x.dtype) @ x).sin()
    return ((eta[1:] - 0.5 * eta[:-1]) ** 2).sum()


def grouped(x):
    return (torch.sigmoid(DATA[:, 2].to(x.dtype) * x[5] + x[:5][GROUP]) * Y.to(x.dtype)).log1p().sum()


def wide(x):
    """Two loops over rows with several columns, and a product of what they leave."""
    hidden = torch.tanh(DATA.to(x.dtype)[:, :, None] * x).exp()
    return (hidden.sum(1) * (hidden @ x)).square().sum().log()


PROGRAMS = [logistic, mixture, centred, totals, steps, grouped, wide]


def compiled(function, x, monkeypatch, *, fewest=512):
    monkeypatch.setattr("ppzoo.inference.native.strips._FEWEST", fewest)
    return compile_map(record(function, [x]), [x])


@pytest.mark.parametrize("function", PROGRAMS, ids=lambda f: f.__name__)
def test_no_number_changes(function, monkeypatch):
    both = with_gradient(function)
    x = torch.randn(5, K, dtype=F, generator=torch.Generator().manual_seed(1)) * 0.3
    striped, whole = compiled(both, x[0], monkeypatch), compiled(both, x[0], monkeypatch, fewest=10**9)
    assert "e = b + 256" not in whole.source.text
    for mine, theirs in zip(striped(x), whole(x), strict=True):
        assert torch.equal(mine, theirs)
    for row, value, gradient in zip(x, *striped(x), strict=True):
        expected = both(row)
        torch.testing.assert_close(value, expected[0], rtol=1e-11, atol=1e-11)
        torch.testing.assert_close(gradient, expected[1], rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("function", [logistic, mixture], ids=lambda f: f.__name__)
def test_a_likelihood_of_rows_needs_memory_for_a_strip(function, monkeypatch):
    x = torch.zeros(K, dtype=F)
    source = map_source(record(with_gradient(function), [x]), [x], 4)
    assert source.text.count("e = b + 256") == 1
    monkeypatch.setattr("ppzoo.inference.native.strips._FEWEST", 10**9)
    assert source.words < 0.4 * map_source(record(with_gradient(function), [x]), [x], 4).words


def test_single_precision(monkeypatch):
    both = with_gradient(logistic)
    x = torch.randn(5, K, generator=torch.Generator().manual_seed(1)) * 0.3
    striped, whole = compiled(both, x[0], monkeypatch), compiled(both, x[0], monkeypatch, fewest=10**9)
    assert "e = b + 256" in striped.source.text
    for mine, theirs in zip(striped(x), whole(x), strict=True):
        assert torch.equal(mine, theirs)


def test_what_is_asked_for_is_kept_for_all_rows(monkeypatch):
    def function(x):
        eta = DATA @ x
        return eta.exp(), eta.sum(), eta

    x = torch.randn(3, K, dtype=F, generator=torch.Generator().manual_seed(2))
    striped = compiled(function, x[0], monkeypatch)
    for row, *found in zip(x, *striped(x), strict=True):
        for mine, theirs in zip(found, function(row), strict=True):
            torch.testing.assert_close(mine, theirs, rtol=1e-12, atol=1e-12)


def test_few_rows_are_left_alone():
    x = torch.zeros(K, dtype=F)
    text = map_source(record(lambda x: (DATA[:100] @ x).exp().sum(), [x]), [x], 4).text
    assert "e = b + 256" not in text
