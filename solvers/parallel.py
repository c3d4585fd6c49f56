r"""Evaluations that run at once: Plans of fewer rounds, bought with older values or with more evaluations.

    late(plan)      the sums read an evaluation ``delay`` calls old, so that delay + 1 run side by side: reuse-then-predict (ParaStep)
    picard(plan)    fixed-point sweeps over all evaluations of a window: ParaDiGMS (arXiv:2305.16317, Alg. 1)
    parareal(…)     a coarse and a fine method, U^{k+1} = G(U^{k+1}) + F(U^k) − G(U^k)
    rounds(plan)    the longest chain of evaluations that wait for each other

All are Plans again, with an exact error on Gaussians. Picard and parareal end, after as many sweeps as there are steps, at the Plan itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

from scorebed.solvers import grid as grids
from scorebed.solvers.base import Solver, advance
from scorebed.solvers.model import from_denoised, to_denoised
from scorebed.solvers.plan import Plan
from scorebed.solvers.plan.tape import Tape
from scorebed.solvers.reuse import check, every, onto, summed
from scorebed.solvers.schedule import Node
from scorebed.solvers.state import bare, parts


def late(plan: Plan, delay: int = 1, what: str = "denoised") -> Plan:
    """The Plan whose sums read, in the place of evaluation i, evaluation i − ``delay``: first order, since D is h·delay old, with a
    stability interval that shrinks. Each is known ``delay`` calls before it is read, so delay + 1 of them run at the same time.

    Returns:
        the Plan with evaluations read ``delay`` calls late.

    Raises:
        ValueError: a delay that is no integer of at least 0, or an unknown prediction.
    """
    check(1, "lam", what, "polynomial", delay)
    tape, values, last = Tape(f"late({plan.solver}, {delay})", plan.grid, plan.takes), list[Any](), plan.nfe - 1 - delay

    def evaluate(x: Any, node: Any) -> Any:
        i = len(values)
        values.append(from_denoised(tape.evaluate(x, node), x, node, what) if i <= max(last, 0) else None)
        return to_denoised(values[max(i - delay, 0)], x, node, what)

    return tape.plan(onto(plan, tape, evaluate))


def picard(plan: Plan, sweeps: int, window: int | None = None, what: str = "denoised") -> Plan:
    """``sweeps`` rounds of the fixed-point iteration for all evaluations of a window at once, D_i ← D(Σ_{j<i} w_ij D_j).

    Each window begins with the last evaluation before it held; after as many sweeps as it is long it is the Plan itself, for each sweep
    makes one more evaluation exact, which is not made again.

    Args:
        plan: of any method with one denoised mean for one state.
        sweeps: rounds for each window.
        window: evaluations side by side; None takes all.
        what: the prediction that is held where nothing is known yet.

    Returns:
        the Plan of ``sweeps`` rounds over each window.

    Raises:
        ValueError: numbers that are no positive integers, or an unknown prediction.
    """
    window = plan.nfe if window is None else window
    every(sweeps)
    every(window)
    check(1, "lam", what, "polynomial", 0)
    tape = Tape(f"picard({plan.solver}, {sweeps})", plan.grid, plan.takes)
    held: list[Any] = []  # the prediction at the end of the last window

    def inputs(current: dict[int, Any], stop: int) -> list[tuple[Any, Any]]:
        """State and node of the evaluations before ``stop``, with ``current`` as their values; what is missing is held."""
        seen: list[tuple[Any, Any]] = []

        def evaluate(x: Any, node: Any) -> Any:
            i = len(seen)
            seen.append((x, node))
            if i in current:
                return current[i]
            return to_denoised(held[-1], x, node, what) if held and i < stop else x  # nobody looks at what follows

        plan.fold(tape.x, evaluate, tape.draw, lambda terms: summed(terms))
        return seen[:stop]

    current: dict[int, Any] = {}
    start = 0
    while start < plan.nfe:
        stop = min(start + (window if start else 1), plan.nfe)
        for sweep in range(min(sweeps, stop - start)):
            seen = inputs(current, stop)
            current |= {i: tape.evaluate(*seen[i]) for i in range(start + sweep, stop)}
        x, node = inputs(current, stop)[stop - 1]
        held.append(from_denoised(current[stop - 1], x, node, what))
        start = stop
    count: Iterator[int] = iter(range(plan.nfe))
    return tape.plan(onto(plan, tape, lambda x, node: current[next(count)]))


def parareal(coarse: Solver, fine: Solver, nodes: Sequence[Node], *, inner: int, sweeps: int) -> Plan:
    """U_{n+1}^{k+1} = G(U_n^{k+1}) + F(U_n^k) − G(U_n^k), G one coarse step, F ``inner`` fine steps (Lions, Maday, Turinici 2001).

    All F of a sweep run at once. After as many sweeps as steps it is F alone.

    Returns:
        the Plan of ``sweeps`` parareal iterations.

    Raises:
        ValueError: a stochastic or nonlinear method, or numbers that are no positive integers.
    """
    every(inner)
    every(sweeps)
    for one in (coarse, fine):
        if one.weak is not None or one.nonlinear is not None:
            raise ValueError(f"{one.name} {'draws noise' if one.weak is not None else one.nonlinear}: parareal takes deterministic Plans")
    nodes = grids.check(nodes)
    tape, steps = Tape(f"parareal({coarse.name}, {fine.name}, {sweeps})", nodes), list(pairwise(nodes))

    def walk(method: Solver, x: Any, points: Sequence[Any]) -> Any:
        carry = None
        for s, t in pairwise(points):
            x, carry = advance(method, tape.evaluate, x, s, t, carry, tape.draw)
        return tape.hold(x)

    within = [[s, *(s.toward(t, i / inner) for i in range(1, inner)), t] for s, t in steps]
    us, gs = [tape.x], list[Any]()
    for n, (s, t) in enumerate(steps):
        gs.append(walk(coarse, us[n], (s, t)))
        us.append(gs[n])
    for k in range(min(sweeps, len(steps))):
        jumps = [walk(fine, us[n], within[n]) - gs[n] if n >= k else None for n in range(len(steps))]
        for n in range(k, len(steps)):
            if n > k:
                gs[n] = walk(coarse, us[n], steps[n])
            us[n + 1] = tape.hold(gs[n] + jumps[n])
    for n, x in enumerate(us[1:]):
        tape.after(n, x)
    return tape.plan(us[-1])


def rounds(plan: Plan) -> int:
    """The longest chain of evaluations, each waiting for the one before: how long a run takes where all that can run at once does."""

    def evaluate(depth: Any, node: Any) -> Any:
        gives = len(node.process.gives) if hasattr(node, "process") else 1
        return bare((1 + max(parts(depth)),) * gives)

    start = bare((0,) * plan.components)
    draws = plan.grid[0].process.draws
    depth = plan.fold(start, evaluate, lambda s, t: bare((0,) * draws), lambda terms: max((v for _, v in terms), default=0))
    return int(max(parts(depth)))
