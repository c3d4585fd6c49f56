"""A solver on a problem: the error of a run, and the order that it shows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from scorebed.solvers import Solver, sample
from scorebed.toy.measure.convergence import rms
from scorebed.toy.measure.order import FLOOR, STEPS, Conditions, OrderResult, measure_order
from scorebed.toy.problems.problem import Problem
from scorebed.toy.problems.reference import Reference


@dataclass(frozen=True)
class Case:
    """A problem with states at its first node and where the exact flow takes them."""

    problem: Problem
    x: np.ndarray
    exact: Reference


@lru_cache(maxsize=64)
def case(problem: Problem, seed: int | None = None) -> Case:
    """The states that a study draws with a seed, or the problem's fixed ones."""
    x = problem.states(problem.ends[0]) if seed is None else problem.draw(problem.samples, seed)
    return Case(problem, x, problem.exact(x, *problem.ends))


def path_error(known: Case, solver: Solver, n: int, grid: str | None = None) -> tuple[float, int]:
    """(distance of the end states of n steps from the exact flow, evaluations) of a deterministic solver, as ``bind`` gives it."""
    problem = known.problem
    run = sample(solver, problem.model, known.x, problem.nodes(n, grid), terminal="none", record=True)
    return problem.distance(run.x, known.exact.x), run.nfe


def order_on(
    problem: Problem,
    solver: Solver,
    *,
    law: bool = False,
    steps: Sequence[int] = STEPS,
    finer: Sequence[int] = (),
    enough: Callable[[OrderResult], bool] | None = None,
    finest: int = 3,
) -> OrderResult:
    """The order of a solver on a problem, between its ends and on its own kind of grid: of paths, or of the ``law`` of the output.

    Args:
        law: measure ``problem.law_error`` in place of the distance of end states from the exact flow.
        steps, finer, enough, finest: as for ``measure_order``.

    Returns:
        the OrderResult of the solver on the problem.

    Raises:
        ValueError: a solver that does not belong on the problem.
    """
    moving = problem.bind(solver)

    def error(n: int) -> Any:
        return problem.law_error(moving, problem.nodes(n)).error if law else path_error(case(problem), moving, n)

    scale = 1.0 if law else max(1.0, rms(case(problem).exact.x))
    (s, t) = problem.ends
    grid = f"{problem.grid_name}, t {s.t:g} to {t.t:g}"
    conditions = Conditions(target=problem.name, grid=grid, floor=FLOOR * scale)
    return measure_order(error, conditions=conditions, steps=steps, finer=finer, enough=enough, finest=finest)
