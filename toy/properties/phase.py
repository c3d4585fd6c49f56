"""Properties of methods on phase space, (x, v) under critically damped Langevin dynamics."""

from __future__ import annotations

from functools import cache

from scorebed.analytic import GaussianMixture
from scorebed.analytic.process import PhaseLaw
from scorebed.solvers import Solver
from scorebed.solvers.process.langevin import CLD
from scorebed.toy.problems.linear import LinearProblem
from scorebed.toy.problems.lines import modes
from scorebed.toy.problems.uneven import jagged, warped
from scorebed.toy.properties import linear
from scorebed.toy.properties.registry import any_of, deterministic, inexact, prop, stochastic, unplanned


def ellipse() -> PhaseLaw:
    """One Gaussian of the plane, its axes turned."""
    return PhaseLaw(GaussianMixture([1.0], [[0.5, -1.0]], [[[1.0, 0.3], [0.3, 0.2]]]), CLD())


def three_modes() -> PhaseLaw:
    """Three modes on the line, with another mass and wide velocities."""
    return PhaseLaw(modes(), _HEAVY)


_HEAVY = CLD(beta=6.0, mass=1.0, gamma=1.0)  # velocities as wide as in the end, so that what is made of v0 shows


@cache
def problems() -> tuple[LinearProblem, ...]:
    """A closed and a curved flow, on grids that no method expects."""
    return (
        LinearProblem(name="ellipse, CLD, jagged", make=ellipse, process=CLD(), grid=jagged, start=0.9, end=0.05),
        LinearProblem(name="modes, CLD, warped", make=three_modes, process=_HEAVY, grid=warped, start=0.9, end=0.1, closed=False),
    )


@prop(exempt=stochastic, kind="phase")
def phase_order(solver: Solver) -> None:
    """From noise to data the error in (x, v) falls with the claimed order."""
    linear.keeps_order(solver, problems())


@prop(exempt=deterministic, kind="phase")
def phase_weak_order(solver: Solver) -> None:
    """Mean and covariance of (x, v), exact from the Plan, converge with the claimed weak order."""
    linear.keeps_weak_order(solver, problems())


@prop(exempt=any_of(inexact, unplanned), kind="phase")
def phase_point_mass(solver: Solver) -> None:
    """On a point mass the law of the output is exact in any number of steps."""
    linear.exact_on_a_point(solver, problems()[0])


@prop(kind="phase")
def phase_empty_step(solver: Solver) -> None:
    """A step of length zero is the identity."""
    linear.empty_steps(solver, problems()[0])


@prop(kind="phase")
def phase_equivariance(solver: Solver) -> None:
    """Rotations of the coordinates turn the samples, and a sample does not depend on the rest of its batch."""
    linear.turns_and_splits(solver, problems()[0])


@prop(exempt=unplanned, kind="phase")
def phase_replay(solver: Solver) -> None:
    """The Plan gives what the loop gives, evaluation for evaluation."""
    linear.replays(solver, problems()[1])
