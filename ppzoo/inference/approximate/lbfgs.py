r"""L-BFGS uphill on a log density, many paths as one batch: each with its own history, step and end.

With steps :math:`s = q_{l} - q_{l-1}` and falls of the gradient :math:`z = g_{l-1} - g_{l}`, the direction from
:math:`q_l` is :math:`d = H g_l`, where :math:`H` comes from a diagonal :math:`\alpha` by one update for each of the
last :math:`J` pairs,

.. math:: H \leftarrow (I - \rho s z^\top) H (I - \rho z s^\top) + \rho s s^\top, \qquad \rho = 1 / s^\top z

(Nocedal and Wright, *Numerical Optimization*, 2nd edition, 2006, algorithms 7.4 and 7.5,
https://doi.org/10.1007/978-0-387-40065-5). The diagonal learns from every pair of the path,

.. math:: \frac{1}{\alpha_i} \leftarrow \frac{a}{b \alpha_i} + \frac{z_i^2}{b} - \frac{a s_i^2}{b c \alpha_i^2},
          \qquad a = \sum_i \alpha_i z_i^2, \quad b = s^\top z, \quad c = \sum_i s_i^2 / \alpha_i

(Gilbert and Lemaréchal, 1989, https://doi.org/10.1007/BF01589113): where the scales of coordinates are a hundred apart,
this takes a fifth of the steps that a multiple of the identity takes. A step :math:`t` along :math:`d` must meet the
weak Wolfe conditions

.. math:: \ell(q + t d) \ge \ell(q) + 10^{-4}\, t\, d^\top g(q), \qquad d^\top g(q + t d) \le 0.9\, d^\top g(q)

found by interpolation inside a bracket (Lewis and Overton, 2013, https://doi.org/10.1007/s10107-012-0514-2), which a
kink or a region without finite density cannot defeat.

One round computes one gradient for each path that is still on its way: a path that has found its step takes it and
turns, while its neighbour searches on. So nobody waits, and a path's numbers are its own.

Shapes: ``P`` paths, ``D`` coordinates, ``J`` pairs, ``L`` steps of the longest path.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from ppzoo.errors import DataError

__all__ = ["HISTORY", "Ascent", "ascend", "check_starts", "is_curved", "map_rows", "next_diagonal"]

HISTORY = 20  # pairs; with the usual 5 or 6, correlated posteriors take up to three times the gradients
_ARMIJO, _CURVATURE = 1e-4, 0.9
_TRIES = 25  # of one search
_IDLE = 3  # searches without gain in a row: one alone may have missed a direction that it knows little of
_ROUNDING = 16.0  # units in the last place of the log density that no step is blamed for
_STEEPEST = 1e-8  # norm of the gradient at a mode, as in Stan
_GAIN = 1e-13  # of the log density's size: a step that changes it by less gains nothing
_PROMISE = 1e4  # such units that the next step may promise at a mode
_ROOM = 64  # steps that are stored before there must be more room

LogDensity = Callable[[Tensor], tuple[Tensor, Tensor]]

_RUNNING, _CONVERGED, _STALLED, _EXHAUSTED, _NOT_FINITE = range(5)
_ENDINGS = ("running", "converged", "stalled", "exhausted", "not finite")


@dataclass(frozen=True)
class Ascent:
    """Where the paths went.

    Attributes:
        q: Positions ``(P, L + 1, D)``, the start first; a path stays at its last one until the longest has ended.
        lp: Log densities there, ``(P, L + 1)``.
        g: Gradients there, ``(P, L + 1, D)``.
        steps: Steps of each path, ``(P,)``.
        endings: Of each path: ``"converged"``; ``"stalled"``, no step leads higher although the gradient says so;
            ``"exhausted"``, the gradients were used up; ``"not finite"``, the start has no finite density and gradient.
        gradients: How many each path computed, ``(P,)``.
    """

    q: Tensor
    lp: Tensor
    g: Tensor
    steps: Tensor
    endings: tuple[str, ...]
    gradients: Tensor


def ascend(function: LogDensity, starts: Tensor, *, gradients: int = 500) -> Ascent:
    """Climb from every start until a mode is reached.

    A path has converged when the norm of its gradient is below 1e-8, or when three steps in a row have each changed
    the log density by less than 1e-13 of its size (or of one nat) and the next one promises less than 1e-9 of it; in
    single precision 1e-13 is 4 units in the last place.

    Args:
        function: ``q (D,) -> (log density, gradient (D,))`` of one vector; it is mapped over the paths.
        starts: ``(P, D)``.
        gradients: Most gradients of a path.

    Example:
        >>> found = ascend(lambda q: (-(q * q).sum() / 2, -q), torch.tensor([[3.0, 4.0]]))
        >>> found.endings, bool(found.q[0, -1].norm() < 1e-6)
        (('converged',), True)
    """
    rows = map_rows(function)
    lp, g = rows(starts)
    log = _Log(starts, lp, g)
    finite = torch.isfinite(lp) & torch.isfinite(g).all(1)
    log.end(log.who[~finite], _NOT_FINITE)
    climb = _Climb.at(log.who[finite], starts[finite], lp[finite], g[finite])
    climb = climb.only(~log.ended(climb, climb.gradient_is_small()))
    while len(climb.who) > 0:
        trial = climb.q + climb.t[:, None] * climb.d
        lp, g = rows(trial)
        log.gradients[climb.who] += 1
        taken, gain = climb.judge(trial, lp, g)
        log.add(climb, taken)
        ending = climb.turn(taken, gain)
        ending = torch.where((ending == _RUNNING) & (log.gradients[climb.who] >= gradients), _EXHAUSTED, ending)
        climb = climb.only(~log.ended(climb, ending))
    return log.read()


def check_starts(like: Tensor, starts: Tensor) -> None:
    """Starting points are vectors like ``like (D,)``, at least one.

    Raises:
        DataError: If not.
    """
    expected = (max(1, len(starts)), len(like)) if starts.dim() > 0 else (1, len(like))
    if starts.shape != expected or starts.dtype != like.dtype:
        raise DataError(
            "not starting points for this density",
            argument="starts",
            got=f"shape {tuple(starts.shape)} of {starts.dtype}",
            expected=f"shape (paths, {len(like)}) of {like.dtype}",
            remedy="Give one row of unconstrained values for each path.",
        )


def map_rows(function: Callable[[Tensor], tuple[Tensor, ...]]) -> Callable[[Tensor], tuple[Tensor, ...]]:
    """A function of one vector as a function of rows of them."""
    mapped = torch.func.vmap(function)

    def rows(q: Tensor) -> tuple[Tensor, ...]:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="There is a performance drop")  # slower, and the same numbers
            return mapped(q)

    return rows


def is_curved(s: Tensor, z: Tensor) -> Tensor:
    """Whether pairs ``(..., D)`` saw the density curve downwards, so that they can teach a covariance."""
    return (s * z).sum(-1) > 1e-12 * (z * z).sum(-1)


def next_diagonal(alpha: Tensor, s: Tensor, z: Tensor) -> Tensor:
    """The diagonal ``(..., D)`` after it has learnt from a curved pair."""
    a, b, c = ((x * y).sum(-1, keepdim=True) for x, y in ((alpha * z, z), (s, z), (s / alpha, s)))
    new = 1 / (a / (b * alpha) + z * z / b - a * s * s / (b * c * alpha * alpha))
    return torch.where(torch.isfinite(new) & (new > 0), new, alpha)


@dataclass
class _Climb:
    """The paths that are on their way, and what their searches know; each field has them first."""

    who: Tensor  # which they are
    q: Tensor  # where they stand, (A, D)
    lp: Tensor
    g: Tensor
    d: Tensor  # the direction they search, and the slope along it
    slope: Tensor
    t: Tensor  # the step to try next
    low: Tensor  # the largest step known to be too short, the log density and slope there
    low_lp: Tensor
    low_slope: Tensor
    high: Tensor  # the smallest known to be too long
    tries: Tensor
    idle: Tensor  # searches in a row that gained nothing
    s: Tensor  # pairs, the latest last, (A, J, D); zero where there are none
    z: Tensor
    rho: Tensor  # (A, J)
    alpha: Tensor  # (A, D)

    @classmethod
    def at(cls, who: Tensor, q: Tensor, lp: Tensor, g: Tensor) -> _Climb:
        pairs, zero, none = q.new_zeros(len(q), HISTORY, q.shape[1]), torch.zeros_like(lp), torch.zeros_like(who)
        slope, first = _gentle(g)
        low = (zero, lp, slope, torch.full_like(lp, torch.inf))
        return cls(who, q, lp, g, g, slope, first, *low, none, none, pairs, pairs, pairs[:, :, 0], torch.ones_like(q))

    def only(self, kept: Tensor) -> _Climb:
        if bool(kept.all()):
            return self
        return _Climb(**{field.name: getattr(self, field.name)[kept] for field in fields(self)})

    def gradient_is_small(self) -> Tensor:
        return torch.where(torch.linalg.vector_norm(self.g, dim=1) < _STEEPEST, _CONVERGED, _RUNNING)

    def judge(self, trial: Tensor, lp: Tensor, g: Tensor) -> tuple[Tensor, Tensor]:
        """Take the steps that meet the conditions, narrow the search for the others; who took one, and its gain."""
        finite = torch.isfinite(lp) & torch.isfinite(g).all(1)
        slope = (g * self.d).sum(1)
        noise = _ROUNDING * torch.finfo(lp.dtype).eps * torch.abs(lp)
        high_enough = finite & (lp >= self.lp + _ARMIJO * self.t * self.slope - noise)
        taken = high_enough & ((slope <= _CURVATURE * self.slope) | (self.tries >= _TRIES))
        gain = lp - self.lp
        self._narrow(high_enough & ~taken, torch.where(finite, lp, torch.nan), slope)
        self._remember(taken, trial - self.q, self.g - g)
        self.q, self.g = (_choose(taken, new, old) for new, old in ((trial, self.q), (g, self.g)))
        self.lp = torch.where(taken, lp, self.lp)
        return taken, gain

    def turn(self, taken: Tensor, gain: Tensor) -> Tensor:
        """New directions for those who took a step or searched in vain; what each path has come to."""
        unit = torch.clamp(torch.abs(self.lp), min=1) * max(_GAIN, 4 * torch.finfo(gain.dtype).eps)
        lost = ~taken & (self.tries >= _TRIES) & ((self.tries > _TRIES) | (self.low == 0))
        self._forget(lost)
        d = self._newton()
        slope = (d * self.g).sum(1)
        self.idle = torch.where(taken & (torch.abs(gain) > unit), 0, self.idle + (taken | lost).to(self.idle.dtype))
        lame = ~(slope > 0) | ~torch.isfinite(slope)
        self._forget(taken & lame)
        self._search(taken & ~lame, d, slope, torch.ones_like(self.t))
        self._search(lost | (taken & lame), self.g, *_gentle(self.g))
        ending = torch.where(slope <= _PROMISE * unit, _CONVERGED, _STALLED)
        return torch.where(self.idle >= _IDLE, ending, self.gradient_is_small())

    def _forget(self, who: Tensor) -> None:
        self.rho = torch.where(who[:, None], 0.0, self.rho)
        self.alpha = torch.where(who[:, None], 1.0, self.alpha)

    def _search(self, who: Tensor, d: Tensor, slope: Tensor, t: Tensor) -> None:
        """Begin a new search along ``d``."""
        self.d = _choose(who, d, self.d)
        self.t, self.low = torch.where(who, t, self.t), torch.where(who, 0.0, self.low)
        self.slope, self.low_slope = (torch.where(who, slope, old) for old in (self.slope, self.low_slope))
        self.low_lp = torch.where(who, self.lp, self.low_lp)
        self.high = torch.where(who, torch.inf, self.high)
        self.tries = torch.where(who, 0, self.tries)

    def _narrow(self, short: Tensor, lp: Tensor, slope: Tensor) -> None:
        """Move an end of the bracket to the step that was tried, and choose another inside, or farther out."""
        guess = _peak(self.low, self.low_lp, self.low_slope, self.t, lp, slope)
        self.high = torch.where(short, self.high, self.t)
        old_low, t = self.low, self.t
        self.low, self.low_lp = torch.where(short, t, old_low), torch.where(short, lp, self.low_lp)
        self.low_slope = torch.where(short, slope, self.low_slope)
        width = self.high - self.low
        inside = torch.where(torch.isfinite(guess), guess, self.low)
        inside = torch.clamp(inside, self.low + 0.1 * width, self.high - 0.1 * width)
        outside = torch.clamp(torch.where(guess > t, guess, 10 * t), 2 * t, 10 * t)
        self.tries = self.tries + 1
        self.t = torch.where(torch.isfinite(self.high), inside, outside)
        self.t = torch.where(self.tries < _TRIES, self.t, self.low)  # at the end of the search the best there was

    def _remember(self, taken: Tensor, s: Tensor, z: Tensor) -> None:
        kept = taken & is_curved(s, z)
        rho = 1 / torch.where(kept, (s * z).sum(1), 1.0)
        self.s, self.z = (
            torch.where(kept[:, None, None], torch.cat([old[:, 1:], new[:, None]], 1), old)
            for old, new in ((self.s, s), (self.z, z))
        )
        self.alpha = torch.where(kept[:, None], next_diagonal(self.alpha, s, z), self.alpha)
        self.rho = torch.where(kept[:, None], torch.cat([self.rho[:, 1:], rho[:, None]], 1), self.rho)

    def _newton(self) -> Tensor:
        """``H g`` by the two loops over the pairs; a pair that is none has ``rho = 0`` and does nothing."""
        r, a = self.g, []
        for j in reversed(range(HISTORY)):
            a.append(self.rho[:, j, None] * (self.s[:, j] * r).sum(1, keepdim=True))
            r = r - a[-1] * self.z[:, j]
        r = r * self.alpha
        for j in range(HISTORY):
            b = self.rho[:, j, None] * (self.z[:, j] * r).sum(1, keepdim=True)
            r = r + (a.pop() - b) * self.s[:, j]
        return r


class _Log:
    """What is kept of all paths."""

    def __init__(self, q: Tensor, lp: Tensor, g: Tensor) -> None:
        self.who = torch.arange(len(q), device=q.device)
        self.steps, self.gradients = torch.zeros_like(self.who), torch.ones_like(self.who)
        self._ending = torch.full_like(self.who, _RUNNING)
        self._rows = [value[:, None].clone() for value in (q, lp, g)]

    def add(self, climb: _Climb, taken: Tensor) -> None:
        """The new positions of those who took a step."""
        who = climb.who[taken]
        self.steps[who] += 1
        at = self.steps[who]
        if len(who) > 0 and int(at.max()) >= self._rows[0].shape[1]:
            self._rows = [
                torch.cat([row, torch.zeros_like(row), row.new_zeros(len(row), _ROOM, *row.shape[2:])], 1)
                for row in self._rows
            ]
        for row, value in zip(self._rows, (climb.q, climb.lp, climb.g), strict=True):
            row[who, at] = value[taken]

    def ended(self, climb: _Climb, ending: Tensor) -> Tensor:
        """Which paths have come to an end, which is noted."""
        over = ending != _RUNNING
        self._ending[climb.who[over]] = ending[over]
        return over

    def end(self, who: Tensor, ending: int) -> None:
        self._ending[who] = ending

    def read(self) -> Ascent:
        longest = int(self.steps.max()) + 1
        at = torch.minimum(torch.arange(longest, device=self.steps.device), self.steps[:, None])
        q, lp, g = (row[self.who[:, None], at] for row in self._rows)
        return Ascent(q, lp, g, self.steps, tuple(_ENDINGS[e] for e in self._ending.tolist()), self.gradients)


def _peak(a: Tensor, fa: Tensor, da: Tensor, b: Tensor, fb: Tensor, db: Tensor) -> Tensor:
    """Where the cubic with values ``f`` and slopes ``d`` at ``a < b`` is highest; not finite if nowhere."""
    w = b - a
    c = da + db - 3 * (fb - fa) / w
    root = torch.sqrt(c * c - da * db)
    return b - w * (db - root + c) / (db - da - 2 * root)


def _gentle(g: Tensor) -> tuple[Tensor, Tensor]:
    """The slope along the gradient, and a step of length one at most: of its scale nothing is known."""
    slope = (g * g).sum(1)
    return slope, 1 / torch.clamp(torch.sqrt(slope), min=1)


def _choose(who: Tensor, new: Tensor, old: Tensor) -> Tensor:
    return torch.where(who[:, None], new, old)
