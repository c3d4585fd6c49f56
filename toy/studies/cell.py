r"""What a study measures: the rows of one solver on one grid of one problem, as a chain of tasks.

A cell (problem, grid, solver) is measured in one of three ways:

    path   deterministic solvers: RMS distance between the end states and the exact flow map, over states drawn at the first node
    law    stochastic solvers: W2 between the law of the output and the exact marginal, both Gaussian, on the problem's Gaussian
    weak   stochastic solvers on a space other than R^d: RMS error of the means of a few observables (``toy.problems.chains``)

free of Monte Carlo but for a few methods on spaces, whose rows say so, and on two sets of step numbers: the most steps that each budget of
evaluations pays for, and 10, 20, 40, … for the order. The number of evaluations is read from the Plan (start-up included), or counted in
the run where a method has no Plan.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from scorebed.solvers import NonFinite, NotLinear, Solver
from scorebed.toy.measure.cost import affordable, cost
from scorebed.toy.measure.runs import Case, case, path_error
from scorebed.toy.problems.problem import Problem
from scorebed.toy.problems.reference import Reference
from scorebed.toy.studies.rows import Row
from scorebed.toy.studies.sent import Sent

FIRST, ENOUGH, SETTLED = 10, 320, 0.02
"""Refinement starts at FIRST steps and goes on until, at ENOUGH steps or more, successive slopes differ by less than SETTLED."""
DEAR = 20_000
"""No refinement follows a run of more evaluations than this; adaptive black boxes take that many."""
MARGIN = 100.0
"""Errors are reported as measured where they exceed this many times the error of the reference."""


def measure(
    problem: Problem,
    solver: Solver,
    steps: int,
    grid: str | None = None,
    seed: int = 0,
    kind: str | None = None,
    known: Case | None = None,
) -> Row:
    """One row: run ``solver`` with ``steps`` steps; a solver that diverges or cannot be measured is a row with that status.

    ``kind`` is ``path``, ``law`` or ``weak``; None takes the one that suits the solver and the problem. ``known`` is the problem's case,
    where it is at hand.

    Returns:
        the Row of the run, with its error, or a status that says why not.
    """
    grid, kind = grid or problem.grid_name, kind or kind_of(problem, solver)
    error, floor, nfe, status, message, samples = math.nan, math.nan, 0, "ok", "", 0
    try:
        with np.errstate(over="ignore", invalid="ignore"):  # a solver that diverges is told by its row
            solver = problem.bind(solver)
            if kind == "path":
                known = known or case(problem, seed)
                samples = len(known.x)
                error, nfe = path_error(known, solver, steps, grid)
                floor = known.exact.error
            else:
                error, floor, samples = problem.law_error(solver, problem.nodes(steps, grid), seed)
                nfe = cost(problem, solver, steps, grid) or 0
        if not math.isfinite(error):
            raise NonFinite(f"the error of {solver.name} is {error}")
        if kind != "path" and samples:
            status, message = ("floor" if error < 3.0 * floor else "ok"), f"Monte Carlo over {samples} paths, ± {floor:.1e}"
        elif error < MARGIN * floor:
            status, message = "floor", f"less than {MARGIN:g} times the error of the reference"
    except NonFinite as diverged:
        error, status, message = math.nan, "diverged", str(diverged)
        nfe = cost(problem, solver, steps, grid) or 0
    except (NotLinear, ValueError) as refused:  # no Plan, or a grid that the method does not walk: it says why
        status, message = "refused", str(refused)
    claim = solver.order if kind == "path" or solver.weak is None else solver.weak
    return Row(
        problem=problem.name,
        d=problem.d,
        schedule=type(problem.process).__name__,
        grid=grid,
        solver=solver.name,
        kind=kind,
        claim=float(claim),
        steps=steps,
        nfe=nfe,
        error=error,
        reference_error=floor,
        samples=samples,
        seed=seed,
        status=status,
        message=message,
    )


def kind_of(problem: Problem, solver: Solver) -> str:
    """How a solver is measured on a problem."""
    return "path" if solver.weak is None else problem.law_kind


def refinements(finest: int) -> list[int]:
    """10, 20, 40, … up to ``finest``."""
    return [FIRST * 2**i for i in range(1 + max(0, int(math.log2(finest / FIRST))))]


@dataclass(frozen=True)
class Measured:
    """What decides how a cell goes on after a row."""

    status: str
    nfe: int
    error: float


def steps_of(problem: Problem, solver: Solver, paid: Sequence[int]) -> Generator[int, Measured, None]:
    """The step numbers of a cell, each asked for after the row before is known: those that the budgets pay for, then refinements until
    their slopes have settled."""
    for n in paid:
        yield n
    ladder: list[float] = []
    dear = problem.space is not None and solver.weak is not None  # the chain of a step is a matrix
    for n in refinements(problem.finest // 2 if dear else problem.finest):
        row = yield n
        if (row.status != "ok" and n > FIRST * 8) or row.nfe > DEAR:
            break
        ladder = [*ladder, row.error] if row.status == "ok" else []
        if n >= ENOUGH and settled(ladder):
            break


def settled(errors: Sequence[float]) -> bool:
    """Whether the last two halvings of the steps divided the error by nearly the same number; the claim plays no part in it."""
    if len(errors) < 3:
        return False
    slopes = -np.diff(np.log2(errors[-3:]))
    return bool(abs(slopes[1] - slopes[0]) < SETTLED)


def reference(problem: Sent[Problem], seed: int) -> dict[str, Any]:
    """The arrays of a case: ``x``, ``exact`` and ``error``."""
    known = case(problem.value, seed)
    return {"x": known.x, "exact": known.exact.x, "error": np.float64(known.exact.error)}


def paid(problem: Sent[Problem], solver: Sent[Solver], grid: str, budgets: tuple[int, ...]) -> dict[str, Any]:
    """The step numbers that the budgets pay for, as a row."""
    return {"steps": sorted({affordable(problem.value, solver.value, n, grid) for n in budgets} - {0})}


def measured(
    problem: Sent[Problem], solver: Sent[Solver], steps: int, grid: str, seed: int, arrays: Mapping[str, Any] | None
) -> dict[str, Any]:
    """``measure`` as a row of the store, against the arrays of a case where it needs one."""
    known = None
    if arrays is not None:
        known = Case(problem.value, arrays["x"], Reference(arrays["exact"], float(arrays["error"])))
    return asdict(measure(problem.value, solver.value, steps, grid, seed, known=known))
