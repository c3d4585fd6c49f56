"""The Plan of a scheduler's run: a method unrolled on the nodes of a config, and where a pipeline may come into it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from scorebed.gpu.diffusers.levels import Levels
from scorebed.gpu.diffusers.run import after_a_leap, evaluates_first
from scorebed.solvers import SOLVERS, Node, Solver, trace
from scorebed.solvers.onto import onto
from scorebed.solvers.plan import Evaluate, Plan

_REACH, _PURE = 0.1, 50.0
"""How far, in lam, a Plan may go beyond the noise levels of a config, whose continuous twin ends a little elsewhere; and from which
sigma/alpha on it may begin where a config begins at more."""
STARTS = ("auto", "own", "ddim")
NOISE = 1e3
"""From above this sigma/alpha, pure noise to three digits, the first step is DDIM's (``after_a_leap``)."""
GAIN = 1e3
"""The largest sum of |coefficients| in a network input or the result of a Plan that is taken. States are of order 1, so a larger one means
differences of large numbers. On the way to noise it is that of the exact flow, which stretches as much as the noise grows."""


def method_of(name: str, options: dict[str, Any], start: str) -> Solver:
    """The solver of a config.

    Returns:
        the Solver, with DDIM as its start where the config says so.

    Raises:
        ValueError: unknown, without a Plan, or an unknown start.
        TypeError: an option that it does not have.
    """
    if name == "auto":
        raise ValueError(
            "solver = 'auto' is chosen for a model, and a scheduler has none in reach: let scorebed advise --model NAME --nfe N "
            "--out plan.json choose, or scorebed tune make one, and give plan='plan.json', or the solver that advise prints"
        )
    if name not in SOLVERS:
        raise ValueError(f"solver = {name!r} is not known: give one of {', '.join(SOLVERS)}")
    if start not in STARTS:
        raise ValueError(f"start = {start!r}: give one of {', '.join(STARTS)}")
    method = SOLVERS[name](**options)
    if method.nonlinear is not None:
        raise ValueError(f"solver = {name!r} has no Plan ({method.nonlinear}), so it cannot be a scheduler: run solvers.sample instead")
    if method.start is not None and (start == "ddim" or (start == "auto" and method.order <= 2)):
        return replace(method, start=SOLVERS["ddim"])
    return method


def loaded(path: str, levels: Levels) -> Plan:
    """The Plan of a file, on the schedule of a config.

    Returns:
        the Plan, on the levels of the config.

    Raises:
        ValueError: no Plan, or one that the config's noise levels do not reach or a pipeline cannot run.
    """
    plan = onto(Plan.load(path), levels.schedule)
    first, last = plan.grid[0].lam, max(plan.grid[-1].lam, *(node.lam for node in plan.nodes))
    noisiest, cleanest = levels.schedule.node(levels.schedule.t_max).lam, levels.cleanest.lam
    if not noisiest - _REACH <= first <= max(noisiest + _REACH, -math.log(_PURE)) or last > cleanest + _REACH:
        raise ValueError(
            f"plan = {path!r} runs from lam = {first:.3g} to {last:.3g}, this config from {noisiest:.3g} to {cleanest:.3g}: give one that "
            "was made on its noise levels"
        )
    if not evaluates_first(plan):
        raise ValueError(f"plan = {path!r} moves the state before its first evaluation, but a pipeline evaluates first: use plan.run")
    return plan


def unroll(nodes: Sequence[Node], method: Solver, terminal: str) -> Plan:
    """The method on the nodes, with a leap out of pure noise where it needs one.

    Returns:
        the Plan on these nodes.

    Raises:
        ValueError: it moves before it evaluates, or takes differences of huge numbers on this grid.
    """
    if len(nodes) == 1:
        return Plan(method.name, tuple(nodes), (Evaluate(nodes[0], 0),), (0,), 1, ())
    if nodes[0].rho > NOISE and not method.name.endswith("_t") and (len(nodes) > 2 or terminal == "denoise"):
        return after_a_leap(nodes[0], unroll(nodes[1:], method, terminal))
    plan = trace(method, nodes, terminal)
    if not evaluates_first(plan):
        raise ValueError(f"{method.name} moves the state before its first evaluation, but a pipeline evaluates first: run solvers.sample")
    most = GAIN * max(1.0, nodes[-1].sigma / nodes[0].sigma)
    if (gain := max(float(abs(plan.output).sum()), float(abs(plan.inputs).sum(axis=1).max()))) > most:
        raise ValueError(
            f"{method.name} takes differences of terms {gain:.0e} times the state on this grid, which starts at sigma/alpha = "
            f"{nodes[0].rho:.3g}: take a method in the denoised form (ddim, dpmpp_2m, unipc_2), or start at less noise"
        )
    return plan


def entry(full: Plan, nodes: Sequence[Node], method: Solver | None, terminal: str, index: int) -> tuple[Plan, int]:
    """The Plan that goes on from evaluation ``index`` of the full one, and the evaluation at which it is entered.

    Where a step begins there, the method begins anew if it then evaluates at the very nodes that remain (a multistep method by DDIM, if not
    by its own start). Everywhere else, inside a step or where its memory would take evaluations of its own, the full Plan itself is entered
    in the middle (``run.Unrolled``), and so is a Plan without a method.

    Returns:
        (Plan, evaluation at which to enter it).
    """
    if index == 0 or method is None:
        return full, 0
    here, rest = full.nodes[index], full.nodes[index:]
    for j, node in enumerate(nodes):
        if node != here or (j + 1 == len(nodes) and terminal == "none"):
            continue
        for begun in (method, replace(method, start=SOLVERS["ddim"]) if method.start else method):
            try:
                plan = unroll(nodes[j:], begun, terminal)
            except ValueError:  # too few steps for it, or too large a leap
                continue
            if plan.nodes == rest:
                return plan, 0
    return full, index


def steps_begin(full: Plan) -> set[int]:
    """The evaluations at which the state of a step is evaluated."""
    states = set(full.states)
    return {i for i, op in enumerate(full.calls.values()) if op.source in states}
