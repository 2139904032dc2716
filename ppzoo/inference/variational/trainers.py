"""The fastest way to take the steps of a fit."""

from __future__ import annotations

import math
from typing import Any

import torch

from ppzoo.inference.graph.graph import Graph, Node
from ppzoo.inference.graph.tracing import NotTraceable
from ppzoo.inference.native import Unsupported
from ppzoo.inference.native.build import lanes
from ppzoo.inference.variational.machine_code import Native
from ppzoo.inference.variational.plan import Plan, Trainer
from ppzoo.inference.variational.stepwise import Stepwise

__all__ = ["trainer_of"]

_aten: Any = torch.ops.aten
_PRODUCTS = {_aten.mm.default, _aten.bmm.default, _aten.addmm.default, _aten.baddbmm.default}

# Seconds, on a core of 2026. What an operation costs that torch is asked for, and a number in machine code:
_OPERATION, _NUMBER = 4e-6, 1e-9
_UPDATE = 20  # numbers in machine code for each parameter: its gradient's square, its moments, its step
_COMPILER, _COMPILED_OPERATION = 0.4, 2e-3  # what the C compiler takes, and for each operation
_FUSED_OPERATION, _FUSED_NUMBER, _TORCH_COMPILER = 2.4e-6, 3e-10, 25.0  # what torch's compiler saves, and takes


def trainer_of(plan: Plan) -> tuple[Trainer, str]:
    """The fastest trainer for this plan, and why it is not a faster one (empty for the fastest)."""
    reason, together = plan.step.reason, plan.batches.processes
    if plan.step.graph is not None and plan.parameters and together.size == 1:
        try:
            if _pays(plan.step.graph, plan):
                return Native(plan, plan.step.graph), ""
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


def _pays(graph: Graph, plan: Plan) -> bool:
    """Whether machine code is worth its compiler."""
    operations, numbers = len(graph.calls), sum(_numbers(call) for call in graph.calls)
    numbers += _UPDATE * sum(parameter[0].numel() for parameter in plan.parameters)
    saved = plan.replicas * operations * _OPERATION - math.ceil(plan.replicas / lanes()) * numbers * _NUMBER
    return plan.steps * saved > _COMPILER + _COMPILED_OPERATION * operations


def _compiling_pays(graph: Graph, plan: Plan) -> bool:
    """Whether fusing operations is worth torch's compiler; products of matrices gain nothing."""
    numbers = sum(_numbers(call) for call in graph.calls if call.target not in _PRODUCTS)
    saved = len(graph.calls) * _FUSED_OPERATION + numbers * _FUSED_NUMBER
    return plan.replicas * plan.steps * saved > _TORCH_COMPILER


def _numbers(call: Node) -> int:
    """How many numbers an operation computes: a product of matrices each of its terms, a view none."""
    if call.shape is None or getattr(call.target, "is_view", False):
        return 0
    size = math.prod(call.shape)
    inner = call.sources[-1].shape if call.target in _PRODUCTS else None
    return size * inner[-2] if inner is not None and len(inner) > 1 else size
