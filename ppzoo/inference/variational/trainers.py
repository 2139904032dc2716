"""The fastest way to take the steps of a fit."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from ppzoo.inference.graph.graph import Graph, Node
from ppzoo.inference.graph.tracing import NotTraceable
from ppzoo.inference.native import Unsupported
from ppzoo.inference.native.build import lanes
from ppzoo.inference.variational.machine_code import Native
from ppzoo.inference.variational.plan import Plan, Trainer
from ppzoo.inference.variational.stepwise import Stepwise
from ppzoo.inference.variational.together import Captured, Replayed
from ppzoo.inference.variational.whole_step import WholeStep

__all__ = ["trainer_of"]

_aten: Any = torch.ops.aten
_PRODUCTS = {_aten.mm.default, _aten.bmm.default, _aten.addmm.default, _aten.baddbmm.default}

_CAPTURING = {"cuda"}  # devices that take a graph of operations as one

# Seconds, on a core of 2026. What an operation costs that torch is asked for, and a number in machine code:
_OPERATION, _NUMBER = 4e-6, 1e-9
_UPDATE = 20  # operations for each parameter outside of the graph: its gradient's square, its moments, its step
_COMPILER, _COMPILED_OPERATION = 0.4, 2e-3  # what the C compiler takes, and for each operation
_DESCENT, _PASS, _TRACED = 6e-5, 4e-10, 2e-4  # a fused step of a few; an operation on one number; to trace one
_FUSED_OPERATION, _FUSED_NUMBER, _TORCH_COMPILER = 2.4e-6, 3e-10, 25.0  # what torch's compiler saves, and takes


def trainer_of(plan: Plan) -> tuple[Trainer, str]:
    """The fastest trainer for this plan, and why it is not a faster one (empty for the fastest)."""
    reason, together = plan.step.reason, plan.batches.processes
    if plan.step.graph is not None and plan.parameters and together.size == 1:
        for whole in _whole_steps(plan.step.graph, plan):
            try:
                return whole(plan, plan.step.graph), reason
            except (Unsupported, NotTraceable) as why:
                reason = str(why)
    road = "the program itself" if plan.step.graph is None else "traced graph"
    if plan.step.graph is not None and _compiling_pays(plan.step.graph, plan):
        try:
            plan.step.compile(plan.step.graph, plan.batches.example, plan.weight_of(0))
            road = "compiled graph"
        except NotTraceable as why:
            reason = str(why)
    return Stepwise(plan, road + f", rows divided among {together.size} processes" * (together.size > 1)), reason


def _whole_steps(graph: Graph, plan: Plan) -> Iterator[type[WholeStep]]:
    """Those that are worth what they take to begin, the fastest first."""
    device = plan.parameters[0].device.type
    if device == "cpu" and _compiler_pays(graph, plan):
        yield Native
    if device in _CAPTURING and _capture_pays(graph, plan):
        yield Captured
    if _mapping_pays(graph, plan):
        yield Replayed


def _compiler_pays(graph: Graph, plan: Plan) -> bool:
    """Whether machine code is worth its compiler."""
    operations, numbers = len(graph.calls), sum(_numbers(call) for call in graph.calls)
    numbers += _UPDATE * _numbers_of(plan.parameters)
    saved = plan.replicas * operations * _OPERATION - math.ceil(plan.replicas / lanes()) * numbers * _NUMBER
    return plan.steps * saved > _COMPILER + _COMPILED_OPERATION * operations


def _capture_pays(graph: Graph, plan: Plan) -> bool:
    """Whether one launch for all operations is worth the tracing."""
    return plan.steps * plan.replicas * len(graph.calls) * _OPERATION > _mapping(graph, plan)


def _mapping_pays(graph: Graph, plan: Plan) -> bool:
    """Whether operations on the numbers of all replicas are worth it, without torch's fused optimiser."""
    update = len(plan.parameters) * _UPDATE
    saved = (plan.replicas - 1) * (len(graph.calls) * _OPERATION + _DESCENT) - update * _OPERATION
    saved -= plan.replicas * _numbers_of(plan.parameters) * _UPDATE * _PASS
    return plan.steps * saved > _mapping(graph, plan)


def _mapping(graph: Graph, plan: Plan) -> float:
    """What it takes to trace a whole step of all replicas."""
    return _TRACED * (len(graph.calls) + _UPDATE * len(plan.parameters))


def _compiling_pays(graph: Graph, plan: Plan) -> bool:
    """Whether fusing operations is worth torch's compiler; products of matrices gain nothing."""
    numbers = sum(_numbers(call) for call in graph.calls if call.target not in _PRODUCTS)
    saved = len(graph.calls) * _FUSED_OPERATION + numbers * _FUSED_NUMBER
    return plan.replicas * plan.steps * saved > _TORCH_COMPILER


def _numbers_of(parameters: Sequence[Tensor]) -> int:
    """How many one replica has."""
    return sum(parameter[0].numel() for parameter in parameters)


def _numbers(call: Node) -> int:
    """How many numbers an operation computes: a product of matrices each of its terms, a view none."""
    if call.shape is None or getattr(call.target, "is_view", False):
        return 0
    size = math.prod(call.shape)
    inner = call.sources[-1].shape if call.target in _PRODUCTS else None
    return size * inner[-2] if inner is not None and len(inner) > 1 else size
