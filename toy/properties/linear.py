"""What holds for methods on linear processes, whatever the kind: the statements that ``phase`` and ``bridge`` enrol."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np

from scorebed.analytic.output.moments import moments
from scorebed.analytic.process import LinearLaw
from scorebed.solvers import BrownianNoise, Solver, sample, trace
from scorebed.solvers.base import advance
from scorebed.solvers.state import State, bare, parts
from scorebed.toy.measure.order import OrderResult
from scorebed.toy.measure.runs import order_on
from scorebed.toy.problems.linear import LinearProblem
from scorebed.toy.problems.problem import enrolled
from scorebed.toy.properties.registry import require

_STEPS, _FINER = (32, 64, 128), (256, 512)
_TIGHT, _SETTLED = 1e-10, 0.1


def keeps_order(solver: Solver, problems: Sequence[LinearProblem]) -> None:
    """The global error falls with the claimed order."""
    for problem, moving in enrolled(problems, solver):
        window = partial(OrderResult.inside, claim=solver.order, above=2.0 if problem.linear_flow else 0.35)
        result = order_on(problem, moving, steps=_STEPS, finer=_FINER, enough=window)
        require(window(result), solver, f"order {result}, claimed {solver.order}, on {result.conditions}; errors {result.errors}")


def keeps_weak_order(solver: Solver, problems: Sequence[LinearProblem]) -> None:
    """Mean and covariance of the output, exact from the Plan, converge with the claimed weak order."""
    weak = solver.weak or 0.0
    for problem, moving in enrolled(problems, solver):
        # judged where the slopes have settled, whatever they are
        result = order_on(problem, moving, law=True, steps=(64, 128, 256, 512), finer=(1024,), enough=lambda r: r.settled <= _SETTLED)
        require(result.inside(weak), solver, f"weak order {result}, claimed {weak}, on {result.conditions}; errors {result.errors}")


def exact_on_a_point(solver: Solver, problem: LinearProblem) -> None:
    """Where the ends are one point, mean and covariance of the output are those of the forward law, in any number of steps."""
    place = problem.target.mean() + np.linspace(1.0, 2.0, problem.target.ends.d)  # no end at zero, where its coefficients would not show
    point = LinearLaw(problem.process, [1.0], place[None], np.zeros((1, len(place), len(place))))
    for n in (1, 2, 5):
        nodes = problem.nodes(n)
        mean, covariance = moments(trace(solver, nodes), point)
        end = point.marginal(nodes[-1])
        off = max(_off(mean, end.mean()), _off(covariance, end.covariance()))
        require(off < _TIGHT, solver, f"point mass on {problem.name}, {n} steps: mean or covariance off by {off:.3g} of their size")


def empty_steps(solver: Solver, problem: LinearProblem) -> None:
    """A step of length zero is the identity, with an empty memory and with a full one."""
    nodes = problem.nodes(6)
    x, carry = problem.states(nodes[0]), None
    ones = bare(tuple(np.ones_like(parts(x)[0]) for _ in range(problem.process.draws)))
    for s, t in pairwise(nodes):
        still, _ = advance(solver, problem.model, x, s, s, carry, lambda a, b: ones)
        require(problem.distance(still, x) < _TIGHT, solver, f"step of length zero at t = {s.t} moves by {problem.distance(still, x):.3g}")
        x, carry = advance(solver, problem.model, x, s, t, carry, lambda a, b: ones)


def turns_and_splits(solver: Solver, problem: LinearProblem) -> None:
    """Rotating the target's coordinates does the same to the samples; splitting or reordering the batch does nothing."""
    nodes, d = problem.nodes(5), problem.d
    turn = np.linalg.qr(np.random.default_rng(3).standard_normal((d, d)))[0]
    x = problem.draw(6, seed=2)
    source = BrownianNoise(3, (6, d))

    def turned(value: State, m: np.ndarray) -> State:
        return bare(tuple(part @ m for part in parts(value)))

    def model(z: State, node: Any) -> State:
        return turned(problem.model(turned(z, turn.T), node), turn)

    def noise(s: Any, t: Any) -> State:
        return turned(problem.process.noise(source, s, t), turn)

    plain = sample(solver, problem.model, x, nodes, noise=source, terminal="none")
    rotated = sample(solver, model, turned(x, turn), nodes, noise=noise, terminal="none")
    require(problem.distance(rotated, turned(plain, turn)) < _TIGHT, solver, f"not equivariant under a rotation on {problem.name}")
    order = np.array([3, 0, 4])
    some = sample(solver, problem.model, bare(tuple(p[order] for p in parts(x))), nodes, noise=source.take(order), terminal="none")
    same = all(np.abs(a - b[order]).max() < _TIGHT for a, b in zip(parts(some), parts(plain), strict=True))
    require(same, solver, "a sample depends on the rest of its batch")


def replays(solver: Solver, problem: LinearProblem) -> None:
    """The Plan, replayed, gives what the loop gives, evaluation for evaluation."""
    for n in (1, 2, 6):
        nodes, x = problem.nodes(n), problem.draw(5)
        plan = trace(solver, nodes)
        run = sample(solver, problem.model, x, nodes, noise=5, terminal="none", record=True)
        off = problem.distance(plan.run(problem.model, x, noise=5), run.x)
        require(off < _TIGHT, solver, f"Plan and loop differ by {off:.3g} at {n} steps on {problem.name}")
        require(plan.nfe == run.nfe, solver, f"the Plan counts {plan.nfe} evaluations, the loop {run.nfe}, at {n} steps")
        require(plan.stochastic == (solver.weak is not None), solver, f"draws noise: {plan.stochastic}, claims weak = {solver.weak}")


def _off(value: np.ndarray, exact: np.ndarray) -> float:
    """The largest error, in units of the largest entry of what it should be."""
    return float(np.abs(value - exact).max() / np.abs(exact).max())
