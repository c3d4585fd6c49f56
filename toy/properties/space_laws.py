"""The laws of stochastic methods that move in a Space: marginals and transitions of whole runs, and the increments of one short step.

The laws of runs come from the exact law of a chain in one coordinate (``toy.problems.chains``), without Monte Carlo. One short step tells
drift and noise apart, in every space and every direction.
"""

from __future__ import annotations

from functools import cache, partial

import numpy as np

from scorebed.analytic.heat import HeatMixture
from scorebed.solvers import EDM, Node, Solver
from scorebed.solvers.grid import check
from scorebed.solvers.space import SO3, Box, Hyperbolic, Space, Sphere, Torus
from scorebed.toy.measure.order import Conditions, OrderResult, measure_order
from scorebed.toy.measure.runs import order_on
from scorebed.toy.problems.on_space import SpaceProblem
from scorebed.toy.problems.problem import enrolled
from scorebed.toy.properties.registry import prop, require
from scorebed.toy.properties.spaces import stays_at_home

_STEPS, _FINER, _SETTLED = (8, 16, 32), (64, 128), 0.2


def draws_none(solver: Solver) -> str | None:
    """The exemption of properties about stochastic methods on spaces."""
    return stays_at_home(solver) or ("draws no noise" if solver.weak is None else None)


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


def agreed(solver: Solver, result: OrderResult) -> bool:
    """Whether two slopes agree on the claim, so that nothing finer is asked."""
    return result.inside(solver.weak or 1.0) and result.settled <= _SETTLED


@prop(exempt=draws_none)
def space_weak_order(solver: Solver) -> None:
    """The means of observables converge with the claimed weak order, from the exact law at the start, without Monte Carlo."""
    for case, moving in bound(solver):
        paths = case.law_error(moving, case.nodes(_STEPS[0])).samples
        require(paths == 0, solver, f"no chain is known on {case.name}, and {paths} paths show no order")
        result = order_on(case, moving, law=True, steps=_STEPS, finer=_FINER, enough=partial(agreed, solver))
        _require(solver, result, "weak order")


@prop(exempt=transitions_forgotten)
def space_transition_order(solver: Solver) -> None:
    """So do their means from one point at the start, where a change that leaves the marginals alone does not hide."""
    for case, moving in bound(solver):
        result = measure_order(
            lambda n, case=case, moving=moving: case.transition_error(moving, case.nodes(n)),  # type: ignore[misc]
            conditions=Conditions(target=case.name, grid=case.grid_name),
            steps=_STEPS,
            finer=_FINER,
            enough=partial(agreed, solver),
        )
        _require(solver, result, "weak order of transitions")


def _require(solver: Solver, result: OrderResult, what: str) -> None:
    words = f"{what} {result}, claimed {solver.weak}, on {result.conditions}; errors {result.errors}"
    require(result.inside(solver.weak or 1.0), solver, words)
