r"""The log density as every sampler wants it: of one flat vector per chain, with its gradient, for all chains at once.

Three roads lead there, chosen automatically and named in the result; all give the same numbers.

1. *graph*: one chain of the program is traced into a flat graph, enumeration and Pyro's Python gone, and the graph is
   mapped over the chains. Nearly every program goes this way.
2. *chains as a batch dimension*: the program itself runs once for all chains, which are one more dimension to the left
   of its plates. For programs with operations whose shapes depend on values.
3. *one chain at a time*: the program runs once per chain. For everything else.

Shapes: ``C`` chains, ``D`` unconstrained coordinates, in the order of the program's sites.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from typing import Any
from weakref import WeakValueDictionary

import torch
from torch import Tensor

from ppzoo.errors import ModelError, PPZooError
from ppzoo.inference.density import Density
from ppzoo.inference.door import MatrixError, check_steady, failed_at_values
from ppzoo.inference.draws import map_draws
from ppzoo.inference.graph.tracing import NotTraceable, refusing, tolerance_of, trace

__all__ = ["FlatDensity", "flatten"]

_CHECKS = 3  # points at which another road must agree with the program itself
_ELEMENTS_AT_ONCE = 2**20  # of one intermediate, of which some tens are alive

Function = Callable[[Tensor], tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class FlatDensity:
    """A program's log density over flat vectors.

    Attributes:
        density: Of named values.
        like: A vector ``(D,)`` of the right length, type and device.
        function: ``q (D,) -> (log density, gradient (D,))``; it can be traced, and mapped over chains.
        road: ``"graph"``, ``"chains as a batch dimension"`` or ``"one chain at a time"``.
        reason: Why not the road before it; empty for the first.
    """

    density: Density
    like: Tensor
    function: Function
    road: str
    reason: str

    @property
    def at_once(self) -> int:
        """How many chains memory surely holds at once, by the largest site, of whose size every intermediate may be."""
        largest = max(1, len(self.like), *(math.prod(site.shape) for site in self.density.sites))
        return max(1, _ELEMENTS_AT_ONCE // largest)

    @property
    def note(self) -> str:
        """What the user is told of the road."""
        return f"Density: {self.road}{f', for want of a faster road: {self.reason}' if self.reason else ''}."

    def constrain(self, q: Tensor) -> dict[str, Tensor]:
        """Each site's value in its own support, ``(S, ...)``, for vectors ``(S, D)``."""
        with torch.no_grad():
            return map_draws(self._supports(), {"q": q}, len(q)).values

    def _supports(self) -> Callable[[dict[str, Tensor]], dict[str, Tensor]]:
        """From one vector to the sites' values; of a program that is a graph, only what these hang on is computed."""

        def program(values: dict[str, Tensor]) -> dict[str, Tensor]:
            return self.density.constrain(self.density.named(values["q"]))

        if self.road != "graph":
            return program
        graph = trace(lambda q: tuple(program({"q": q}).values()), [self.like + 0.1])
        return lambda values: dict(zip(self.density.shapes, graph(values["q"]), strict=True))


def flatten(density: Density, like: Tensor) -> FlatDensity:
    """Find the road for a program.

    Args:
        density: Of named values.
        like: A scalar of the floating type and device of the vectors.

    Raises:
        ModelError: If there is no coordinate, or the program is another from run to run or fails at some values.
    """
    size = density.size
    if size == 0:
        raise ModelError(
            "has no unknown number to sample",
            argument="model",
            got=", ".join(f"{site.name!r} of shape {site.shape}" for site in density.sites if site.kind == "latent"),
            expected="a continuous latent site that can take more than one value",
            remedy="Check the sizes of the data: a simplex of one entry is 1, and an empty site holds nothing.",
        )
    like = like.new_zeros(size)
    points = torch.linspace(-1.0, 1.0, _CHECKS * size, dtype=like.dtype, device=like.device).reshape(_CHECKS, size)
    check_steady(density, [density.named(point) for point in points], tolerance=tolerance_of(like))
    program = _forgiving(_one_chain(density))
    reasons = []
    for road, build in (("graph", _graph), ("chains as a batch dimension", _batched)):
        try:
            function = build(density, like)
            _check(function, program, points)
        except NotTraceable as error:
            reasons.append(f"{road}: {error}")
        else:
            return FlatDensity(density, like, function, road, "; ".join(reasons))
    function = _Opaque(lambda q: _stacked([program(row) for row in q]))
    return FlatDensity(density, like, function, "one chain at a time", "; ".join(reasons))


def _one_chain(density: Density) -> Function:
    """The program itself, with its gradient."""

    def function(q: Tensor) -> tuple[Tensor, Tensor]:
        value, gradient = density.value_and_gradient(density.named(q))
        return value, torch.cat([gradient[name].reshape(-1) for name in density.shapes])

    return function


def _graph(density: Density, like: Tensor) -> Function:
    return trace(_one_chain(density), [like + 0.1])


def _forgiving(program: Function) -> Function:
    """A matrix that cannot be decomposed is NaN where it would raise: one chain far out must not end the others."""

    def function(q: Tensor) -> tuple[Tensor, Tensor]:
        try:
            with _explained():
                return program(q)
        except MatrixError:
            return q.new_tensor(math.nan), torch.full_like(q, math.nan)

    return function


@contextmanager
def _explained() -> Iterator[None]:
    """Whatever the user's code raises while it is sampled, as an error that says so."""
    try:
        yield
    except (PPZooError, MatrixError):
        raise
    except Exception as error:
        raise failed_at_values(error) from error


def _batched(density: Density, like: Tensor) -> Function:
    if density.enumerates:
        raise NotTraceable("discrete sites are summed out, which needs the dimensions to the left of the plates")

    one = _forgiving(_one_chain(density))

    def together(q: Tensor) -> tuple[Tensor, Tensor]:
        with torch.enable_grad(), _explained():
            leaf = q.detach().requires_grad_(True)
            value = density.log_densities(leaf)
            (gradient,) = torch.autograd.grad(value.sum(), leaf)
        return value.detach(), gradient

    def rows(q: Tensor) -> tuple[Tensor, Tensor]:
        try:
            return together(q)
        except MatrixError:
            return _stacked([one(row) for row in q])

    with refusing():
        together(torch.stack([like + 0.1, like - 0.1]))  # a failing matrix must not hide that it cannot broadcast
    return _Opaque(rows)


def _check(function: Function, program: Function, points: Tensor) -> None:
    """The function's values and gradients, mapped over the points, are the program's."""
    with refusing():
        found = torch.func.vmap(function)(points)
    for mine, theirs in zip(found, _stacked([program(point) for point in points]), strict=True):
        tolerance = tolerance_of(theirs)
        if mine.shape != theirs.shape or not torch.allclose(mine, theirs, tolerance, tolerance, equal_nan=True):
            raise NotTraceable("it gives other numbers than the program: its structure depends on values")


def _stacked(rows: list[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    return torch.stack([value for value, _ in rows]), torch.stack([gradient for _, gradient in rows])


# A program that cannot be traced takes part in a traced step as one opaque operation, which looks it up by number.
_OPAQUE: WeakValueDictionary[int, _Opaque] = WeakValueDictionary()
_NUMBERS = count()

# Inside of an operation and inside of a trace nothing can be differentiated until it is allowed, here.
_C: Any = torch._C  # noqa: SLF001  # torch has no public way


def _run_program(q: Tensor, number: int) -> tuple[Tensor, Tensor]:
    key = _C.DispatchKey.AutogradFunctionality
    excluded = _C._dispatch_tls_is_dispatch_key_excluded(key)  # noqa: SLF001  # as above
    _C._dispatch_tls_set_dispatch_key_excluded(key, False)  # noqa: SLF001  # as above
    try:
        return _OPAQUE[number].rows(q)
    finally:
        _C._dispatch_tls_set_dispatch_key_excluded(key, excluded)  # noqa: SLF001  # as above


_LIBRARY = torch.library.Library("ppzoo", "DEF")
_LIBRARY.define("log_density(Tensor q, int number) -> (Tensor, Tensor)")
_LIBRARY.impl("log_density", _run_program, "CompositeExplicitAutograd")
_log_density: Any = torch.ops.ppzoo.log_density.default


def _mapped(
    _: Any, dims: tuple[int | None, ...], q: Tensor, number: int
) -> tuple[tuple[Tensor, Tensor], tuple[int, int]]:
    """Vectors ``(C, 1, D)`` of a mapped program are ``(C, D)`` to the program."""
    rows = q.movedim(dims[0] or 0, 0)
    value, gradient = _log_density(rows.reshape(-1, rows.shape[-1]), number)
    return (value.reshape(rows.shape[:2]), gradient.reshape(rows.shape)), (0, 0)


torch.library.register_vmap("ppzoo::log_density", _mapped, lib=_LIBRARY)


class _Opaque:
    """One vector at a time on the outside, inside all at once: ``rows (C, D) -> (C,), (C, D)``."""

    def __init__(self, rows: Function) -> None:
        self.rows, self._number = rows, next(_NUMBERS)
        _OPAQUE[self._number] = self

    def __call__(self, q: Tensor) -> tuple[Tensor, Tensor]:
        value, gradient = _log_density(q[None], self._number)
        return value[0], gradient[0]
