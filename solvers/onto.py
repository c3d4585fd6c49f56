r"""A Plan on another schedule: x/alpha has the same law at the same lam on all of them.

A state at the node t is scaled by alpha'(t)/alpha(t), the node' at the same lam; what a model is shown by the same factor at the node that
it is told, which tuned Plans set apart from that of the state. Denoised means and unit normals stay what they are.
"""

from __future__ import annotations

from scorebed.solvers.plan import Plan
from scorebed.solvers.plan.ops import Combine, Draw, Evaluate, Op, Registers
from scorebed.solvers.schedule import Node, Schedule


def onto(plan: Plan, schedule: Schedule) -> Plan:
    """The Plan with its nodes at the same lam of another schedule, and every state in that schedule's scale.

    Args:
        plan: of states of one component on a scalar schedule.
        schedule: where it is to run.

    Returns:
        the Plan on the other schedule; its draws are those of the nodes there.

    Raises:
        ValueError: a Plan of another kind, or levels that the schedule does not reach.
    """
    if plan.components != 1 or not isinstance(plan.grid[0], Node) or plan.takes != "denoised":
        raise ValueError(f"{plan.solver} is not a Plan of one state on a schedule, so that it has no place on {schedule!r}")
    moved = {node: _at(schedule, node) for node in {*plan.grid, *plan.nodes, *(node for pair in plan.noises for node in pair)}}
    scales = _scales(plan, moved)
    ops: list[Op] = []
    registers = {0: 0}
    for (old,), op in zip(plan.made, plan.ops, strict=True):
        if isinstance(op, Evaluate):
            source = _one(op.source)
            shown, factor = registers[source], _ratio(moved, op.node) / scales[source]
            if abs(factor - 1.0) > 1e-12:
                ops.append(Combine(((shown, factor),)))
                shown = len(ops)
            ops.append(Evaluate(moved[op.node], shown))
        elif isinstance(op, Draw):
            ops.append(Draw(moved[op.s], moved[op.t]))
        else:
            ops.append(Combine(tuple((registers[r], c * scales[old] / scales[r]) for r, c in op.terms)))
        registers[old] = len(ops)
    count = {end: registers[plan.made[end - 1][0]] if end else 0 for end in plan.ends}
    grid = tuple(moved[node] for node in plan.grid)
    states, result = tuple(registers[_one(r)] for r in plan.states), registers[_one(plan.result)]
    return Plan(plan.solver, grid, tuple(ops), states, result, tuple(count[end] for end in plan.ends), plan.record, plan.takes)


def _scales(plan: Plan, moved: dict[Node, Node]) -> dict[int, float]:
    """What each register is multiplied by: a state by the ratio of the alphas at its node, the input of an evaluation by that at the told
    one, where the state is not the first; the result of a Plan that ends by denoising, and all else, by 1.

    Returns:
        factor of each register, by its number.
    """
    result, sums = _one(plan.result), plan.sums
    scales = dict.fromkeys((r for made in plan.made for r in made), 1.0)
    scales |= {_one(r): _ratio(moved, node) for r, node in zip(plan.states, plan.grid, strict=True) if _one(r) in sums}
    scales |= {_one(op.source): _ratio(moved, op.node) for op in plan.calls.values() if _one(op.source) in sums}
    if result == _one(plan.states[-1]) and result in sums:
        scales[result] = _ratio(moved, plan.grid[-1])
    return scales | {0: _ratio(moved, plan.grid[0])}


def _one(registers: Registers) -> int:
    """The register of a state of one component."""
    return registers if isinstance(registers, int) else registers[0]


def _ratio(moved: dict[Node, Node], node: Node) -> float:
    return moved[node].alpha / node.alpha


def _at(schedule: Schedule, node: Node) -> Node:
    """The node at the same lam, or a word about why there is none."""
    try:
        return schedule.at_lam(node.lam)
    except ValueError as problem:
        raise ValueError(f"{schedule!r} does not reach lam = {node.lam:.4g}, where the Plan is: {problem}") from None
