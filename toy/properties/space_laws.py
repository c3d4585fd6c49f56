"""The laws of stochastic methods that move in a Space: marginals and transitions of whole runs, and the increments of one short step.

The laws of runs come from the exact law of a chain in one coordinate (``toy.problems.chains``), without Monte Carlo. One short step tells
drift and noise apart, in every space and every direction.
"""

from __future__ import annotations

from functools import cache, partial
from typing import Any

import numpy as np

from scorebed.analytic.heat import HeatMixture
from scorebed.solvers import EDM, Node, Solver
from scorebed.solvers.base import advance
from scorebed.solvers.grid import check
from scorebed.solvers.space import SO3, Box, Hyperbolic, Space, Sphere, Torus
from scorebed.toy.measure.order import Conditions, OrderResult, measure_order
from scorebed.toy.measure.runs import order_on
from scorebed.toy.problems.on_space import SpaceProblem
from scorebed.toy.problems.problem import enrolled
from scorebed.toy.properties.registry import prop, require
from scorebed.toy.properties.spaces import every_space, not_on_spaces

_STEPS, _FINER, _SETTLED = (8, 16, 32), (64, 128), 0.2
_MANY = (128, 256, 512)
"""For an order below 1, whose error hides longer what does not go away with the steps."""
_SHORT, _NEAR = (256, 512, 1024, 2048), 0.1
_CLOSE = 2e-4
"""Of the increments of one short step: coefficients off by 1 % show."""


def draws_none(solver: Solver) -> str | None:
    """The exemption of properties about stochastic methods on spaces."""
    return not_on_spaces(solver) or ("draws no noise" if solver.weak is None else None)


def transitions_forgotten(solver: Solver) -> str | None:
    """The exemption of the order of transitions."""
    return draws_none(solver) or ("its corrector forgets where the path began" if "corrector" in solver.options else None)


def alternating(schedule: EDM, n: int, start: float | None = None, end: float | None = None) -> list[Node]:
    """n steps whose lengths alternate 2 : 3 in t."""
    first, last = schedule.node(start or schedule.t_max), schedule.node(end or schedule.t_min)
    lengths = np.where(np.arange(n) % 2, 3.0, 2.0)
    inner = first.t + (last.t - first.t) * np.cumsum(lengths)[:-1] / lengths.sum()
    return check([first, *(schedule.node(float(t)) for t in inner), last])


@cache
def _one_kernel(space: Space) -> HeatMixture:
    """One kernel: about the origin, or off the middle of an interval that it does not fill."""
    return HeatMixture(space, [1.0], [[0.3]], 0.02) if space.bounded else HeatMixture(space, [1.0], space.origin[None], 0.3)


@cache
def law_cases() -> tuple[SpaceProblem, ...]:
    """One kernel on spaces with curvature of either sign, without, and with walls, over the times in which its law changes."""
    spaces: tuple[Space, ...] = (Box(1), Torus(1), Sphere(2), SO3(), Hyperbolic(3))
    ends = {True: (0.4, 0.12), False: (0.9, 0.2)}
    return tuple(
        SpaceProblem(
            name=f"{space}, 1 kernel",
            make=partial(_one_kernel, space),
            grid=alternating,
            start=ends[space.bounded][0],
            end=ends[space.bounded][1],
        )
        for space in spaces
    )


@cache
def bound(solver: Solver) -> tuple[tuple[SpaceProblem, Solver], ...]:
    """The cases that the method belongs on, with the method as it runs there: one object, by which measured laws are kept."""
    return tuple(enrolled(law_cases(), solver))


def _refined(solver: Solver) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The numbers of steps that are always run, and those until two slopes agree."""
    return (_MANY, ()) if solver.weak is not None and solver.weak < 1.0 else (_STEPS, _FINER)


def agreed(solver: Solver, result: OrderResult) -> bool:
    """Whether two slopes agree on the claim, so that nothing finer is asked."""
    return result.inside(solver.weak or 1.0) and result.settled <= _SETTLED


@prop(exempt=draws_none)
def space_weak_order(solver: Solver) -> None:
    """The means of observables converge with the claimed weak order, from the exact law at the start, without Monte Carlo."""
    for case, moving in bound(solver):
        paths = case.law_error(moving, case.nodes(_STEPS[0])).samples
        require(paths == 0, solver, f"no chain is known on {case.name}, and {paths} paths show no order")
        steps, finer = _refined(solver)
        result = order_on(case, moving, law=True, steps=steps, finer=finer, enough=partial(agreed, solver))
        _require(solver, result, "weak order")


@prop(exempt=transitions_forgotten)
def space_transition_order(solver: Solver) -> None:
    """So do their means from one point at the start, where a change that leaves the marginals alone does not hide."""
    steps, finer = _refined(solver)
    for case, moving in bound(solver):
        result = measure_order(
            lambda n, case=case, moving=moving: case.transition_error(moving, case.nodes(n)),  # type: ignore[misc]
            conditions=Conditions(target=case.name, grid=case.grid_name),
            steps=steps,
            finer=finer,
            enough=partial(agreed, solver),
        )
        _require(solver, result, "weak order of transitions")


def _require(solver: Solver, result: OrderResult, what: str) -> None:
    words = f"{what} {result}, claimed {solver.weak}, on {result.conditions}; errors {result.errors}"
    require(result.inside(solver.weak or 1.0), solver, words)


@prop(exempt=draws_none)
def space_local_order(solver: Solver) -> None:
    """One step of length h errs by O(h^{p+1}), p the weak order, from the exact law and (at least so) from one point."""
    claim = (solver.weak or 0.0) + 1.0
    for case, moving in bound(solver):
        conditions = Conditions(target=case.name, grid="one step", floor=0.0)
        law = measure_order(partial(_of_one_step, case, moving, False), conditions=conditions, steps=_SHORT)
        kept = law.inside(claim, below=_NEAR, above=_NEAR)
        require(kept, solver, f"one step errs with the order {law}, claimed {claim}, on {case.name}; errors {law.errors}")
        if transitions_forgotten(solver) is None:
            path = measure_order(partial(_of_one_step, case, moving, True), conditions=conditions, steps=_SHORT)
            words = f"one step from one point errs with the order {path}, claimed {claim}, on {case.name}; errors {path.errors}"
            require(path.reaches(claim, below=_NEAR), solver, words)


def _of_one_step(case: SpaceProblem, moving: Solver, from_point: bool, n: int) -> float:
    """The error of one step, the n-th part of the clock between the ends of the case."""
    s, t = case.ends
    nodes = [s, case.process.node((s.sigma**2 - (s.sigma**2 - t.sigma**2) / n) ** 0.5)]
    return case.transition_error(moving, nodes) if from_point else case.law_error(moving, nodes).error


def _inside(space: Space) -> tuple[np.ndarray, np.ndarray]:
    """A point away from walls, and another towards which the drift points."""
    rng = np.random.default_rng(5)
    far, goal = space.reference(2, rng)
    return np.asarray(space.exp(space.origin, 0.4 * space.log(space.origin, far))), goal


def _frame(space: Space, x: np.ndarray) -> np.ndarray:
    """Ambient normals z_k, (dim, *shape), with ⟨noise(x, z_j), noise(x, z_k)⟩ = δ_jk: noise(x, ·) is an isometry across its kernel."""
    unit = np.eye(x.size).reshape(-1, *x.shape)
    made = space.noise(x, unit)
    gram = space.inner(x, made[:, None], made[None, :])
    return np.linalg.eigh(gram)[1].T[-space.dim :].reshape(-1, *x.shape)


def increments(solver: Solver, space: Space, h: float = 1e-5) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    r"""(E ξ/h, score, E ξ ξᵀ/h) in an orthonormal frame, for the increment ξ = log_x(x_t) of one step of length h in the clock.

    E over each draw is the mean over ±√d z_k, which has the moments of a normal up to the third.

    Returns:
        (E ξ/h (dim,), score (dim,), E ξ ξᵀ/h (dim, dim)).
    """
    (x, goal), (s, t) = _inside(space), (EDM().node(sigma) for sigma in (0.5, (0.25 - h) ** 0.5))
    frame = _frame(space, x)
    cross = space.dim**0.5 * np.concatenate([frame, -frame])
    asked: list[tuple[float, float]] = []

    def denoise(y: np.ndarray, node: Node) -> np.ndarray:
        return y + node.sigma**2 * space.log(y, np.broadcast_to(goal, y.shape))  # the score is log(x, goal)

    def step(noise: Any, y: np.ndarray) -> np.ndarray:
        return advance(solver(space=space), denoise, y, s, t, None, noise)[0]

    def count(a: Node, b: Node) -> np.ndarray:
        asked.append((a.lam, b.lam))
        return cross[:1]

    step(count, x[None])
    draws = dict.fromkeys(asked)
    index = np.stack(np.meshgrid(*[np.arange(len(cross))] * len(draws), indexing="ij"), axis=-1).reshape(-1, len(draws))
    values = {key: cross[index[:, i]] for i, key in enumerate(draws)}
    y = step(lambda a, b: values[a.lam, b.lam], np.broadcast_to(x, (len(index), *x.shape)))
    axes = space.noise(x, frame)
    moved = space.inner(x, space.log(x, y)[:, None], axes[None])  # (draws, dim)
    return moved.mean(0) / h, space.inner(x, space.log(x, goal)[None], axes), moved.T @ moved / (h * len(moved))


@prop(exempt=draws_none)
def space_increments(solver: Solver) -> None:
    r"""Over one short step h the increment ξ has the mean h (1 + c/2) score and the covariance h (1 + c) I, in every space.

    c = 0 is the reverse SDE. A corrector, which adds Langevin steps, has a c > 0: of these only, the law at t knows nothing.
    """
    for space in (space for space in every_space() if solver.claims(space)):
        mean, score, covariance = increments(solver, space)
        extra = float(np.trace(covariance)) / space.dim - 1.0
        allowed = abs(extra) < _CLOSE or ("corrector" in solver.options and extra > 0.0)
        require(allowed, solver, f"the noise of a short step has {1.0 + extra:.4f} times the variance of a Brownian motion's on {space}")
        off = np.abs(covariance - (1.0 + extra) * np.eye(space.dim)).max()
        require(off < _CLOSE, solver, f"the noise of a short step is not isotropic on {space}: covariance {covariance}")
        wanted, off = (1.0 + 0.5 * extra) * score, np.abs(mean - (1.0 + 0.5 * extra) * score).max() / np.linalg.norm(score)
        asks = f"; the noise of a short step, {1.0 + extra:.4f} times a Brownian motion's variance, asks for that" if extra > _CLOSE else ""
        require(off < _CLOSE, solver, f"the drift of a short step is {mean}, not {wanted}, on {space}{asks}")
