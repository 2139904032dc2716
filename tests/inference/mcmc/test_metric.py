"""The change of coordinates and its inverse; a correlated normal becomes round; a round one is left alone."""

from __future__ import annotations

import torch

from ppzoo.inference.mcmc.metric import Covariances, Whitening, rank_for

GENERATOR = torch.Generator().manual_seed(4)
SIZE, RANK = 6, 3


def random(*shape):
    return torch.randn(*shape, generator=GENERATOR, dtype=torch.float64)


def some_whitening():
    directions, _ = torch.linalg.qr(random(SIZE, RANK))
    return Whitening(random(SIZE).exp(), directions, random(RANK).exp())


def dense(whitening):
    inner = torch.eye(SIZE, dtype=torch.float64)
    inner = inner + whitening.directions @ torch.diag(whitening.stretch - 1) @ whitening.directions.T
    return torch.diag(whitening.scale) @ inner


def test_both_ways_are_the_matrix_and_its_inverse():
    whitening, x = some_whitening(), random(5, 2, SIZE)
    matrix = dense(whitening)
    torch.testing.assert_close(whitening.positions(x), x @ matrix.T)
    torch.testing.assert_close(whitening.pulled(x), x @ matrix)
    torch.testing.assert_close(whitening.coordinates(whitening.positions(x)), x)
    torch.testing.assert_close(whitening.pushed(whitening.pulled(x)), x)


def test_the_gradient_is_the_gradient():
    whitening, w = some_whitening(), random(SIZE)
    slope = torch.func.grad(lambda w: torch.sum(whitening.positions(w) ** 3))(w)
    torch.testing.assert_close(slope, whitening.pulled(3 * whitening.positions(w) ** 2))


def test_no_whitening_is_the_identity():
    x = random(4, SIZE)
    for rank in (0, RANK):
        assert torch.equal(Whitening.none(x[0], rank).positions(x), x)


def normal(precision, n):
    """Draws of a normal and the gradients of its log density there."""
    q = torch.linalg.solve_triangular(torch.linalg.cholesky(precision).T, random(SIZE, n), upper=True).T
    return q, -q @ precision


def test_a_correlated_normal_becomes_round():
    """Two strong directions and four plain ones: after the change every standard deviation is near one."""
    directions, _ = torch.linalg.qr(random(SIZE, SIZE))
    spectrum = torch.tensor([400.0, 0.01, 1.0, 1.0, 1.0, 1.0], dtype=torch.float64)
    precision = directions @ torch.diag(1 / spectrum) @ directions.T
    q, g = normal(precision, 4000)
    covariances = Covariances.empty(q[0], 1)
    for part in range(0, 4000, 500):
        covariances.add(q[part : part + 500] + 7, g[part : part + 500])
    torch.testing.assert_close(covariances.products[0] / 3999, torch.cov(q.T))
    torch.testing.assert_close(covariances.products[1] / 3999, torch.cov(g.T))
    scale = (torch.cov(q.T).diagonal() / torch.cov(g.T).diagonal()) ** 0.25
    whitening = covariances.whitening(scale, SIZE)
    inside = torch.linalg.eigvalsh(dense(whitening).T @ precision @ dense(whitening))
    before = torch.linalg.eigvalsh(torch.diag(scale) @ precision @ torch.diag(scale))
    assert float(before.max() / before.min()) > 50
    assert float(inside.min()) > 0.4  # an eigenvalue within a factor of two is left alone
    assert float(inside.max()) < 2.5


def test_a_round_normal_is_left_alone():
    q, g = normal(torch.eye(SIZE, dtype=torch.float64), 500)
    covariances = Covariances.empty(q[0], 1)
    covariances.add(q, g)
    whitening = covariances.whitening(torch.ones(SIZE, dtype=torch.float64), RANK)
    assert torch.equal(whitening.stretch, torch.ones(RANK, dtype=torch.float64))


def test_draws_that_are_not_finite_do_not_count():
    q, g = normal(torch.eye(SIZE, dtype=torch.float64), 100)
    g[3, 2] = torch.inf
    covariances = Covariances.empty(q[0], 1)
    covariances.add(q, g)
    assert covariances.count == 99
    assert bool(torch.isfinite(covariances.whitening(torch.ones(SIZE, dtype=torch.float64), 2).stretch).all())


def test_who_gets_directions():
    assert rank_for(1, pooled=True) == 0
    assert rank_for(5, pooled=True) == 5
    assert rank_for(100, pooled=True) == 16
    assert rank_for(1000, pooled=True) == 0
    assert rank_for(5, pooled=False) == 0
