"""Networks that predict eps, v, score or flow, in the passes themselves: a Plan of denoised means as a Plan of predictions.

Every prediction is linear in (x, D), so D = a x + b prediction (``solvers.model``) is one more sum of a Plan.
"""

from __future__ import annotations

from collections import Counter

from scorebed.solvers.model import to_denoised
from scorebed.solvers.plan import Combine, Draw, Evaluate, Form, Plan


def predicting(plan: Plan, prediction: str) -> Plan:
    """The Plan for a network that predicts eps, v, score or flow: D = a x + b prediction becomes a sum of the pass that needs D, or where
    one sum alone reads D a part of that sum.

    Raises:
        ValueError: an unknown prediction, or one that does not determine D at a node of the Plan.
    """
    if prediction == "denoised":
        return plan
    ops: list[Evaluate | Draw | Combine] = []
    place, ends = {0: 0}, [0]
    readers = Counter(j for op in plan.ops if isinstance(op, Combine) for j, _ in op.terms)
    outside = {op.source for op in plan.ops if isinstance(op, Evaluate)} | {*plan.states, plan.result}
    written_out: dict[int, dict[int, float]] = {}
    for r, op in enumerate(plan.ops, 1):
        if isinstance(op, Evaluate):
            source = place[op.source]
            ops.append(Evaluate(op.node, source))
            made: Form = to_denoised(Form({len(ops): 1.0}), Form({source: 1.0}), op.node, prediction)
            if readers[r] == 1 and r not in outside:  # the one sum that reads D reads x and the prediction instead
                written_out[r] = made.terms
            else:
                ops.append(Combine(tuple(sorted(made.terms.items()))))
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
