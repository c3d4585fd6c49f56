r"""Networks that predict eps, v, score or flow, in the passes themselves: a Plan of denoised means as a Plan of predictions.

Every prediction is linear in (x, D), so D = a x + b F(c x) is one more sum of a Plan, and the network's input c x another. (a, b) come
from ``solvers.model`` with c = 1, or from a wrapped network (``gpu.wrap``), which tells all three.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

import torch

from scorebed.solvers.model import to_denoised
from scorebed.solvers.plan import Plan
from scorebed.solvers.plan.form import Form
from scorebed.solvers.plan.tape import Tape
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

    Returns:
        the Plan that calls for ``prediction`` instead of D.

    Raises:
        ValueError: an unknown prediction, or one that does not determine D at a node of the Plan.
    """
    if prediction == "denoised":
        return plan
    numbers = _named(prediction) if isinstance(prediction, str) else prediction
    tape, alone = Tape(plan.solver, plan.grid), iter([_read_once(plan, r) for r in plan.calls])

    def evaluate(x: Form, node: Node) -> Form:
        c, a, b = numbers(node)
        denoised: Form = a * x + b * tape.evaluate(c * x, node)
        return denoised if next(alone) else tape.hold(denoised)  # the one sum that reads D reads x and the prediction instead

    def combine(terms: list[tuple[float, Form]]) -> Form:
        made: Form = tape.hold(sum((c * form for c, form in terms), Form({})))
        return made

    return tape.plan(plan.fold(tape.x, evaluate, tape.draw, combine, lambda i, x: tape.after(i, x)[0]))


def _read_once(plan: Plan, call: int) -> bool:
    """Whether the evaluation in this register is read by one sum alone, before the next evaluation."""
    readers = [r for r, terms in plan.sums.items() if any(j == call for j, _ in terms)]
    outside = call in {op.source for op in plan.calls.values()} or call in {*plan.states, plan.result}
    following = min((r for r in plan.calls if r > call), default=math.inf)
    return len(readers) == 1 and not outside and readers[0] < following


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
