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
from scorebed.toy.properties.registry import any_of, deterministic, inexact, prop, require, stochastic, unplanned

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
        LinearProblem(name="modes, bridge, warped", make=three_modes, process=_WIDE, grid=warped, start=0.95, end=0.05),
    )


@cache
def pinned() -> tuple[LinearProblem, ...]:
    """The same from the pinned end itself, where only stochastic methods can begin."""
    return tuple(replace(problem, start=1.0) for problem in problems())


@prop(exempt=stochastic, kind="bridge")
def bridge_order(solver: Solver) -> None:
    """Along the bridge the global error falls with the claimed order."""
    linear.keeps_order(solver, problems())


@prop(exempt=deterministic, kind="bridge")
def bridge_weak_order(solver: Solver) -> None:
    """Mean and covariance of the output, exact from the Plan and from the pinned end, converge with the claimed weak order."""
    linear.keeps_weak_order(solver, pinned())


@prop(exempt=any_of(deterministic, unplanned), kind="bridge")
def bridge_weak_order_on_a_mixture(solver: Solver) -> None:
    """So do mean, second moment and a trigonometric one on a mixture, where the model is not affine."""
    problem = problems()[1]
    result = weak_order_of_one(solver, problem)
    require(result.inside(solver.weak or 0.0), solver, f"weak order {result} on {problem.name}, claimed {solver.weak}; {result.errors}")


@prop(exempt=any_of(inexact, unplanned), kind="bridge")
def bridge_point_mass(solver: Solver) -> None:
    """On a point mass the law of the output is exact in any number of steps."""
    linear.exact_on_a_point(solver, (problems() if solver.weak is None else pinned())[0])


@prop(kind="bridge")
def bridge_empty_step(solver: Solver) -> None:
    """A step of length zero is the identity."""
    linear.empty_steps(solver, problems()[0])


@prop(kind="bridge")
def bridge_equivariance(solver: Solver) -> None:
    """Rotations of the coordinates turn the samples, and a sample does not depend on the rest of its batch."""
    linear.turns_and_splits(solver, problems()[0])


@prop(exempt=unplanned, kind="bridge")
def bridge_replay(solver: Solver) -> None:
    """The Plan gives what the loop gives, evaluation for evaluation."""
    linear.replays(solver, problems()[1])
