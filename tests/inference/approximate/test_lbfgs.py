"""The climb: exact modes, each path by itself, and what a path does where the density is not what it hopes for."""

from __future__ import annotations

import pytest
import torch

from ppzoo.errors import DataError
from ppzoo.inference.approximate.lbfgs import HISTORY, _Climb, ascend, check_starts, is_curved, next_diagonal


def starts(paths, size, *, radius=2.0, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    return (torch.rand(paths, size, generator=generator, dtype=dtype) * 2 - 1) * radius


def normal(scales, mean=0.0):
    def function(q):
        z = (q - mean) / scales
        return -(z * z).sum() / 2, -z / scales

    return function


def banana(q):
    """Rosenbrock's valley, its end at (1, 1)."""
    x, y = q[0], q[1]
    return -((1 - x) ** 2 + 100 * (y - x * x) ** 2), torch.stack(
        [2 * (1 - x) + 400 * x * (y - x * x), -200 * (y - x * x)]
    )


@pytest.mark.parametrize("decades", [0, 1, 2, 4])
def test_the_mode_of_a_normal(decades, device):
    """Scales 10**decades apart, the path starts far off; the mode is exact."""
    scales = torch.logspace(0, -decades, 20, dtype=torch.float64).to(device)
    mean = torch.arange(20.0, dtype=torch.float64).to(device)
    found = ascend(normal(scales, mean), starts(8, 20).to(device))
    assert found.endings == ("converged",) * 8
    assert float(torch.abs((found.q[:, -1] - mean) / scales).max()) < 1e-6


def test_the_end_of_a_curved_valley():
    found = ascend(banana, starts(16, 2, radius=4.0))
    assert found.endings == ("converged",) * 16
    torch.testing.assert_close(found.q[:, -1], torch.ones(16, 2, dtype=torch.float64), rtol=0, atol=1e-6)


def test_a_start_far_below():
    """A thousand numbers of the order of 1e4 begin under a scale of one: 1e10 nats too low, and 1e3 steep in log scale.

    The first steps overshoot into a slope that is straight over a length of 1e3, where no step meets the second
    condition. The end is the mean and the logarithm of the sd.
    """
    y = 2e4 + 1e4 * torch.sin(torch.arange(1000.0, dtype=torch.float64) ** 2)

    def function(q):
        z = (y - q[0]) * torch.exp(-q[1])
        value = -(z * z).sum() / 2 - len(y) * q[1]
        return value, torch.stack([(z * torch.exp(-q[1])).sum(), (z * z).sum() - len(y)])

    found = ascend(function, starts(64, 2))
    assert found.endings == ("converged",) * 64
    mean, log_sd = float(y.mean()), float(y.std(correction=0).log())
    assert float(torch.abs(found.q[:, -1, 0] - mean).max()) < 1e-3
    assert float(torch.abs(found.q[:, -1, 1] - log_sd).max()) < 1e-6


def test_what_is_kept_of_a_path():
    found = ascend(banana, starts(5, 2, radius=4.0))
    lp, g = torch.func.vmap(torch.func.vmap(banana))(found.q)
    torch.testing.assert_close(found.lp, lp, rtol=1e-14, atol=1e-14)
    torch.testing.assert_close(found.g, g, rtol=1e-13, atol=1e-12)
    assert torch.equal(found.q[:, 0], starts(5, 2, radius=4.0))
    assert found.q.shape == (5, int(found.steps.max()) + 1, 2)
    assert bool((found.gradients > found.steps).all())
    for path, steps in enumerate(found.steps.tolist()):
        assert bool((found.lp[path].diff()[:steps] > -1e-15).all())
        assert bool((found.q[path, steps:] == found.q[path, steps]).all())
        s, z = found.q[path, : steps + 1].diff(dim=0), -found.g[path, : steps + 1].diff(dim=0)
        assert bool(is_curved(s, z).all())  # as the second Wolfe condition promises


def test_a_path_is_the_same_whoever_climbs_beside_it():
    """To the last bit, as nothing in this density is summed across paths."""
    together = ascend(banana, starts(9, 2, radius=4.0))
    for path in range(9):
        alone = ascend(banana, starts(9, 2, radius=4.0)[path : path + 1])
        steps = int(alone.steps[0])
        assert (steps, alone.endings[0]) == (int(together.steps[path]), together.endings[path])
        assert int(alone.gradients[0]) == int(together.gradients[path])
        assert torch.equal(alone.q[0], together.q[path, : steps + 1])


def test_the_direction_is_that_of_the_full_matrix():
    """H from the diagonal by one update for each pair, the oldest first, as a matrix."""
    generator = torch.Generator().manual_seed(1)
    size = 7
    climb = _Climb.at(
        torch.arange(1),
        *(torch.randn(n, generator=generator, dtype=torch.float64) for n in ((1, size), (1,), (1, size))),
    )
    climb.alpha = torch.rand(1, size, generator=generator, dtype=torch.float64) + 0.5
    H = torch.diag(climb.alpha[0])
    for _ in range(HISTORY // 2):
        s = torch.randn(1, size, generator=generator, dtype=torch.float64)
        z = s + 0.3 * torch.randn(1, size, generator=generator, dtype=torch.float64)
        diagonal = climb.alpha
        climb._remember(torch.tensor([True]), s, z)
        assert not torch.equal(climb.alpha, diagonal)
        climb.alpha = diagonal
        rho = 1 / (s[0] @ z[0])
        V = torch.eye(size, dtype=torch.float64) - rho * torch.outer(z[0], s[0])
        H = V.T @ H @ V + rho * torch.outer(s[0], s[0])
    torch.testing.assert_close(climb._newton()[0], H @ climb.g[0], rtol=1e-11, atol=1e-11)


def test_a_straight_pair_is_forgotten():
    climb = _Climb.at(torch.arange(2), *(torch.ones(n, dtype=torch.float64) for n in ((2, 3), (2,), (2, 3))))
    s = torch.ones(2, 3, dtype=torch.float64)
    climb._remember(torch.tensor([True, True]), s, torch.stack([-s[0], s[1]]))
    assert (climb.rho > 0).sum(1).tolist() == [0, 1]
    assert torch.equal(climb.alpha[0], torch.ones(3, dtype=torch.float64))


def test_the_diagonal_of_round_normals_is_learnt_from_one_pair():
    generator = torch.Generator().manual_seed(0)
    s = torch.randn(4, 5, generator=generator, dtype=torch.float64)
    variance = torch.tensor([[0.1], [1.0], [7.0], [400.0]], dtype=torch.float64)
    found = next_diagonal(torch.ones(4, 5, dtype=torch.float64), s, s / variance)
    torch.testing.assert_close(found, variance.expand(4, 5), rtol=1e-11, atol=0)


def test_the_diagonal_stays_positive():
    """A pair at the edge of what is curved, and far from the diagonal, must not make it negative or infinite."""
    generator = torch.Generator().manual_seed(0)
    s = torch.randn(1000, 3, generator=generator, dtype=torch.float64) * 10 ** torch.linspace(-150, 150, 1000)[:, None]
    z = torch.randn(1000, 3, generator=generator, dtype=torch.float64)
    z = torch.where((s * z).sum(1, keepdim=True) > 0, z, -z)
    found = next_diagonal(torch.ones(1000, 3, dtype=torch.float64), s, z)
    assert bool((torch.isfinite(found) & (found > 0)).all())


def test_a_wall_beside_the_mode():
    """The density is NaN beyond 1, and the mode at 0.99: steps that land there are shortened."""

    def function(q):
        value = torch.where(q[0] < 1, -((q[0] - 0.99) ** 2) * 50, torch.nan)
        return value, torch.where(q < 1, -100 * (q - 0.99), torch.nan)

    found = ascend(function, torch.tensor([[-5.0], [0.0], [0.995]], dtype=torch.float64))
    assert found.endings == ("converged",) * 3
    torch.testing.assert_close(found.q[:, -1], torch.full((3, 1), 0.99, dtype=torch.float64), rtol=0, atol=1e-9)


def test_a_kink():
    """Laplace: the gradient does not vanish at the mode, and the path ends close to it all the same."""
    found = ascend(lambda q: (-torch.abs(q).sum(), -torch.sign(q)), starts(8, 3))
    assert float(found.lp[:, -1].min()) > -0.01


def test_a_start_without_finite_density_takes_no_step_and_stops_nobody():
    function = normal(torch.ones((), dtype=torch.float64))

    def cut(q):
        value, gradient = function(q)
        return torch.where(q[0] > 5, torch.nan, value), torch.where(q > 3, torch.inf, gradient)

    q = torch.tensor([[6.0], [2.0], [4.0]], dtype=torch.float64)
    found = ascend(cut, q)
    assert found.endings == ("not finite", "converged", "not finite")
    assert found.gradients.tolist()[0::2] == [1, 1]
    assert torch.equal(found.q[::2, -1], q[::2])


def test_a_density_without_mode_ends_by_itself():
    """It grows past the largest number: no step is finite, and the path says that it is stuck."""
    found = ascend(lambda q: (torch.exp(q).sum(), torch.exp(q)), starts(3, 2) + 5)
    assert found.endings == ("stalled",) * 3
    found = ascend(lambda q: (q.sum(), torch.ones_like(q)), starts(3, 2), gradients=30)
    assert found.endings == ("exhausted",) * 3
    assert found.gradients.tolist() == [30] * 3


def test_single_precision():
    scales = torch.tensor([1.0, 0.1, 0.01])
    found = ascend(normal(scales), starts(4, 3, dtype=torch.float32))
    assert found.q.dtype == torch.float32
    assert found.endings == ("converged",) * 4
    assert float(torch.abs(found.q[:, -1] / scales).max()) < 1e-2


def test_a_path_that_starts_at_the_mode():
    found = ascend(normal(torch.ones((), dtype=torch.float64)), torch.zeros(2, 3, dtype=torch.float64))
    assert found.endings == ("converged",) * 2
    assert (found.steps.tolist(), found.gradients.tolist(), found.q.shape) == ([0, 0], [1, 1], (2, 1, 3))


@pytest.mark.parametrize(
    "wrong",
    [torch.zeros(3), torch.zeros(2, 4), torch.zeros(0, 3), torch.zeros(2, 3, dtype=torch.float64), torch.zeros(())],
)
def test_what_is_no_starting_point(wrong):
    with pytest.raises(DataError, match=r"starts: not starting points .* expected shape \(paths, 3\) of torch.float32"):
        check_starts(torch.zeros(3), wrong)


def test_starting_points():
    check_starts(torch.zeros(3), torch.zeros(5, 3))
