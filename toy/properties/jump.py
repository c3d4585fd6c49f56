"""Properties of methods on jump processes: the exact law of the output is a vector, so that nothing is sampled but to check the draws."""

from __future__ import annotations

from functools import cache, partial
from typing import Any

import numpy as np

from scorebed.analytic.finite import TableLaw, total_variation
from scorebed.solvers import BrownianNoise, Solver, sample
from scorebed.solvers.base import advance
from scorebed.solvers.methods.jump_exact import TIMES
from scorebed.solvers.process.jump import JumpProcess
from scorebed.toy.measure.runs import order_on
from scorebed.toy.problems.jump import ORDERED, JumpProblem, masked, ordered, random_table, uniform
from scorebed.toy.problems.jump_law import FirstOf
from scorebed.toy.problems.problem import enrolled
from scorebed.toy.problems.uneven import jagged, warped
from scorebed.toy.properties.registry import inexact, prop, require

_STEPS, _FINER = (16, 32, 64), (128, 256)
_TIGHT, _PATHS = 1e-12, 20_000


def draws_times(solver: Solver) -> str | None:
    """The exemption of properties that follow every draw: times are too many."""
    return TIMES if solver.nonlinear == TIMES else None


@cache
def problems() -> tuple[JumpProblem, ...]:
    """Bits under a mask, tokens that jump anywhere and levels that jump near, on grids that no method expects."""
    return (
        JumpProblem(name="masked bits, jagged", make=masked, process=JumpProcess(2), grid=jagged, start=0.95, end=0.05),
        JumpProblem(name="uniform tokens, warped", make=uniform, process=JumpProcess(3, "uniform"), grid=warped, start=0.9, end=0.1),
        JumpProblem(name="ordered tokens, jagged", make=ordered, process=ORDERED, grid=jagged, start=0.9, end=0.1),
    )


@prop(exempt=draws_times, kind="jump")
def jump_order(solver: Solver) -> None:
    """The total variation between the exact law of the output and p_t falls with the claimed order, or is round-off."""
    for problem, moving in enrolled(problems(), solver):
        # judged where the slopes have settled, whatever they are
        result = order_on(
            problem, moving, law=True, steps=_STEPS, finer=_FINER, enough=lambda r: r.exact or (r.settled <= 0.1 and r.inside(solver.order))
        )
        kept = result.exact or result.inside(solver.order)
        require(kept, solver, f"order {result} in total variation, claimed {solver.order}, on {problem.name}; errors {result.errors}")


@prop(exempt=lambda solver: None if draws_times(solver) else "draws no times", kind="jump")
def jump_times(solver: Solver) -> None:
    """A method that draws times has the exact law in any number of steps: two tokens, every course of more than 1e-10 of the weight."""
    for process in (JumpProcess(2), JumpProcess(2, "uniform")):
        target = TableLaw(random_table(2, 2, 3), process)
        problem = JumpProblem(name="two tokens", make=partial(TableLaw, target.table, process), process=process, start=0.6, end=0.56)
        end: Any = problem.ends[1]
        for n in (1, 2):
            law = problem.law(solver, problem.nodes(n), faint=1e-10)
            off = total_variation(law, target.marginal(end))
            require(off < 3e-6, solver, f"{n} steps on two tokens, {process.kernel}: off the exact law by {off:.3g}")


@prop(exempt=inexact, kind="jump")
def jump_point_mass(solver: Solver) -> None:
    """Where the data are one point, the whole way ends there, in any number of steps."""
    for problem, _ in enrolled(problems(), solver):
        p = np.zeros(problem.target.table.shape)
        p[(1,) * p.ndim] = 1.0
        point = JumpProblem(name="point", make=partial(TableLaw, p, problem.process), process=problem.process)
        for n in (1, 2, 5):
            found = point.law(solver, point.nodes(n))[(1,) * p.ndim]
            require(abs(found - 1.0) < _TIGHT, solver, f"a point mass on {problem.name}, {n} steps: {found:.6g} of the mass arrives")


@prop(kind="jump")
def jump_empty_step(solver: Solver) -> None:
    """A step of length zero is the identity."""
    for problem, _ in enrolled(problems(), solver):
        x, s = problem.states(problem.ends[0]), problem.nodes(3)[1]
        still, _ = advance(solver, problem.model, x, s, s, None, lambda a, b: FirstOf())
        require(bool((still == x).all()), solver, f"step of length zero moves {x.tolist()} to {still.tolist()}")


@prop(exempt=draws_times, kind="jump")
def jump_relabelling(solver: Solver) -> None:
    """Permuting the values of the tokens, as the kernel allows, permutes the law of the output."""
    for problem, _ in enrolled(problems(), solver):
        turn = np.arange(problem.process.size)
        turn = np.roll(turn, 1) if isinstance(problem.process.kernel, str) else turn[::-1]  # near levels stay near
        table = problem.target.table
        for i in range(table.ndim):
            table = np.take(table, turn, i)
        other = JumpProblem(name="turned", make=partial(TableLaw, table, problem.process), process=problem.process, start=0.9, end=0.1)
        plain = JumpProblem(name="plain", make=problem.make, process=problem.process, start=0.9, end=0.1)
        found, wanted = other.law(solver, other.nodes(3)), plain.law(solver, plain.nodes(3))
        whole = np.arange(problem.process.alphabet)
        whole[: problem.process.size] = turn
        for i in range(table.ndim):
            wanted = np.take(wanted, whole, i)
        require(total_variation(found, wanted) < 1e-10, solver, f"values permuted, the law is not, on {problem.name}")


@prop(kind="jump")
def jump_frequencies(solver: Solver) -> None:
    """What the loop draws has the law that is followed exactly (of a method that draws times, p_t), and no sample depends on others."""
    problem = problems()[0]
    count = _PATHS if draws_times(solver) is None else _PATHS // 20  # each at times of its own
    nodes, x = problem.nodes(5), problem.draw(count)
    noise = BrownianNoise(11, x.shape)
    ends = sample(solver, problem.model, x, nodes, noise=noise, terminal="none")
    exact = draws_times(solver) is not None
    law = problem.target.marginal(nodes[-1]) if exact else problem.law(solver, nodes)
    found = np.bincount(np.ravel_multi_index(tuple(ends.T), law.shape), minlength=law.size).reshape(law.shape) / len(x)
    error, allowed = total_variation(found, law), 2.0 * float(np.sqrt(law / len(x)).sum())
    require(error < allowed, solver, f"{count} paths are {error:.3g} off the exact law in total variation, {allowed:.3g} allowed")
    some = np.array([7, 2, 901])
    again = sample(solver, problem.model, x[some], nodes, noise=noise.take(some), terminal="none")
    require(bool((again == ends[some]).all()), solver, "a sample depends on the rest of its batch")
