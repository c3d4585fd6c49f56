r"""What becomes of a small error on its way along a grid: a Plan walked with the effects of errors, exact on Gaussians.

On the problems of ``problems.gaussians`` the denoiser is linear, with a slope κ along each direction. A Plan is then linear, and walked
with the effect of every error in its registers it gives ∂x_i/∂x_j and ∂x_i/∂D_k for all nodes and evaluations, without a run and without
linearisation. Errors are measured in y = x/α, where the flow is

    dy/dρ = eps,     ∂y_t/∂y_s = ((v_b + ρ_t²)/(v_b + ρ_s²))^{(1−w)/2} ((v_n + ρ_t²)/(v_n + ρ_s²))^{w/2},

at most one on the way to the data for every w ≥ 0 and v_n ≤ v_b. So all growth is the solver's.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from scorebed.solvers import Plan, Solver, trace
from scorebed.toy.problems.gaussians import GAUSSIANS, GUIDED, Floats, GuidedGaussian, Slope, scales
from scorebed.toy.store.parts import Part, counted, tabulate
from scorebed.toy.store.tasks import Report

BOUND = 1.0
"""A solver counts as bounded where an error of the first state is at no node more than this many times what it was."""
_SLACK = 1e-9  # round-off on a bound that many solvers meet exactly


def propagators(plan: Plan, slope: Slope) -> tuple[Floats, Floats]:
    """(∂y_i/∂y_j, ∂y_i/∂D_k): shapes (nodes, nodes, directions) and (nodes, evaluations, directions), zero for what comes later.

    ∂y_j disturbs the state at node j and not the memory, which was made before it.

    Returns:
        (∂y_i/∂y_j (nodes, nodes, directions), ∂y_i/∂D_k (nodes, evaluations, directions)).
    """
    nodes = plan.grid
    count, n = len(slope(nodes[0])), len(nodes)
    alphas = np.array([node.alpha for node in nodes])[:, None]
    states, calls = np.zeros((n, n, count)), np.zeros((n, plan.nfe, count))
    states[0, 0] = 1.0

    def unit(i: int) -> Floats:
        """The effect of disturbance i, of the states and then of the evaluations, on itself."""
        row = np.zeros((n + plan.nfe, count))
        row[i] = 1.0
        return row

    disturbed = iter(range(n, n + plan.nfe))

    def step(i: int, x: Floats) -> Floats:
        x = x + unit(i + 1)
        states[i + 1], calls[i + 1] = x[:n] * alphas / nodes[i + 1].alpha, x[n:] / nodes[i + 1].alpha
        return x

    with np.errstate(over="ignore", invalid="ignore"):
        plan.fold(
            unit(0),
            lambda x, node: slope(node) * x + unit(next(disturbed)),
            lambda s, t: np.zeros((n + plan.nfe, count)),  # the same draw with and without the error
            lambda terms: sum((c * x for c, x in terms), np.zeros((n + plan.nfe, count))),
            step,
        )
    return states, calls


def measure(solver: Solver, problem: GuidedGaussian, steps: int, guidance: ArrayLike = 1.0) -> pd.DataFrame:
    """One row for each guidance scale.

    Columns: solver, problem, steps, nfe, guidance; rise, the largest |∂y_i/∂y_0|, which says whether the solver is bounded; growth, the
    largest |∂y_i/∂y_j| over i ≥ j, which also sees what the last steps alone do; end and exact, |∂y_N/∂y_0| of the solver and of the flow;
    gain, the largest error at the end that errors of size one in every evaluation of the denoiser can cause. Where there are several
    directions each is the largest over them. Infinite where float64 is exceeded.

    Returns:
        one row for each guidance scale, with rise, growth, end, exact and gain.

    Raises:
        NotLinear: the solver has no Plan.
        ValueError: the solver does not walk the grid; guidance where the problem knows none.
    """
    w = scales(guidance)
    plan = trace(solver, problem.nodes(steps))
    shape = (len(w), len(problem.narrow))
    states, calls = (np.nan_to_num(np.abs(m), nan=np.inf) for m in propagators(plan, problem.slope(w)))
    return pd.DataFrame(
        {
            "solver": solver.name,
            "problem": problem.name,
            "steps": steps,
            "nfe": plan.nfe,
            "guidance": w,
            "rise": states[:, 0].max(axis=0).reshape(shape).max(1),
            "growth": states.max(axis=(0, 1)).reshape(shape).max(1),
            "end": states[-1, 0].reshape(shape).max(1),
            "exact": problem.growth(plan.grid, w)[-1].max(1),
            "gain": calls[-1].sum(0).reshape(shape).max(1),
        }
    )


STEPS = (5, 6, 8, 10, 12, 15, 20, 25, 30, 40, 50, 70, 100)
SCALES = (1.0, 1.25, 1.5, 1.75, 2.0, 2.5, 3.0, 3.5, 4.0, 5.0, 6.0, 7.5, 9.0, 10.5, 12.0, 15.0, 18.0, 21.0, 25.0, 30.0)
DEFAULT = ("ddim", "heun", "dpmpp_2m", "unipc_3", "lms_2", "lms_4", "ghvb_1", "ghvb_2")
"""The solvers of a study that names none."""


def amplifications(
    solvers: Sequence[Solver],
    problems: Sequence[GuidedGaussian] = tuple(GAUSSIANS.values()),
    steps: Sequence[int] = STEPS,
    guidance: Sequence[float] = SCALES,
    report: Report | None = None,
    where: str | Path | None = None,
    **how: Any,
) -> pd.DataFrame:
    """``measure`` for all of them; problems without guidance are measured at guidance 1. What a solver refuses is left out.

    ``where`` is the store that keeps the rows, ``how`` who computes them, as ``store.work.work`` says.

    Returns:
        rows of ``measure`` for all solvers, problems and steps.

    Raises:
        ValueError: no solver walks any of these steps.
    """
    parts = [
        Part(_measured, (solver, problem, n, tuple(guidance) if problem.broad is not None else (1.0,)), solver.name)
        for solver in solvers
        for problem in problems
        for n in steps
    ]
    done = tabulate("stability", parts, where, report, **how)
    rows = [row for part in done.values for row in part]
    if not rows:
        raise ValueError(f"none of {', '.join(s.name for s in solvers)} walks any of {list(steps)} steps")
    return counted(pd.DataFrame(rows), done)


def _measured(solver: Solver, problem: GuidedGaussian, steps: int, guidance: tuple[float, ...]) -> list[dict[str, Any]]:
    try:
        return [{str(k): v for k, v in row.items()} for row in measure(solver, problem, steps, guidance).to_dict("records")]
    except ValueError:  # fewer steps than the method can walk
        return []


def largest_guidance(solver: Solver, steps: int, problem: GuidedGaussian = GUIDED, bound: float = BOUND, most: float = 1000.0) -> float:
    """The largest W such that the solver is bounded for every guidance scale in [1, W], to a relative 1e-4; ``most`` where there is none.

    The first scale that is not bounded is looked for in steps of 2 % and then by bisection. 0 where guidance 1 is not bounded.

    Returns:
        the largest safe W, at most ``most``; 0 where guidance 1 is not bounded.
    """
    marks = np.geomspace(1.0, most, 2 + int(math.log(most) / 0.02))
    plan, width = trace(solver, problem.nodes(steps)), len(problem.narrow)

    def bounded(w: Floats) -> NDArray[np.bool_]:
        rise = np.nan_to_num(np.abs(propagators(plan, problem.slope(w))[0][:, 0]), nan=np.inf).max(axis=0)
        return np.asarray(rise.reshape(len(w), width).max(1) <= bound * (1.0 + _SLACK))

    low = 0.0
    for i in range(0, len(marks), 32):  # most solvers stop early
        outside = np.flatnonzero(~bounded(marks[i : i + 32]))
        if len(outside):
            first = i + int(outside[0])
            if first == 0:
                return 0.0
            low, high = float(marks[first - 1]), float(marks[first])
            break
    else:
        return most
    while high - low > 1e-4 * high:
        middle = 0.5 * (low + high)
        low, high = (middle, high) if bounded(np.array([middle]))[0] else (low, middle)
    return low


def fewest_steps(table: pd.DataFrame, bound: float = BOUND) -> pd.DataFrame:
    """From rows of ``measure``: the least of the step numbers from which on all are bounded; NaN where the largest is not.

    Columns: solver, problem, guidance, steps.

    Returns:
        one row for each solver, problem and guidance, with the fewest safe steps.
    """
    rows = []
    for (solver, problem, w), part in table.groupby(["solver", "problem", "guidance"], sort=False):
        part = part.sort_values("steps")
        bad = np.flatnonzero(part["rise"].to_numpy() > bound * (1.0 + _SLACK))
        start = int(bad[-1]) + 1 if len(bad) else 0
        rows.append((solver, problem, w, float(part["steps"].iloc[start]) if start < len(part) else math.nan))
    return pd.DataFrame(rows, columns=["solver", "problem", "guidance", "steps"])


def limits(
    solvers: Sequence[Solver],
    steps: Sequence[int] = STEPS,
    problem: GuidedGaussian = GUIDED,
    bound: float = BOUND,
    report: Report | None = None,
    where: str | Path | None = None,
    **how: Any,
) -> pd.DataFrame:
    """``largest_guidance`` of each solver at each number of steps, kept as ``amplifications`` are. Columns: solver, steps, guidance."""
    parts = [Part(_limit, (solver, n, problem, bound), solver.name) for solver in solvers for n in steps]
    done = tabulate("stability limits", parts, where, report, **how)
    return counted(pd.DataFrame([row for part in done.values for row in part], columns=["solver", "steps", "guidance"]), done)


def _limit(solver: Solver, steps: int, problem: GuidedGaussian, bound: float) -> list[dict[str, Any]]:
    try:
        return [{"solver": solver.name, "steps": steps, "guidance": largest_guidance(solver, steps, problem, bound)}]
    except ValueError:
        return []
