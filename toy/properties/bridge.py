"""Properties of methods on bridges, from a pinned end to the data."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

from scorebed.analytic import GaussianMixture
from scorebed.analytic.process import PinnedBridge
from scorebed.solvers import Solver
from scorebed.solvers.process.bridge import BrownianBridge
from scorebed.toy.problems.linear import LinearProblem
from scorebed.toy.problems.lines import modes
from scorebed.toy.problems.uneven import jagged, warped
from scorebed.toy.properties import linear
from scorebed.toy.properties.mixtures import weak_order_of_one
from scorebed.toy.properties.registry import any_of, deterministic, prop, require

_WIDE = BrownianBridge(kappa=1.5)


def ellipse() -> PinnedBridge:
    """One Gaussian of the plane, bridged to a point outside it."""
    return PinnedBridge(GaussianMixture([1.0], [[0.5, -1.0]], [[[1.0, 0.3], [0.3, 0.2]]]), [2.0, 1.0], BrownianBridge())


def three_modes() -> PinnedBridge:
    """Three modes on the line, bridged to a point between two of them."""
    return PinnedBridge(modes(), [0.8], _WIDE)


@cache
def problems() -> tuple[LinearProblem, ...]:
    """A linear and a curved flow, on grids that no method expects."""
    return (
        LinearProblem(name="ellipse, bridge, jagged", make=ellipse, process=BrownianBridge(), grid=jagged, start=0.9, end=0.05),
        LinearProblem(name="modes, bridge, warped", make=three_modes, process=_WIDE, grid=warped, start=0.9, end=0.12),
    )


@cache
def pinned() -> tuple[LinearProblem, ...]:
    """The same from the pinned end itself, where only stochastic methods can begin."""
    return tuple(replace(problem, start=1.0) for problem in problems())


linear.enrol("bridge", problems, pinned)


@prop(exempt=any_of(deterministic, lambda s: linear.keeps_memory(s, problems()[0])), kind="bridge")
def bridge_weak_order_on_a_mixture(solver: Solver) -> None:
    """So do mean, second moment and a trigonometric one on a mixture, where the model is not affine."""
    problem = problems()[1]
    result = weak_order_of_one(solver, problem)
    require(result.inside(solver.weak or 0.0), solver, f"weak order {result} on {problem.name}, claimed {solver.weak}; {result.errors}")
