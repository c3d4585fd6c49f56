r"""What holds for methods on linear processes, whatever the kind: ``enrol`` enters it for one, on that kind's problems."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np

from scorebed.analytic.output.moments import moments, output_map
from scorebed.analytic.process import LinearLaw
from scorebed.solvers import BrownianNoise, Solver, sample, trace
from scorebed.solvers.base import advance
from scorebed.solvers.state import State, bare, parts
from scorebed.toy.measure.order import OrderResult
from scorebed.toy.measure.runs import order_on
from scorebed.toy.problems.linear import LinearProblem
from scorebed.toy.problems.problem import enrolled
from scorebed.toy.properties import local
from scorebed.toy.properties.linear_paths import keeps_strong_order
from scorebed.toy.properties.registry import any_of, deterministic, inexact, prop, require, stochastic, unplanned

_STEPS, _FINER = (32, 64, 128), (256, 512, 1024, 2048)
_TIGHT, _SETTLED = 1e-10, 0.1
_SHORT, _LOCAL, _LOUD = 1e-8, 2e-3, 30.0
"""The length of a short step in shares of the grid's, how far it may be off, and the size of the predictions there."""
Problems = Callable[[], Sequence[LinearProblem]]


def enrol(kind: str, problems: Problems, begun: Problems | None = None) -> None:
    """Enter the properties of methods on one kind of process: of two problems, a closed flow and a curved one.

    ``begun`` are the same from where only stochastic methods can begin; those begin inside that discretise what is infinite there, the
    share of the flow that their options leave.
    """

    def where(solver: Solver) -> Sequence[LinearProblem]:
        return problems() if begun is None or solver.weak is None or (solver.inexact and solver.options) else begun()

    def enter(check: Callable[[Solver], None], says: str, name: str, *exempt: Callable[[Solver], str | None]) -> None:
        def asked(solver: Solver) -> None:
            check(solver)

        asked.__name__, asked.__doc__ = f"{kind}_{name}", says
        prop(exempt=any_of(*exempt), kind=kind)(asked)

    def point_mass(solver: Solver) -> None:
        exact_on_a_point(solver, where(solver)[0])

    enter(lambda s: keeps_order(s, problems()), "From noise to data the error falls with the claimed order.", "order", stochastic)
    enter(
        lambda s: keeps_weak_order(s, where(s)),
        "Mean and covariance, exact from the Plan, converge with the claimed weak order.",
        "weak_order",
        deterministic,
    )
    enter(
        lambda s: keeps_strong_order(s, problems()[0]),
        "End states converge path by path with the claimed strong order, exactly.",
        "strong_order",
        lambda s: "claims no strong order" if s.strong is None else s.nonlinear,
    )
    enter(
        lambda s: consistent(s, problems()),
        "A short step is the flow, and half its noise times the score.",
        "short_step",
        unplanned,
    )
    enter(
        lambda s: local.order_of_a_step(s, problems()),
        "One short step is off by its order's power of the length and one more.",
        "local_order",
        stochastic,
        unplanned,
    )
    enter(
        lambda s: local.weak_order_of_a_step(s, problems()),
        "So are mean and covariance, from an exact marginal.",
        "local_weak_order",
        deterministic,
    )
    enter(lambda s: local.asked_in_place(s, problems()), "The model is asked about states where they belong.", "in_place", unplanned)
    enter(point_mass, "On a point mass the law of the output is exact in any number of steps.", "point_mass", inexact, unplanned)
    enter(lambda s: empty_steps(s, problems()[0]), "A step of length zero is the identity.", "empty_step")
    enter(
        lambda s: turns_and_splits(s, problems()[0]),
        "Rotations of the coordinates turn the samples, and a sample does not depend on the rest of its batch.",
        "equivariance",
    )
    enter(lambda s: replays(s, problems()[1]), "The Plan gives what the loop gives, evaluation for evaluation.", "replay", unplanned)


def keeps_memory(solver: Solver, problem: LinearProblem) -> str | None:
    """The exemption of properties of one step."""
    return solver.nonlinear or ("keeps a memory" if solver.start or trace(solver, problem.nodes(3)).history else None)


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
        result = order_on(problem, moving, law=True, steps=(48, 96, 192), finer=(384, 768, 1536), enough=lambda r: r.settled <= _SETTLED)
        require(result.inside(weak), solver, f"weak order {result}, claimed {weak}, on {result.conditions}; errors {result.errors}")


def consistent(solver: Solver, problems: Sequence[LinearProblem]) -> None:
    r"""As steps shrink, (E z_t − z)/h is the velocity of the flow and ½ N Σ^{-1} (A m − z), N the covariance of the step over h.

    So it is where the marginals are kept, whatever the amount of noise. For each thing that a model gives, one that is loud in it alone.
    """
    rng = np.random.default_rng(0)
    for problem in problems:
        process, (first, last) = problem.process, problem.ends
        c, g = len(process.state), len(process.gives)
        for n, loud in ((n, loud) for n in (1, 4) for loud in range(g + 1)):
            model, offset = np.zeros((g, c)), np.zeros(g)
            if loud < g:
                model[loud], offset[loud] = _LOUD * rng.choice([-1.0, 1.0], c) * rng.uniform(0.5, 1.5, c), _LOUD
            s = first.toward(last, 0.3)
            nodes = [s, *(s.toward(last, _SHORT * (i + 1) / n) for i in range(n))]
            a, b, noise = output_map(trace(solver, nodes), partial(_still, model, offset), c)
            h = nodes[-1].t - s.t
            spread = noise @ noise.T / abs(h)
            p, q, _ = (np.array(m) for m in process.rates(s, 0.0))
            mean, here = (np.array(m) for m in process.forward(s))
            pull = 0.5 * np.sign(h) * spread @ np.linalg.inv(here)
            for name, found, terms in (
                ("what it makes of the state", (a - np.eye(c)) / h, (p, q @ model, pull @ mean @ model, -pull)),
                ("what it adds", b / h, (q @ offset, pull @ mean @ offset)),
            ):
                size = np.sum(np.abs(terms), axis=0)
                off = float((np.abs(found - np.sum(terms, axis=0)) / np.maximum(size, 0.01 * size.max(-1, keepdims=True) + 1e-300)).max())
                said = f"{name} in {n} short steps at t = {s.t:g} on {problem.name} is off by {off:.2g}"
                require(off < _LOCAL, solver, said + " of the flow and half its noise times the score")


def _still(model: np.ndarray, offset: np.ndarray, node: Any) -> tuple[np.ndarray, np.ndarray]:
    """An affine model that is the same at every node."""
    return model, offset


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
