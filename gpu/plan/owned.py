r"""Who owns memory in a run: what the network is given and what it gives back are its own, everything else is the loop's.

A network may return the same buffer at every call (a captured CUDA graph, TensorRT, a preallocated output) or write on its input, and
neither can be seen in general: torch does not count writes under ``inference_mode``, nor those of others. So the network is given a copy
wherever its input is read again, and what it returned is copied before its next call wherever it is read after that. Both copies are sums
of the pass that is there anyway: a write each, and no read.
"""

from __future__ import annotations

from collections.abc import Iterable

from scorebed.solvers.plan import Combine, Draw, Evaluate, Op, Plan


def owned(plan: Plan) -> Plan:
    """The Plan with a copy, ``Combine(((r, 1.0),))``, of every input of the network that is read again and of every evaluation that
    is read after the next one; the samples are the same."""
    calls = [i for i, op in enumerate(plan.ops) if isinstance(op, Evaluate)]
    following = {i + 1: j for i, j in zip(calls, [*calls[1:], len(plan.ops)], strict=True)}  # register of an evaluation: the next one
    ops: list[Op] = []
    place, kept, ends = {0: 0}, dict[int, int](), [0]

    def where(r: int, i: int) -> int:
        """Register r as operation i of the Plan reads it."""
        return kept[r] if r in kept and i > following[r] else place[r]

    def emit(op: Op) -> int:
        ops.append(op)
        return len(ops)

    for i, op in enumerate(plan.ops):
        if isinstance(op, Evaluate):
            source = where(op.source, i)
            made = plan.ops[op.source - 1] if op.source else None
            if not isinstance(made, Combine) or plan.last_use[op.source] > i:
                source = emit(Combine(((source, 1.0),)))
            place[i + 1] = emit(Evaluate(op.node, source))
            if plan.last_use.get(i + 1, -1) > following[i + 1]:
                kept[i + 1] = emit(Combine(((place[i + 1], 1.0),)))
        elif isinstance(op, Draw):
            place[i + 1] = emit(op)
        else:
            place[i + 1] = emit(Combine(tuple((where(j, i), c) for j, c in op.terms)))
        ends.append(len(ops))
    result = where(plan.result, len(plan.ops))
    return Plan(plan.solver, plan.grid, tuple(ops), tuple(place[r] for r in plan.states), result, tuple(ends[i] for i in plan.ends))


def witnesses(plan: Plan) -> tuple[set[int], set[int]]:
    """Registers in which a nan or an infinity of any state shows: (inputs of evaluations, states), besides the result.

    A sum carries on what its terms hold, so one look at its end is a look at all states of a chain of sums. Where a bounded network
    (clamp, tanh) ends the chain, the input of its evaluation shows what the result does not.
    """
    covered = _behind(plan, [plan.result])
    inputs = [op.source for op in plan.ops if isinstance(op, Evaluate)]
    calls, states = set[int](), set[int]()
    for state in reversed(plan.states[1:]):
        if state in covered:
            continue
        source = next((r for r in inputs if state in _behind(plan, [r])), None)
        (states if source is None else calls).add(state if source is None else source)
        covered |= _behind(plan, [state if source is None else source])
    return calls, states


def _behind(plan: Plan, registers: Iterable[int]) -> set[int]:
    """The registers and all that their sums are made of."""
    out, todo = set[int](), list(registers)
    while todo:
        r = todo.pop()
        if r not in out:
            out.add(r)
            op = plan.ops[r - 1] if r else None
            todo += [j for j, c in op.terms if c] if isinstance(op, Combine) else []
    return out
