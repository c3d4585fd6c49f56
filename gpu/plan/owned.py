r"""Who owns memory in a run: what the network is given and what it gives back are its own, everything else is the loop's.

A network may return the same buffer at every call (a captured CUDA graph, TensorRT, a preallocated output) or write on its input, and
neither can be seen in general: torch does not count writes under ``inference_mode``, nor those of others. So the network is given a copy
wherever its input is read again, and what it returned is copied before its next call wherever it is read after that. Both copies are sums
of the pass that is there anyway: a write each, and no read.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from scorebed.solvers.plan import Combine, Op, Plan, Registers, Walk
from scorebed.solvers.state import bare, parts


def owned(plan: Plan) -> Plan:
    """The Plan with a copy, ``Combine(((r, 1.0),))``, of every input of the network that is read again and of every evaluation that
    is read after the next one; the samples are the same.

    Returns:
        the Plan with copies, of the same samples.
    """
    ops: list[Op] = []
    size, states, ends = plan.components, [plan.states[0]], list[int]()

    def emit(op: Op) -> Registers:
        nonlocal size
        ops.append(op)
        size += op.makes
        return bare(tuple(range(size - op.makes, size)))

    def copy(register: int) -> int:
        made: int = emit(Combine(((register, 1.0),)))
        return made

    def draw(s: Any, t: Any) -> Registers:
        return emit(next(draws))

    def combine(terms: list[tuple[float, int]]) -> Registers:
        return emit(Combine(tuple((r, c) for c, r in terms)))

    def step(i: int, x: Registers) -> Registers:
        states.append(x)
        ends.append(len(ops))
        return x

    calls = [i for i, made in enumerate(plan.made) if made[0] in plan.calls]
    following, draws = iter([*calls[1:], len(plan.ops)]), iter(plan.draws.values())
    kept: dict[int, int] = {}  # copies of what the network gave last, read from its next call on
    walk = Walk(plan, plan.states[0])
    walk.advance(draw, combine, step)
    while (op := walk.waiting) is not None:
        walk.live |= {r: register for r, register in kept.items() if r in walk.live}
        again = [r for r in parts(op.source) if r not in plan.sums or plan.last_use[r] > walk.at]
        source = bare(tuple(copy(walk.live[r]) if r in again else walk.live[r] for r in parts(op.source)))
        made, after = plan.made[walk.at], next(following)
        walk.answer(emit(replace(op, source=source)))
        kept = {r: copy(walk.live[r]) for r in made if plan.last_use.get(r, -1) > after}
        walk.advance(draw, combine, step)
    return Plan(plan.solver, plan.grid, tuple(ops), tuple(states), walk.read(plan.result), tuple(ends))


def witnesses(plan: Plan) -> tuple[set[int], set[int]]:
    """Registers in which a nan or an infinity of any state shows: (inputs of evaluations, states), besides the result.

    A sum carries on what its terms hold, so one look at its end is a look at all states of a chain of sums. Where a bounded network
    (clamp, tanh) ends the chain, the input of its evaluation shows what the result does not.

    Returns:
        (registers of evaluation inputs, registers of states), two sets of ints.
    """
    covered = _behind(plan, parts(plan.result))
    inputs = [r for op in plan.calls.values() for r in parts(op.source)]
    calls, states = set[int](), set[int]()
    for state in (r for registers in reversed(plan.states[1:]) for r in parts(registers)):
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
            todo += [j for j, c in plan.sums.get(r, ()) if c]
    return out
