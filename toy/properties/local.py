r"""Properties of short steps, which say more of one step than a run of many.

A method of order p errs by O(h^{p+1}) in a step of length h: as a map from state to state, with an affine model that moves in time, against
the exact flow of dz/dt = P z + Q m; if it draws noise, in mean and covariance, from the exact marginal of a Gaussian, p its weak order. A
method with a memory takes some steps, and what the last adds to the error counts: what its start left behind cancels there but for a power
of h. Steps are as short as round-off allows, and of two lengths the method's own C h^{p+1} cancels: 1 % of a term of order h^p stays.

And the model is asked where it is right: about the state at the state's own node, about a stage at a node whose law it has to O(h²).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import cache, lru_cache, partial
from itertools import pairwise
from typing import Any

import numpy as np
from scipy.integrate import solve_ivp

from scorebed.analytic.output.moments import Affine, output_map
from scorebed.analytic.process import LinearLaw
from scorebed.solvers import Solver, trace
from scorebed.solvers.methods.langevin_splitting import SPLIT
from scorebed.solvers.methods.reversible import BEHIND
from scorebed.solvers.plan import Plan
from scorebed.solvers.plan.ops import Registers
from scorebed.toy.measure.order import Conditions, OrderResult, measure_order
from scorebed.toy.problems.euclidean import EuclideanProblem
from scorebed.toy.problems.problem import Problem
from scorebed.toy.properties.cases import cases
from scorebed.toy.properties.registry import any_of, deterministic, prop, require, stochastic, unplanned

_LENGTHS = (1.0, 0.7, 1.3, 0.8, 1.1, 0.9)
"""Of the steps that a method with a memory takes."""
_BEGIN, _FLOOR = 0.3, 1.5e-14
"""How far inside the grid the steps begin, and what is round-off there, where states and predictions are of size 1."""
_FEWEST = 20
"""Steps to the grid at least, so that all that a method with a memory takes fit into what is left of it."""


def order_of_a_step(solver: Solver, problems: Sequence[Problem]) -> None:
    """The error of a step as a map falls with one power of its length more than the claimed order."""
    _falls(partial(_added, _in_map), solver.order, solver, problems)


def weak_order_of_a_step(solver: Solver, problems: Sequence[Problem]) -> None:
    """The error of a step in mean and covariance falls with one power of its length more than the claimed weak order."""
    _falls(partial(_added, _in_law), solver.weak or 0.0, solver, problems)


def asked_in_place(solver: Solver, problems: Sequence[Problem]) -> None:
    """The model is asked about a state at its own node; in methods of order 1 about a stage at a node whose law it has to O(h²).

    Methods of higher orders need that of their stages, and show it in their order. Splittings move their stages off every law.
    """
    for problem in problems:
        plan = _short(solver, problem, 0.01)
        for op in plan.calls.values():
            at = [node for node, state in zip(plan.grid, plan.states, strict=True) if state == op.source]
            require(not at or op.node in at, solver, f"asks about the state at {at[:1]} as if it were at {op.node}")
    if solver.order == 1 and solver.inexact not in (SPLIT, BEHIND):
        off = _in_map if solver.weak is None else _in_law
        _falls(lambda plan: np.hstack([off(plan, op.source, op.node) for op in plan.calls.values()]), 1.0, solver, problems, "stages")


Off = Callable[[Plan, Registers, Any], np.ndarray]
"""(plan, registers, node) -> how far what the registers hold is from what is true at the node, a row for each component of the state."""


def _added(off: Off, plan: Plan) -> np.ndarray:
    """What the last step adds to the error."""
    return off(plan, plan.states[-1], plan.grid[-1]) - off(plan, plan.states[-2], plan.grid[-2])


def _falls(error: Callable[[Plan], np.ndarray], claim: float, solver: Solver, problems: Sequence[Problem], what: str = "step") -> None:
    """Whether an error, of every component of the state, is of order h^{claim + 1}."""
    for i, found in enumerate(_measured(error, claim, solver, problems, extrapolate=True)):
        said = f"error {found} of the {what}, component {i}, where its claims make it {claim + 1.0:g}; errors {found.errors}"
        require(found.reaches(claim + 1.0), solver, said)


def moves_a_step(solver: Solver, original: Solver, problems: Sequence[Problem]) -> list[OrderResult]:
    """The order in the length of a step by which ``solver`` moves what a step of ``original`` does, as a map or in its law, by components
    of the state. Where that is one more than the original claims, both have the claimed order, and no order tells them apart.

    Returns:
        one measured order for each component of the state.
    """
    off, claim = (_in_map, float(original.order)) if original.weak is None else (_in_law, original.weak)
    return _measured(lambda plan: _added(off, plan) - _added(off, trace(original, plan.grid)), claim, solver, problems)


def _measured(
    error: Callable[[Plan], np.ndarray], claim: float, solver: Solver, problems: Sequence[Problem], *, extrapolate: bool = False
) -> list[OrderResult]:
    """For each component of the state the order in h of an error that should be of order h^{claim + 1}, the largest of all problems, for
    h^{claim + 1} from 1e-6 down to round-off, by the finest two above it.

    ``extrapolate``: of E(h) − (h/h')^{claim + 1} E(h'), h' the next shorter length: C h^{claim + 1} cancels, a lower order does not.

    Returns:
        one measured order for each component of the state.
    """
    power = claim + 1.0
    sizes = [n for k in range(6, 20) if (n := round(10.0 ** (k / power))) >= _FEWEST]
    shorter = dict(pairwise(sizes))
    weight = {n: (m / n) ** power if extrapolate else 0.0 for n, m in shorter.items()}
    floor = _FLOOR * (1.0 + max(weight.values()))
    conditions = Conditions(target=", ".join(problem.name for problem in problems), grid="short steps", floor=floor)

    @cache
    def errors(n: int) -> list[np.ndarray]:
        return [error(_short(solver, problem, 1.0 / n)) for problem in problems]

    @cache
    def known(n: int) -> np.ndarray:
        if not extrapolate:
            return _largest(errors(n))
        return _largest(one - weight[n] * other for one, other in zip(errors(n), errors(shorter[n]), strict=True))

    def of(component: int) -> OrderResult:
        tried = list(shorter)
        return measure_order(lambda n: float(known(n)[component]), conditions=conditions, steps=tried[:3], finer=tried[3:], finest=2)

    return [of(i) for i in range(len(known(sizes[0])))]


def _largest(errors: Iterable[np.ndarray]) -> np.ndarray:
    """The largest entry of each row of all of them; where some have fewer rows, of those that have it."""
    rows = [np.abs(error).max(1) for error in errors]
    return np.max([np.pad(row, (0, max(map(len, rows)) - len(row))) for row in rows], axis=0)


def _short(solver: Solver, problem: Problem, h: float) -> Plan:
    """One step, or several of a method with a memory, each about ``h`` of the way from the first to the last node of the problem."""
    first, last = problem.ends
    nodes = [first.toward(last, _BEGIN)]
    for length in _LENGTHS:
        nodes.append(problem.process.node(nodes[-1].t + h * length * (last.t - first.t)))
    plan = trace(solver, nodes)
    return plan if solver.start is not None or plan.history else trace(solver, nodes[:2])


def _in_map(plan: Plan, at: Registers, node: Any) -> np.ndarray:
    """Of the map from the first state, with a linear model that moves in time."""
    process, start = plan.grid[0].process, plan.grid[0].t
    a, b, _ = output_map(replace(plan, result=at), _moving(process, start), len(process.state))
    return np.column_stack([a, b]) - _flow(process, start, node.t)


def _in_law(plan: Plan, at: Registers, node: Any) -> np.ndarray:
    """Of mean and covariance on some Gaussians, from their exact marginals at the first node."""
    out = []
    for law in _laws(plan.grid[0].process):
        a, b, c = output_map(replace(plan, result=at), law.affine, len(plan.grid[0].process.state))
        begin, end = law.marginal(plan.grid[0]), law.marginal(node)
        out += [(a @ begin.mean() + b - end.mean())[:, None], a @ begin.covariance() @ a.T + c @ c.T - end.covariance()]
    return np.hstack(out)


def _moving(process: Any, start: float) -> Affine:
    """An affine model that changes with time."""
    slopes = np.random.default_rng(1).uniform(0.5, 1.5, (2, len(process.gives), len(process.state)))

    def affine(node: Any) -> tuple[np.ndarray, np.ndarray]:
        return slopes[0] + 6.0 * (node.t - start) * slopes[1], np.full(len(process.gives), 0.7 - 3.0 * node.t)

    return affine


@lru_cache(maxsize=1024)
def _flow(process: Any, start: float, end: float) -> np.ndarray:
    """The exact flow with that model, as (map, constant)."""
    c, model = len(process.state), _moving(process, start)

    def slope(time: float, y: np.ndarray) -> np.ndarray:
        node = process.node(time)
        (a, b), (p, q, _) = model(node), (np.array(m) for m in process.rates(node, 0.0))
        out = (p + q @ a) @ y.reshape(c, c + 1)
        out[:, -1] += q @ b
        return np.asarray(out.ravel())

    done = solve_ivp(slope, (start, end), np.eye(c, c + 1).ravel(), method="DOP853", rtol=1e-13, atol=1e-15)
    return np.asarray(done.y[:, -1].reshape(c, c + 1))


@lru_cache(maxsize=64)
def _laws(process: Any) -> list[LinearLaw]:
    """Gaussians with means and covariances at random."""
    rng, g, laws = np.random.default_rng(5), len(process.gives), []
    for _ in range(3):
        mean, root = rng.standard_normal((1, g)), rng.standard_normal((g, g))
        laws.append(LinearLaw(process, [1.0], mean, (0.3 * root @ root.T + 0.1 * np.eye(g))[None]))
    return laws


@cache
def _problems() -> tuple[EuclideanProblem, ...]:
    """Where the clocks run: a variance-preserving schedule, and rectified flow."""
    return cases()[:2]


@prop(exempt=any_of(stochastic, unplanned))
def local_order(solver: Solver) -> None:
    """One short step is off by its order's power of the length and one more."""
    order_of_a_step(solver, _problems())


@prop(exempt=deterministic)
def local_weak_order(solver: Solver) -> None:
    """So are mean and covariance, from an exact marginal."""
    weak_order_of_a_step(solver, _problems())


@prop(exempt=unplanned)
def in_place(solver: Solver) -> None:
    """The model is asked about states where they belong."""
    asked_in_place(solver, _problems())
