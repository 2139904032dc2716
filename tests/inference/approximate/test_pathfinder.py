"""Pathfinder: exact for round normals, its algebra against full matrices, honest about what it cannot match."""

from __future__ import annotations

import math

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch

from ppzoo.datasets.arguments import Arguments
from ppzoo.diagnostics.approximation import k_hat_threshold
from ppzoo.errors import DataError, FitError, OptionError
from ppzoo.inference.approximate.lbfgs import HISTORY, ascend, next_diagonal
from ppzoo.inference.approximate.pathfinder import Normals, _lower_bound, _mixture, _resample, _Trail, pathfinder
from ppzoo.inference.density import density_of
from ppzoo.inference.flat import FlatDensity, flatten
from ppzoo.inference.program import Pair
from ppzoo.isolation import isolated
from tests.targets.table import POSTERIORDB
from tests.targets.target import opened

SEED = 20_261_121


@pytest.fixture
def world():
    with isolated(seed=0, dtype=torch.float64):
        yield


def density(function, like):
    """A density without a program."""

    def both(q):
        gradient, value = torch.func.grad_and_value(function)(q)
        return value, gradient

    return FlatDensity(None, like, both, "graph", "")


def normal(mean, covariance):
    precision = torch.linalg.inv(covariance)
    constant = torch.logdet(2 * math.pi * covariance) / 2
    return density(lambda q: -(q - mean) @ precision @ (q - mean) / 2 - constant, torch.zeros_like(mean))


def covariance_of(size, condition, seed=0):
    """Scales that far apart, in directions that are no coordinate's."""
    generator = torch.Generator().manual_seed(seed)
    basis, _ = torch.linalg.qr(torch.randn(size, size, generator=generator, dtype=torch.float64))
    covariance = basis * torch.logspace(0, math.log10(condition), size, dtype=torch.float64) @ basis.T
    return (covariance + covariance.T) / 2


def starts(paths, like, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return (torch.rand(paths, len(like), generator=generator, dtype=torch.float64) * 4 - 2).to(like)


def full_covariance(normals):
    """Of one normal: what its draws are made with, times its transpose."""
    x, _ = normals.draw(torch.eye(len(normals.mean), dtype=torch.float64))
    half = x - normals.mean
    return half.T @ half


def banana(q):
    return -(q[0] ** 2) / 2 - ((q[1] - q[0] ** 2) / 0.1) ** 2 / 2 - math.log(2 * math.pi * 0.1)


@pytest.mark.parametrize("size", [1, 2, 3, 30])
def test_a_round_normal_is_found_exactly(size, device):
    """Its evidence is one, its mean and variance are met, and no weight differs from another."""
    mean = torch.arange(1.0, size + 1, dtype=torch.float64).to(device)
    flat = normal(mean, 0.3 * torch.eye(size, dtype=torch.float64).to(device))
    found = pathfinder(flat, starts(3, flat.like), seed=SEED, draws=50, draws_per_path=40)
    assert found.k_hat == -math.inf
    torch.testing.assert_close(found.elbo, torch.zeros_like(found.elbo), rtol=0, atol=1e-11)
    torch.testing.assert_close(found.log_p, found.log_q, rtol=0, atol=1e-11)
    for path in range(3):
        one = Normals(*(value[path].cpu() for value in found.normals))
        torch.testing.assert_close(one.mean, mean.cpu(), rtol=0, atol=1e-10)
        expected = 0.3 * torch.eye(size, dtype=torch.float64)
        torch.testing.assert_close(full_covariance(one), expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize(("size", "points"), [(3, 8), (6, 12), (60, 45)])
def test_the_factors_are_the_full_matrices(size, points):
    """At every point: H from the diagonal by one update for each of the last pairs, theta + H g, and log densities."""
    covariance = covariance_of(size, 100.0)
    flat = normal(torch.ones(size, dtype=torch.float64), covariance)
    ascent = ascend(flat.function, starts(2, flat.like))
    trail = _Trail.of(ascent)
    eye = torch.eye(size, dtype=torch.float64)
    for path in range(2):
        alpha = torch.ones(size, dtype=torch.float64)
        s, z = ascent.q[path].diff(dim=0), -ascent.g[path].diff(dim=0)
        for point in range(min(points, int(ascent.steps[path]))):
            H = torch.diag(alpha)
            for i in range(max(0, point - HISTORY), point):
                rho = 1 / (s[i] @ z[i])
                V = eye - rho * torch.outer(z[i], s[i])
                H = V.T @ H @ V + rho * torch.outer(s[i], s[i])
            one = Normals(*(v[0] for v in trail.normals(torch.tensor([path]), torch.tensor([point]))))
            scale = float(H.diagonal().max())
            torch.testing.assert_close(full_covariance(one) / scale, H / scale, rtol=0, atol=1e-9)
            mean = ascent.q[path, point] + H @ ascent.g[path, point]
            torch.testing.assert_close(one.mean, mean, rtol=1e-8, atol=1e-8 * float(H.abs().sum(1).max()))
            x, log_q = one.draw(
                torch.randn(4, size, generator=torch.Generator().manual_seed(point), dtype=torch.float64)
            )
            expected = torch.distributions.MultivariateNormal(one.mean, (H + H.T) / 2).log_prob(x)
            torch.testing.assert_close(log_q, expected, rtol=1e-6, atol=1e-6)
            torch.testing.assert_close(one.log_prob(x), log_q, rtol=1e-9, atol=1e-9)
            alpha = next_diagonal(alpha, s[point], z[point])


def test_the_mixture_of_the_paths():
    covariances = torch.stack([covariance_of(3, 10.0, seed) for seed in (1, 2)])
    means = torch.tensor([[0.0, 1.0, 2.0], [2.0, 0.0, -1.0]], dtype=torch.float64)
    eye = torch.eye(3, dtype=torch.float64).expand(2, 3, 3)
    normals = Normals(means, torch.ones_like(means), eye, torch.linalg.cholesky(covariances))
    x = starts(10, means[0])
    each = torch.distributions.MultivariateNormal(means, covariances).log_prob(x[:, None])
    torch.testing.assert_close(_mixture(normals, x), torch.logsumexp(each, 1) - math.log(2), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("size", "condition"), [(2, 10.0), (5, 1e4), (10, 1e4)])
def test_an_ill_conditioned_normal(size, condition):
    """Mean and sd of each of at most 10 coordinates within 5 standard errors: 20 × 2Φ(-5) ≈ 1e-5 of the seeds fail.

    Weighed draws tell less than as many plain ones, so 1,000 count for 700.
    """
    covariance, mean = covariance_of(size, condition), torch.arange(size * 1.0, dtype=torch.float64)
    flat = normal(mean, covariance)
    found = pathfinder(flat, starts(4, flat.like), seed=SEED)
    assert found.k_hat < k_hat_threshold(4000)
    assert bool((found.elbo < 0.5).all())  # the evidence is one, its logarithm no more than 0 but for 25 draws' error
    assert float(found.elbo.max()) > -0.5
    sd = torch.sqrt(covariance.diagonal())
    shift = torch.abs(found.draws.mean(0) - mean) / sd
    ratio = torch.abs(found.draws.std(0) / sd - 1)
    assert float(shift.max()) < 5 / math.sqrt(700)
    assert float(ratio.max()) < 5 / math.sqrt(2 * 700)


def test_a_funnel_is_no_normal():
    """Neal's, in 30 dimensions: k-hat says that the draws do not stand for it. Seven of eight seeds are above 0.7."""

    def funnel(q):
        return -(q[0] ** 2) / 18 - 14.5 * q[0] - (q[1:] ** 2).sum() * torch.exp(-q[0]) / 2

    flat = density(funnel, torch.zeros(30, dtype=torch.float64))
    assert pathfinder(flat, starts(4, flat.like), seed=0).k_hat > 0.7


def test_what_is_kept_belongs_together():
    flat = density(banana, torch.zeros(2, dtype=torch.float64))
    found = pathfinder(flat, starts(4, flat.like), seed=SEED, draws=300, draws_per_path=200, elbo_draws=10)
    assert (found.draws.shape, found.log_p.shape, found.log_q.shape, found.path.shape) == (
        (300, 2),
        (300,),
        (300,),
        (300,),
    )
    torch.testing.assert_close(found.log_p, torch.func.vmap(banana)(found.draws), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(found.log_q, _mixture(found.normals, found.draws), rtol=1e-10, atol=1e-10)
    assert set(found.path.tolist()) <= {0, 1, 2, 3}
    points = int(found.ascent.steps.sum()) + 4
    assert found.evaluations == points * 10 + 4 * 200
    assert found.gradients == int(found.ascent.gradients.sum())


def test_a_path_is_the_same_whoever_is_beside_it():
    """Normal, bound and draws of a path, to the last bit here."""
    flat = density(banana, torch.zeros(2, dtype=torch.float64))
    together = pathfinder(flat, starts(5, flat.like), seed=SEED, draws=200, draws_per_path=40)
    fewer = pathfinder(flat, starts(5, flat.like)[:2], seed=SEED, draws=80, draws_per_path=40)
    assert torch.equal(together.elbo[:2], fewer.elbo)
    for mine, theirs in zip(together.normals, fewer.normals, strict=True):
        assert torch.equal(mine[:2], theirs)
    for path in range(2):
        all_drawn = ({tuple(row) for row in f.draws[f.path == path].tolist()} for f in (together, fewer))
        assert len(set.intersection(*all_drawn)) == 40


def test_a_product_of_matrices_rounds_otherwise_for_other_numbers_of_paths(world):
    """What is left of the difference: the sum over data may be taken in another order, and no more than that."""
    x = torch.stack([torch.ones(40), torch.linspace(-1, 1, 40)], 1)

    def model():
        b = pyro.sample("b", dist.Normal(0.0, 2.0).expand([2]).to_event(1))
        with pyro.plate("row", 40):
            pyro.sample("y", dist.Poisson((x @ b).exp()), obs=torch.arange(40.0) % 5)

    flat = flatten(density_of(Pair(model, model, Arguments((), {}, {}, {}, ()))), torch.zeros(()))
    together = pathfinder(flat, starts(5, flat.like), seed=SEED)
    fewer = pathfinder(flat, starts(5, flat.like)[:2], seed=SEED)
    torch.testing.assert_close(together.elbo[:2], fewer.elbo, rtol=1e-9, atol=0)
    torch.testing.assert_close(together.normals.mean[:2], fewer.normals.mean, rtol=1e-7, atol=1e-7)


def test_a_seed_decides_everything():
    flat = density(banana, torch.zeros(2, dtype=torch.float64))
    first, same, other = (pathfinder(flat, starts(2, flat.like), seed=s, draws=60) for s in (1, 1, 2))
    assert torch.equal(first.draws, same.draws)
    assert not bool(torch.isin(first.draws, other.draws).any())


def test_a_path_that_starts_nowhere_is_left_out():
    def half(q):
        return 3 * torch.log(q[0]) - 2 * q[0] - q[1] ** 2

    flat = density(half, torch.zeros(2, dtype=torch.float64))
    q = torch.tensor([[-1.0, 0.0], [2.0, 1.0], [-3.0, 1.0], [0.7, -1.0]], dtype=torch.float64)
    found = pathfinder(flat, q, seed=SEED)
    assert found.ascent.endings == ("not finite", "converged", "not finite", "converged")
    assert torch.isfinite(found.elbo).tolist() == [False, True, False, True]
    assert set(found.path.tolist()) == {1, 3}
    assert bool(torch.isfinite(found.log_p).all())
    with pytest.raises(FitError, match="2 paths, none with a finite density and gradient at its start"):
        pathfinder(flat, q[[0, 2]], seed=SEED)


def test_no_finite_density_around_the_paths():
    """A density of a single point."""
    flat = density(lambda q: torch.where(q[0] == 0, 0.0 * q[0], torch.nan), torch.zeros(1, dtype=torch.float64))
    with pytest.raises(FitError, match="1 paths, and no finite density around them"):
        pathfinder(flat, torch.zeros(1, 1, dtype=torch.float64), seed=0)


def test_the_bound_of_a_normal_that_reaches_beyond_the_density():
    """Cut in half, a normal that is right on its half has the evidence of one half: log E - log 2 and no less."""
    weights = torch.tensor([[1.5, -math.inf, 1.5, -math.inf], [0.5, 1.0, 1.5, 2.0], [-math.inf] * 4, [math.nan] * 4])
    torch.testing.assert_close(_lower_bound(weights), torch.tensor([1.5 - math.log(2), 1.25, -math.inf, -math.inf]))


def test_draws_are_kept_by_their_weights():
    """A hundred draws, half of them three times as heavy: the first is heavy with probability 3/4, at 300 seeds.

    Six sd of a binomial count: false alarm rate 2e-9.
    """
    weights = torch.zeros(100, dtype=torch.float64)
    weights[50:] = math.log(3.0)
    heavy = sum(int(_resample(weights, seed, 1)[0] >= 50) for seed in range(300))
    assert abs(heavy - 225) < 6 * math.sqrt(300 * 0.75 * 0.25)


def test_no_draw_is_kept_twice():
    weights = torch.linspace(-2000, 0, 1000, dtype=torch.float64)
    weights[500:510] = -math.inf
    kept, k_hat = _resample(weights, SEED, 700)
    assert len(set(kept.tolist())) == 700
    assert not bool(((kept >= 500) & (kept < 510)).any())
    assert k_hat > 1
    assert int(kept.min()) > 270  # e^-2 for each place down: hardly any light one before a heavier one
    assert torch.equal(_resample(weights, SEED, 30)[0], kept[:30])
    assert len(_resample(weights, SEED, 1000)[0]) == 990
    weights[:990] = -math.inf
    with pytest.raises(FitError, match="10 of 1000 draws with a finite log density"):
        _resample(weights, SEED, 10)


@pytest.mark.parametrize(
    ("name", "ceiling"),
    [("kidiq-kidscore_momiq", 0.25), ("arK-arK", 0.25), ("eight_schools-eight_schools_noncentered", 1.5)],
)
def test_posteriors_with_known_answers(name, ceiling, shared_data):
    """How far, in standard deviations, the mean of a parameter may be off: eight schools has a funnel's tail."""
    target = POSTERIORDB[name](shared_data)
    with opened(target) as program:
        flat = flatten(program, torch.zeros(()))
        found = pathfinder(flat, starts(8, flat.like), seed=SEED)
        draws = target.read(flat.constrain(found.draws))
    assert np.abs((draws.mean(0) - target.reference.mean) / target.reference.sd).max() < ceiling
    assert found.ascent.endings == ("converged",) * 8
    assert found.k_hat < 1


def test_single_precision():
    flat = normal(torch.tensor([1.0, -2.0]), torch.tensor([[1.0, 0.5], [0.5, 2.0]]))
    found = pathfinder(flat, starts(4, flat.like), seed=SEED)
    assert found.draws.dtype == torch.float32
    assert found.k_hat < 0.7
    assert float(torch.abs(found.draws.mean(0) - torch.tensor([1.0, -2.0])).max()) < 0.3  # 6 standard errors


def test_what_is_refused():
    flat = density(banana, torch.zeros(2, dtype=torch.float64))
    q = starts(2, flat.like)
    with pytest.raises(OptionError, match="draws_per_path"):
        pathfinder(flat, q, seed=0, draws_per_path=10)
    with pytest.raises(OptionError, match="elbo_draws"):
        pathfinder(flat, q, seed=0, elbo_draws=0)
    with pytest.raises(OptionError, match="draws"):
        pathfinder(flat, q, seed=0, draws=0)
    with pytest.raises(DataError, match="starts: not starting points"):
        pathfinder(flat, q.float(), seed=0)
