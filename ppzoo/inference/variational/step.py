"""Loss and gradients of a pair, traced once and replayed with fresh draws; or computed by the program, step by step.

A program whose structure does not change from run to run is a flat graph: its parameters, the rows of a minibatch and
the buffers of its modules go in, the loss and the gradients come out, and random draws stay operations that draw anew
each time. Pyro's Python, which takes most of a small model's step, is gone. The same draws give the same loss as the
program itself: this is checked when a graph is made, and a program that fails it keeps to the slower road.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from ppzoo.datasets.arguments import Arguments
from ppzoo.inference.graph.autocast import has_products, in_bfloat16
from ppzoo.inference.graph.compiled import compiled
from ppzoo.inference.graph.graph import Graph, Node, is_random
from ppzoo.inference.graph.recording import record
from ppzoo.inference.graph.simplify import simplify
from ppzoo.inference.graph.tracing import NotTraceable, refusing, tolerance_of
from ppzoo.inference.native.values import Unsupported
from ppzoo.inference.variational.noise import Draw, separated, shared
from ppzoo.inference.variational.objectives import Loss
from ppzoo.inference.variational.particles import Particles
from ppzoo.inference.variational.remembering import remembered

__all__ = ["Gradients", "Step", "draws_again", "kept"]

_WEIGHT = torch.tensor(0.5, dtype=torch.float64, device="cpu")  # of a step, for example
_ROUNDED = 0.05  # relative to the largest gradient: each number in a product is rounded by up to 0.4 %

Gradients = list[Tensor | None]


class Step:
    """``step(data, weight) -> loss, gradients``, by a graph where the program is one.

    Attributes:
        graph: Of ``([weight], *rows, *parameters, *buffers)``, the weight being there if steps have one and the rows
            being a step's data unless they are fixed; None if the program is none.
        draws: What a step is given the numbers of, so that they can be drawn for many steps at once; empty where the
            graph or the program draws by itself.
        reason: Why it is none; else empty.
    """

    def __init__(
        self,
        loss: Callable[..., Loss],
        parameters: Sequence[Tensor],
        buffers: Sequence[Tensor],
        data: Arguments,
        *,
        fixed: bool,
        weighed: bool = False,
        programs: Sequence[Callable[..., Any]] = (),
        whole: tuple[Arguments, slice] | None = None,
    ) -> None:
        """Trace a loss of the data, and of a step's weight if it has one.

        Args:
            loss: Runs the program: ``loss(data)``, or ``loss(data, weight)``.
            parameters: What to differentiate with respect to; leaves that the program finds by itself.
            buffers: Tensors that it changes or reads beside them.
            data: What a step sees.
            fixed: Whether every step sees these very data.
            weighed: Whether a step has a weight, a scalar of float64.
            programs: What the loss runs, to be looked at for what it remembers.
            whole: What all processes see together in a step, if there are several, and which of its rows the data are.
        """
        self._loss, self._parameters, self._buffers = loss, list(parameters), list(buffers)
        self._fixed = fixed
        self._shapes = [rows.shape for rows in self._rows(data)]  # a graph is of these
        self.graph: Graph | None = None
        self.draws: list[Draw] = []
        self._tolerance: float | None = None  # of gradients, where it is not that of their type
        self._function: Callable[..., Any] | None = None  # the graph in the form that runs, its draws given
        self.reason = ""
        self._programs, self._weighed = programs, weighed
        several = isinstance(loss, Particles) and loss.count > 1
        for trace in (self._traced_at_once, self._traced) if several else (self._traced,):
            try:
                self._take_graph(trace, data, whole)
            except NotTraceable as error:
                self.reason = str(error)
            else:
                self.reason = ""
                break

    def __call__(
        self, data: Arguments, weight: Tensor | None = None, noise: Sequence[Tensor] = ()
    ) -> tuple[Tensor, Gradients]:
        """The loss, a scalar in nats, and its gradient for each parameter; None where it does not hang on one.

        Args:
            data: What this step sees.
            weight: Of this step, if it has one.
            noise: The numbers of :attr:`draws`; drawn here where they are not given.
        """
        if self._function is None or [rows.shape for rows in self._rows(data)] != self._shapes:
            return self._by_program(data, weight)
        return self._by_graph(data, weight, self._function, noise or [draw.made() for draw in self.draws])

    def compile(self, graph: Graph, data: Arguments, weight: Tensor | None = None) -> None:
        """From here on, the graph as torch's compiler makes it.

        Raises:
            NotTraceable: If the compiler is missing or fails, or gives other numbers.
        """
        apart, draws = self._apart(graph) if self.draws else (graph, [])
        function = compiled(apart)
        with refusing():
            self._check(function, draws, data, weight)
        self._function = function

    @property
    def draws_itself(self) -> bool:
        """Whether it takes random numbers from the global generators, which none but itself can take for it."""
        return self.graph is None or (not self.draws and any(is_random(call.target) for call in self.graph.calls))

    @property
    def rounds_products(self) -> bool:
        """Whether products of matrices go by way of bfloat16."""
        return self._tolerance is not None

    def round_products(self) -> None:
        """From here on they do, if the graph has any of float32."""
        if self.graph is None or self.graph.writes or not has_products(self.graph):
            return
        self.graph = in_bfloat16(self.graph)
        self._function, self._tolerance = self._apart(self.graph)[0] if self.draws else self.graph, _ROUNDED

    @property
    def changes_buffers(self) -> bool:
        """Whether it may."""
        return bool(self._buffers) and (self.graph is None or self.graph.writes)

    def stand_at(self, parameters: Sequence[Tensor], buffers: Sequence[Tensor]) -> None:
        """From here on the program's parameters and buffers are these tensors' memory."""
        for own, value in zip([*self._parameters, *self._buffers], [*parameters, *buffers], strict=True):
            own.data = value

    def _by_program(self, data: Arguments, weight: Tensor | None = None) -> tuple[Tensor, Gradients]:
        return self._differentiated(self._loss(data) if weight is None else self._loss(data, weight))

    def _differentiated(self, loss: Loss) -> tuple[Tensor, Gradients]:
        value, surrogate = loss
        if not surrogate.requires_grad:
            return value.detach(), [None] * len(self._parameters)
        return value.detach(), list(torch.autograd.grad(surrogate, self._parameters, allow_unused=True))

    def _by_graph(
        self, data: Arguments, weight: Tensor | None, function: Callable[..., Any], noise: Sequence[Tensor]
    ) -> tuple[Tensor, Gradients]:
        given = [] if weight is None else [weight]
        with torch.no_grad():
            value, gradients = function(*given, *self._rows(data), *self._parameters, *self._buffers, *noise)
        return value, gradients

    def _rows(self, data: Arguments) -> list[Tensor]:
        return [] if self._fixed else data.tensors()

    def _take_graph(
        self, trace: Callable[[Arguments], Graph], data: Arguments, whole: tuple[Arguments, slice] | None
    ) -> None:
        """Trace, and hold the graph against the program."""
        with kept(self._buffers), draws_again():
            graph = trace(data)
        function, draws = self._apart(graph)
        self._check(function, draws, data, _WEIGHT / 2 if self._weighed else None)  # another: it is no constant
        if draws and whole is not None:
            with kept(self._buffers), draws_again():
                of_all = trace(whole[0])
            try:
                draws = shared(draws, self._apart(of_all)[1], whole[1])
            except Unsupported:
                function, draws = graph, []
        self.graph, self._function, self.draws = graph, function, draws

    def _traced(self, data: Arguments) -> Graph:
        """As the program runs."""
        graph = self._recorded(self._by_program, data)
        return graph if graph.writes else simplify(graph)

    def _traced_at_once(self, data: Arguments) -> Graph:
        """With one run's operations on the numbers of all runs."""
        loss: Any = self._loss
        one = self._recorded(loss.one, data, differentiable=True)
        if one.writes:
            raise NotTraceable("it writes in place")
        if _large(one):
            raise NotTraceable("its runs stay in a processor's cache one by one, and not together")
        try:
            graph, draws = separated(one)
        except Unsupported as error:
            raise NotTraceable(str(error)) from error

        def run(*values: Tensor) -> tuple[Tensor, Gradients]:
            return self._differentiated(loss.at_once(graph, draws, *values, *self._parameters, *self._buffers))

        with refusing(), warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="There is a performance drop")  # slower, and the same numbers
            return simplify(record(run, self._inputs(data), adopted=[*self._parameters, *self._buffers]))

    def _recorded(self, program: Callable[..., Any], data: Arguments, *, differentiable: bool = False) -> Graph:
        """A program of a step's data, and its weight if it has one, which does the same in every run."""
        first_row = 1 if self._weighed else 0

        def run(*values: Tensor) -> Any:
            rows = values[first_row:]
            return program(data if self._fixed else _filled(data, rows), *values[:first_row])

        before = remembered(*self._programs)
        adopted = [*self._parameters, *self._buffers]
        with refusing():
            first, second = (
                record(run, self._inputs(data), adopted=adopted, differentiable=differentiable) for _ in range(2)
            )
        if not _alike(first, second):
            raise NotTraceable("its structure changes from run to run")
        if before != remembered(*self._programs):
            raise NotTraceable("it remembers something from run to run")
        return first

    def _inputs(self, data: Arguments) -> list[Tensor]:
        """What a graph is given before parameters and buffers."""
        return [*([_WEIGHT] if self._weighed else []), *self._rows(data)]

    def _apart(self, graph: Graph) -> tuple[Graph, list[Draw]]:
        """The graph with what it draws as inputs, as far as it draws numbers of a known distribution."""
        places = {call.device for call in graph.calls if is_random(call.target)}
        if graph.writes or not places <= {parameter.device for parameter in self._parameters[:1]}:
            return graph, []
        try:
            return separated(graph)
        except Unsupported:
            return graph, []

    def _check(
        self, function: Callable[..., Any], draws: Sequence[Draw], data: Arguments, weight: Tensor | None
    ) -> None:
        """The function gives what the program gives for the same draws."""
        with kept(self._buffers), draws_again():
            expected = self._by_program(data, weight)
        with kept(self._buffers), draws_again():
            found = self._by_graph(data, weight, function, [draw.made() for draw in draws])
        for mine, theirs in zip([found[0], *found[1]], [expected[0], *expected[1]], strict=True):
            if (mine is None) != (theirs is None):
                raise NotTraceable("it trains other parameters than the program")
            if mine is not None and theirs is not None:
                tolerance = self._tolerance or tolerance_of(theirs)
                scale = float(theirs.nan_to_num(0.0, 0.0, 0.0).abs().max()) if theirs.numel() else 0.0
                if not torch.allclose(mine, theirs, tolerance, tolerance * scale, equal_nan=True):
                    raise NotTraceable("it gives other numbers than the program: its structure depends on values")


def _large(graph: Graph) -> bool:
    """Whether a processor takes longer to fetch this graph's numbers from memory than to be asked for its operations.

    By the seconds that these take on a core of 2026.
    """
    here = [math.prod(call.shape or ()) for call in graph.calls if call.device == torch.device("cpu")]
    return sum(here) * 7e-10 > len(graph.calls) * 4e-6


def _filled(data: Arguments, rows: Sequence[Tensor]) -> Arguments:
    """The data with these tensors in the places of its own."""
    given = iter(rows)

    def fill(value: Any) -> Any:
        return next(given) if isinstance(value, Tensor) else value

    args = tuple(fill(value) for value in data.args)
    return replace(data, args=args, kwargs={name: fill(value) for name, value in data.kwargs.items()})


def _alike(one: Graph, other: Graph) -> bool:
    """Whether two recordings are of the same operations on the same values."""
    twin: dict[Node, Node] = dict(zip(one.inputs, other.inputs, strict=True))

    def match(a: Any, b: Any) -> bool:
        if isinstance(a, Node) and isinstance(b, Node):
            if a.constant is None or b.constant is None:
                return twin.get(a) is b
            return a.constant is b.constant or _equal(a.constant, b.constant)
        if isinstance(a, (tuple, list)) and isinstance(b, (tuple, list)):
            return len(a) == len(b) and all(map(match, a, b))
        if isinstance(a, dict) and isinstance(b, dict):
            return a.keys() == b.keys() and all(match(a[key], b[key]) for key in a)
        return type(a) is type(b) and (a == b or repr(a) == repr(b))  # NaN is not itself

    for a, b in zip(one.calls, other.calls, strict=False):
        if a.target is not b.target or not match((a.args, a.kwargs), (b.args, b.kwargs)):
            return False
        twin[a] = b
    return len(one.calls) == len(other.calls)


def _equal(a: Tensor, b: Tensor) -> bool:
    return a.dtype == b.dtype and a.shape == b.shape and torch.allclose(a, b, 0, 0, equal_nan=True)


@contextmanager
def kept(tensors: Sequence[Tensor]) -> Iterator[None]:
    """What happens to the tensors inside is forgotten."""
    before = [tensor.detach().clone() for tensor in tensors]
    try:
        yield
    finally:
        with torch.no_grad():
            for tensor, value in zip(tensors, before, strict=True):
                tensor.copy_(value)


@contextmanager
def draws_again() -> Iterator[None]:
    """Random draws inside come again afterwards, on every device."""
    with torch.random.fork_rng(range(torch.cuda.device_count())):
        yield
