r"""The convergence study: solvers × problems × numbers of evaluations, against closed-form truth.

Every cell (problem, grid, solver) is measured in one of three ways:

    path   deterministic solvers: RMS distance between the end states and the exact flow map, over states drawn at the first node
    law    stochastic solvers: W2 between the law of the output and the exact marginal, both Gaussian, on the problem's Gaussian
    weak   stochastic solvers on a space other than R^d: RMS error of the means of a few observables (``toy.problems.spaces``)

free of Monte Carlo but for a few methods on spaces, whose rows say so,

and on two sets of step numbers: the most steps that each budget of evaluations pays for, and 10, 20, 40, … for the order. The number of
evaluations is read from the Plan (start-up included), or counted in the run where a method has no Plan.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd

from scorebed.solvers import GRIDS, SOLVERS, NonFinite, NotLinear, Solver, methods_on, sample
from scorebed.toy.measure.cost import affordable, cost
from scorebed.toy.problems.problem import Problem, refusal
from scorebed.toy.problems.reference import Reference
from scorebed.toy.problems.registry import PLAIN, PROBLEMS
from scorebed.toy.studies.store import Row, Store, frame

BUDGETS = (5, 10, 20, 40)
DEFAULT = ("euler", "heun", "ddim", "dpm_solver_2", "dpmpp_2s", "dpmpp_2m", "deis_tab2", "ipndm_2", "ddpm", "dpmpp_2m_sde")
"""The solvers of a study that names none: one of each kind, so that a minute is enough. ``"all"`` takes the whole catalogue, on each
problem the methods that belong there. A problem on a space has defaults of its own."""
FIRST, ENOUGH, SETTLED = 10, 320, 0.02
"""Refinement starts at FIRST steps and goes on until, at ENOUGH steps or more, successive slopes differ by less than SETTLED."""
DEAR = 20_000
"""No refinement follows a run of more evaluations than this; adaptive black boxes take that many."""
MARGIN = 100.0
"""Errors are reported as measured where they exceed this many times the error of the reference."""

T = TypeVar("T")


@dataclass(frozen=True)
class Case:
    """A problem with its initial states and what is true of them at the last node."""

    problem: Problem
    seed: int
    x: np.ndarray
    exact: Reference


@lru_cache(maxsize=16)
def case(problem: Problem, seed: int = 0) -> Case:
    """Draw the states and find where the exact flow takes them."""
    x = problem.draw(problem.samples, seed)
    return Case(problem, seed, x, problem.exact(x, *problem.ends))


def path_error(c: Case, solver: Solver, grid: str, steps: int) -> tuple[float, float, int]:
    """(error, error of the reference, evaluations) of a deterministic solver."""
    run = sample(solver, c.problem.model, c.x, c.problem.nodes(steps, grid), terminal="none", record=True)
    return c.problem.distance(run.x, c.exact.x), c.exact.error, run.nfe


def measure(problem: Problem, solver: Solver, steps: int, grid: str | None = None, seed: int = 0, kind: str | None = None) -> Row:
    """One row: run ``solver`` with ``steps`` steps; a solver that diverges or cannot be measured is a row with that status.

    ``kind`` is ``path``, ``law`` or ``weak``; None takes the one that suits the solver and the problem.
    """
    grid, kind = grid or problem.grid_name, kind or ("path" if solver.weak is None else problem.law_kind)
    error, floor, nfe, status, message, samples = math.nan, math.nan, 0, "ok", "", 0
    try:
        with np.errstate(over="ignore", invalid="ignore"):  # a solver that diverges is told by its row
            solver = problem.bind(solver)
            if kind == "path":
                known = case(problem, seed)
                samples = len(known.x)
                error, floor, nfe = path_error(known, solver, grid, steps)
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
        problem.name,
        problem.d,
        type(problem.process).__name__,
        grid,
        solver.name,
        kind,
        float(claim),
        steps,
        nfe,
        error,
        floor,
        samples,
        seed,
        status,
        message,
    )


def refinements(finest: int) -> list[int]:
    """10, 20, 40, … up to ``finest``."""
    return [FIRST * 2**i for i in range(1 + max(0, int(math.log2(finest / FIRST))))]


def cell(problem: Problem, solver: Solver, grid: str, budgets: Sequence[int], seed: int) -> Iterator[Row]:
    """All rows of one solver on one grid of one problem: what the budgets pay for, then refinements until their slopes have settled.

    One row that says why, of a method that does not belong on the problem.
    """
    if refusal(problem, solver):
        yield measure(problem, solver, FIRST, grid, seed)
        return
    paid = sorted({affordable(problem, solver, n, grid) for n in budgets} - {0})
    for n in paid:
        yield measure(problem, solver, n, grid, seed)
    ladder: list[float] = []
    dear = problem.space is not None and solver.weak is not None  # the chain of a step is a matrix
    for n in refinements(problem.finest // 2 if dear else problem.finest):
        row = measure(problem, solver, n, grid, seed)
        if n not in paid:
            yield row
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


def pick(wanted: Sequence[str | T] | None, known: Mapping[str, T], what: str) -> list[T]:
    """Objects by name; objects pass as they are; ``"all"``, alone, or None takes all.

    Raises:
        ValueError: a name that is not known; the message lists those that are.
    """
    if not wanted or list(wanted) == ["all"]:
        return list(known.values())
    unknown = [w for w in wanted if isinstance(w, str) and w not in known]
    if unknown:
        raise ValueError(f"{what} {', '.join(map(repr, unknown))} not known; known: all, {', '.join(known)}")
    return [known[w] if isinstance(w, str) else w for w in dict.fromkeys(wanted)]


def pairs(
    problems: Sequence[str | Problem] | None = None, solvers: Sequence[str | Solver] | None = None
) -> list[tuple[Problem, list[Solver]]]:
    """The problems of a study and the solvers of each: as named, by default those of R^d with ``DEFAULT``, and on spaces their own.

    Of ``["all"]`` each problem has the solvers that belong there. A solver that is named is kept wherever it is refused, so that the rows
    say so, if there is another problem for it and another solver for the problem.

    Raises:
        ValueError: an unknown name, a solver for which no problem is suited, or a problem for which no solver is.
    """
    chosen = pick(problems or PLAIN, PROBLEMS, "problem")
    if not solvers:
        return [(p, pick(p.solvers or DEFAULT, SOLVERS, "solver")) for p in chosen]
    methods = pick(solvers, methods_on(), "solver")
    why = {(p, s): refusal(p, s) for p in chosen for s in methods}
    if list(solvers) == ["all"]:
        return [(p, [s for s in methods if not why[p, s]]) for p in chosen]
    for s in methods:
        if all(why[p, s] for p in chosen):
            raise ValueError(why[chosen[0], s])
    for p in chosen:
        if all(why[p, s] for s in methods):
            raise ValueError(why[p, methods[0]])
    return [(p, methods) for p in chosen]


def run_study(
    problems: Sequence[str | Problem] | None = None,
    solvers: Sequence[str | Solver] | None = None,
    grids: Sequence[str] | None = None,
    nfe: Sequence[int] = BUDGETS,
    seed: int = 0,
    out: str | Path | None = None,
    report: Callable[[int, int, str], Any] | None = None,
) -> pd.DataFrame:
    """Run the study and return its tidy rows (the columns are those of ``toy.studies.store.Row``).

    Args:
        problems: names, or objects of your own; None takes those of R^d, and ``["all"]`` those on other spaces too.
        solvers: likewise; None takes ``DEFAULT``, on spaces the problem's own, and ``["all"]`` the whole catalogue.
        grids: names of ``solvers.GRIDS``; None takes each problem's own.
        nfe: budgets of evaluations for the table of errors.
        seed: of the initial states.
        out: folder for ``results.csv`` and ``study.json``; None writes nothing.
        report: called with (cells done, cells in all, what comes next).

    Raises:
        ValueError: an unknown name, a budget below 1, or solvers that do not belong on the problems (``pairs``).
    """
    chosen = pairs(problems, solvers)
    if bad := [n for n in nfe if n < 1]:
        raise ValueError(f"nfe = {bad[0]!r} is not a number of evaluations: give integers of at least 1")
    pick(grids, {name: name for name in GRIDS}, "grid")
    everyone = list(grids or ()) == ["all"]
    names = list(dict.fromkeys((kind.__name__ for kind in GRIDS.values()) if everyone else grids or ()))
    cells = [(p, s, g) for p, methods in chosen for g in (names or [p.grid_name]) for s in methods]

    def rows() -> Iterator[Row]:
        for i, (p, s, g) in enumerate(cells):
            if report is not None:
                report(i, len(cells), f"{p.name} · {s.name}")
            yield from cell(p, s, g, nfe, seed)
        if report is not None:
            report(len(cells), len(cells), "done")

    if out is None:
        return frame(rows())
    with Store(out) as store:
        for row in rows():
            store.append(row)
        done = {"problems": [p.name for p, _ in chosen], "solvers": list(dict.fromkeys(s.name for _, methods in chosen for s in methods))}
        return store.finish(**done, grids=names, nfe=list(nfe), seed=seed)
