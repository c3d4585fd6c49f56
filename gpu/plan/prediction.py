r"""Networks that predict eps, v, score or flow, in the passes themselves: a Plan of denoised means as a Plan of predictions.

Every prediction is linear in (x, D), so D = a x + b F(c x) is one more sum of a Plan, and the network's input c x another. (a, b) come
from ``solvers.model`` with c = 1, or from a wrapped network (``gpu.wrap``), which tells all three.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

import torch

from scorebed.solvers.model import to_denoised
from scorebed.solvers.plan import Combine, Draw, Evaluate, Form, Op, Plan
from scorebed.solvers.schedule import Node

Numbers = Callable[[Node], tuple[float, float, float]]
"""(c, a, b) at a node: D = a x + b F(c x)."""


@runtime_checkable
class Linear(Protocol):
    """A denoiser that tells what it is made of: D = a x + b raw(c x, node), with numbers(node) = (c, time, a, b)."""

    def numbers(self, node: Node) -> tuple[float, float, float, float]: ...
    def raw(self, y: Any, node: Node) -> Any: ...
    def fuses(self, dtype: torch.dtype) -> bool: ...


def predicting(plan: Plan, prediction: str | Numbers) -> Plan:
    """The Plan for a network that predicts eps, v, score or flow: D = a x + b F becomes a sum of the pass that needs D, or where one sum
    alone reads D, before the next evaluation, a part of that sum.

    Args:
        plan: of denoised means.
        prediction: one of ``solvers.PREDICTIONS``, or (c, a, b) as a function of the node.

    Raises:
        ValueError: an unknown prediction, or one that does not determine D at a node of the Plan.
    """
    if prediction == "denoised":
        return plan
    numbers = _named(prediction) if isinstance(prediction, str) else prediction
    ops: list[Op] = []
    place, ends = {0: 0}, [0]
    readers = Counter(j for op in plan.ops if isinstance(op, Combine) for j, _ in op.terms)
    outside = {op.source for op in plan.ops if isinstance(op, Evaluate)} | {*plan.states, plan.result}
    written_out: dict[int, dict[int, float]] = {}
    calls = [i for i, op in enumerate(plan.ops) if isinstance(op, Evaluate)]
    following = dict(zip(calls, [*calls[1:], len(plan.ops)], strict=True))
    for r, op in enumerate(plan.ops, 1):
        if isinstance(op, Evaluate):
            source = place[op.source]
            c, a, b = numbers(op.node)
            if c != 1.0:
                ops.append(Combine(((source, c),)))
            ops.append(Evaluate(op.node, source if c == 1.0 else len(ops)))
            terms = {i: v for i, v in ((source, a), (len(ops), b)) if v}
            if readers[r] == 1 and r not in outside and plan.last_use[r] < following[r - 1]:
                written_out[r] = terms  # the one sum that reads D reads x and the prediction instead
            else:
                ops.append(Combine(tuple(sorted(terms.items()))))
        elif isinstance(op, Draw):
            ops.append(op)
        else:
            total: dict[int, float] = {}
            for j, c in op.terms:
                for i, d in written_out[j].items() if j in written_out else ((place[j], 1.0),):
                    total[i] = total.get(i, 0.0) + c * d
            ops.append(Combine(tuple(sorted((i, c) for i, c in total.items() if c))))
        place[r] = len(ops)
        ends.append(len(ops))
    states = tuple(place[r] for r in plan.states)
    return Plan(plan.solver, plan.grid, tuple(ops), states, place[plan.result], tuple(ends[i] for i in plan.ends))


def _named(prediction: str) -> Numbers:
    def numbers(node: Node) -> tuple[float, float, float]:
        made: Form = to_denoised(Form({1: 1.0}), Form({0: 1.0}), node, prediction)
        return 1.0, made.terms.get(0, 0.0), made.terms.get(1, 0.0)

    return numbers


def numbers_of(denoise: Any, dtype: torch.dtype) -> Numbers | None:
    """(c, a, b) of a wrapped network, or None where there is nothing to fuse on states of this dtype."""
    if not (isinstance(denoise, Linear) and denoise.fuses(dtype)):
        return None

    def numbers(node: Node) -> tuple[float, float, float]:
        c, _, a, b = denoise.numbers(node)
        return c, a, b

    return numbers
