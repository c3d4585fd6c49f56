"""What a run costs in evaluations of the model, and how many steps a budget pays for."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial

from scorebed.solvers import NotLinear, Solver, sample, trace
from scorebed.toy.problems.problem import Problem


def most_steps(cost: Callable[[int], int | None], budget: int) -> int:
    """The largest n with ``cost(n) <= budget``, 0 where there is none; a cost of None is more than any budget.

    More steps cost more, so the interval is halved; where a method refuses some numbers of steps, each is tried.

    Returns:
        the largest n that the budget pays for, or 0.
    """
    low, high = 0, budget + 1  # low is paid for, high is not
    while high - low > 1:
        middle = (low + high) // 2
        nfe = cost(middle)
        if nfe is None:
            paid = (n for n in range(high - 1, low, -1) if (nfe := cost(n)) is not None and nfe <= budget)
            return next(paid, low)
        low, high = (middle, high) if nfe <= budget else (low, middle)
    return low


def cost(problem: Problem, solver: Solver, steps: int, grid: str | None = None) -> int | None:
    """Evaluations that ``steps`` steps take, or None where there is no Plan to count them in, or the method refuses the grid.

    Methods that move in a space have no Plan; they are one-step methods, counted in one step.

    Returns:
        evaluations of the denoiser, or None.
    """
    try:
        if problem.process.kind == "jump":  # counted in a run of one sample, on which it may depend
            run = sample(solver, problem.model, problem.draw(1), problem.nodes(steps, grid), terminal="none", noise=0, record=True)
            return run.nfe
        if problem.space is None:
            return trace(solver, problem.nodes(steps, grid)).nfe
        return steps * per_step(problem, problem.bind(solver))
    except (NotLinear, ValueError):
        return None


@lru_cache(maxsize=256)
def per_step(problem: Problem, solver: Solver) -> int:
    """Evaluations of one step of a method that moves in the problem's space."""
    return sample(solver, problem.target.denoised, problem.draw(1), problem.nodes(1), terminal="none", noise=0, record=True).nfe


def affordable(problem: Problem, solver: Solver, budget: int, grid: str | None = None) -> int:
    """The most steps whose evaluations, start-up included, do not exceed ``budget``; 0 where one step is too many."""
    return most_steps(partial(cost, problem, solver, grid=grid), budget)
